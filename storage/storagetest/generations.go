package storagetest

import (
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// begin begins a generation of r's repository.
func (r *repo) begin() (g storage.Generation) {
	r.e.Helper()
	r.e.update(func(tx storage.Tx) (err error) {
		g, err = tx.NewGeneration(r.did())
		return err
	})
	if g == 0 {
		r.e.Fatal("a new generation is zero")
	}
	return g
}

func (r *repo) stage(g storage.Generation, nodes []storage.Block, records []storage.Record) {
	r.e.Helper()
	r.e.update(func(tx storage.Tx) error { return tx.Stage(g, nodes, records) })
}

// publishing prepares the commit that publishes g, in which these nodes and
// records are staged.
func (r *repo) publishing(g storage.Generation) *storage.Commit {
	r.rev++
	return &storage.Commit{
		DID: r.did(), Base: r.head.CID, AccountVersion: r.acct.Version, KeyID: r.acct.KeyID,
		Head:       r.makeHead(revN(r.rev), block(fmt.Sprintf("imported root %d", r.rev))),
		Generation: g,
	}
}

func (r *repo) published(c *storage.Commit, nodes []storage.Block, records []storage.Record) {
	r.head = c.Head
	clear(r.nodes)
	clear(r.records)
	for _, n := range nodes {
		r.nodes[n.CID] = string(n.Data)
	}
	for _, rec := range records {
		r.records[rec.String()] = rec
	}
}

// imported are n records as an import would stage them, all of one rev.
func (r *repo) imported(n int, rev syntax.TID) []storage.Record {
	var list []storage.Record
	for i := range n {
		rec := record(fmt.Sprintf("com.example.i%d/%03d", i%3, i), fmt.Sprintf("imported %d at %s", i, rev))
		rec.Rev, rec.Author = rev, r.did()
		if i%4 == 0 {
			rec.Blobs = append(rec.Blobs, blobCID(fmt.Sprint("blob ", i%8)))
			rec.Backlink = "target"
		}
		list = append(list, rec)
	}
	return list
}

var generationCases = []testCase{
	{
		name: "generations/publish",
		rule: "Staged rows are invisible until one Apply publishes them; then they replace everything in the repository.",
		run: func(e *env) {
			r := e.newRepo(1)
			old := record("com.example.old/1", "old")
			old.Blobs = append(old.Blobs, blobCID("old"))
			r.apply([]storage.Record{old, record("com.example.i0/000", "replaced")})
			for range 2 { // the second replaces the first
				g := r.begin()
				records := r.imported(20, revN(r.rev+1))
				nodes := []storage.Block{block("imported node 1"), block(fmt.Sprint("imported node of ", r.rev))}
				r.stage(g, nodes[:1], records[:7])
				r.check()
				r.stage(g, nodes, records[5:])
				r.check()
				c := r.publishing(g)
				e.update(func(tx storage.Tx) error { return tx.Apply(c) })
				r.published(c, nodes, records)
				r.check()
				e.view(func(tx storage.Tx) error {
					list, err := tx.ListBacklinks(r.did(), "com.example.i0", "target", 10)
					same(e, "the number of backlinks", len(list), 2)
					if err != nil {
						return err
					}
					list, err = tx.ListRecordsSince(r.did(), "", 100)
					same(e, "the number of records", len(list), 20)
					if err != nil {
						return err
					}
					refs, err := tx.ListBlobRefs(r.did(), "", "", 10)
					same(e, "the number of blobs", len(refs), 2)
					return err
				})
			}
			r.apply([]storage.Record{record("com.example.new/1", "new"), record("com.example.i0/000", "changed")}, "com.example.i1/001")
			r.check()
			e.maintain(storage.Budget{})
			r.check()
			e.view(func(tx storage.Tx) error {
				n := 0
				for b, err := range tx.Export(r.did(), revN(r.rev-1)) {
					if err != nil {
						return err
					}
					if b.CID != r.head.CID && r.nodes[b.CID] == "" && string(b.Data) != "new" && string(b.Data) != "changed" {
						e.Fatalf("an export since the publication holds %q", b.Data)
					}
					n++
				}
				same(e, "the number of blocks since the publication", n, 4)
				return nil
			})
		},
	},
	{
		name: "generations/first",
		rule: "A generation can be the first content of a repository.",
		run: func(e *env) {
			r := e.newRepo(1)
			g := r.begin()
			records := r.imported(5, revN(1))
			r.stage(g, nil, records)
			e.view(func(tx storage.Tx) error {
				_, err := tx.Head(r.did())
				matches(e, "Head before the publication", err, storage.ErrNotFound)
				u, err := tx.Usage(r.did())
				same(e, "the usage before the publication", u, storage.Usage{})
				return err
			})
			c := r.publishing(g)
			e.update(func(tx storage.Tx) error { return tx.Apply(c) })
			r.published(c, nil, records)
			r.check()
		},
	},
	{
		name: "generations/old-revs",
		rule: "Staged records keep revs of their own, in any order, and exports are ordered by them.",
		run: func(e *env) {
			r := e.newRepo(1)
			g := r.begin()
			var records []storage.Record
			revs := map[string]syntax.TID{}
			for i, rev := range []int{5, 2, 9, 1, 7, 2} {
				rec := record(fmt.Sprintf("com.example.a/%d", i), fmt.Sprint("value ", i))
				rec.Rev, rec.Author = revN(rev), r.did()
				records = append(records, rec)
				revs[string(rec.Value)] = rec.Rev
			}
			dup := records[0]
			dup.RKey = "dup"
			dup.Rev = revN(3)
			records = append(records, dup)
			r.stage(g, []storage.Block{block("n")}, records)
			r.rev = 10
			c := r.publishing(g)
			e.update(func(tx storage.Tx) error { return tx.Apply(c) })
			r.published(c, []storage.Block{block("n")}, records)
			r.check()
			e.view(func(tx storage.Tx) error {
				last := syntax.TID("~")
				n := 0
				for b, err := range tx.Export(r.did(), revN(2)) {
					if err != nil {
						return err
					}
					rev, ok := revs[string(b.Data)]
					if !ok {
						rev = c.Head.Rev
					}
					if rev > last {
						e.Fatalf("a block of %s follows one of %s", rev, last)
					}
					last = rev
					n++
				}
				same(e, "the number of blocks since the second rev", n, 5)
				return nil
			})
		},
	},
	{
		name: "generations/unknown",
		rule: "Stage and Apply return ErrNotFound for a generation that is unknown, dropped, published or another account's; DropGeneration of one is nothing.",
		run: func(e *env) {
			r, other := e.newRepo(1), e.newRepo(2)
			mine, theirs := r.begin(), other.begin()
			r.apply([]storage.Record{record("com.example.a/1", "one")})
			bad := func(what string, g storage.Generation, stage bool) {
				e.Helper()
				if stage {
					e.refused(storage.ErrNotFound, func(tx storage.Tx) error { return tx.Stage(g, nil, nil) })
				}
				c := r.publishing(g)
				r.rev--
				err := e.store.Update(background(), func(tx storage.Tx) error { return tx.Apply(c) })
				matches(e, "Apply of a generation that is "+what, err, storage.ErrNotFound)
				e.update(func(tx storage.Tx) error { return tx.DropGeneration(0) })
				r.check()
			}
			bad("unknown", 12345, true)
			bad("another account's", theirs, false)
			e.update(func(tx storage.Tx) error { return tx.DropGeneration(mine) })
			bad("dropped", mine, true)
			g := r.begin()
			c := r.publishing(g)
			e.update(func(tx storage.Tx) error { return tx.Apply(c) })
			r.published(c, nil, nil)
			bad("published", g, true)
			e.update(func(tx storage.Tx) error { return tx.DropGeneration(g) })
			r.check()
			e.refused(storage.ErrNotFound, func(tx storage.Tx) error { _, err := tx.NewGeneration(didN(9)); return err })
		},
	},
	{
		name: "generations/base",
		rule: "A publication makes the same checks as every commit.",
		run: func(e *env) {
			r := e.newRepo(1)
			g := r.begin()
			r.stage(g, nil, r.imported(3, revN(1)))
			c := r.publishing(g)
			r.rev--
			r.apply([]storage.Record{record("com.example.a/1", "meanwhile")})
			e.refused(storage.ErrConflict, func(tx storage.Tx) error { return tx.Apply(c) })
			r.check()
		},
	},
	{
		name: "generations/abandoned",
		rule: "An unpublished generation is collected after GenerationTTL, not before, and not while KeepAll forbids it.",
		run: func(e *env) {
			r := e.newRepo(1)
			g := r.begin()
			e.clock.Pass(storage.GenerationTTL - 1e9)
			e.maintain(storage.Budget{})
			r.stage(g, nil, r.imported(3, revN(1)))
			e.clock.Pass(2e9)
			e.maintain(storage.Budget{KeepAll: true})
			r.stage(g, nil, r.imported(4, revN(1)))
			e.maintain(storage.Budget{})
			e.refused(storage.ErrNotFound, func(tx storage.Tx) error { return tx.Stage(g, nil, nil) })
		},
	},
}
