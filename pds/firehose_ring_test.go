package pds

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// running returns the feed, if there are subscribers and its pump has begun.
func (l *eventLog) running() *feed {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.feed != nil {
		select {
		case <-l.feed.ready:
			return l.feed
		default:
		}
	}
	return nil
}

// Only what encodeAccount writes for a deleted account is a deletion.
func TestIsDeletion(t *testing.T) {
	for status, want := range map[string]bool{statusDeleted: true, statusTakendown: false, statusDeactivated: false, "": false} {
		did := syntax.DID("did:web:fstatusgdeleted")
		ev := storage.Event{Kind: eventAccount, DID: did, Body: encodeAccount(did, status)}
		if got := isDeletion(&ev); got != want {
			t.Errorf("status %q: %v", status, got)
		}
	}
}

// The pump runs while there are subscribers, and the ring goes with it.
func TestFirehosePumpStopsWhenIdle(t *testing.T) {
	l := newEventLog(t, Limits{})
	for range 3 {
		s := newSink(t)
		end := l.subscribe(new(int64(0)), s)
		last := l.append(someEvents(2)...)
		s.until(last)
		fd := l.running()
		_ = end()
		if l.running() != nil || !fd.hasEnded() {
			t.Fatal("the pump still runs")
		}
	}
}

// The end of the store ends the subscribers.
func TestFirehoseStoreCloses(t *testing.T) {
	l := newEventLog(t, Limits{})
	last := l.append(someEvents(2)...)
	s := newSink(t)
	done := make(chan error, 1)
	go func() { done <- l.serve(t.Context(), new(int64(0)), s) }()
	s.until(last)
	if err := l.store.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(30 * time.Second):
		t.Error("the subscriber waits on")
	}
}

// firstSince finds what a walk through all events finds.
func TestFirstSince(t *testing.T) {
	l := newEventLog(t, Limits{})
	var events []storage.Event
	for range 60 {
		if rand.IntN(3) == 0 {
			l.clock.advance(time.Duration(rand.Int64N(int64(10 * time.Minute))))
		}
		l.append(someEvents(1 + rand.IntN(3))...)
	}
	check := func(tx storage.Tx, after int64, since time.Time) {
		first, before, ok, err := firstSince(tx, after, since)
		if err != nil {
			t.Fatal(err)
		}
		wantBefore, wantFirst := after, int64(0)
		for _, ev := range events {
			switch {
			case ev.Seq <= after:
			case ev.Time.Before(since):
				wantBefore = ev.Seq
			case wantFirst == 0:
				wantFirst = ev.Seq
			}
		}
		if ok != (wantFirst > 0) || ok && first.Seq != wantFirst || before != wantBefore {
			t.Errorf("after %d since %v: %d (%v), before %d; want %d, %d", after, since, first.Seq, ok, before, wantFirst, wantBefore)
		}
	}
	err := l.store.View(t.Context(), func(tx storage.Tx) (err error) {
		if events, err = tx.ListEvents(0, 1000, 1<<30); err != nil {
			return err
		}
		for _, ev := range events {
			for _, d := range []time.Duration{-1, 0, time.Millisecond} {
				for _, after := range []int64{0, events[0].Seq, ev.Seq - 1, ev.Seq, events[len(events)/2].Seq} {
					check(tx, after, ev.Time.Add(d))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRing(t *testing.T) {
	did := syntax.DID("did:plc:a")
	f := func(seq int64, size int) frame { return frame{seq: seq, did: did, data: make([]byte, size)} }
	r := newRing(3 * (100 + frameOverhead))
	r.start(10)
	if _, _, _, ok := r.after(9, 1, nil); ok {
		t.Error("9 is in a ring that starts at 10")
	}
	_, _, more, ok := r.after(10, 1, nil)
	if !ok || more == nil {
		t.Error("10 does not wait in a ring that starts at 10")
	}
	r.add([]frame{f(12, 100), f(15, 100)}, 15)
	select {
	case <-more:
	default:
		t.Error("waiting readers are not woken")
	}
	for _, tc := range []struct {
		pos  int64
		size int
		n    int
		next int64
	}{
		{10, 1 << 10, 2, 15}, {11, 1 << 10, 2, 15}, {12, 1 << 10, 1, 15}, {14, 1 << 10, 1, 15},
		{10, 1, 1, 12}, {10, 100, 1, 12}, {10, 101, 2, 15},
	} {
		got, next, _, ok := r.after(tc.pos, tc.size, nil)
		if !ok || len(got) != tc.n || next != tc.next {
			t.Errorf("after %d, %d bytes: %d frames to %d, %v; want %d to %d", tc.pos, tc.size, len(got), next, ok, tc.n, tc.next)
		}
	}
	r.add([]frame{f(16, 100)}, 20) // at the limit
	if r.behind(10) {
		t.Error("at the limit something was dropped")
	}
	if _, next, _, _ := r.after(16, 1, nil); next != 20 {
		t.Errorf("the end is %d, not 20", next)
	}
	r.add([]frame{f(21, 100)}, 21) // beyond it
	if !r.behind(11) || r.behind(12) {
		t.Error("beyond the limit not exactly the oldest was dropped")
	}
	r.add([]frame{f(30, 1000)}, 30) // larger than the ring
	if !r.behind(29) || r.behind(30) {
		t.Error("a frame larger than the ring does not leave it")
	}
	for i := range int64(10_000) {
		r.add([]frame{f(31+i, 100)}, 31+i)
	}
	if cap(r.frames) > 64 {
		t.Errorf("the ring of 3 has room for %d", cap(r.frames))
	}
}
