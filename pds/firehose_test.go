package pds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

// handClock is a clock that the test moves.
type handClock struct {
	mu   sync.Mutex // guards following 2 fields
	wall time.Time
	mono time.Duration
}

func (c *handClock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.wall }

func (c *handClock) Elapsed() time.Duration { c.mu.Lock(); defer c.mu.Unlock(); return c.mono }

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(d), c.mono+d
}

// eventLog is a store with a firehose over it, and no server.
type eventLog struct {
	*firehose
	t     testing.TB
	clock *handClock
}

func newEventLog(t testing.TB, limits Limits) *eventLog {
	t.Helper()
	clock := &handClock{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	store, err := sqlite.OpenMemory(sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if limits.StallTime == 0 {
		limits.StallTime = 30 * time.Second
	}
	if limits.BackfillWindow == 0 {
		limits.BackfillWindow = 24 * time.Hour
	}
	if limits.RingBytes == 0 {
		limits.RingBytes = 1 << 20
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return &eventLog{newFirehose(store, clock, log, limits, tracer{}), t, clock}
}

// append adds events, one transaction each, and returns the last number.
func (l *eventLog) append(events ...storage.Event) int64 {
	l.t.Helper()
	for _, ev := range events {
		if err := l.store.Update(l.t.Context(), func(tx storage.Tx) error { return tx.Append(ev) }); err != nil {
			l.t.Fatal(err)
		}
	}
	last, err := l.lastSeq(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return last
}

func someEvents(n int) []storage.Event {
	out := make([]storage.Event, n)
	for i := range out {
		did := syntax.DID(fmt.Sprintf("did:plc:%024d", i%7))
		out[i] = cause{actor: did}.event(did, eventIdentity, encodeIdentity(did, "alice.test"))
	}
	return out
}

// all returns the numbers of the visible events above a position.
func (l *eventLog) all(after int64) []int64 {
	l.t.Helper()
	var out []int64
	err := l.store.View(l.t.Context(), func(tx storage.Tx) error {
		events, err := tx.ListEvents(after, 1<<20, 1<<30)
		for _, ev := range events {
			out = append(out, ev.Seq)
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// sink is a subscriber's client.
type sink struct {
	t testing.TB
	// If not nil, each write sends to enter and then waits for gate.
	enter, gate chan struct{}

	mu    sync.Mutex // guards following 2 fields
	seqs  []int64
	infos []string
	grown chan struct{} // gets a value, if it is empty, when something has come
}

func newSink(t testing.TB) *sink { return &sink{t: t, grown: make(chan struct{}, 1)} }

func (s *sink) writeInfo(_ context.Context, name, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.infos = append(s.infos, name)
	s.tell()
	return nil
}

func (s *sink) writeFrames(ctx context.Context, frames [][]byte) error {
	if s.gate != nil {
		s.enter <- struct{}{}
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range frames {
		s.seqs = append(s.seqs, frameSeq(s.t, f))
	}
	s.tell()
	return nil
}

// tell wakes whoever waits for more. The caller holds s.mu.
func (s *sink) tell() {
	select {
	case s.grown <- struct{}{}:
	default:
	}
}

func (s *sink) got() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seqs)
}

// until waits until the sink has the event with the given number.
func (s *sink) until(seq int64) []int64 {
	s.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		got := s.got()
		if len(got) > 0 && got[len(got)-1] >= seq {
			return got
		}
		select {
		case <-s.grown:
		case <-timeout:
			s.t.Fatalf("event %d has not come; the last of %d is %v", seq, len(got), got[max(0, len(got)-1):])
		}
	}
}

func frameSeq(t testing.TB, f []byte) int64 {
	_, body, err := splitFrame(f)
	if err != nil {
		t.Error(err)
		return -1
	}
	v, err := repo.DecodeCBOR(body)
	if err != nil {
		t.Error(err)
		return -1
	}
	seq, ok := v.(map[string]any)["seq"].(int64)
	if !ok {
		t.Errorf("no seq in %v", v)
	}
	return seq
}

// subscribe serves a sink until the test or the returned function ends it,
// which returns what serve returned.
func (l *eventLog) subscribe(cursor *int64, s *sink) (end func() error) {
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- l.serve(ctx, cursor, s) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestFirehoseCursors(t *testing.T) {
	l := newEventLog(t, Limits{})
	old := l.append(someEvents(5)...)
	l.clock.advance(25 * time.Hour)
	last := l.append(someEvents(1300)...)
	fresh := l.all(old)
	for _, tc := range []struct {
		name   string
		cursor *int64
		info   bool
		want   []int64
	}{
		{"none", nil, false, nil},
		{"the last event", &last, false, nil},
		{"one before the last", new(fresh[len(fresh)-2]), false, fresh[len(fresh)-1:]},
		{"in the window", new(fresh[9]), false, fresh[10:]},
		{"between two events", new(fresh[0] - 1), false, fresh},
		{"the last event before the window", new(old), false, fresh},
		{"before the window", new(old - 1), true, fresh},
		{"zero", new(int64(0)), true, fresh},
		{"negative", new(int64(-7)), true, fresh},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSink(t)
			end := l.subscribe(tc.cursor, s)
			if len(tc.want) > 0 {
				s.until(last)
			}
			if err := end(); !errors.Is(err, context.Canceled) {
				t.Errorf("serve: %v", err)
			}
			if got := s.got(); !slices.Equal(got, tc.want) {
				t.Errorf("%d events came, want %d", len(got), len(tc.want))
			}
			if (len(s.infos) > 0) != tc.info || tc.info && s.infos[0] != "OutdatedCursor" {
				t.Errorf("infos: %q", s.infos)
			}
		})
	}
	t.Run("FutureCursor", func(t *testing.T) {
		var e *xrpc.Error
		if err := l.serve(t.Context(), new(last+1), newSink(t)); !errors.As(err, &e) || e.Name != "FutureCursor" {
			t.Errorf("%v", err)
		}
	})
}

// With nothing in the window an outdated cursor goes live.
func TestFirehoseOutdatedCursorWithEmptyWindow(t *testing.T) {
	l := newEventLog(t, Limits{})
	l.append(someEvents(5)...)
	l.clock.advance(25 * time.Hour)
	s := newSink(t)
	end := l.subscribe(new(int64(1)), s)
	<-s.grown // the info has come: the start is known, and the next event new
	last := l.append(someEvents(1)...)
	if got := s.until(last); !slices.Equal(got, []int64{last}) {
		t.Errorf("came: %v, want only %d", got, last)
	}
	_ = end()
}

// Subscribers that come at random moments, at random cursors, while events are
// written, get every event once and in order, from the store, the ring, and
// over the seam between them.
func TestFirehoseCutOver(t *testing.T) {
	for _, ringBytes := range []int{1, 20 << 10, 64 << 20} {
		n, subscribers := 1000, 200
		if testing.Short() || ringBytes == 1 {
			n, subscribers = 400, 40
		}
		t.Run(fmt.Sprint("ring of ", ringBytes), func(t *testing.T) {
			l := newEventLog(t, Limits{RingBytes: ringBytes})
			l.append(someEvents(300)...)
			seen := l.all(0)
			written := make(chan struct{})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for i := range n / 4 {
						ev := someEvents(1 + i%3)
						_ = l.store.Update(t.Context(), func(tx storage.Tx) error {
							for _, e := range ev {
								if err := tx.Append(e); err != nil {
									return err
								}
							}
							return nil
						})
					}
				})
			}
			go func() { wg.Wait(); close(written) }()

			var sinks []*sink
			var cursors []int64
			var ends []func() error
			for len(sinks) < subscribers {
				c := seen[rand.IntN(len(seen))]
				s := newSink(t)
				sinks, cursors, ends = append(sinks, s), append(cursors, c), append(ends, l.subscribe(&c, s))
				if len(sinks)%20 == 0 {
					seen = l.all(0)
				}
			}
			<-written
			last := l.append(someEvents(1)...)
			for i, s := range sinks {
				want := l.all(cursors[i])
				if got := s.until(last); !slices.Equal(got, want) {
					t.Errorf("after %d: %d events came, want %d", cursors[i], len(got), len(want))
				}
				_ = ends[i]()
			}
		})
	}
}

// A client that takes nothing for Limits.StallTime while the ring moves on is
// cut off with ConsumerTooSlow; one that stalls within the ring is not.
func TestFirehoseConsumerTooSlow(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ring  int
		stall time.Duration
		slow  bool
	}{
		{"behind the ring", 1 << 10, 30 * time.Second, true},
		{"behind the ring, not long enough", 1 << 10, 29 * time.Second, false},
		{"within the ring", 1 << 20, time.Hour, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newEventLog(t, Limits{RingBytes: tc.ring})
			first := l.append(someEvents(1)...)
			s := newSink(t)
			s.enter, s.gate = make(chan struct{}), make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- l.serve(ctx, new(first-1), s) }()
			<-s.enter
			last := l.append(someEvents(100)...)
			l.waitRing(last)
			l.clock.advance(tc.stall)
			close(s.gate)
			go func() {
				for range s.enter {
				}
			}()
			if !tc.slow {
				if got := s.until(last); len(got) != 101 {
					t.Errorf("%d events came", len(got))
				}
				cancel()
			}
			err := <-done
			close(s.enter)
			var e *xrpc.Error
			if is := errors.As(err, &e) && e.Name == "ConsumerTooSlow"; is != tc.slow {
				t.Errorf("serve: %v", err)
			}
		})
	}
}

