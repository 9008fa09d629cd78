package main

import (
	"math"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// Append implements storage.Events.
func (t *tx) Append(e storage.Event) error {
	last, _ := t.LastSeq()
	e.Seq, e.Time, e.Body = max(last+1, t.now.UnixMicro()), millis(t.now), slices.Clone(e.Body)
	t.set(key("z", "seq"), e.Seq)
	t.set(key("e", e.Seq), e)
	return t.err
}

// ListEvents implements storage.Events.
func (t *tx) ListEvents(seq int64, limit, maxBytes int) ([]storage.Event, error) {
	n := 0
	return page(t, t.rows("e", after(key("e", seq))), limit, func(e storage.Event) (storage.Event, bool) {
		hidden, _ := get[int64](t, key("x", e.DID))
		if e.Seq <= hidden || n > 0 && maxBytes < len(e.Body) {
			return e, false
		}
		n, maxBytes = n+1, maxBytes-len(e.Body)
		e.Body = slices.Clone(e.Body)
		return e, true
	})
}

// LastSeq implements storage.Events.
func (t *tx) LastSeq() (int64, error) { return t.counter("seq"), nil }

// HideEvents implements storage.Events.
func (t *tx) HideEvents(did syntax.DID) error {
	t.set(key("x", did), t.counter("seq"))
	return t.err
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

func (d doc) index(string, string) (keys []entry) {
	if d.number != 0 {
		keys = append(keys, entry{key("o", d.number, d.Kind, d.Key), ""})
	}
	if !d.Expires.IsZero() {
		keys = append(keys, entry{key("y", d.Expires, d.Kind, d.Key), ""})
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
	t.set(key("d", d.Kind, d.Key), doc{d, owner.number})
	return d.Version, t.err
}

// DeleteDoc implements storage.Docs.
func (t *tx) DeleteDoc(kind, k string) error {
	t.set(key("d", kind, k), nil)
	return t.err
}

// ScanDocs implements storage.Docs.
func (t *tx) ScanDocs(kind string, s storage.Scan) ([]storage.Doc, error) {
	prefix := key("d", kind)
	to := after(prefix)
	if s.To != "" {
		to = prefix + s.To
	}
	return page(t, t.root.between(prefix+s.From, to, s.Reverse), s.Limit, t.visible)
}

// ScanOwner implements storage.Docs.
func (t *tx) ScanOwner(did syntax.DID, kind string) ([]storage.Doc, error) {
	a, _ := t.account(did)
	return page(t, t.rows(key("o", a.number, kind), ""), math.MaxInt, t.visible)
}
