package mapstore

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

// repo is a row: the head of an account and the generation that it is of.
type repo struct {
	ID   int64
	Head storage.Head
	Base syntax.TID // the rev of nodes that were staged
}

func (r repo) scope() string { return key("", r.ID) }

// staged is a row: an unpublished generation.
type staged struct {
	account int64
	created time.Time
}

// record is a row: a record, or a node of a tree, which has no path and, if it
// was staged, no rev.
type record struct{ storage.Record }

func (r record) size() int64 { return int64(len(r.Value)) }

// index finds blocks by CID (c) and in the order of revs (s).
func (r record) index(at, scope string) []string {
	keys := []string{key("c"+scope, r.CID, r.Rev, at), key("s"+scope, r.Rev, at)}
	if r.Backlink != "" {
		keys = append(keys, key("l"+scope, r.Collection, r.Backlink, r.Rev, r.RKey))
	}
	return append(keys, refIndex(r.Blobs, r.String(), scope)...)
}

// repoOf returns the account and what is published of it.
func (t *tx) repoOf(did syntax.DID) (account, repo, error) {
	a, _ := t.account(did)
	r, err := found[repo](t, key("h", a.number))
	return a, r, err
}

// Head implements storage.Repos.
func (t *tx) Head(did syntax.DID) (storage.Head, error) {
	_, r, err := t.repoOf(did)
	r.Head.Commit = slices.Clone(r.Head.Commit)
	return r.Head, err
}

// Apply implements storage.Repos.
func (t *tx) Apply(c *storage.Commit) error {
	a, r, _ := t.repoOf(c.DID)
	if a.number == 0 || a.Version != c.AccountVersion || a.KeyID != c.KeyID || r.Head.CID != c.Base {
		return storage.ErrConflict
	}
	if c.Generation != 0 {
		if g, err := found[staged](t, key("w", int64(c.Generation))); err != nil || g.account != a.number {
			return storage.ErrNotFound
		}
		t.set(key("w", int64(c.Generation)), nil)
		t.set(key("g", r.ID), true)
		r = repo{ID: int64(c.Generation), Base: c.Head.Rev}
	} else if r.ID == 0 {
		r.ID = t.next()
	}
	for _, old := range c.OldNodes {
		t.set(key("n", r.ID, old), nil)
	}
	for _, p := range c.Deletes {
		t.set(key("r", r.ID, p.Collection, p.RKey), nil)
	}
	t.fill(r.ID, c.NewNodes, c.Puts, c.Head.Rev)
	r.Head = c.Head
	r.Head.Commit = slices.Clone(c.Head.Commit)
	return t.save(key("h", a.number), r)
}

// fill adds nodes that are not there and records. With an empty rev they are
// staged.
func (t *tx) fill(id int64, nodes []storage.Block, records []storage.Record, rev syntax.TID) {
	for _, b := range nodes {
		if at := key("n", id, b.CID); !t.any(at) {
			t.set(at, record{storage.Record{CID: b.CID, Rev: rev, Value: slices.Clone(b.Data)}})
		}
	}
	for _, r := range records {
		at := key("r", id, r.Collection, r.RKey)
		old, _ := found[record](t, at)
		r.Rev, r.Value, r.Blobs = cmp.Or(rev, r.Rev), slices.Clone(r.Value), slices.Clone(r.Blobs)
		r.TakedownRef = old.TakedownRef // the mark is the path's
		t.set(at, record{r})
	}
}

// shown returns a copy of a record as callers get it, and says no to nodes.
func shown(r record) (storage.Record, bool) {
	r.Value, r.Blobs = slices.Clone(r.Value), nil
	return r.Record, r.RKey != ""
}

// Record implements storage.Repos.
func (t *tx) Record(did syntax.DID, collection syntax.NSID, rkey syntax.RecordKey) (storage.Record, error) {
	_, repo, _ := t.repoOf(did)
	r, err := found[record](t, key("r", repo.ID, collection, rkey))
	own, _ := shown(r)
	return own, err
}