// A client that goes on taking events, but from before the window, is cut off
// as well.
func TestFirehoseConsumerBehindWindow(t *testing.T) {
	l := newEventLog(t, Limits{RingBytes: 1, StallTime: time.Minute})
	l.append(someEvents(3 * pageEvents)...)
	first := l.all(0)[0]
	s := newSink(t)
	s.enter, s.gate = make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- l.serve(t.Context(), new(first-1), s) }()
	<-s.enter
	l.clock.advance(24*time.Hour + time.Minute + time.Second)
	go func() {
		for range s.enter {
		}
	}()
	for taking := true; taking; {
		select {
		case s.gate <- struct{}{}:
		case err := <-done:
			var e *xrpc.Error
			if !errors.As(err, &e) || e.Name != "ConsumerTooSlow" {
				t.Errorf("serve: %v", err)
			}
			taking = false
		}
	}
	close(s.enter)
	if n := len(s.got()); n != pageEvents {
		t.Errorf("%d events came, want the page of %d that was on its way", n, pageEvents)
	}
}

// waitRing returns when the ring holds everything up to seq.
func (l *eventLog) waitRing(seq int64) {
	l.t.Helper()
	l.mu.Lock()
	r := l.feed.ring
	l.mu.Unlock()
	for {
		r.mu.Lock()
		high, more := r.high, r.more
		r.mu.Unlock()
		if high >= seq {
			return
		}
		select {
		case <-more:
		case <-time.After(20 * time.Second):
			l.t.Fatalf("the ring ends at %d, not at %d", high, seq)
		}
	}
}

