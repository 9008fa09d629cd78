package storagetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// tryDoc returns the version and error of PutDoc in an Update of its own.
func (e *env) tryDoc(d storage.Doc) (version int64, err error) {
	err = e.store.Update(background(), func(tx storage.Tx) (err error) {
		version, err = tx.PutDoc(d)
		return err
	})
	return version, err
}

// doc stores d and returns its version.
func (e *env) doc(d storage.Doc) int64 {
	e.Helper()
	version, err := e.tryDoc(d)
	if err != nil {
		e.Fatalf("PutDoc: %v", err)
	}
	if version == 0 {
		e.Fatal("the version of a stored document is zero")
	}
	return version
}

func (e *env) getDoc(kind, key string) (d storage.Doc, err error) {
	e.Helper()
	e.view(func(tx storage.Tx) error { d, err = tx.GetDoc(kind, key); return nil })
	return d, err
}

func keys(list []storage.Doc) []string {
	var k []string
	for _, d := range list {
		k = append(k, d.Key)
	}
	return k
}

var docCases = []testCase{
	{
		name: "docs/round-trip",
		rule: "A document comes back as stored; kinds, and keys of up to 1,024 bytes, are bytes like any others.",
		run: func(e *env) {
			a := e.account(1)
			e.put(&a)
			for _, d := range []storage.Doc{
				{Kind: "k", Key: "plain", Value: []byte("value")},
				{Kind: "k", Key: "empty"},
				{Kind: "k", Key: "", Value: []byte("no key")},
				{Kind: strings.Repeat("k", 64), Key: strings.Repeat("é", 512), Value: []byte{0, 255}},
				{Kind: "k", Key: "owned%_'\"\x00 ", Owner: a.DID, Expires: e.clock.Now().Add(time.Hour).Truncate(time.Millisecond), Value: []byte("x")},
			} {
				d.Version = e.doc(d)
				got, err := e.getDoc(d.Kind, d.Key)
				if err != nil {
					e.Fatalf("GetDoc %q: %v", d.Key, err)
				}
				same(e, "the kind", got.Kind, d.Kind)
				same(e, "the key", got.Key, d.Key)
				same(e, "the owner", got.Owner, d.Owner)
				same(e, "the version", got.Version, d.Version)
				same(e, "the value", string(got.Value), string(d.Value))
				if !got.Expires.Equal(d.Expires) {
					e.Fatalf("it expires at %v, want %v", got.Expires, d.Expires)
				}
			}
			_, err := e.getDoc("other", "plain")
			matches(e, "GetDoc of another kind", err, storage.ErrNotFound)
			_, err = e.tryDoc(storage.Doc{Kind: "k", Key: "orphan", Owner: didN(9)})
			matches(e, "PutDoc with an owner that is no account", err, storage.ErrNotFound)
		},
	},
	{
		name: "docs/compare-and-swap",
		rule: "PutDoc stores only over the version it names, zero meaning none; else ErrConflict. A key never has a version again.",
		run: func(e *env) {
			seen := map[int64]bool{}
			put := func(version int64) int64 {
				e.Helper()
				v := e.doc(storage.Doc{Kind: "k", Key: "x", Version: version, Value: fmt.Append(nil, len(seen))})
				if seen[v] {
					e.Fatalf("version %d was given twice", v)
				}
				seen[v] = true
				return v
			}
			conflict := func(version int64) {
				e.Helper()
				_, err := e.tryDoc(storage.Doc{Kind: "k", Key: "x", Version: version, Value: []byte("wrong")})
				matches(e, "PutDoc", err, storage.ErrConflict)
			}
			conflict(1)
			first := put(0)
			conflict(0)
			second := put(first)
			conflict(first)
			e.update(func(tx storage.Tx) error { return tx.DeleteDoc("k", "x") })
			e.update(func(tx storage.Tx) error { return tx.DeleteDoc("k", "x") })
			_, err := e.getDoc("k", "x")
			matches(e, "GetDoc after DeleteDoc", err, storage.ErrNotFound)
			conflict(second)
			third := put(0)
			conflict(first)
			conflict(second)
			d, err := e.getDoc("k", "x")
			same(e, "the version", d.Version, third)
			same(e, "the value", string(d.Value), "2")
			if err != nil {
				e.Fatal(err)
			}
		},
	},
	{
		name: "docs/expiry",
		rule: "A document is invisible to every method from the moment it expires by the store's clock, collected or not.",
		run: func(e *env) {
			a := e.account(1)
			e.put(&a)
			at := e.clock.Now().Add(time.Minute)
			version := e.doc(storage.Doc{Kind: "k", Key: "x", Owner: a.DID, Expires: at, Value: []byte("1")})
			visible := func(want bool) {
				e.Helper()
				e.view(func(tx storage.Tx) error {
					_, err := tx.GetDoc("k", "x")
					if !want {
						matches(e, "GetDoc", err, storage.ErrNotFound)
					} else if err != nil {
						return err
					}
					list, err := tx.ScanDocs("k", storage.Scan{Limit: 10})
					same(e, "whether ScanDocs finds it", len(list) == 1, want)
					if err != nil {
						return err
					}
					list, err = tx.ScanOwner(a.DID, "k")
					same(e, "whether ScanOwner finds it", len(list) == 1, want)
					return err
				})
			}
			e.clock.Pass(time.Minute - time.Millisecond)
			visible(true)
			e.clock.Pass(time.Millisecond)
			visible(false)
			_, err := e.tryDoc(storage.Doc{Kind: "k", Key: "x", Version: version})
			matches(e, "PutDoc over an expired document", err, storage.ErrConflict)
			e.maintain(storage.Budget{KeepAll: true})
			e.clock.Step(-time.Minute)
			visible(true) // KeepAll kept it
			e.clock.Step(time.Minute)
			e.maintain(storage.Budget{})
			e.clock.Step(-time.Minute)
			visible(false)
			e.clock.Step(time.Minute)
			again := e.doc(storage.Doc{Kind: "k", Key: "x", Owner: a.DID})
			if again == version {
				e.Fatalf("version %d was given twice", version)
			}
			visible(true)
		},
	},
	{
		name: "docs/scan",
		rule: "ScanDocs returns the documents of one kind in [From, To), in byte order or reversed, at most Limit.",
		run: func(e *env) {
			all := []string{"", "A", "Z", "a", "a/", "a/1", "a/2", "a0", "b", "é"}
			e.update(func(tx storage.Tx) error {
				for _, k := range slices.Backward(all) {
					for _, kind := range []string{"j", "k", "l"} {
						if _, err := tx.PutDoc(storage.Doc{Kind: kind, Key: k}); err != nil {
							return err
						}
					}
				}
				return nil
			})
			bounds := append([]string{"0", "a/0", "c", "\x00", "a\x00", "a/1\x00"}, all...)
			e.view(func(tx storage.Tx) error {
				for _, from := range bounds {
					for _, to := range bounds {
						var want []string
						for _, k := range all {
							if k >= from && (to == "" || k < to) {
								want = append(want, k)
							}
						}
						for _, reverse := range []bool{false, true} {
							list := slices.Clone(want)
							if reverse {
								slices.Reverse(list)
							}
							for _, limit := range []int{0, 2, 100} {
								got, err := tx.ScanDocs("k", storage.Scan{From: from, To: to, Reverse: reverse, Limit: limit})
								if err != nil {
									return err
								}
								sameList(e, fmt.Sprintf("[%q, %q) reverse %v limit %d", from, to, reverse, limit), keys(got), list[:min(limit, len(list))])
							}
						}
					}
				}
				return nil
			})
		},
	},
	{
		name: "docs/owner",
		rule: "ScanOwner returns the documents of a kind that a DID owns, by key, and OwnerKinds the kinds; a change of owner moves a document.",
		run: func(e *env) {
			a, b := e.account(1), e.account(2)
			e.put(&a)
			e.put(&b)
			var last int64
			for _, k := range []string{"3", "1", "2"} {
				last = e.doc(storage.Doc{Kind: "k", Key: k, Owner: a.DID})
				e.doc(storage.Doc{Kind: "l", Key: k, Owner: a.DID})
				e.doc(storage.Doc{Kind: "k", Key: k + "b", Owner: b.DID})
				e.doc(storage.Doc{Kind: "k", Key: k + "n"})
			}
			owned := func(did syntax.DID, want ...string) {
				e.Helper()
				e.view(func(tx storage.Tx) error {
					list, err := tx.ScanOwner(did, "k")
					sameList(e, "what is owned", keys(list), want)
					return err
				})
			}
			kinds := func(did syntax.DID, want ...string) {
				e.Helper()
				e.view(func(tx storage.Tx) error {
					list, err := tx.OwnerKinds(did)
					sameList(e, "the kinds that are owned", list, want)
					return err
				})
			}
			owned(a.DID, "1", "2", "3")
			owned(b.DID, "1b", "2b", "3b")
			kinds(a.DID, "k", "l")
			kinds(b.DID, "k")
			kinds(e.account(3).DID)
			e.doc(storage.Doc{Kind: "m", Key: "1", Owner: b.DID, Expires: e.clock.Now().Add(-time.Second)})
			kinds(b.DID, "k")
			e.doc(storage.Doc{Kind: "k", Key: "2", Owner: b.DID, Version: last})
			owned(a.DID, "1", "3")
			owned(b.DID, "1b", "2", "2b", "3b")
			e.update(func(tx storage.Tx) error { return tx.DeleteAccount(b.DID) })
			owned(a.DID, "1", "3")
			owned(b.DID)
			kinds(b.DID)
			// The key of a document that left with its owner is free.
			e.doc(storage.Doc{Kind: "k", Key: "2", Owner: a.DID})
			e.maintain(storage.Budget{})
			owned(a.DID, "1", "2", "3")
			e.view(func(tx storage.Tx) error {
				list, err := tx.ScanDocs("k", storage.Scan{Limit: 100})
				sameList(e, "what is left", keys(list), []string{"1", "1n", "2", "2n", "3", "3n"})
				return err
			})
		},
	},
}
