package actor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pdskit/pdskit/actor"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// room is the state of the actors of these tests.
type room struct {
	Count int      `json:"count"`
	Log   []string `json:"log,omitempty"`
}

const kindName = "com.example.room"

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rooms(srv *pdstest.PDS, k actor.Kind[room], opts ...actor.Options) *actor.Actors[room] {
	k.Name = kindName
	return actor.Register(actor.New(srv.Server, append(opts, actor.Options{})[0]), k)
}

func state(t testing.TB, a *actor.Actors[room], id string) (out room) {
	t.Helper()
	ok(t, a.View(t.Context(), id, func(s room) error { out = s; return nil }))
	return out
}

func increment(c *actor.Call[room]) error { c.State.Count++; return nil }

// The time of a call is that of the server's clock.
func TestNow(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := rooms(srv, actor.Kind[room]{})
	srv.Clock.Advance(48 * time.Hour)
	ok(t, a.Do(t.Context(), "lobby", func(c *actor.Call[room]) error {
		before, now, after := srv.Clock.Now(), c.Now(), srv.Clock.Now()
		if now.Before(before) || now.After(after) {
			t.Errorf("%v, want %v to %v", now, before, after)
		}
		return nil
	}))
}

// Calls of one actor run one at a time and lose nothing.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	a := rooms(pdstest.New(t), actor.Kind[room]{})
	var running, most atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5 {
				err := a.Do(t.Context(), "lobby", func(c *actor.Call[room]) error {
					most.Store(max(most.Load(), running.Add(1)))
					defer running.Add(-1)
					return increment(c)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := state(t, a, "lobby"); got.Count != 80 || most.Load() != 1 {
		t.Errorf("count %d, at most %d at a time", got.Count, most.Load())
	}
	if got := state(t, a, "empty"); got.Count != 0 {
		t.Errorf("an actor that was never called: %+v", got)
	}
}

// Two processes on one store: what one has changed the other sees.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	other, err := pds.New(srv.Config)
	ok(t, err)
	a := rooms(srv, actor.Kind[room]{})
	b := actor.Register(actor.New(other, actor.Options{}), actor.Kind[room]{Name: kindName})
	done := 0
	for i := range 20 {
		use := a
		if i%2 == 1 {
			use = b
		}
		ok(t, use.Do(t.Context(), "lobby", increment))
		done++
	}
	var wg sync.WaitGroup
	var acked atomic.Int64
	for _, use := range []*actor.Actors[room]{a, b} {
		wg.Go(func() {
			for range 10 {
				if use.Do(t.Context(), "lobby", increment) == nil {
					acked.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := state(t, a, "lobby"); int64(got.Count) != int64(done)+acked.Load() {
		t.Errorf("count %d after %d calls", got.Count, int64(done)+acked.Load())
	}
}

// What fails leaves nothing, in memory and in the store.
func TestFailuresLeaveNothing(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := rooms(srv, actor.Kind[room]{Alarm: func(*actor.Call[room]) error { t.Error("an alarm of a call that failed"); return nil }})
	ok(t, a.Do(t.Context(), "lobby", increment))
	mine := errors.New("mine")
	err := a.Do(t.Context(), "lobby", func(c *actor.Call[room]) error {
		c.State.Count = 99
		ok(t, c.SetAlarm(srv.Clock.Now()))
		return mine
	})
	if err != mine {
		t.Errorf("got %v", err)
	}
	err = a.Do(t.Context(), "lobby", func(c *actor.Call[room]) error {
		if c.State.Count != 1 {
			t.Errorf("the state ran ahead: %+v", *c.State)
		}
		c.State.Count = 98
		panic("in a call")
	})
	if _, panicked := errors.AsType[*actor.PanicError](err); !panicked {
		t.Errorf("got %v", err)
	}
	err = a.Do(t.Context(), "lobby", func(c *actor.Call[room]) error {
		if c.State.Count != 1 {
			t.Errorf("the state ran ahead: %+v", *c.State)
		}
		c.State.Log = []string{strings.Repeat("x", pds.MaxDocumentBytes)}
		return nil
	})
	if !errors.Is(err, pds.ErrStateLimit) {
		t.Errorf("got %v", err)
	}
	srv.RunJobs()
	if got := state(t, a, "lobby"); got.Count != 1 || got.Log != nil {
		t.Errorf("%+v", got)
	}
	err = a.Do(t.Context(), "lobby", func(c *actor.Call[room]) error { return a.Do(c.Context(), c.ID, increment) })
	if !errors.Is(err, actor.ErrReentered) {
		t.Errorf("got %v", err)
	}
	for _, id := range []string{"", "a/b", strings.Repeat("i", actor.MaxIDBytes+1)} {
		if err := a.Do(t.Context(), id, increment); !errors.Is(err, actor.ErrID) {
			t.Errorf("the ID %.10q: %v", id, err)
		}
	}
	ok(t, a.Do(t.Context(), strings.Repeat("i", actor.MaxIDBytes), increment))
}

// Actors of two kinds may have the same ID, and call each other.
func TestKindsAreApart(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	sys := actor.New(srv.Server, actor.Options{})
	a := actor.Register(sys, actor.Kind[room]{Name: "com.example.first"})
	b := actor.Register(sys, actor.Kind[room]{Name: "com.example.second"})
	ok(t, a.Do(t.Context(), "same", func(c *actor.Call[room]) error {
		return errors.Join(increment(c), b.Do(c.Context(), "same", increment))
	}))
	if state(t, a, "same").Count != 1 || state(t, b, "same").Count != 1 {
		t.Errorf("%+v %+v", state(t, a, "same"), state(t, b, "same"))
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	a := rooms(pdstest.New(t), actor.Kind[room]{}, actor.Options{Waiting: 1})
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = a.Do(t.Context(), "lobby", func(*actor.Call[room]) error { close(entered); <-release; return nil })
	})
	<-entered
	full := make(chan error, 2)
	for range 2 {
		wg.Go(func() { full <- a.Do(t.Context(), "lobby", increment) })
	}
	if err := <-full; !errors.Is(err, actor.ErrBusy) {
		t.Errorf("got %v", err)
	}
	ok(t, a.Do(t.Context(), "another", increment)) // others are not held up
	close(release)
	ok(t, <-full)
	wg.Wait()
}

// An alarm comes at its time, once, and a new one takes its place.
func TestAlarms(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := rooms(srv, actor.Kind[room]{Alarm: func(c *actor.Call[room]) error {
		c.State.Log = append(c.State.Log, "alarm")
		if len(c.State.Log) < 3 {
			return c.SetAlarm(srv.Clock.Now().Add(time.Hour))
		}
		return nil
	}})
	ok(t, a.Do(t.Context(), "lobby", func(c *actor.Call[room]) error {
		if err := c.SetAlarm(srv.Clock.Now().Add(time.Minute)); err != nil {
			return err
		}
		return c.SetAlarm(srv.Clock.Now().Add(time.Hour)) // in its place
	}))
	count := func() int { return len(state(t, a, "lobby").Log) }
	for want, after := range []time.Duration{0, 59 * time.Minute, time.Minute, time.Hour, time.Hour, 5 * time.Hour} {
		srv.Clock.Advance(after)
		srv.RunJobs()
		if got := count(); got != min(max(want-1, 0), 3) {
			t.Errorf("after step %d: %d alarms", want, got)
		}
	}
	ok(t, a.Do(t.Context(), "quiet", func(c *actor.Call[room]) error { return c.SetAlarm(srv.Clock.Now().Add(time.Minute)) }))
	ok(t, a.Do(t.Context(), "quiet", func(c *actor.Call[room]) error { return c.ClearAlarm() }))
	ok(t, a.Do(t.Context(), "gone", func(c *actor.Call[room]) error {
		c.State.Count = 1
		return c.SetAlarm(srv.Clock.Now().Add(time.Minute))
	}))
	ok(t, a.Delete(t.Context(), "gone"))
	srv.Clock.Advance(time.Hour)
	srv.RunJobs()
	if state(t, a, "quiet").Log != nil || state(t, a, "gone").Count != 0 || state(t, a, "gone").Log != nil {
		t.Error("an alarm that was taken away came")
	}
}

// A message takes effect once on its receiver, although it fails at first, and
// is sent only by a call that is stored.
func TestMessages(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	failures := 2
	var a *actor.Actors[room]
	a = rooms(srv, actor.Kind[room]{Receive: func(c *actor.Call[room], message json.RawMessage) error {
		var text string
		if err := json.Unmarshal(message, &text); err != nil {
			return err
		}
		c.State.Log = append(c.State.Log, text)
		if text == "difficult" && failures > 0 {
			failures--
			return errors.New("not now")
		}
		if text == "pass it on" {
			return actor.Send(c.Docs, a, "second", "passed on by "+c.ID, time.Time{})
		}
		return nil
	}})
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		return errors.Join(
			actor.Send(st, a, "first", "difficult", time.Time{}),
			actor.Send(st, a, "first", "pass it on", time.Time{}),
			actor.Send(st, a, "third", "later", srv.Clock.Now().Add(time.Hour)),
		)
	}))
	_ = srv.Update(t.Context(), func(st *pds.State) error {
		ok(t, actor.Send(st, a, "first", "never", time.Time{}))
		return errors.New("no")
	})
	for range 4 {
		srv.RunJobs()
		srv.Clock.Advance(time.Minute)
	}
	first, second, third := state(t, a, "first"), state(t, a, "second"), state(t, a, "third")
	if len(first.Log) != 2 || strings.Join(second.Log, "") != "passed on by first" || third.Log != nil {
		t.Errorf("%+v %+v %+v", first, second, third)
	}
	srv.Clock.Advance(time.Hour)
	srv.RunJobs()
	if got := state(t, a, "third"); strings.Join(got.Log, "") != "later" {
		t.Errorf("%+v", got)
	}
	if err := srv.Update(t.Context(), func(st *pds.State) error { return actor.Send(st, a, "", 1, time.Time{}) }); !errors.Is(err, actor.ErrID) {
		t.Errorf("got %v", err)
	}
}

// Actors that nobody calls leave memory; those that are called stay right.
func TestEviction(t *testing.T) {
	if testing.Short() {
		t.Skip("many actors")
	}
	srv := pdstest.New(t)
	a := rooms(srv, actor.Kind[room]{}, actor.Options{Active: 100})
	const n = 3000
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < n; i += 8 {
				err := a.Do(t.Context(), fmt.Sprint("room-", i), func(c *actor.Call[room]) error {
					c.State.Log = append(c.State.Log, strings.Repeat("x", 4000))
					c.State.Count = i
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	// 3,000 states of 4 KB would be 12 MB, and twice that with what is stored.
	if grown := int64(memory()) - int64(before); grown > 8<<20 {
		t.Errorf("%d bytes more are in memory", grown)
	}
	for i := 0; i < n; i += 97 {
		if got := state(t, a, fmt.Sprint("room-", i)); got.Count != i {
			t.Errorf("room %d has %d", i, got.Count)
		}
	}
}

func TestKindNames(t *testing.T) {
	t.Parallel()
	sys := actor.New(pdstest.New(t).Server, actor.Options{})
	alarm := func(*actor.Call[room]) error { return nil }
	actor.Register(sys, actor.Kind[room]{Name: kindName, Alarm: alarm})
	actor.Register(sys, actor.Kind[room]{Name: "com.example.silent"})
	for _, name := range []string{"", "nodots", "com.example." + strings.Repeat("x", actor.MaxNameBytes), kindName, "com.example.silent"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("the name %q was taken", name)
				}
			}()
			actor.Register(sys, actor.Kind[room]{Name: name, Alarm: alarm})
		}()
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	a := rooms(pdstest.New(t), actor.Kind[room]{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Do(ctx, "lobby", increment); !errors.Is(err, context.Canceled) || state(t, a, "lobby").Count != 0 {
		t.Errorf("got %v", err)
	}
}

func BenchmarkDo(b *testing.B) {
	a := rooms(pdstest.New(b), actor.Kind[room]{})
	for b.Loop() {
		ok(b, a.Do(b.Context(), "lobby", increment))
	}
}