// When an account is deleted, its earlier events are withdrawn from the ring
// and from the store, and the one that says so is sent.
func TestFirehoseDeletionLeavesOneEvent(t *testing.T) {
	l := newEventLog(t, Limits{})
	gone := syntax.DID("did:plc:gone")
	mine := cause{gone, ""}.event(gone, eventIdentity, encodeIdentity(gone, ""))
	others := someEvents(3)
	first := l.append(others[0])
	s := newSink(t)
	end := l.subscribe(new(int64(0)), s)
	defer end()
	s.until(first)
	ring := l.running().ring
	l.waitRing(l.append(mine, others[1], mine))
	err := l.store.Update(t.Context(), func(tx storage.Tx) error {
		if err := tx.HideEvents(gone); err != nil {
			return err
		}
		return tx.Append(cause{gone, ""}.event(gone, eventAccount, encodeAccount(gone, statusDeleted)))
	})
	if err != nil {
		t.Fatal(err)
	}
	last := l.append(others[2])
	l.waitRing(last)
	want := l.all(first)
	if len(want) != 3 {
		t.Fatalf("%d visible events", len(want))
	}
	frames, next, _, ok := ring.after(first, 1<<20, nil)
	var got []int64
	for _, f := range frames {
		got = append(got, frameSeq(t, f))
	}
	if !ok || next != last || !slices.Equal(got, want) {
		t.Errorf("the ring has %v up to %d, want %v", got, next, want)
	}
	late := newSink(t)
	endLate := l.subscribe(new(first), late)
	if got := late.until(last); !slices.Equal(got, want) {
		t.Errorf("a late subscriber gets %v, want %v", got, want)
	}
	_ = endLate()
}
