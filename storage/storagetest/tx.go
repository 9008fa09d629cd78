package storagetest

import (
	"context"
	"errors"
	"sync"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

func putDoc(tx storage.Tx, key, value string) error {
	old, err := tx.GetDoc("test", key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{Kind: "test", Key: key, Version: old.Version, Value: []byte(value)})
	return err
}

// docValue returns the value of a document, or "" without one.
func docValue(tx storage.Tx, key string) (string, error) {
	d, err := tx.GetDoc("test", key)
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil
	}
	return string(d.Value), err
}

// value returns the value of a document now.
func (e *env) value(key string) (value string) {
	e.Helper()
	e.view(func(tx storage.Tx) (err error) {
		value, err = docValue(tx, key)
		return err
	})
	return value
}

var txCases = []testCase{
	{
		name: "tx/own-error",
		rule: "An error of the closure comes back as it is, from View and from Update.",
		run: func(e *env) {
			own := errors.New("my own error")
			if err := e.store.Update(background(), func(storage.Tx) error { return own }); err != own {
				e.Fatalf("Update returned %v", err)
			}
			if err := e.store.View(background(), func(storage.Tx) error { return own }); err != own {
				e.Fatalf("View returned %v", err)
			}
		},
	},
	{
		name: "tx/nothing-remains",
		rule: "Nothing of a failed closure remains, in no role.",
		run: func(e *env) {
			r := e.newRepo(1)
			r.apply([]storage.Record{record("com.example.a/1", "one")})
			var last int64
			e.view(func(tx storage.Tx) (err error) { last, err = tx.LastSeq(); return err })
			own := errors.New("no")
			c := r.next([]storage.Record{record("com.example.b/2", "two")}, "com.example.a/1")
			e.refused(own, func(tx storage.Tx) error {
				a := r.acct
				a.Email = "other@example.com"
				if err := tx.Apply(c); err != nil {
					return err
				}
				if err := tx.Append(storage.Event{DID: r.did(), Kind: "commit", Body: []byte("x")}); err != nil {
					return err
				}
				if _, err := tx.PutAccount(a); err != nil {
					return err
				}
				if _, err := tx.PutAccount(e.account(2)); err != nil {
					return err
				}
				if err := tx.PutBlob(storage.Blob{Owner: r.did(), CID: blobCID("b"), Key: "k", CreatedAt: e.clock.Now()}); err != nil {
					return err
				}
				if err := putDoc(tx, "a", "1"); err != nil {
					return err
				}
				return own
			})
			r.check()
			e.view(func(tx storage.Tx) error {
				a, err := tx.Account(r.did())
				if err != nil {
					return err
				}
				e.sameAccount(a, r.acct)
				_, err = tx.Account(didN(2))
				matches(e, "Account", err, storage.ErrNotFound)
				_, err = tx.Blob(r.did(), blobCID("b"))
				matches(e, "Blob", err, storage.ErrNotFound)
				v, err := docValue(tx, "a")
				same(e, "the document", v, "")
				if err != nil {
					return err
				}
				seq, err := tx.LastSeq()
				same(e, "LastSeq", seq, last)
				return err
			})
		},
	},
	{
		name: "tx/own-writes",
		rule: "A transaction sees its own writes.",
		run: func(e *env) {
			e.update(func(tx storage.Tx) error {
				if err := putDoc(tx, "a", "1"); err != nil {
					return err
				}
				v, err := docValue(tx, "a")
				same(e, "the document", v, "1")
				if err != nil {
					return err
				}
				if err := tx.Append(storage.Event{DID: didN(1), Kind: "x"}); err != nil {
					return err
				}
				seq, err := tx.LastSeq()
				if err == nil && seq == 0 {
					e.Fatal("LastSeq does not see the event of its own transaction")
				}
				return err
			})
		},
	},
	{
		name: "tx/view-cannot-write",
		rule: "The mutating methods of a View's Tx fail and change nothing.",
		run: func(e *env) {
			r := e.newRepo(1)
			c := r.next(nil)
			other := e.account(2)
			writes := map[string]func(tx storage.Tx) error{
				"PutAccount":    func(tx storage.Tx) error { _, err := tx.PutAccount(other); return err },
				"DeleteAccount": func(tx storage.Tx) error { return tx.DeleteAccount(r.did()) },
				"Apply":         func(tx storage.Tx) error { return tx.Apply(c) },
				"NewGeneration": func(tx storage.Tx) error { _, err := tx.NewGeneration(r.did()); return err },
				"Append":        func(tx storage.Tx) error { return tx.Append(storage.Event{DID: r.did(), Kind: "x"}) },
				"HideEvents":    func(tx storage.Tx) error { return tx.HideEvents(r.did()) },
				"PutBlob": func(tx storage.Tx) error {
					return tx.PutBlob(storage.Blob{Owner: r.did(), CID: blobCID("x"), Key: "x"})
				},
				"SetBlobRefs":    func(tx storage.Tx) error { return tx.SetBlobRefs(r.did(), "x", nil) },
				"PutDoc":         func(tx storage.Tx) error { _, err := tx.PutDoc(storage.Doc{Kind: "k", Key: "k"}); return err },
				"DeleteDoc":      func(tx storage.Tx) error { return tx.DeleteDoc("k", "k") },
				"DropGeneration": func(tx storage.Tx) error { return tx.DropGeneration(1) },
			}
			for name, write := range writes {
				var err error
				e.view(func(tx storage.Tx) error { err = write(tx); return nil })
				if err == nil {
					e.Errorf("%s in a View returned no error", name)
				}
			}
			e.view(func(tx storage.Tx) error {
				_, err := tx.Head(r.did())
				matches(e, "Head", err, storage.ErrNotFound)
				_, err = tx.Account(other.DID)
				matches(e, "Account", err, storage.ErrNotFound)
				return nil
			})
		},
	},
	{
		name: "tx/snapshot",
		rule: "A View sees one state of the store, however long it runs; one that begins after an Update returned sees that Update.",
		run: func(e *env) {
			e.update(func(tx storage.Tx) error { return putDoc(tx, "a", "before") })
			e.view(func(tx storage.Tx) error {
				v, err := docValue(tx, "a")
				if err != nil {
					return err
				}
				same(e, "the value", v, "before")
				e.update(func(tx storage.Tx) error {
					if err := putDoc(tx, "b", "after"); err != nil {
						return err
					}
					return putDoc(tx, "a", "after")
				})
				same(e, "the value in a new View", e.value("a"), "after")
				for _, key := range []string{"a", "b"} {
					v, err := docValue(tx, key)
					if err != nil {
						return err
					}
					want := map[string]string{"a": "before"}[key]
					same(e, "the value of "+key+" in the old View", v, want)
				}
				return nil
			})
		},
	},
	{
		name: "tx/ended",
		rule: "A Tx is dead when its closure has returned: its methods fail.",
		run: func(e *env) {
			var kept storage.Tx
			e.update(func(tx storage.Tx) error { kept = tx; return nil })
			if _, err := kept.PutDoc(storage.Doc{Kind: "test", Key: "late"}); err == nil {
				e.Error("a write after the end of its Update returned no error")
			}
			e.view(func(tx storage.Tx) error { kept = tx; return nil })
			if _, err := kept.LastSeq(); err == nil {
				e.Error("a read after the end of its View returned no error")
			}
			same(e, "the late document", e.value("late"), "")
		},
	},
	{
		name: "tx/cancelled",
		rule: "A context that has ended stops View and Update before the closure runs, with its error; a closure that runs is not cut short and what it did is kept.",
		run: func(e *env) {
			ctx, cancel := context.WithCancel(background())
			cancel()
			ran := false
			fn := func(storage.Tx) error { ran = true; return nil }
			matches(e, "Update", e.store.Update(ctx, fn), context.Canceled)
			matches(e, "View", e.store.View(ctx, fn), context.Canceled)
			if ran {
				e.Fatal("a closure ran under a cancelled context")
			}
			ctx, cancel = context.WithCancel(background())
			err := e.store.Update(ctx, func(tx storage.Tx) error {
				if err := putDoc(tx, "a", "1"); err != nil {
					return err
				}
				cancel()
				return putDoc(tx, "b", "2")
			})
			if err != nil {
				e.Fatalf("Update returned %v although its closure had begun", err)
			}
			same(e, "the first document", e.value("a"), "1")
			same(e, "the second document", e.value("b"), "2")
		},
	},
	{
		name: "tx/cancelled-in-queue",
		rule: "Cancelling removes a closure that has not started; it then never runs.",
		run: func(e *env) {
			begun, release := make(chan struct{}), make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				_ = e.store.Update(background(), func(tx storage.Tx) error {
					begun <- struct{}{}
					<-release
					return nil
				})
			})
			<-begun
			ctx, cancel := context.WithCancel(background())
			result := make(chan error, 1)
			wg.Go(func() {
				result <- e.store.Update(ctx, func(tx storage.Tx) error { return putDoc(tx, "a", "ran") })
			})
			cancel()
			err := <-result
			close(release)
			wg.Wait()
			matches(e, "the cancelled Update", err, context.Canceled)
			e.update(func(tx storage.Tx) error { return nil })
			same(e, "the document", e.value("a"), "")
		},
	},
	{
		name: "tx/panic",
		rule: "A panic of a closure reaches the caller of Update or View, nothing of the closure remains, and the store works on.",
		run: func(e *env) {
			for _, run := range []func(context.Context, func(storage.Tx) error) error{e.store.Update, e.store.View} {
				func() {
					defer func() {
						if p := recover(); p != "boom" {
							e.Fatalf("recovered %v, want boom", p)
						}
					}()
					_ = run(background(), func(tx storage.Tx) error {
						_ = putDoc(tx, "a", "1") // refused in a View
						panic("boom")
					})
					e.Fatal("the panic was swallowed")
				}()
			}
			same(e, "the document", e.value("a"), "")
			e.update(func(tx storage.Tx) error { return putDoc(tx, "a", "2") })
			same(e, "the document", e.value("a"), "2")
		},
	},
	{
		name: "tx/close",
		rule: "After Close every method returns ErrClosed, Watch gives a closed channel, and a second Close is harmless.",
		run: func(e *env) {
			watch := e.store.Watch(background())
			if err := e.store.Close(); err != nil {
				e.Fatalf("Close: %v", err)
			}
			if _, ok := <-watch; ok {
				if _, ok := <-watch; ok {
					e.Error("Close left a channel of Watch open")
				}
			}
			fn := func(storage.Tx) error { return nil }
			matches(e, "View", e.store.View(background(), fn), storage.ErrClosed)
			matches(e, "Update", e.store.Update(background(), fn), storage.ErrClosed)
			_, err := e.store.Maintain(background(), storage.Budget{})
			matches(e, "Maintain", err, storage.ErrClosed)
			if _, ok := <-e.store.Watch(background()); ok {
				e.Error("Watch of a closed store gives a signal")
			}
			e.store.Close()
		},
	},
	{
		name: "tx/bytes-are-the-callers",
		rule: "Byte slices that a Tx returns belong to the caller.",
		run: func(e *env) {
			r := e.newRepo(1)
			r.apply([]storage.Record{record("com.example.a/1", "value")})
			e.update(func(tx storage.Tx) error { return putDoc(tx, "a", "value") })
			e.view(func(tx storage.Tx) error {
				d, err := tx.GetDoc("test", "a")
				if err != nil {
					return err
				}
				clear(d.Value)
				rec, err := tx.Record(r.did(), syntax.NSID("com.example.a"), "1")
				if err != nil {
					return err
				}
				clear(rec.Value)
				return nil
			})
			same(e, "the document", e.value("a"), "value")
			r.check()
		},
	},
}
