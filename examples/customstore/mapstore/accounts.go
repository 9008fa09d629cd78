package mapstore

import (
	"math"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// account is a row: the account and the number that its other rows hang on.
type account struct {
	storage.Account
	number int64
}

func (a account) index(string, string) []string {
	keys := []string{key("t", a.CreatedAt.UnixMilli(), a.DID), key("v", a.number)}
	if a.Handle != "" {
		keys = append(keys, key("p", a.Handle))
	}
	if a.Email != "" {
		keys = append(keys, key("q", a.Email))
	}
	return keys
}

// scope is the account's number as it stands in keys.
func (a account) scope() string { return key("", a.number) }

// account returns a row, or one with the number zero.
func (t *tx) account(did syntax.DID) (account, error) { return found[account](t, key("a", did)) }

func plain(a account, err error) (storage.Account, error) { return a.Account, err }

// Account implements storage.Accounts.
func (t *tx) Account(did syntax.DID) (storage.Account, error) { return plain(t.account(did)) }

// AccountByHandle implements storage.Accounts.
func (t *tx) AccountByHandle(h syntax.Handle) (storage.Account, error) {
	return plain(found[account](t, key("p", h)))
}

// AccountByEmail implements storage.Accounts.
func (t *tx) AccountByEmail(email string) (storage.Account, error) {
	return plain(found[account](t, key("q", email)))
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
	for _, k := range (account{Account: a}).index("", "") {
		if holder, err := found[account](t, k); err == nil && holder.DID != a.DID {
			return 0, storage.ErrExists
		}
	}
	if err != nil {
		old.number = t.next()
	}
	a.Version, a.CreatedAt = t.next(), millis(a.CreatedAt)
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
	t.dropStaged("w", func(g staged) bool { return g.account == a.number })
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
	of, own := "u"+r.scope(), "u"+a.scope()
	u := storage.Usage{
		Records:         t.number(of + "r"),
		RepoBlocks:      t.number(of + "c"),
		RepoBytes:       t.number(of+"rbytes") + t.number(of+"nbytes"),
		Blobs:           t.number(own + "b"),
		BlobBytes:       t.number(own + "bbytes"),
		ReferencedBlobs: t.number(of + "f"),
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

// Append implements storage.Events.
func (t *tx) Append(e storage.Event) error {
	e.Seq, e.Time, e.Body = max(t.number("Z")+1, t.now.UnixMicro()), millis(t.now), slices.Clone(e.Body)
	t.set("Z", e.Seq)
	return t.save(key("e", e.Seq), e)
}

// ListEvents implements storage.Events.
func (t *tx) ListEvents(seq int64, limit, maxBytes int) (list []storage.Event, err error) {
	for _, v := range t.rows("e", after(key("e", seq))) {
		e := v.(storage.Event)
		if e.Seq <= t.number(key("x", e.DID)) {
			continue
		}
		if maxBytes -= len(e.Body); len(list) >= limit || maxBytes < 0 && len(list) > 0 {
			break
		}
		e.Body = slices.Clone(e.Body)
		list = append(list, e)
	}
	return list, t.ended
}

// LastSeq implements storage.Events.
func (t *tx) LastSeq() (int64, error) { return t.number("Z"), t.ended }

// HideEvents implements storage.Events.
func (t *tx) HideEvents(did syntax.DID) error {
	return t.save(key("x", did), t.number("Z"))
}

// PruneEvents implements storage.Events.
func (t *tx) PruneEvents(upTo int64, limit int) (pruned int, err error) {
	for k := range t.root.between("e", after(key("e", upTo)), false) {
		if pruned >= limit {
			break
		}
		t.set(k, nil)
		pruned++
	}
	return pruned, t.err
}

// doc is a row: the document and the number of the account that owns it.
type doc struct {
	storage.Doc
	number int64
}

func (d doc) at() string { return key("d", d.Kind, d.Key) }

func (d doc) index(string, string) (keys []string) {
	if d.number != 0 {
		keys = append(keys, key("o", d.number, d.Kind, d.Key))
	}
	if !d.Expires.IsZero() {
		keys = append(keys, key("y", d.Expires.UnixMilli(), d.Kind, d.Key))
	}
	return keys
}

// visible returns a copy of a document unless it has expired or its owner is
// gone.
func (t *tx) visible(d doc) (storage.Doc, bool) {
	if !d.Expires.IsZero() && !d.Expires.After(t.now) || d.number != 0 && !t.any(key("v", d.number)) {
		return storage.Doc{}, false
	}
	d.Value = slices.Clone(d.Value)
	return d.Doc, true
}

// GetDoc implements storage.Docs.
func (t *tx) GetDoc(kind, k string) (storage.Doc, error) {
	row, err := found[doc](t, key("d", kind, k))
	d, visible := t.visible(row)
	if !visible {
		err = storage.ErrNotFound
	}
	return d, err
}

// PutDoc implements storage.Docs.
func (t *tx) PutDoc(d storage.Doc) (int64, error) {
	owner, err := t.account(d.Owner)
	if err != nil && d.Owner != "" {
		return 0, err
	}
	if old, _ := t.GetDoc(d.Kind, d.Key); old.Version != d.Version {
		return 0, storage.ErrConflict
	}
	d.Version, d.Expires, d.Value = t.next(), millis(d.Expires), slices.Clone(d.Value)
	t.set(doc{Doc: d}.at(), doc{d, owner.number})
	return d.Version, t.err
}

// DeleteDoc implements storage.Docs.
func (t *tx) DeleteDoc(kind, k string) error {
	return t.save(key("d", kind, k), nil)
}

// ScanDocs implements storage.Docs.
func (t *tx) ScanDocs(kind string, s storage.Scan) ([]storage.Doc, error) {
	to := after(key("d", kind))
	if s.To != "" {
		to = key("d", kind, s.To)
	}
	return page(t, t.root.between(key("d", kind, s.From), to, s.Reverse), s.Limit, t.visible)
}

// ScanOwner implements storage.Docs.
func (t *tx) ScanOwner(did syntax.DID, kind string) ([]storage.Doc, error) {
	a, _ := t.account(did)
	return page(t, t.rows(key("o", a.number, kind), ""), math.MaxInt, t.visible)
}

// OwnerKinds implements storage.Docs.
func (t *tx) OwnerKinds(did syntax.DID) ([]string, error) {
	a, _ := t.account(did)
	kinds, err := page(t, t.rows(key("o", a.number), ""), math.MaxInt, func(d doc) (string, bool) { _, ok := t.visible(d); return d.Kind, ok })
	return slices.Compact(kinds), err
}
