package storagetest

import (
	"context"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// emit appends events with these bodies in one Update.
func (e *env) emit(did syntax.DID, bodies ...string) {
	e.Helper()
	e.update(func(tx storage.Tx) error {
		for _, b := range bodies {
			if err := tx.Append(storage.Event{DID: did, Kind: "test", Body: []byte(b)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// events returns all visible events above after.
func (e *env) events(after int64) (list []storage.Event) {
	e.Helper()
	e.view(func(tx storage.Tx) error {
		for {
			page, err := tx.ListEvents(after, 100, 1<<20)
			if err != nil || len(page) == 0 {
				return err
			}
			list = append(list, page...)
			after = page[len(page)-1].Seq
		}
	})
	return list
}

func bodies(list []storage.Event) []string {
	var b []string
	for _, ev := range list {
		b = append(b, string(ev.Body))
	}
	return b
}

func (e *env) lastSeq() (seq int64) {
	e.Helper()
	e.view(func(tx storage.Tx) (err error) { seq, err = tx.LastSeq(); return err })
	return seq
}

var eventCases = []testCase{
	{
		name: "events/round-trip",
		rule: "An event comes back as it was appended, with the store's number and the store's time in milliseconds.",
		run: func(e *env) {
			same(e, "LastSeq of an empty log", e.lastSeq(), int64(0))
			want := storage.Event{DID: didN(1), Kind: "commit", Body: []byte{0, 1, 2}, Actor: didN(2), Client: "https://app.example/client.json", Seq: 77, Time: time.Unix(1, 0)}
			e.update(func(tx storage.Tx) error { return tx.Append(want) })
			list := e.events(0)
			same(e, "the number of events", len(list), 1)
			got := list[0]
			same(e, "the DID", got.DID, want.DID)
			same(e, "the kind", got.Kind, want.Kind)
			same(e, "the body", string(got.Body), string(want.Body))
			same(e, "the actor", got.Actor, want.Actor)
			same(e, "the client", got.Client, want.Client)
			same(e, "the number", got.Seq, e.clock.Now().UnixMicro())
			if !got.Time.Equal(e.clock.Now().Truncate(time.Millisecond)) {
				e.Fatalf("the time is %v, want %v", got.Time, e.clock.Now())
			}
		},
	},
	{
		name: "events/numbers",
		rule: "Sequence numbers are max(last+1, unix microseconds): they rise when the clock stands or steps back, and an unexplained jump of the clock does not carry them away.",
		run: func(e *env) {
			start := e.clock.Now()
			emit := func(want int64) {
				e.Helper()
				e.emit(didN(1), "x")
				same(e, "the number", e.lastSeq(), want)
			}
			emit(start.UnixMicro())
			emit(start.UnixMicro() + 1)
			e.clock.Pass(time.Second)
			emit(start.UnixMicro() + 1_000_000)
			e.clock.Step(-time.Minute)
			emit(start.UnixMicro() + 1_000_001)
			e.clock.Step(time.Minute)
			e.clock.Pass(time.Second)
			emit(start.UnixMicro() + 2_000_000)
			if _, ok := storage.GuardOf(e.store); !ok {
				return
			}
			e.clock.Step(365 * 24 * time.Hour)
			e.clock.Pass(time.Second)
			e.emit(didN(1), "x")
			if seq := e.lastSeq(); seq > start.Add(time.Minute).UnixMicro() {
				e.Fatalf("a jump of a year took the numbers to %d", seq)
			}
		},
	},
	{
		name: "events/load",
		rule: "Events of another log keep their numbers and times; a number that is not above the last is refused; a raised number is the last one, also after nothing else was written.",
		run: func(e *env) {
			loader := func(fn func(l storage.EventLoader) error) func(storage.Tx) error {
				return func(tx storage.Tx) error {
					l, ok := storage.TxAs[storage.EventLoader](tx)
					if !ok {
						e.Skip("the store is no EventLoader")
					}
					return fn(l)
				}
			}
			at := e.clock.Now().Add(-time.Hour).Truncate(time.Millisecond)
			old := storage.Event{Seq: 4711, Time: at, DID: didN(1), Kind: "commit", Body: []byte("x")}
			e.update(loader(func(l storage.EventLoader) error { return l.LoadEvent(old) }))
			same(e, "LastSeq", e.lastSeq(), old.Seq)
			e.refused(storage.ErrConflict, loader(func(l storage.EventLoader) error { return l.LoadEvent(old) }))
			e.update(loader(func(l storage.EventLoader) error { return l.RaiseSeq(4710) }))
			same(e, "LastSeq after a lower number", e.lastSeq(), old.Seq)
			e.update(loader(func(l storage.EventLoader) error { return l.RaiseSeq(5000) }))
			same(e, "LastSeq after a higher number", e.lastSeq(), int64(5000))
			for _, seq := range []int64{1<<53 - 1, 1 << 53, 1<<63 - 1} {
				err := e.store.Update(context.Background(), loader(func(l storage.EventLoader) error { return l.RaiseSeq(seq) }))
				if err == nil {
					e.Fatalf("the number %d was taken", seq)
				}
			}
			e.emit(didN(1), "y")
			list := e.events(0)
			same(e, "the number of events", len(list), 2)
			same(e, "the number", list[0].Seq, old.Seq)
			if !list[0].Time.Equal(at) {
				e.Fatalf("the time is %v, want %v", list[0].Time, at)
			}
			same(e, "the number of what follows", list[1].Seq, e.clock.Now().UnixMicro())
		},
	},
	{
		name: "events/pages",
		rule: "ListEvents returns events above after in order, at most limit, about maxBytes of bodies, and at least one if there is one.",
		run: func(e *env) {
			e.emit(didN(1), "0000000000", "1111111111", "2222222222", "3333333333", "4444444444")
			all := e.events(0)
			same(e, "the number of events", len(all), 5)
			e.view(func(tx storage.Tx) error {
				for _, c := range []struct{ from, limit, bytes, least, most int }{
					{-1, 10, 1 << 20, 5, 5},
					{-1, 2, 1 << 20, 2, 2},
					{1, 10, 1 << 20, 3, 3},
					{4, 10, 1 << 20, 0, 0},
					{-1, 10, 1, 1, 1},
					{-1, 10, 20, 2, 3},
					{-1, 10, 25, 2, 3},
					{3, 1, 1, 1, 1},
				} {
					after := int64(0)
					if c.from >= 0 {
						after = all[c.from].Seq
					}
					page, err := tx.ListEvents(after, c.limit, c.bytes)
					if err != nil {
						return err
					}
					if len(page) < c.least || len(page) > c.most {
						e.Errorf("%+v: %d events", c, len(page))
					}
					for i, ev := range page {
						same(e, "a number", ev.Seq, all[c.from+1+i].Seq)
					}
				}
				return nil
			})
		},
	},
	{
		name: "events/prune",
		rule: "PruneEvents removes the oldest up to a number, at most limit; numbers are not used again and LastSeq stays.",
		run: func(e *env) {
			e.emit(didN(1), "a", "b", "c", "d")
			all, last := e.events(0), e.lastSeq()
			prune := func(upTo int64, limit, want int) {
				e.Helper()
				e.update(func(tx storage.Tx) error {
					n, err := tx.PruneEvents(upTo, limit)
					same(e, "the number of removed events", n, want)
					return err
				})
				same(e, "LastSeq", e.lastSeq(), last)
			}
			prune(all[0].Seq-1, 10, 0)
			prune(all[2].Seq, 2, 2)
			sameList(e, "the rest", bodies(e.events(0)), []string{"c", "d"})
			prune(all[2].Seq, 10, 1)
			prune(last+100, 10, 1)
			sameList(e, "the rest", bodies(e.events(0)), nil)
			e.clock.Step(-time.Hour)
			e.emit(didN(1), "e")
			same(e, "the number after pruning", e.lastSeq(), last+1)
		},
	},
	{
		name: "events/hide",
		rule: "HideEvents hides the events of one DID that were appended before it, in this transaction too; later ones are visible and LastSeq stays.",
		run: func(e *env) {
			e.emit(didN(1), "a1", "a2")
			e.emit(didN(2), "b1")
			e.update(func(tx storage.Tx) error {
				if err := tx.Append(storage.Event{DID: didN(1), Kind: "test", Body: []byte("a3")}); err != nil {
					return err
				}
				if err := tx.HideEvents(didN(1)); err != nil {
					return err
				}
				return tx.Append(storage.Event{DID: didN(1), Kind: "test", Body: []byte("a4")})
			})
			last := e.lastSeq()
			e.emit(didN(2), "b2")
			sameList(e, "what is visible", bodies(e.events(0)), []string{"b1", "a4", "b2"})
			e.view(func(tx storage.Tx) error {
				page, err := tx.ListEvents(0, 2, 1<<20)
				sameList(e, "a page of two", bodies(page), []string{"b1", "a4"})
				return err
			})
			e.update(func(tx storage.Tx) error { return tx.HideEvents(didN(1)) })
			sameList(e, "what is visible", bodies(e.events(0)), []string{"b1", "b2"})
			e.update(func(tx storage.Tx) error { _, err := tx.PruneEvents(last, 100); return err })
			e.emit(didN(1), "a5")
			sameList(e, "what is visible", bodies(e.events(0)), []string{"b2", "a5"})
		},
	},
	{
		name: "events/watch",
		rule: "An event that becomes visible after Watch returned is followed by a signal; the channel closes with its context.",
		run: func(e *env) {
			ctx, cancel := context.WithCancel(background())
			defer cancel()
			watch := e.store.Watch(ctx)
			other := e.store.Watch(ctx)
			for n := range 20 {
				e.emit(didN(1), fmt.Sprint(n))
				select {
				case <-watch:
				case <-time.After(10 * time.Second):
					e.Fatalf("no signal after event %d", n)
				}
			}
			select {
			case <-other: // signals coalesce, but there is one
			case <-time.After(10 * time.Second):
				e.Fatal("no signal on a second channel")
			}
			cancel()
			deadline := time.After(10 * time.Second)
			for open := true; open; {
				select {
				case _, open = <-watch:
				case <-deadline:
					e.Fatal("the channel stays open after its context ended")
				}
			}
		},
	},
}
