package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

const blobColumns = "a.did, b.cid, b.key, b.mime_type, b.size, b.created_at, b.uploader, b.temporary, b.public, b.takedown_ref"

func scanBlob(r *rows) (storage.Blob, error) {
	c, err := parseCIDText(r.str(1))
	return storage.Blob{
		Owner:       syntax.DID(r.str(0)),
		CID:         c,
		Key:         r.str(2),
		MimeType:    r.str(3),
		Size:        r.int(4),
		CreatedAt:   time.UnixMilli(r.int(5)).UTC(),
		Uploader:    syntax.DID(r.str(6)),
		Temporary:   r.bool(7),
		Public:      r.bool(8),
		TakedownRef: r.str(9),
	}, err
}

func parseCIDText(s string) (cid.Cid, error) {
	c, err := cid.Decode(s)
	if err != nil {
		return cid.Undef, fmt.Errorf("sqlite: stored CID: %w", err)
	}
	return c, nil
}

// Blob implements [storage.Blobs].
func (t *tx) Blob(owner syntax.DID, c cid.Cid) (storage.Blob, error) {
	r, ok, err := t.one("SELECT "+blobColumns+" FROM accounts a JOIN blobs b ON b.account = a.id WHERE a.did = ? AND b.cid = ?",
		string(owner), c.String())
	if err != nil {
		return storage.Blob{}, err
	}
	if !ok {
		return storage.Blob{}, storage.ErrNotFound
	}
	return scanBlob(r)
}