// ListRecords implements storage.Repos.
func (t *tx) ListRecords(did syntax.DID, collection syntax.NSID, r storage.Range) ([]storage.Record, error) {
	_, repo, _ := t.repoOf(did)
	prefix := key("r", repo.ID, collection)
	from, to := prefix, after(prefix)
	if r.After != "" && r.Reverse {
		to = key(prefix, r.After)
	} else if r.After != "" {
		from = after(key(prefix, r.After))
	}
	return page(t, t.root.between(from, to, r.Reverse), r.Limit, shown)
}

// ListRecordsSince implements storage.Repos.
func (t *tx) ListRecordsSince(did syntax.DID, since syntax.TID, limit int) ([]storage.Record, error) {
	_, repo, _ := t.repoOf(did)
	return page(t, t.rows(key("s", repo.ID), after(key("s", repo.ID, since))), limit, shown)
}

// ListBacklinks implements storage.Repos.
func (t *tx) ListBacklinks(did syntax.DID, collection syntax.NSID, target string, limit int) ([]storage.Record, error) {
	_, repo, _ := t.repoOf(did)
	return page(t, t.rows(key("l", repo.ID, collection, target), ""), limit, shown)
}

// ListCollections implements storage.Repos: it jumps from one to the next.
func (t *tx) ListCollections(did syntax.DID) (list []syntax.NSID, err error) {
	_, repo, _ := t.repoOf(did)
	all := key("r", repo.ID)
	for k, more := t.first(all, ""); more; {
		name, _, _ := strings.Cut(k[len(all):], "\x00")
		list = append(list, syntax.NSID(name))
		k, more = t.first(all, after(key(all, name)))
	}
	return list, t.ended
}

// SetRecordTakedown implements storage.Repos.
func (t *tx) SetRecordTakedown(did syntax.DID, collection syntax.NSID, rkey syntax.RecordKey, mark string) error {
	_, repo, _ := t.repoOf(did)
	r, err := found[record](t, key("r", repo.ID, collection, rkey))
	if err != nil {
		return err
	}
	r.TakedownRef = mark
	return t.save(key("r", repo.ID, collection, rkey), r)
}

// Block implements storage.Repos.
func (t *tx) Block(did syntax.DID, c cid.Cid) ([]byte, error) {
	_, r, err := t.repoOf(did)
	if err == nil && r.Head.CID == c {
		return slices.Clone(r.Head.Commit), nil
	}
	b, ok := t.newest(r.ID, c)
	if !ok {
		return nil, storage.ErrNotFound
	}
	return slices.Clone(b.Value), nil
}

// Export implements storage.Repos. Staged nodes have no rev: they stand last in
// the order of revs, and their place is where the revs come down to Base.
func (t *tx) Export(did syntax.DID, since syntax.TID) iter.Seq2[storage.Block, error] {
	return func(yield func(storage.Block, error) bool) {
		_, r, err := t.repoOf(did)
		if err != nil || since == "" || r.Head.Rev > since {
			if !yield(storage.Block{CID: r.Head.CID, Data: slices.Clone(r.Head.Commit)}, err) || err != nil {
				return
			}
		}
		all, base := key("s", r.ID), after(key("s", r.ID, r.Base))
		for _, part := range [][2]string{{base, after(all)}, {all, all + "\x01"}, {all + "\x01", base}} {
			for _, v := range t.root.between(part[0], part[1], true) {
				b := v.(record)
				if since != "" && cmp.Or(b.Rev, r.Base) <= since {
					break
				}
				newest, _ := t.newest(r.ID, b.CID)
				is := newest.Rev == b.Rev && newest.RecordPath == b.RecordPath
				if is && !yield(storage.Block{CID: b.CID, Data: slices.Clone(b.Value)}, nil) {
					return
				}
			}
		}
	}
}

// newest returns which of the rows with a CID came last.
func (t *tx) newest(id int64, c cid.Cid) (record, bool) {
	all := key("c", id, c)
	for _, v := range t.root.between(all, after(all), true) {
		return v.(record), true
	}
	return record{}, false
}

// NewGeneration implements storage.Repos.
func (t *tx) NewGeneration(did syntax.DID) (storage.Generation, error) {
	a, err := t.account(did)
	if err != nil {
		return 0, err
	}
	id := t.next()
	t.set(key("w", id), staged{a.number, t.now})
	return storage.Generation(id), t.err
}

