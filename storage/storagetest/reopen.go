package storagetest

import (
	"fmt"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// reopen closes the store, if one is open, and opens the one in dir.
func (e *env) reopen(dir string) {
	e.Helper()
	if e.store != nil {
		if err := e.store.Close(); err != nil {
			e.Fatalf("Close: %v", err)
		}
	} else {
		e.Cleanup(func() { e.store.Close() })
	}
	e.store = e.opts.Reopen(e.T, dir, e.clock)
}

var reopenCases = []testCase{
	{
		name:  "reopen/everything",
		rule:  "What was stored is there after Close and opening again, and numbers go on rising, also after pruning.",
		needs: needReopen,
		run: func(e *env) {
			dir := e.TempDir()
			e.reopen(dir)
			r := e.newRepo(1)
			rec := record("com.example.a/1", "one")
			rec.Blobs = sorted("a")
			r.apply([]storage.Record{rec})
			doc := e.doc(storage.Doc{Kind: "test", Key: "x", Value: []byte("1")})
			e.emit(r.did(), "a", "b")
			e.update(func(tx storage.Tx) error { return tx.HideEvents(r.did()) })
			e.emit(r.did(), "c")
			last := e.lastSeq()
			e.putBlob(e.blob(r.did(), "a"))
			e.reopen(dir)
			r.check()
			sameList(e, "the events", bodies(e.events(0)), []string{"c"})
			same(e, "LastSeq", e.lastSeq(), last)
			same(e, "the document", e.value("x"), "1")
			e.update(func(tx storage.Tx) error {
				if err := tx.DeleteDoc("test", "x"); err != nil {
					return err
				}
				if err := tx.DeleteAccount(r.did()); err != nil {
					return err
				}
				_, err := tx.PruneEvents(last, 100)
				return err
			})
			e.clock.Step(-time.Hour)
			e.reopen(dir)
			same(e, "LastSeq after pruning", e.lastSeq(), last)
			e.emit(didN(2), "d")
			same(e, "the next number", e.lastSeq(), last+1)
			if again := e.doc(storage.Doc{Kind: "test", Key: "x"}); again <= doc {
				e.Fatalf("the version went from %d to %d", doc, again)
			}
			again := e.newRepo(1)
			if again.acct.Version <= r.acct.Version {
				e.Fatalf("the account's version went from %d to %d", r.acct.Version, again.acct.Version)
			}
			e.maintain(storage.Budget{})
			again.apply([]storage.Record{record("com.example.a/1", "new")})
			again.check()
		},
	},
	{
		name:  "reopen/clock",
		rule:  "A clock that is far ahead of what is stored does not carry the numbers away, and nothing that looks old is collected.",
		needs: needReopen,
		run: func(e *env) {
			dir := e.TempDir()
			e.reopen(dir)
			if _, ok := storage.GuardOf(e.store); !ok {
				e.Skip("the store keeps no guard")
			}
			e.emit(didN(1), "a")
			e.doc(storage.Doc{Kind: "test", Key: "x", Expires: e.clock.Now().Add(time.Hour), Value: []byte("1")})
			last := e.lastSeq()
			e.clock.Step(storage.MaxStartLead + time.Hour)
			e.reopen(dir)
			guard, _ := storage.GuardOf(e.store)
			if guard.Doubt() == nil {
				e.Fatal("the store does not doubt its clock")
			}
			e.emit(didN(1), "b")
			same(e, "the number", e.lastSeq(), last+1)
			e.maintain(storage.Budget{})
			same(e, "the document", e.value("x"), "1")
			guard.Accept()
			e.emit(didN(1), "c")
			same(e, "the number", e.lastSeq(), e.clock.Now().UnixMicro())
			same(e, "the document", e.value("x"), "")
		},
	},
	{
		name:  "reopen/many",
		rule:  "Any number of stores and openings do not disturb each other.",
		needs: needReopen,
		run: func(e *env) {
			a, b := e.TempDir(), e.TempDir()
			for n := range 5 {
				for _, dir := range []string{a, b} {
					e.reopen(dir)
					e.update(func(tx storage.Tx) error { return putDoc(tx, fmt.Sprint(n), dir) })
					for old := range n + 1 {
						same(e, "a document", e.value(fmt.Sprint(old)), dir)
					}
				}
			}
		},
	},
}