// PutBlob implements [storage.Blobs].
func (t *tx) PutBlob(b storage.Blob) error {
	if err := t.writable(); err != nil {
		return err
	}
	a, err := t.account(b.Owner)
	if err != nil {
		return err
	}
	if err := t.removeBlob(a.id, b.CID, b.Key); err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO blobs (account, cid, key, mime_type, size, created_at, uploader, temporary, public, takedown_ref)
		VALUES (?,?,?,?,?,?,?,?,?,?)`, a.id, b.CID.String(), b.Key, b.MimeType, b.Size, b.CreatedAt.UnixMilli(),
		string(b.Uploader), b.Temporary, b.Public, b.TakedownRef)
	if err != nil {
		return err
	}
	if err := t.gainedBlob(a.id, b.CID.String()); err != nil {
		return err
	}
	return t.countBlob(a.id, 1, b.Size)
}

func (t *tx) countBlob(account, n, bytes int64) error {
	_, err := t.exec("UPDATE accounts SET blobs = blobs + ?, blob_bytes = blob_bytes + ? WHERE id = ?", n, bytes, account)
	return err
}

// removeBlob removes a row, if it is there, and releases its key unless that
// is the one to keep.
func (t *tx) removeBlob(account int64, c cid.Cid, keep string) error {
	r, found, err := t.one("DELETE FROM blobs WHERE account = ? AND cid = ? RETURNING key, size", account, c.String())
	if err != nil || !found {
		return err
	}
	if r.str(0) != keep {
		if err := t.release(r.str(0)); err != nil {
			return err
		}
	}
	if err := t.lostBlob(account, c.String()); err != nil {
		return err
	}
	return t.countBlob(account, -1, -r.int(1))
}

func (t *tx) release(key string) error {
	_, err := t.exec("INSERT OR IGNORE INTO released (key) VALUES (?)", key)
	return err
}

// DeleteBlob implements [storage.Blobs].
func (t *tx) DeleteBlob(owner syntax.DID, c cid.Cid) error {
	if err := t.writable(); err != nil {
		return err
	}
	a, err := t.account(owner)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.removeBlob(a.id, c, "")
}

// SetBlobRefs implements [storage.Blobs].
func (t *tx) SetBlobRefs(owner syntax.DID, uri string, blobs []cid.Cid) error {
	if err := t.writable(); err != nil {
		return err
	}
	a, err := t.account(owner)
	if err != nil {
		return err
	}
	scope := otherScope(a.id)
	old, err := t.refsOf(scope, uri)
	if err != nil {
		return err
	}
	want := blobTexts(blobs)
	for _, c := range old {
		if slices.Contains(want, c) {
			continue
		}
		if _, err := t.exec("DELETE FROM refs WHERE scope = ? AND cid = ? AND uri = ?", scope, c, uri); err != nil {
			return err
		}
		if still, err := t.hasRef(scope, c); err != nil {
			return err
		} else if !still {
			if err := t.lostRef(scope, c); err != nil {
				return err
			}
			if err := t.countOther(a.id, c, -1); err != nil {
				return err
			}
		}
	}
	for _, c := range want {
		known, err := t.hasRef(scope, c)
		if err != nil {
			return err
		}
		if err := t.insertRef(scope, c, uri, ""); err != nil {
			return err
		}
		if !known {
			if err := t.gainedRef(scope, a.id, c); err != nil {
				return err
			}
			if err := t.countOther(a.id, c, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// BlobReferenced implements [storage.Blobs].
func (t *tx) BlobReferenced(owner syntax.DID, c cid.Cid) (bool, error) {
	a, err := t.account(owner)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, found, err := t.one("SELECT 1 FROM refs WHERE scope IN (?, ?) AND cid = ?", a.generation, otherScope(a.id), c.String())
	return found, err
}

// ListBlobRefs implements [storage.Blobs].
func (t *tx) ListBlobRefs(owner syntax.DID, since syntax.TID, after string, limit int) ([]cid.Cid, error) {
	a, err := t.account(owner)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil || limit <= 0 {
		return nil, err
	}
	var list []cid.Cid
	var bad error
	err = t.each(func(r *rows) bool {
		var c cid.Cid
		c, bad = parseCIDText(r.str(0))
		list = append(list, c)
		return bad == nil
	}, "SELECT DISTINCT cid FROM refs WHERE scope = ? AND cid > ? AND rev > ? ORDER BY cid LIMIT ?+0",
		a.generation, after, string(since), limit)
	return list, errors.Join(err, bad)
}

// ListMissingBlobs implements [storage.Blobs].
func (t *tx) ListMissingBlobs(owner syntax.DID, after string, limit int) ([]storage.BlobRef, error) {
	a, err := t.account(owner)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil || limit <= 0 {
		return nil, err
	}
	// Each scope on its own, in the order of its index, so that the page ends
	// the scan; then the two are merged.
	var list []storage.BlobRef
	for _, scope := range []int64{a.generation, otherScope(a.id)} {
		var bad error
		err := t.each(func(r *rows) bool {
			ref := storage.BlobRef{URI: r.str(1)}
			if scope > 0 {
				ref.URI = "at://" + string(owner) + "/" + ref.URI
			}
			ref.CID, bad = parseCIDText(r.str(0))
			list = append(list, ref)
			return bad == nil
		}, `SELECT cid, (SELECT min(uri) FROM refs WHERE scope = missing.scope AND cid = missing.cid)
			FROM missing WHERE scope = ? AND cid > ? ORDER BY cid LIMIT ?+0`, scope, after, limit)
		if err = errors.Join(err, bad); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(x, y storage.BlobRef) int { return cmpText(x.CID, y.CID) })
	list = slices.CompactFunc(list, func(x, y storage.BlobRef) bool { return x.CID == y.CID })
	return list[:min(limit, len(list))], nil
}

func cmpText(x, y cid.Cid) int {
	a, b := x.String(), y.String()
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// ListTemporaryBlobs implements [storage.Blobs].
func (t *tx) ListTemporaryBlobs(before time.Time, limit int) ([]storage.Blob, error) {
	if limit <= 0 {
		return nil, t.usable()
	}
	var list []storage.Blob
	var bad error
	err := t.each(func(r *rows) bool {
		var b storage.Blob
		b, bad = scanBlob(r)
		list = append(list, b)
		return bad == nil
	}, "SELECT "+blobColumns+` FROM blobs b JOIN accounts a ON a.id = b.account
		WHERE b.temporary = 1 AND b.created_at < ? ORDER BY b.created_at LIMIT ?+0`, before.UnixMilli(), limit)
	return list, errors.Join(err, bad)
}

// BlobKeyUsed implements [storage.Blobs].
func (t *tx) BlobKeyUsed(key string) (bool, error) {
	_, found, err := t.one("SELECT 1 FROM blobs WHERE key = ? UNION ALL SELECT 1 FROM released WHERE key = ? LIMIT 1", key, key)
	return found, err
}

// ReleasedBlobs implements [storage.Blobs].
func (t *tx) ReleasedBlobs(limit int) ([]string, error) {
	if limit <= 0 {
		return nil, t.usable()
	}
	var list []string
	err := t.each(func(r *rows) bool {
		list = append(list, r.str(0))
		return true
	}, "SELECT key FROM released ORDER BY id LIMIT ?+0", limit)
	return list, err
}

// ForgetReleasedBlobs implements [storage.Blobs].
func (t *tx) ForgetReleasedBlobs(keys []string) error {
	if err := t.writable(); err != nil {
		return err
	}
	for _, key := range keys {
		if _, err := t.exec("DELETE FROM released WHERE key = ?", key); err != nil {
			return err
		}
	}
	return nil
}