// Stage implements storage.Repos.
func (t *tx) Stage(g storage.Generation, nodes []storage.Block, records []storage.Record) error {
	if !t.any(key("w", int64(g))) {
		return storage.ErrNotFound
	}
	t.fill(int64(g), nodes, records, "")
	return t.err
}

// DropGeneration implements storage.Repos.
func (t *tx) DropGeneration(g storage.Generation) error {
	t.dropStaged(key("w", int64(g)), func(staged) bool { return true })
	return t.err
}

// blob is a row.
type blob struct{ storage.Blob }

func (b blob) size() int64 { return b.Size }

func (b blob) index(at, _ string) []string {
	if b.Temporary {
		return []string{key("k", b.Key) + at, key("T", b.CreatedAt.UnixMilli()) + at}
	}
	return []string{key("k", b.Key) + at}
}

// refs is a row: what a thing that is no record refers to.
type refs struct {
	uri   string
	blobs []cid.Cid
}

func (r refs) index(_, scope string) []string { return refIndex(r.blobs, r.uri, scope) }

// refIndex finds what refers to a blob: in the scope of a repo the records, in
// that of an account other things.
func refIndex(blobs []cid.Cid, uri, scope string) (keys []string) {
	for _, c := range blobs {
		keys = append(keys, key("f"+scope, c, uri))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
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
		t.set(key("R", old.Key), old.Key)
	}
	b.CreatedAt = millis(b.CreatedAt)
	return t.save(t.blobAt(b.Owner, b.CID), blob{b})
}

// DeleteBlob implements storage.Blobs.
func (t *tx) DeleteBlob(owner syntax.DID, c cid.Cid) error {
	if b, err := t.Blob(owner, c); err == nil {
		t.set(t.blobAt(owner, c), nil)
		t.set(key("R", b.Key), b.Key)
	}
	return t.err
}

// SetBlobRefs implements storage.Blobs.
func (t *tx) SetBlobRefs(owner syntax.DID, uri string, blobs []cid.Cid) error {
	a, err := t.account(owner)
	if err != nil {
		return err
	}
	return t.save(key("j", a.number, uri), refs{uri, slices.Clone(blobs)})
}

// BlobReferenced implements storage.Blobs.
func (t *tx) BlobReferenced(owner syntax.DID, c cid.Cid) (bool, error) {
	a, r, _ := t.repoOf(owner)
	return t.any(key("f", a.number, c)) || t.any(key("f", r.ID, c)), t.ended
}

// referenced yields the CIDs above a bound that the scopes refer to, each once
// in the order of their strings, with the rest of the first entry's key.
func (t *tx) referenced(bound string, scopes ...string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for {
			var c, rest string
			for _, scope := range scopes {
				k, _ := t.first("f"+scope, "f"+scope+bound+"\x01")
				first, of, _ := strings.Cut(k[min(1+scopeBytes, len(k)):], "\x00")
				if first != "" && (c == "" || first < c) {
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
		newer, _ := page(t, t.rows(key("f", r.ID, c), ""), 1, func(r record) (record, bool) { return r, r.Rev > since })
		if len(list) >= limit {
			break
		}
		if len(newer) > 0 {
			list = append(list, cid.MustParse(c))
		}
	}
	return list, t.ended
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
	return list, t.ended
}

// ListTemporaryBlobs implements storage.Blobs.
func (t *tx) ListTemporaryBlobs(before time.Time, limit int) ([]storage.Blob, error) {
	return page(t, t.root.between("T", key("T", before.UnixMilli()), false), limit, func(b blob) (storage.Blob, bool) {
		own, _ := t.Blob(b.Owner, b.CID)
		return b.Blob, own.Key == b.Key
	})
}

// BlobKeyUsed implements storage.Blobs.
func (t *tx) BlobKeyUsed(k string) (bool, error) {
	return t.any(key("k", k)) || t.any(key("R", k)), t.ended
}

// ReleasedBlobs implements storage.Blobs.
func (t *tx) ReleasedBlobs(limit int) ([]string, error) {
	return page(t, t.rows("R", ""), limit, func(k string) (string, bool) { return k, true })
}

// ForgetReleasedBlobs implements storage.Blobs.
func (t *tx) ForgetReleasedBlobs(keys []string) error {
	for _, k := range keys {
		t.set(key("R", k), nil)
	}
	return t.err
}
