package main

import (
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// account is a row: the account and the number that its other rows hang on.
type account struct {
	storage.Account
	number int64
}

func (a account) index(string, string) []entry {
	keys := []entry{{key("t", a.CreatedAt, a.DID), ""}, {key("v", a.number), ""}}
	if a.Handle != "" {
		keys = append(keys, entry{key("p", a.Handle), ""})
	}
	if a.Email != "" {
		keys = append(keys, entry{key("q", a.Email), ""})
	}
	return keys
}

// scope is the account's number as it stands in keys.
func (a account) scope() string { return key("", a.number) }

// account returns a row, or one with the number zero.
func (t *tx) account(did syntax.DID) (account, error) { return found[account](t, key("a", did)) }

// Account implements storage.Accounts.
func (t *tx) Account(did syntax.DID) (storage.Account, error) {
	a, err := t.account(did)
	return a.Account, err
}

// AccountByHandle implements storage.Accounts.
func (t *tx) AccountByHandle(h syntax.Handle) (storage.Account, error) { return t.named(key("p", h)) }

// AccountByEmail implements storage.Accounts.
func (t *tx) AccountByEmail(email string) (storage.Account, error) { return t.named(key("q", email)) }

func (t *tx) named(name string) (storage.Account, error) {
	at, _ := get[string](t, name)
	a, err := found[account](t, at)
	return a.Account, err
}

// PutAccount implements storage.Accounts.
func (t *tx) PutAccount(a storage.Account) (int64, error) {
	old, err := t.account(a.DID)
	switch {
	case err == nil && a.Version == 0:
		return 0, storage.ErrExists
	case a.Version != old.Version:
		return 0, storage.ErrConflict
	}
	for _, e := range (account{Account: a}).index("", "") {
		if holder, taken := get[string](t, e.group); taken && holder != key("a", a.DID) {
			return 0, storage.ErrExists
		}
	}
	if err != nil {
		old.number = t.next()
	}
	a.Version = t.next()
	a.CreatedAt = millis(a.CreatedAt)
	t.set(key("a", a.DID), account{a, old.number})
	return a.Version, t.err
}

// DeleteAccount implements storage.Accounts.
func (t *tx) DeleteAccount(did syntax.DID) error {
	a, r, _ := t.repoOf(did)
	if a.number == 0 {
		return storage.ErrNotFound
	}
	t.set(key("a", did), nil)
	t.set(key("g", a.number), true)
	t.set(key("g", r.ID), true)
	t.dropStaged(func(g staged) bool { return g.account == a.number })
	return t.err
}

// ListAccounts implements storage.Accounts.
func (t *tx) ListAccounts(c storage.AccountCursor, limit int) ([]storage.Account, error) {
	from := ""
	if c != (storage.AccountCursor{}) {
		from = after(key("t", c.CreatedAt, c.DID))
	}
	return page(t, t.rows("t", from), limit, func(a account) (storage.Account, bool) { return a.Account, true })
}

// Usage implements storage.Accounts.
func (t *tx) Usage(did syntax.DID) (storage.Usage, error) {
	a, r, err := t.repoOf(did)
	if a.number == 0 {
		return storage.Usage{}, err
	}
	u := storage.Usage{
		Records:         t.sum("r", r.scope()).N,
		RepoBlocks:      t.sum("c", r.scope()).N,
		RepoBytes:       t.sum("r", r.scope()).Bytes + t.sum("n", r.scope()).Bytes,
		Blobs:           t.sum("b", a.scope()).N,
		BlobBytes:       t.sum("b", a.scope()).Bytes,
		ReferencedBlobs: t.sum("f", r.scope()).N,
	}
	if err == nil {
		u.RepoBlocks++ // the commit
	}
	// References of other things than records are few.
	for c := range t.referenced("", a.scope()) {
		if !t.any(key("f", r.ID, c)) {
			u.ReferencedBlobs++
		}
	}
	return u, nil
}
