package sqlite

import (
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

const accountColumns = `did, handle, email, email_confirmed, password_hash, created_at, pending,
	deactivated, delete_after, takedown_ref, tokens_after, key_id, invites_disabled, version`

// scanAccount reads accountColumns.
func scanAccount(r *rows) (storage.Account, error) {
	a := storage.Account{
		DID:             syntax.DID(r.str(0)),
		Handle:          syntax.Handle(r.str(1)),
		Email:           r.str(2),
		PasswordHash:    r.str(4),
		CreatedAt:       time.UnixMilli(r.int(5)).UTC(),
		Pending:         r.bool(6),
		TakedownRef:     r.str(9),
		KeyID:           r.str(11),
		InvitesDisabled: r.bool(12),
		Version:         r.int(13),
	}
	for _, f := range []struct {
		to  *time.Time
		col int
	}{{&a.EmailConfirmedAt, 3}, {&a.DeactivatedAt, 7}, {&a.DeleteAfter, 8}, {&a.TokensAfter, 10}} {
		var err error
		if *f.to, err = parseTime(r.str(f.col)); err != nil {
			return storage.Account{}, err
		}
	}
	return a, nil
}

// accountWhere finds an account, which is then remembered for the methods that
// look for its rows.
func (t *tx) accountWhere(where string, arg any) (storage.Account, error) {
	r, ok, err := t.one("SELECT "+accountColumns+", id, generation FROM accounts WHERE "+where, arg)
	if err != nil {
		return storage.Account{}, err
	}
	if !ok {
		return storage.Account{}, storage.ErrNotFound
	}
	a, err := scanAccount(r)
	if err != nil {
		return storage.Account{}, err
	}
	found := cachedAccount{Account: a, id: r.int(14), generation: r.int(15)}
	if t.w == nil { // what a writer sees may never be stored
		t.s.accounts.put(t.accountsVersion, found)
	}
	t.memo = found.ref()
	return a, nil
}

// Account implements [storage.Accounts].
func (t *tx) Account(did syntax.DID) (storage.Account, error) {
	if err := t.readAccountsVersion(); err != nil {
		return storage.Account{}, err
	}
	if a, ok := t.s.accounts.get(t.accountsVersion, did); ok {
		t.memo = a.ref()
		return a.Account, nil
	}
	return t.accountWhere("did = ?", string(did))
}

// AccountByHandle implements [storage.Accounts].
func (t *tx) AccountByHandle(handle syntax.Handle) (storage.Account, error) {
	return t.accountWhere("handle = ?", optional(string(handle)))
}

// AccountByEmail implements [storage.Accounts].
func (t *tx) AccountByEmail(email string) (storage.Account, error) {
	return t.accountWhere("email = ?", optional(email))
}

// PutAccount implements [storage.Accounts].
func (t *tx) PutAccount(a storage.Account) (int64, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	r, exists, err := t.one("SELECT id, version FROM accounts WHERE did = ?", string(a.DID))
	switch {
	case err != nil:
		return 0, err
	case a.Version == 0 && exists:
		return 0, storage.ErrExists
	case a.Version != 0 && (!exists || r.int(1) != a.Version):
		return 0, storage.ErrConflict
	}
	_, taken, err := t.one("SELECT 1 FROM accounts WHERE (handle = ? OR email = ?) AND did <> ?",
		optional(string(a.Handle)), optional(a.Email), string(a.DID))
	if err != nil {
		return 0, err
	}
	if taken {
		return 0, storage.ErrExists
	}
	version, err := t.raiseAccountsVersion()
	if err != nil {
		return 0, err
	}
	args := []any{
		string(a.DID), optional(string(a.Handle)), optional(a.Email), timeText(a.EmailConfirmedAt),
		a.PasswordHash, a.CreatedAt.UnixMilli(), a.Pending, timeText(a.DeactivatedAt), timeText(a.DeleteAfter),
		a.TakedownRef, timeText(a.TokensAfter), a.KeyID, a.InvitesDisabled, version,
	}
	if !exists {
		_, err = t.exec("INSERT INTO accounts ("+accountColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", args...)
	} else {
		_, err = t.exec("UPDATE accounts SET ("+accountColumns+") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ?",
			append(args, r.int(0))...)
	}
	return version, err
}

// DeleteAccount implements [storage.Accounts].
func (t *tx) DeleteAccount(did syntax.DID) error {
	if err := t.writable(); err != nil {
		return err
	}
	a, err := t.account(did)
	if err != nil {
		return err
	}
	if _, err := t.raiseAccountsVersion(); err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM accounts WHERE id = ?", a.id); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE generations SET state = 2 WHERE account = ?", a.id); err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO doomed (account) VALUES (?)", a.id)
	return err
}

// ListAccounts implements [storage.Accounts].
func (t *tx) ListAccounts(after storage.AccountCursor, limit int) ([]storage.Account, error) {
	if limit <= 0 {
		return nil, t.usable()
	}
	// The zero time lies before 1970; the zero cursor before everything.
	at := after.CreatedAt
	if after == (storage.AccountCursor{}) {
		at = -1 << 63
	}
	var list []storage.Account
	var bad error
	err := t.each(func(r *rows) bool {
		var a storage.Account
		a, bad = scanAccount(r)
		list = append(list, a)
		return bad == nil
	}, "SELECT "+accountColumns+" FROM accounts WHERE (created_at, did) > (?, ?) ORDER BY created_at, did LIMIT ?+0",
		at, string(after.DID), limit)
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Usage implements [storage.Accounts].
func (t *tx) Usage(did syntax.DID) (storage.Usage, error) {
	r, ok, err := t.one(`SELECT a.blobs, a.blob_bytes, a.other_refs,
			g.records, g.records + g.nodes - g.dups + (g.head IS NOT NULL), g.bytes, g.refs
		FROM accounts a LEFT JOIN generations g ON g.id = a.generation WHERE a.did = ?`, string(did))
	if err != nil {
		return storage.Usage{}, err
	}
	if !ok {
		return storage.Usage{}, storage.ErrNotFound
	}
	return storage.Usage{
		Records:         r.int(3),
		RepoBlocks:      r.int(4),
		RepoBytes:       r.int(5),
		Blobs:           r.int(0),
		BlobBytes:       r.int(1),
		ReferencedBlobs: r.int(2) + r.int(6),
	}, nil
}
