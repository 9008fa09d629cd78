package storagetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

type (
	blobID    = cid.Cid
	recordKey = syntax.RecordKey
)

func isNotFound(err error) bool { return errors.Is(err, storage.ErrNotFound) }

var repoCases = []testCase{
	{
		name: "repos/commits",
		rule: "Apply moves the head with nodes, records and totals, all as given; blocks are found by CID and exported once each.",
		run: func(e *env) {
			r, other := e.newRepo(1), e.newRepo(2)
			other.apply([]storage.Record{record("com.example.a/1", "one"), record("com.example.z/1", "other")})
			e.view(func(tx storage.Tx) error {
				_, err := tx.Head(r.did())
				matches(e, "Head before the first commit", err, storage.ErrNotFound)
				return nil
			})
			by := record("com.example.b/2", "by somebody else")
			by.Author = didN(7)
			r.apply([]storage.Record{record("com.example.a/1", "one"), by})
			r.check()
			r.apply([]storage.Record{record("com.example.a/1", "changed"), record("com.example.a/3", "three")}, "com.example.b/2")
			r.check()
			r.apply(nil, "com.example.a/1", "com.example.a/3")
			r.check()
			other.check()
		},
	},
	{
		name: "repos/apply-checks",
		rule: "Apply compares the base, the account's version and the signing key, and returns ErrConflict if one differs or the account is gone; nothing happens.",
		run: func(e *env) {
			r := e.newRepo(1)
			stale := r.next([]storage.Record{record("com.example.a/0", "stale")})
			r.rev--
			r.apply([]storage.Record{record("com.example.a/1", "one")})
			refused := func(what string, c *storage.Commit) {
				e.Helper()
				err := e.store.Update(background(), func(tx storage.Tx) error { return tx.Apply(c) })
				matches(e, "Apply with "+what, err, storage.ErrConflict)
				r.check()
			}
			refused("no base", stale)
			for what, change := range map[string]func(c *storage.Commit){
				"another base":    func(c *storage.Commit) { c.Base = cidOf([]byte("elsewhere")) },
				"a lower version": func(c *storage.Commit) { c.AccountVersion-- },
				"a higher one":    func(c *storage.Commit) { c.AccountVersion++ },
				"another key":     func(c *storage.Commit) { c.KeyID = "key-2" },
				"no account":      func(c *storage.Commit) { c.DID = didN(9) },
			} {
				c := r.next([]storage.Record{record("com.example.a/2", "two")})
				r.rev--
				change(c)
				refused(what, c)
			}
			c := r.next(nil)
			r.rev--
			r.acct.DeactivatedAt = e.clock.Now()
			e.put(&r.acct)
			refused("the version before a change of status", c)
			r.apply([]storage.Record{record("com.example.a/2", "two")})
			r.check()
		},
	},
	{
		name: "repos/nodes",
		rule: "NewNodes that are there already are ignored and OldNodes are removed; one that is in both lists stays.",
		run: func(e *env) {
			r := e.newRepo(1)
			c := r.next(nil)
			c.NewNodes = append(c.NewNodes, block("n1"), block("n2"), block("n1"))
			r.applyCommit(c)
			r.check()
			c = r.next(nil)
			c.NewNodes = append(c.NewNodes, block("n1"), block("n2"), block("n3"))
			c.OldNodes = append(c.OldNodes, block("n1").CID, block("n2").CID, cidOf([]byte("never there")))
			r.applyCommit(c)
			r.check()
		},
	},
	{
		name: "repos/same-value",
		rule: "Records with the same value are one block: it is counted and exported once, and stays until the last of them goes.",
		run: func(e *env) {
			r := e.newRepo(1)
			same := func(keys ...string) (list []storage.Record) {
				for _, k := range keys {
					list = append(list, record("com.example.a/"+k, "same"))
				}
				return list
			}
			r.apply(same("1", "2"))
			r.check()
			r.apply(append(same("3"), record("com.example.b/1", "different")))
			r.check()
			r.apply([]storage.Record{record("com.example.a/2", "different")}, "com.example.a/3")
			r.check()
			r.apply(nil, "com.example.a/2", "com.example.b/1")
			r.check()
			c := r.next([]storage.Record{record("com.example.c/1", "node")})
			c.NewNodes = append(c.NewNodes, block("node"))
			r.applyCommit(c)
			r.check()
			c = r.next(nil)
			c.OldNodes = append(c.OldNodes, block("node").CID)
			r.applyCommit(c)
			r.check()
			r.apply(nil, "com.example.a/1", "com.example.c/1")
			r.check()
		},
	},
	{
		name: "repos/export-since",
		rule: "Export yields what is newer than since: the commit first, then blocks in descending order of the rev that brought them.",
		run: func(e *env) {
			r := e.newRepo(1)
			revs := map[cid.Cid]syntax.TID{}
			note := func(c *storage.Commit) {
				for _, n := range c.NewNodes {
					revs[n.CID] = c.Head.Rev
				}
				for _, p := range c.Puts {
					revs[p.CID] = c.Head.Rev
				}
				revs[c.Head.CID] = c.Head.Rev
				r.applyCommit(c)
			}
			for n := range 6 {
				c := r.next([]storage.Record{record(fmt.Sprintf("com.example.a/%d", n), fmt.Sprint("value", n)), record("com.example.b/x", fmt.Sprint("again", n))})
				c.NewNodes = append(c.NewNodes, block(fmt.Sprint("node", n)))
				note(c)
			}
			r.check()
			for n := range 7 {
				since := syntax.TID("")
				if n > 0 {
					since = revN(n)
				}
				want := map[cid.Cid]string{}
				if revs[r.head.CID] > since {
					want[r.head.CID] = string(r.head.Commit)
				}
				for c, data := range r.nodes {
					if revs[c] > since {
						want[c] = data
					}
				}
				for _, rec := range r.records {
					if revs[rec.CID] > since {
						want[rec.CID] = string(rec.Value)
					}
				}
				e.view(func(tx storage.Tx) error {
					e.sameBlocks(tx.Export(r.did(), since), want)
					last := syntax.TID("~")
					first := true
					for b, err := range tx.Export(r.did(), since) {
						if err != nil {
							return err
						}
						if first && b.CID != r.head.CID {
							e.Fatal("the commit does not come first")
						}
						if revs[b.CID] > last {
							e.Fatalf("a block of %s follows one of %s", revs[b.CID], last)
						}
						first, last = false, revs[b.CID]
					}
					return nil
				})
			}
		},
	},
	{
		name: "repos/export-stops",
		rule: "An export may be left early, and other methods may be called during one.",
		run: func(e *env) {
			r := e.newRepo(1)
			for n := range 5 {
				r.apply([]storage.Record{record(fmt.Sprintf("com.example.a/%d", n), fmt.Sprint("value", n))})
			}
			e.view(func(tx storage.Tx) error {
				for _, err := range tx.Export(r.did(), "") {
					if err != nil {
						return err
					}
					break
				}
				outer := 0
				for _, err := range tx.Export(r.did(), "") {
					if err != nil {
						return err
					}
					outer++
					inner := 0
					for _, err := range tx.Export(r.did(), "") {
						if err != nil {
							return err
						}
						inner++
					}
					same(e, "the number of blocks in an inner export", inner, 7)
					if _, err := tx.Record(r.did(), "com.example.a", "1"); err != nil {
						return err
					}
				}
				same(e, "the number of blocks", outer, 7)
				return nil
			})
		},
	},
	{
		name: "repos/takedown",
		rule: "A takedown marks a record, which stays where it is; the mark stays when the record changes; an empty ref takes it away, and so does the removal of the record.",
		run: func(e *env) {
			r := e.newRepo(1)
			r.apply([]storage.Record{record("com.example.a/1", "one"), record("com.example.a/2", "two")})
			set := func(rkey syntax.RecordKey, ref string) error {
				return e.store.Update(background(), func(tx storage.Tx) error {
					return tx.SetRecordTakedown(r.did(), "com.example.a", rkey, ref)
				})
			}
			mark := func() (ref string) {
				e.Helper()
				e.view(func(tx storage.Tx) error {
					rec, err := tx.Record(r.did(), "com.example.a", "1")
					if err != nil {
						return err
					}
					list, err := tx.ListRecords(r.did(), "com.example.a", storage.Range{Limit: 10})
					if err != nil {
						return err
					}
					same(e, "the number of listed records", len(list), len(r.records))
					same(e, "the mark in the list", list[0].TakedownRef, rec.TakedownRef)
					ref = rec.TakedownRef
					return nil
				})
				return ref
			}
			matches(e, "SetRecordTakedown of no record", set("9", "mod"), storage.ErrNotFound)
			matches(e, "SetRecordTakedown", set("1", "mod"), nil)
			same(e, "the mark", mark(), "mod")
			r.check()
			r.apply([]storage.Record{record("com.example.a/1", "changed to evade")})
			same(e, "the mark of a changed record", mark(), "mod")
			r.check()
			matches(e, "SetRecordTakedown", set("1", ""), nil)
			same(e, "the mark", mark(), "")
			matches(e, "SetRecordTakedown", set("1", "mod"), nil)
			r.apply(nil, "com.example.a/1")
			again := record("com.example.a/1", "one again")
			again.TakedownRef = "ignored by Apply"
			r.apply([]storage.Record{again})
			same(e, "the mark of a new record", mark(), "")
			r.check()
		},
	},
}

