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

// treeNode is a row: a node of a tree and the rev that brought it, empty if it
// was staged.
type treeNode struct {
	storage.Block
	Rev syntax.TID
}

// record is a row.
type record struct{ storage.Record }

func (n treeNode) block() (syntax.TID, storage.Block) { return n.Rev, n.Block }
func (r record) block() (syntax.TID, storage.Block) {
	return r.Rev, storage.Block{CID: r.CID, Data: r.Value}
}

func (n treeNode) size() int64 { return int64(len(n.Data)) }
func (r record) size() int64   { return int64(len(r.Value)) }

func (n treeNode) index(at, scope string) []entry { return blockIndex(n.CID, n.Rev, at, scope) }

func (r record) index(at, scope string) []entry {
	keys := blockIndex(r.CID, r.Rev, at, scope)
	if r.Backlink != "" {
		keys = append(keys, entry{key("l"+scope, r.Collection, r.Backlink, r.Rev, r.RKey), ""})
	}
	return append(keys, refIndex(r.Blobs, r.RecordPath.String(), scope)...)
}

// blockIndex finds blocks by CID (c) and in the order of revs (s).
func blockIndex(c cid.Cid, rev syntax.TID, at, scope string) []entry {
	return []entry{{key("c"+scope, c), key("", rev, at)}, {key("s"+scope, rev, at), ""}}
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
		if g, ok := get[staged](t, key("w", int64(c.Generation))); !ok || g.account != a.number {
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
	t.set(key("h", a.number), r)
	return t.err
}

// fill adds nodes that are not there and records. With an empty rev they are
// staged.
func (t *tx) fill(id int64, nodes []storage.Block, records []storage.Record, rev syntax.TID) {
	for _, b := range nodes {
		if at := key("n", id, b.CID); !t.any(at) {
			b.Data = slices.Clone(b.Data)
			t.set(at, treeNode{b, rev})
		}
	}
	for _, r := range records {
		at := key("r", id, r.Collection, r.RKey)
		old, _ := get[record](t, at)
		r.Value, r.Blobs = slices.Clone(r.Value), slices.Clone(r.Blobs)
		r.TakedownRef = old.TakedownRef // the mark is the path's
		if rev != "" {
			r.Rev = rev
		}
		t.set(at, record{r})
	}
}

// shown returns a copy of a record as callers get it.
func shown(r record) (storage.Record, bool) {
	r.Value, r.Blobs = slices.Clone(r.Value), nil
	return r.Record, true
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
	switch {
	case r.After != "" && r.Reverse:
		to = key(prefix, r.After)
	case r.After != "":
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
	return list, nil
}

// SetRecordTakedown implements storage.Repos.
func (t *tx) SetRecordTakedown(did syntax.DID, collection syntax.NSID, rkey syntax.RecordKey, mark string) error {
	_, repo, _ := t.repoOf(did)
	r, err := found[record](t, key("r", repo.ID, collection, rkey))
	if err != nil {
		return err
	}
	r.TakedownRef = mark
	t.set(key("r", repo.ID, collection, rkey), r)
	return t.err
}

// Block implements storage.Repos.
func (t *tx) Block(did syntax.DID, c cid.Cid) ([]byte, error) {
	_, r, err := t.repoOf(did)
	if err == nil && r.Head.CID == c {
		return slices.Clone(r.Head.Commit), nil
	}
	for _, at := range t.rows(key("c", r.ID, c), "") {
		_, b := t.blockAt(at)
		return b.Data, nil
	}
	return nil, storage.ErrNotFound
}

// blockAt returns a copy of a node or record.
func (t *tx) blockAt(at any) (syntax.TID, storage.Block) {
	v, _ := t.root.get(at.(string))
	rev, b := v.(interface {
		block() (syntax.TID, storage.Block)
	}).block()
	b.Data = slices.Clone(b.Data)
	return rev, b
}

// Export implements storage.Repos. Staged nodes have no rev: they stand last in
// the order of revs, and their place is where the revs come down to Base.
func (t *tx) Export(did syntax.DID, since syntax.TID) iter.Seq2[storage.Block, error] {
	return func(yield func(storage.Block, error) bool) {
		_, r, err := t.repoOf(did)
		if err != nil || since == "" || r.Head.Rev > since {
			head := storage.Block{CID: r.Head.CID, Data: slices.Clone(r.Head.Commit)}
			if !yield(head, err) || err != nil {
				return
			}
		}
		all, base := key("s", r.ID), after(key("s", r.ID, r.Base))
		staged := all + "\x01"
		for _, part := range [][2]string{{base, after(all)}, {all, staged}, {staged, base}} {
			for _, at := range t.root.between(part[0], part[1], true) {
				rev, b := t.blockAt(at)
				if rev == "" {
					rev = r.Base
				}
				if since != "" && rev <= since {
					break
				}
				if t.newest(r.ID, b.CID) == at && !yield(b, nil) {
					return
				}
			}
		}
	}
}

// newest returns which of the rows with a CID came last.
func (t *tx) newest(id int64, c cid.Cid) any {
	group := key("c", id, c)
	for _, at := range t.root.between(group, after(group), true) {
		return at
	}
	return nil
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
	if at := key("w", int64(g)); t.any(at) {
		t.set(at, nil)
		t.set(key("g", int64(g)), true)
	}
	return t.err
}
