package storagetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

const (
	writers       = 32
	writesPerGoro = 20
)

var concurrencyCases = []testCase{
	{
		name: "concurrency/counter",
		rule: "Updates behave as if run one after another: none is lost, and failed ones leave nothing.",
		run: func(e *env) {
			own := errors.New("own")
			var wg sync.WaitGroup
			var acked atomic.Int64
			for w := range writers {
				wg.Go(func() {
					for n := range writesPerGoro {
						fail := (w+n)%5 == 0
						err := e.store.Update(background(), func(tx storage.Tx) error {
							d, err := tx.GetDoc("test", "counter")
							if err != nil && !isNotFound(err) {
								return err
							}
							d.Kind, d.Key = "test", "counter"
							d.Value = append(d.Value, 'x')
							if _, err := tx.PutDoc(d); err != nil {
								return err
							}
							if fail {
								return own
							}
							return nil
						})
						switch {
						case fail && err != own:
							e.Errorf("Update returned %v, want the closure's error", err)
						case !fail && err != nil:
							e.Errorf("Update: %v", err)
						case !fail:
							acked.Add(1)
						}
					}
				})
			}
			wg.Wait()
			same(e, "the counter", int64(len(e.value("counter"))), acked.Load())
		},
	},
	{
		name: "concurrency/one-repository",
		rule: "Of commits on one base exactly one is stored: acknowledged writes = records = events, under any concurrency.",
		run: func(e *env) {
			r := e.newRepo(1)
			r.apply(nil)
			var wg sync.WaitGroup
			var mu sync.Mutex // guards acked
			acked := map[string]bool{}
			for w := range writers {
				wg.Go(func() {
					for n := 0; n < 5; {
						path := fmt.Sprintf("com.example.a/%02d-%02d", w, n)
						err := commitTo(e, r, path)
						switch {
						case err == nil:
							mu.Lock()
							acked[path] = true
							mu.Unlock()
							n++
						case !errors.Is(err, storage.ErrConflict):
							e.Errorf("Update: %v", err)
							return
						}
					}
				})
			}
			wg.Wait()
			same(e, "the number of acknowledged writes", len(acked), writers*5)
			e.view(func(tx storage.Tx) error {
				list, err := tx.ListRecords(r.did(), "com.example.a", storage.Range{Limit: 1000})
				if err != nil {
					return err
				}
				same(e, "the number of records", len(list), len(acked))
				for _, rec := range list {
					if !acked[rec.String()] {
						e.Errorf("%s is there and was not acknowledged", rec)
					}
				}
				u, err := tx.Usage(r.did())
				same(e, "the total of records", u.Records, int64(len(acked)))
				return err
			})
			events := e.events(0)
			same(e, "the number of events", len(events), len(acked))
			for _, ev := range events {
				if !acked[string(ev.Body)] {
					e.Errorf("there is an event for %s, which was not acknowledged", ev.Body)
				}
				delete(acked, string(ev.Body))
			}
		},
	},
	{
		name: "concurrency/event-order",
		rule: "Whoever has seen event n never later finds one below n, and the events of one account keep the order of its transactions.",
		run: func(e *env) {
			stop := make(chan struct{})
			var readers, wg sync.WaitGroup
			for range 3 {
				readers.Go(func() {
					seen, last := map[int64]bool{}, int64(0)
					for done := false; !done; {
						select {
						case <-stop:
							done = true // and look once more
						default:
						}
						err := e.store.View(background(), func(tx storage.Tx) error {
							from := int64(0)
							for {
								page, err := tx.ListEvents(from, 50, 1<<20)
								if err != nil || len(page) == 0 {
									return err
								}
								for _, ev := range page {
									if ev.Seq <= from {
										return fmt.Errorf("event %d follows %d", ev.Seq, from)
									}
									from = ev.Seq
									if !seen[ev.Seq] && ev.Seq < last {
										return fmt.Errorf("event %d appears after %d was seen", ev.Seq, last)
									}
									seen[ev.Seq] = true
								}
								last = max(last, from)
							}
						})
						if err != nil {
							e.Error(err)
							return
						}
					}
					same := len(seen)
					if same != writers*writesPerGoro {
						e.Errorf("a reader has seen %d events, want %d", same, writers*writesPerGoro)
					}
				})
			}
			for w := range writers {
				wg.Go(func() {
					for n := range writesPerGoro {
						if rand.IntN(4) == 0 {
							_ = e.store.Update(background(), func(tx storage.Tx) error { // fails by intention
								if err := tx.Append(storage.Event{DID: didN(w), Kind: "lost"}); err != nil {
									return err
								}
								return errors.New("not this one")
							})
						}
						err := e.store.Update(background(), func(tx storage.Tx) error {
							return tx.Append(storage.Event{DID: didN(w), Kind: "test", Body: fmt.Append(nil, n)})
						})
						if err != nil {
							e.Error(err)
						}
					}
				})
			}
			wg.Wait()
			close(stop)
			readers.Wait()
			next := map[syntax.DID]int{}
			for _, ev := range e.events(0) {
				if string(ev.Body) != fmt.Sprint(next[ev.DID]) {
					e.Fatalf("event %s of %s comes where %d should", ev.Body, ev.DID, next[ev.DID])
				}
				next[ev.DID]++
			}
		},
	},
	{
		name: "concurrency/consistent-views",
		rule: "A View never sees part of an Update.",
		run: func(e *env) {
			stop := make(chan struct{})
			var readers, wg sync.WaitGroup
			for range 4 {
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						err := e.store.View(background(), func(tx storage.Tx) error {
							a, err := docValue(tx, "a")
							if err != nil {
								return err
							}
							b, err := docValue(tx, "b")
							if err == nil && a != b {
								err = fmt.Errorf("one View sees %q and %q", a, b)
							}
							return err
						})
						if err != nil {
							e.Error(err)
							return
						}
					}
				})
			}
			for w := range 8 {
				wg.Go(func() {
					for n := range writesPerGoro {
						value := fmt.Sprint(w, "-", n)
						err := e.store.Update(background(), func(tx storage.Tx) error {
							if err := putDoc(tx, "a", value); err != nil {
								return err
							}
							return putDoc(tx, "b", value)
						})
						if err != nil {
							e.Error(err)
						}
					}
				})
			}
			wg.Wait()
			close(stop)
			readers.Wait()
		},
	},
}

// commitTo reads the head of r and stores one commit on it with a record and
// an event.
func commitTo(e *env, r *repo, path string) error {
	var base storage.Head
	err := e.store.View(background(), func(tx storage.Tx) (err error) {
		base, err = tx.Head(r.did())
		return err
	})
	if err != nil {
		return err
	}
	root := block("root with " + path + " on " + base.CID.String())
	c := &storage.Commit{
		DID: r.did(), Base: base.CID, AccountVersion: r.acct.Version, KeyID: r.acct.KeyID,
		Head:     r.makeHead(syntax.NewTIDFromInteger(base.Rev.Integer()+1<<10), root),
		NewNodes: []storage.Block{root},
		OldNodes: append([]blobID(nil), base.Data),
		Puts:     []storage.Record{record(path, "value of "+path)},
	}
	c.Puts[0].Rev = c.Head.Rev
	return e.store.Update(background(), func(tx storage.Tx) error {
		if err := tx.Apply(c); err != nil {
			return err
		}
		return tx.Append(storage.Event{DID: r.did(), Kind: "commit", Body: []byte(path)})
	})
}