// paths are the paths of a list of records.
func paths(list []storage.Record) []string {
	var p []string
	for _, r := range list {
		p = append(p, r.String())
	}
	return p
}

var listCases = []testCase{
	{
		name: "lists/records",
		rule: "ListRecords returns one collection's records in byte order of their keys, or reversed, beyond After, at most Limit.",
		run: func(e *env) {
			r := e.newRepo(1)
			keys := []string{"-", "0", "A", "B", "_", "a", "aa", "ab", "b", "~"} // byte order
			var puts []storage.Record
			for _, k := range slices.Backward(keys) {
				puts = append(puts, record("com.example.b/"+k, "value of "+k))
			}
			r.apply(append(puts, record("com.example.a/z", "before"), record("com.example.c/0", "after")))
			e.view(func(tx storage.Tx) error {
				for _, reverse := range []bool{false, true} {
					want := slices.Clone(keys)
					if reverse {
						slices.Reverse(want)
					}
					for _, limit := range []int{0, 1, 3, len(keys), 100} {
						for i := -1; i < len(want); i++ {
							after := ""
							if i >= 0 {
								after = want[i]
							}
							got, err := tx.ListRecords(r.did(), "com.example.b", storage.Range{After: after, Reverse: reverse, Limit: limit})
							if err != nil {
								return err
							}
							rest := want[i+1:]
							rest = rest[:min(limit, len(rest))]
							var gotKeys []string
							for _, rec := range got {
								e.sameRecord(rec, r.records[rec.String()])
								gotKeys = append(gotKeys, string(rec.RKey))
							}
							sameList(e, fmt.Sprintf("the list after %q (reverse %v, limit %d)", after, reverse, limit), gotKeys, rest)
						}
					}
				}
				// Bounds that are no keys.
				got, err := tx.ListRecords(r.did(), "com.example.b", storage.Range{After: "aab", Limit: 2})
				sameList(e, "the list after aab", paths(got), []string{"com.example.b/ab", "com.example.b/b"})
				return err
			})
		},
	},
	{
		name: "lists/since",
		rule: "ListRecordsSince returns records with a rev above since, ordered by (Rev, collection, key).",
		run: func(e *env) {
			r := e.newRepo(1)
			r.apply([]storage.Record{record("com.example.b/1", "1"), record("com.example.a/2", "2"), record("com.example.a/1", "3")})
			r.apply([]storage.Record{record("com.example.a/0", "4"), record("com.example.b/1", "changed")})
			r.apply(nil, "com.example.a/2")
			e.view(func(tx storage.Tx) error {
				for _, c := range []struct {
					since syntax.TID
					limit int
					want  []string
				}{
					{"", 10, []string{"com.example.a/1", "com.example.a/0", "com.example.b/1"}},
					{"", 2, []string{"com.example.a/1", "com.example.a/0"}},
					{revN(1), 10, []string{"com.example.a/0", "com.example.b/1"}},
					{revN(2), 10, nil},
				} {
					got, err := tx.ListRecordsSince(r.did(), c.since, c.limit)
					if err != nil {
						return err
					}
					sameList(e, fmt.Sprintf("the list since %q", c.since), paths(got), c.want)
				}
				return nil
			})
		},
	},
	{
		name: "lists/backlinks",
		rule: "ListBacklinks finds the records of a collection by their target, oldest rev first; changed and deleted ones are found no more.",
		run: func(e *env) {
			r := e.newRepo(1)
			like := func(key, target string) storage.Record {
				rec := record("com.example.like/"+key, "like "+key+" of "+target)
				rec.Backlink = target
				return rec
			}
			follow := record("com.example.follow/1", "follow")
			follow.Backlink = "t1"
			find := func(target string, limit int, want ...string) {
				e.Helper()
				e.view(func(tx storage.Tx) error {
					got, err := tx.ListBacklinks(r.did(), "com.example.like", target, limit)
					sameList(e, "the backlinks of "+target, paths(got), want)
					return err
				})
			}
			r.apply([]storage.Record{like("z", "t1")})
			r.apply([]storage.Record{like("a", "t1"), like("b", "t2"), follow, record("com.example.like/none", "nothing")})
			r.check()
			find("t1", 10, "com.example.like/z", "com.example.like/a")
			find("t1", 1, "com.example.like/z")
			find("t2", 10, "com.example.like/b")
			find("t3", 10)
			find("", 0)
			r.apply([]storage.Record{like("z", "t2")}, "com.example.like/b")
			find("t1", 10, "com.example.like/a")
			find("t2", 10, "com.example.like/z")
		},
	},
}
