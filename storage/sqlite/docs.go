package sqlite

import (
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// Limits of [storage.Doc].
const (
	maxKind = 64
	maxKey  = 1024
)

var errDocName = errors.New("sqlite: the kind or key of a document is too long")

// A document is visible until it expires and as long as its owner is there.
// The version is the rowid, which AUTOINCREMENT never gives twice.
const (
	docColumns = "d.kind, d.key, coalesce(a.did, ''), d.version, d.expires_at, d.value"
	docTables  = "docs d LEFT JOIN accounts a ON a.id = d.owner"
	docVisible = "(d.expires_at = 0 OR d.expires_at > ?) AND (d.owner = 0 OR a.id IS NOT NULL)"
)

func scanDoc(r *rows) storage.Doc {
	d := storage.Doc{
		Kind:    r.str(0),
		Key:     r.str(1),
		Owner:   syntax.DID(r.str(2)),
		Version: r.int(3),
		Value:   r.bytes(5),
	}
	if at := r.int(4); at != 0 {
		d.Expires = time.UnixMilli(at).UTC()
	}
	return d
}

// GetDoc implements [storage.Docs].
func (t *tx) GetDoc(kind, key string) (storage.Doc, error) {
	r, ok, err := t.one("SELECT "+docColumns+" FROM "+docTables+" WHERE d.kind = ? AND d.key = ? AND "+docVisible,
		kind, key, t.now().UnixMilli())
	if err != nil {
		return storage.Doc{}, err
	}
	if !ok {
		return storage.Doc{}, storage.ErrNotFound
	}
	return scanDoc(r), nil
}

// PutDoc implements [storage.Docs].
func (t *tx) PutDoc(d storage.Doc) (int64, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	if len(d.Kind) > maxKind || len(d.Key) > maxKey {
		return 0, errDocName
	}
	var owner, expires int64
	if d.Owner != "" {
		a, err := t.account(d.Owner)
		if err != nil {
			return 0, err
		}
		owner = a.id
	}
	if !d.Expires.IsZero() {
		expires = d.Expires.UnixMilli()
		if expires == 0 {
			expires = -1 // 1970 itself has expired as well
		}
	}
	r, found, err := t.one("SELECT d.version FROM "+docTables+" WHERE d.kind = ? AND d.key = ? AND "+docVisible,
		d.Kind, d.Key, t.now().UnixMilli())
	if err != nil {
		return 0, err
	}
	stored := int64(0)
	if found {
		stored = r.int(0)
	}
	if stored != d.Version {
		return 0, storage.ErrConflict
	}
	r, _, err = t.one("INSERT OR REPLACE INTO docs (kind, key, owner, expires_at, value) VALUES (?,?,?,?,?) RETURNING version",
		d.Kind, d.Key, owner, expires, notNil(d.Value))
	if err != nil {
		return 0, err
	}
	t.bytes += len(d.Key) + len(d.Value)
	return r.int(0), nil
}

// notNil makes NULL an empty value.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// DeleteDoc implements [storage.Docs].
func (t *tx) DeleteDoc(kind, key string) error {
	_, err := t.exec("DELETE FROM docs WHERE kind = ? AND key = ?", kind, key)
	return err
}

// ScanDocs implements [storage.Docs].
func (t *tx) ScanDocs(kind string, s storage.Scan) ([]storage.Doc, error) {
	if s.Limit <= 0 {
		return nil, t.usable()
	}
	sql := "SELECT " + docColumns + " FROM " + docTables + " WHERE d.kind = ? AND d.key >= ? AND " + docVisible
	args := []any{kind, s.From, t.now().UnixMilli()}
	if s.To != "" {
		sql += " AND d.key < ?"
		args = append(args, s.To)
	}
	sql += " ORDER BY d.key"
	if s.Reverse {
		sql += " DESC"
	}
	return t.docs(sql+" LIMIT ?+0", append(args, s.Limit)...)
}

// ScanOwner implements [storage.Docs].
func (t *tx) ScanOwner(did syntax.DID, kind string) ([]storage.Doc, error) {
	a, err := t.account(did)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t.docs("SELECT "+docColumns+" FROM "+docTables+
		" WHERE d.owner = ? AND d.owner <> 0 AND d.kind = ? AND "+docVisible+" ORDER BY d.key",
		a.id, kind, t.now().UnixMilli())
}

// OwnerKinds implements [storage.Docs]. It finds each kind in the index by the
// one before.
func (t *tx) OwnerKinds(did syntax.DID) (kinds []string, err error) {
	a, err := t.account(did)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	for last := ""; err == nil; {
		r, found, failed := t.one("SELECT d.kind FROM "+docTables+
			" WHERE d.owner = ? AND d.owner <> 0 AND d.kind > ? AND "+docVisible+" ORDER BY d.kind, d.key LIMIT 1",
			a.id, last, t.now().UnixMilli())
		if failed != nil || !found {
			return kinds, failed
		}
		last = r.str(0)
		kinds = append(kinds, last)
	}
	return kinds, err
}

func (t *tx) docs(sql string, args ...any) ([]storage.Doc, error) {
	var list []storage.Doc
	err := t.each(func(r *rows) bool {
		list = append(list, scanDoc(r))
		return true
	}, sql, args...)
	if err != nil {
		return nil, err
	}
	return list, nil
}
