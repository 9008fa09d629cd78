package main

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

// blob is a row.
type blob struct{ storage.Blob }

func (b blob) size() int64 { return b.Size }

func (b blob) index(at, _ string) []entry {
	keys := []entry{{key("k", b.Key), at}}
	if b.Temporary {
		keys = append(keys, entry{key("T", b.CreatedAt), at})
	}
	return keys
}

// refs is a row: what a thing that is no record refers to.
type refs struct {
	uri   string
	blobs []cid.Cid
}

func (r refs) index(_, scope string) []entry { return refIndex(r.blobs, r.uri, scope) }

// refIndex finds what refers to a blob: in the scope of a repo the records, in
// that of an account other things.
func refIndex(blobs []cid.Cid, uri, scope string) (keys []entry) {
	for _, c := range blobs {
		keys = append(keys, entry{key("f"+scope, c), key("", uri)})
	}
	return keys
}

func (t *tx) blobAt(owner syntax.DID, c cid.Cid) string {
	a, _ := t.account(owner)
	return key("b", a.number, c)
}

// Blob implements storage.Blobs.
func (t *tx) Blob(owner syntax.DID, c cid.Cid) (storage.Blob, error) {
	b, err := found[blob](t, t.blobAt(owner, c))
	return b.Blob, err
}

// PutBlob implements storage.Blobs.
func (t *tx) PutBlob(b storage.Blob) error {
	if _, err := t.account(b.Owner); err != nil {
		return err
	}
	if old, err := t.Blob(b.Owner, b.CID); err == nil && old.Key != b.Key {
		t.set(key("R", old.Key), released(old.Key))
	}
	b.CreatedAt = millis(b.CreatedAt)
	t.set(t.blobAt(b.Owner, b.CID), blob{b})
	return t.err
}

// release removes the row of a blob and releases its key.
func (t *tx) release(at, k string) {
	t.set(at, nil)
	t.set(key("R", k), released(k))
}

// released is a row: a key whose bytes are to be deleted.
type released string

// DeleteBlob implements storage.Blobs.
func (t *tx) DeleteBlob(owner syntax.DID, c cid.Cid) error {
	if b, err := t.Blob(owner, c); err == nil {
		t.release(t.blobAt(owner, c), b.Key)
	}
	return t.err
}

// SetBlobRefs implements storage.Blobs.
func (t *tx) SetBlobRefs(owner syntax.DID, uri string, blobs []cid.Cid) error {
	a, err := t.account(owner)
	if err != nil {
		return err
	}
	t.set(key("j", a.number, uri), nil)
	if len(blobs) > 0 {
		t.set(key("j", a.number, uri), refs{uri, slices.Clone(blobs)})
	}
	return t.err
}

// BlobReferenced implements storage.Blobs.
func (t *tx) BlobReferenced(owner syntax.DID, c cid.Cid) (bool, error) {
	a, r, _ := t.repoOf(owner)
	return t.any(key("f", a.number, c)) || t.any(key("f", r.ID, c)), nil
}

// referenced yields the CIDs above a bound that the scopes refer to, each once
// in the order of their strings, with the rest of the first entry's key.
func (t *tx) referenced(bound string, scopes ...string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for {
			var c, rest string
			for _, scope := range scopes {
				k, ok := t.first("f"+scope, "f"+scope+bound+"\x01")
				if !ok {
					continue
				}
				if first, of, _ := strings.Cut(k[1+scopeBytes:], "\x00"); c == "" || first < c {
					c, rest = first, of
				}
			}
			if bound = c; c == "" || !yield(c, rest) {
				return
			}
		}
	}
}

// ListBlobRefs implements storage.Blobs.
func (t *tx) ListBlobRefs(owner syntax.DID, since syntax.TID, after string, limit int) (list []cid.Cid, err error) {
	_, r, _ := t.repoOf(owner)
	for c := range t.referenced(after, r.scope()) {
		newer, _ := page(t, t.rows(key("f", r.ID, c), ""), 1, func(r record) (bool, bool) { return true, r.Rev > since })
		if len(list) >= limit {
			break
		}
		if len(newer) > 0 {
			list = append(list, cid.MustParse(c))
		}
	}
	return list, nil
}

// ListMissingBlobs implements storage.Blobs.
func (t *tx) ListMissingBlobs(owner syntax.DID, after string, limit int) (list []storage.BlobRef, err error) {
	a, r, _ := t.repoOf(owner)
	for c, rest := range t.referenced(after, r.scope(), a.scope()) {
		if len(list) >= limit {
			break
		}
		uri := strings.TrimSuffix(rest, "\x00")
		if t.any(key("f", r.ID, c) + rest) {
			uri = "at://" + string(owner) + "/" + uri
		}
		if !t.any(key("b", a.number, c)) {
			list = append(list, storage.BlobRef{CID: cid.MustParse(c), URI: uri})
		}
	}
	return list, nil
}

// ListTemporaryBlobs implements storage.Blobs.
func (t *tx) ListTemporaryBlobs(before time.Time, limit int) ([]storage.Blob, error) {
	return page(t, t.root.between("T", key("T", before), false), limit, func(b blob) (storage.Blob, bool) {
		_, err := t.account(b.Owner)
		return b.Blob, err == nil
	})
}

// BlobKeyUsed implements storage.Blobs.
func (t *tx) BlobKeyUsed(k string) (bool, error) {
	return t.any(key("k", k)) || t.any(key("R", k)), nil
}

// ReleasedBlobs implements storage.Blobs.
func (t *tx) ReleasedBlobs(limit int) ([]string, error) {
	return page(t, t.rows("R", ""), limit, func(k released) (string, bool) { return string(k), true })
}

// ForgetReleasedBlobs implements storage.Blobs.
func (t *tx) ForgetReleasedBlobs(keys []string) error {
	for _, k := range keys {
		t.set(key("R", k), nil)
	}
	return t.err
}
