package live_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

const room = "com.example.room/1"

// faulty is a store that can be made to fail.
type faulty struct {
	storage.DocStore
	views atomic.Pointer[error] // of View
}

func (f *faulty) View(ctx context.Context, fn func(storage.Docs) error) error {
	if err := f.views.Load(); err != nil {
		return *err
	}
	return f.DocStore.View(ctx, fn)
}

type world struct {
	*testing.T
	*live.Hub
	clock *storagetest.Clock
	store *faulty
}

// newWorld returns a hub with one room.
func newWorld(t *testing.T, l live.Limits) *world {
	t.Helper()
	clock := storagetest.NewClock()
	db, err := sqlite.OpenMemory(sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	store := &faulty{DocStore: storage.DocsOf(db)}
	h, err := live.New(live.Config{Store: store, Clock: clock, Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := h.Create(t.Context(), live.Topic{Name: room}); err != nil {
		t.Fatal(err)
	}
	return &world{t, h, clock, store}
}

func (w *world) publish(n int) {
	w.Helper()
	for range n {
		if _, err := w.Publish(w.Context(), room, map[string]int{"n": 1}); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) subscribe(rule live.Rule, o live.Options) *live.Subscription {
	w.Helper()
	s, err := w.Subscribe(w.Context(), room, rule, o)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(s.Close)
	return s
}

// within bounds what must not take long.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// take returns the next n events.
func take(t testing.TB, s *live.Subscription, n int) (list []*live.Event) {
	t.Helper()
	for len(list) < n {
		events, err := s.Next(within(t))
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(list), n, err)
		}
		list = append(list, events...)
	}
	if len(list) > n {
		t.Fatalf("%d events, want %d", len(list), n)
	}
	return list
}

func ended(t testing.TB, s *live.Subscription, want error) {
	t.Helper()
	if events, err := s.Next(within(t)); !errors.Is(err, want) {
		t.Fatalf("%d events, error %v, want %v", len(events), err, want)
	}
}

// idle fails if there is something to get.
func idle(t testing.TB, s *live.Subscription) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if events, err := s.Next(ctx); err == nil {
		t.Fatalf("unexpected event %s", events[0].JSON())
	}
}

func TestRuleAtSubscribe(t *testing.T) {
	w := newWorld(t, live.Limits{})
	mine := errors.New("not a member")
	for name, tt := range map[string]struct {
		rule live.Rule
		want error
	}{
		"none":   {nil, live.ErrDenied},
		"denies": {func(context.Context) error { return mine }, mine},
		"panics": {func(context.Context) error { panic("secret") }, live.ErrDenied},
	} {
		// The topic is not there: nobody without the right learns of that.
		if _, err := w.Subscribe(t.Context(), "none", tt.rule, live.Options{}); !errors.Is(err, tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Subscribe(ctx, room, func(ctx context.Context) error { return ctx.Err() }, live.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has left: %v", err)
	}
	slow := func(ctx context.Context) error { <-ctx.Done(); return nil }
	hurried := newWorld(t, live.Limits{RuleTimeout: 20 * time.Millisecond})
	if _, err := hurried.Subscribe(t.Context(), room, slow, live.Options{}); !errors.Is(err, live.ErrDenied) {
		t.Errorf("slow: %v", err)
	}
}

// TestRecheck: whoever has lost the right gets nothing that was published
// later, and learns why.
func TestRecheck(t *testing.T) {
	w := newWorld(t, live.Limits{})
	banned := errors.New("banned")
	var verdict atomic.Pointer[error]
	var asked atomic.Int32
	rule := func(context.Context) error {
		asked.Add(1)
		if err := verdict.Load(); err != nil {
			return *err
		}
		return nil
	}
	s, other := w.subscribe(rule, live.Options{}), w.subscribe(live.Public(), live.Options{})
	w.publish(1)
	take(t, s, 1)
	w.Recheck(room)
	w.publish(1)
	take(t, s, 1)
	if n := asked.Load(); n != 2 {
		t.Errorf("the rule was asked %d times", n)
	}
	waiting := make(chan error)
	go func() {
		_, err := s.Next(within(t))
		waiting <- err
	}()
	verdict.Store(&banned)
	w.Recheck(room)
	w.publish(1)
	if err := <-waiting; !errors.Is(err, banned) {
		t.Errorf("the subscriber got %v", err)
	}
	ended(t, s, banned)
	take(t, other, 3)
	// Without anybody's word, too.
	verdict.Store(nil)
	s = w.subscribe(rule, live.Options{})
	verdict.Store(&banned)
	w.clock.Pass(live.DefaultRecheck)
	ended(t, s, banned)
}

// TestRecheckDuringRule: a word that comes while the rule is being asked is not
// lost.
func TestRecheckDuringRule(t *testing.T) {
	w := newWorld(t, live.Limits{})
	calls := 0
	s := w.subscribe(func(context.Context) error {
		if calls++; calls == 1 {
			w.Recheck(room)
			return nil
		}
		return errors.New("second thoughts")
	}, live.Options{})
	w.publish(1)
	if _, err := s.Next(within(t)); err == nil || calls != 2 {
		t.Errorf("asked %d times, %v", calls, err)
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t, live.Limits{})
	if err := w.Create(t.Context(), live.Topic{Name: "other"}); err != nil {
		t.Fatal(err)
	}
	alice, bob := live.Options{Client: "did:web:alice.test"}, live.Options{Client: "did:web:bob.test"}
	a1, b := w.subscribe(live.Public(), alice), w.subscribe(live.Public(), bob)
	a2, err := w.Subscribe(t.Context(), "other", live.Public(), alice)
	if err != nil {
		t.Fatal(err)
	}
	defer a2.Close()
	w.publish(1) // there to be had, but not any more
	reason := errors.New("you were rude")
	w.Revoke(alice.Client, room, reason)
	ended(t, a1, reason)
	take(t, b, 1)
	idle(t, a2)
	w.Revoke(alice.Client, "", nil)
	ended(t, a2, live.ErrRevoked)
	ended(t, a1, reason)
	a3 := w.subscribe(live.Public(), alice)
	w.publish(1)
	take(t, a3, 1)
	take(t, b, 1)
}

func TestSubscriptionLimits(t *testing.T) {
	w := newWorld(t, live.Limits{Subscribers: 5, TopicSubscribers: 4, ClientSubscribers: 2})
	if err := w.Create(t.Context(), live.Topic{Name: "other"}); err != nil {
		t.Fatal(err)
	}
	try := func(topic, client string, ok bool) *live.Subscription {
		t.Helper()
		s, err := w.Subscribe(t.Context(), topic, live.Public(), live.Options{Client: client})
		if ok != (err == nil) || !ok && !errors.Is(err, live.ErrTooMany) {
			t.Fatalf("%s of %s: %v", topic, client, err)
		}
		return s
	}
	a := try(room, "a", true)
	try(room, "a", true)
	try(room, "a", false)
	try("other", "a", false)
	try(room, "", true)
	try(room, "", true)
	try(room, "b", false) // of the topic
	try("other", "b", true)
	try("other", "b", false) // of all
	a.Close()
	a.Close()
	try("other", "a", true)
	try("other", "c", false)
}

func TestConfig(t *testing.T) {
	if _, err := live.New(live.Config{}); err == nil || !strings.Contains(err.Error(), "Config.Store") {
		t.Errorf("without a store: %v", err)
	}
	w := newWorld(t, live.Limits{})
	for _, l := range []live.Limits{{RingBytes: -1}, {Poll: -1}, {Behind: -1}} {
		if _, err := live.New(live.Config{Store: w.store, Limits: l}); err == nil {
			t.Errorf("%+v passed", l)
		}
	}
}

func TestClose(t *testing.T) {
	w := newWorld(t, live.Limits{})
	s := w.subscribe(live.Public(), live.Options{})
	if err := w.Signal(room, "a", map[string]any{}, time.Minute); err != nil {
		t.Fatal(err)
	}
	take(t, s, 1)
	got := make(chan error)
	go func() {
		_, err := s.Next(within(t))
		got <- err
	}()
	w.Hub.Close()
	w.Hub.Close()
	if err := <-got; !errors.Is(err, live.ErrClosed) {
		t.Errorf("the subscriber got %v", err)
	}
	if _, err := w.Subscribe(t.Context(), room, live.Public(), live.Options{}); !errors.Is(err, live.ErrClosed) {
		t.Errorf("a new subscriber: %v", err)
	}
	if err := w.Signal(room, "a", map[string]any{}, time.Minute); !errors.Is(err, live.ErrClosed) || len(w.Signals(room)) != 0 {
		t.Errorf("a signal: %v", err)
	}
	w.publish(1) // of a request that still runs
}

// TestGoroutinesEnd: a hub without subscribers and signals runs nothing; the
// bubble would wait for it for ever.
func TestGoroutinesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := live.New(live.Config{Store: &faulty{}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s, err := h.Subscribe(t.Context(), "a", live.Public(), live.Options{SignalsOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			time.Sleep(time.Second)
		}
	})
}

// TestStoreFails: a failure is told, the subscription stays where it is, and
// what was missed meanwhile comes later.
func TestStoreFails(t *testing.T) {
	w := newWorld(t, live.Limits{})
	s := w.subscribe(live.Public(), live.Options{})
	broken := errors.New("disk on fire")
	w.store.views.Store(&broken)
	if _, err := w.Subscribe(t.Context(), room, live.Public(), live.Options{}); !errors.Is(err, broken) {
		t.Errorf("Subscribe: %v", err)
	}
	w.publish(3)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next: %v", err)
	}
	w.store.views.Store(nil)
	w.clock.Pass(live.DefaultPoll)
	take(t, s, 3)

	// The same with entries that are no longer in memory.
	w2 := newWorld(t, live.Limits{TopicRingBytes: 1})
	info, err := w2.Topic(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	reader := w2.subscribe(live.Public(), live.Options{})
	w2.publish(3)
	take(t, reader, 3)
	old := w2.subscribe(live.Public(), live.Options{Cursor: info.Cursor(0)})
	w2.store.views.Store(&broken)
	ended(t, old, broken)
	w2.store.views.Store(nil)
	take(t, old, 3)
}

// TestRingBounds: what does not fit into memory is read from the store, and
// what is in memory stays within its bounds.
func TestRingBounds(t *testing.T) {
	const topics, each = 6, 40
	l := live.Limits{TopicRingBytes: 8 << 10, RingBytes: 20 << 10}
	w := newWorld(t, l)
	var subs []*live.Subscription
	var starts []string
	for n := range topics {
		name := fmt.Sprint("t", n)
		if err := w.Create(t.Context(), live.Topic{Name: name}); err != nil {
			t.Fatal(err)
		}
		info, err := w.Topic(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, info.Cursor(0))
		s, err := w.Subscribe(t.Context(), name, live.Public(), live.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		subs = append(subs, s)
	}
	for n := range each {
		for i, s := range subs {
			if _, err := w.Publish(t.Context(), fmt.Sprint("t", i), map[string]string{"x": strings.Repeat("x", n)}); err != nil {
				t.Fatal(err)
			}
			take(t, s, 1)
			total, largest := w.RingBytes()
			if total > l.RingBytes || largest > l.TopicRingBytes {
				t.Fatalf("%d bytes in memory, %d in one topic", total, largest)
			}
		}
	}
	for i, start := range starts {
		s, err := w.Subscribe(t.Context(), fmt.Sprint("t", i), live.Public(), live.Options{Cursor: start})
		if err != nil {
			t.Fatal(err)
		}
		for n, ev := range take(t, s, each) {
			if ev.Entry.Seq != int64(n+1) {
				t.Fatalf("topic %d: %s", i, ev.JSON())
			}
		}
		s.Close()
		subs[i].Close()
	}
	if total, _ := w.RingBytes(); total != 0 {
		t.Errorf("%d bytes of topics that nobody watches", total)
	}
}

// TestBatches: a batch is bounded in events and bytes.
func TestBatches(t *testing.T) {
	w := newWorld(t, live.Limits{})
	s := w.subscribe(live.Public(), live.Options{})
	w.publish(250)
	seq := int64(0)
	for seq < 250 {
		events, err := s.Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(events) > 100 {
			t.Errorf("%d events at once", len(events))
		}
		for _, ev := range events {
			if seq++; ev.Entry.Seq != seq {
				t.Fatalf("got %s, want %d", ev.JSON(), seq)
			}
		}
	}
	big := map[string]string{"x": strings.Repeat("x", 40_000)}
	for range 3 {
		if _, err := w.Publish(t.Context(), room, big); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		events, err := s.Next(within(t))
		if err != nil || len(events) != 1 {
			t.Fatalf("%d large events at once, %v", len(events), err)
		}
	}
}

// TestStalledTakesNoMemory: what is published while a subscriber does not ask
// takes no memory, and it gets one gap for it.
func TestStalledTakesNoMemory(t *testing.T) {
	const n, size = 1200, 32 << 10
	w := newWorld(t, live.Limits{})
	stalled, reader := w.subscribe(live.Public(), live.Options{}), w.subscribe(live.Public(), live.Options{})
	heap := func() int {
		var mem runtime.MemStats
		runtime.GC()
		runtime.GC() // what pools held is gone after the second
		runtime.ReadMemStats(&mem)
		return int(mem.HeapAlloc)
	}
	before := heap()
	data := map[string]string{"x": strings.Repeat("x", size)}
	for range n {
		if _, err := w.Publish(t.Context(), room, data); err != nil {
			t.Fatal(err)
		}
		take(t, reader, 1)
	}
	if grown := heap() - before; grown > n*size/4 {
		t.Errorf("%d bytes more in memory, of %d published", grown, n*size)
	}
	got := take(t, stalled, 1)[0]
	if got.Kind != live.KindGap || *got.Gap != (live.Gap{From: 1, To: n}) {
		t.Errorf("got %s", got.JSON())
	}
	w.publish(1)
	if got := take(t, stalled, 1)[0]; got.Entry == nil || got.Entry.Seq != n+1 {
		t.Errorf("got %s", got.JSON())
	}
}

// TestWakeWithoutLoss publishes and subscribes at the same time, again and
// again, with nothing but wake-ups to go by.
func TestWakeWithoutLoss(t *testing.T) {
	w := newWorld(t, live.Limits{})
	for round := range 50 {
		info, err := w.Topic(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		start := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			close(start)
			if _, err := w.Publish(t.Context(), room, map[string]int{"round": round}); err != nil {
				t.Error(err)
			}
		}()
		<-start
		s := w.subscribe(live.Public(), live.Options{Cursor: info.Cursor(info.Last)})
		if got := take(t, s, 1)[0]; got.Entry.Seq != info.Last+1 {
			t.Fatalf("round %d: %s", round, got.JSON())
		}
		<-done
		s.Close()
	}
}
