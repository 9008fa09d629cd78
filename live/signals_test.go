package live_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/live"
)

type typing struct {
	Typing bool `json:"typing"`
}

// shown is what a client shows of the signals that it was sent.
func shown(t testing.TB, s *live.Subscription, have map[string]string, until func(map[string]string) bool) {
	t.Helper()
	for !until(have) {
		events, err := s.Next(within(t))
		if err != nil {
			t.Fatalf("with %v: %v", have, err)
		}
		for _, ev := range events {
			switch {
			case ev.Kind == live.KindSignalsReset:
				clear(have)
			case ev.Kind != live.KindSignal:
			case ev.Signal.Gone:
				delete(have, ev.Signal.Key)
			default:
				have[ev.Signal.Key] = string(ev.Signal.Data)
			}
		}
	}
}

func TestSignals(t *testing.T) {
	w := newWorld(t, live.Limits{})
	s := w.subscribe(live.Public(), live.Options{})
	set := func(key string, data any, d time.Duration) {
		t.Helper()
		if err := w.Signal(room, key, data, d); err != nil {
			t.Fatal(err)
		}
	}
	set("alice", typing{true}, 10*time.Second)
	set("bob", typing{false}, time.Minute)
	for n, got := range take(t, s, 2) {
		want := []string{
			`{"topic":"com.example.room/1","key":"alice","data":{"typing":true}}`,
			`{"topic":"com.example.room/1","key":"bob","data":{"typing":false}}`,
		}[n]
		if string(got.JSON()) != want || got.Cursor != "" {
			t.Errorf("event %d: %s", n, got.JSON())
		}
	}
	set("bob", typing{false}, time.Minute) // the same again
	idle(t, s)
	set("bob", typing{true}, time.Minute)
	take(t, s, 1)
	if list := w.Signals(room); len(list) != 2 || list[0].Key != "alice" || string(list[1].Data) != `{"typing":true}` {
		t.Errorf("signals %+v", list)
	}

	// A new subscriber, and one for signals alone of a topic that has no messages.
	for _, only := range []bool{false, true} {
		fresh := w.subscribe(live.Public(), live.Options{SignalsOnly: only})
		list := take(t, fresh, 2)
		if list[0].Signal.Key != "alice" || list[1].Signal.Key != "bob" {
			t.Errorf("a new subscriber gets %s, %s", list[0].JSON(), list[1].JSON())
		}
		idle(t, fresh)
	}

	// Each ends in its time, and it is told.
	w.clock.Pass(10 * time.Second)
	if got := take(t, s, 1)[0]; got.Signal.Key != "alice" || !got.Signal.Gone {
		t.Errorf("got %s", got.JSON())
	}
	w.EndSignal(room, "bob")
	w.EndSignal(room, "bob")
	w.EndSignal("none", "bob")
	if got := take(t, s, 1)[0]; got.Signal.Key != "bob" || !got.Signal.Gone {
		t.Errorf("got %s", got.JSON())
	}
	idle(t, w.subscribe(live.Public(), live.Options{}))
	if n := w.SignalBytes(); n != 0 || len(w.Signals(room)) != 0 {
		t.Errorf("%d bytes of signals are left", n)
	}
	// Set again after its end, within the same batch.
	set("alice", typing{true}, time.Second)
	w.EndSignal(room, "alice")
	set("alice", typing{false}, time.Second)
	if got := take(t, s, 1)[0]; got.Signal.Gone || string(got.Signal.Data) != `{"typing":false}` {
		t.Errorf("got %s", got.JSON())
	}
	if info, err := w.Topic(t.Context(), room); err != nil || info.Last != 0 {
		t.Errorf("signals left %d entries, %v", info.Last, err)
	}
}

// TestSignalsLast: a subscriber that was away gets the last value of each key,
// and one that missed too many ends begins anew. What it shows is always right.
func TestSignalsLast(t *testing.T) {
	w := newWorld(t, live.Limits{})
	s := w.subscribe(live.Public(), live.Options{})
	have := map[string]string{}
	set := func(n, value int) {
		t.Helper()
		if err := w.Signal(room, fmt.Sprint("key", n), map[string]int{"v": value}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 300 {
		set(n, 1)
	}
	shown(t, s, have, func(m map[string]string) bool { return len(m) == 300 })
	for v := range 50 {
		set(7, v)
	}
	list := take(t, s, 1)
	if string(list[0].Signal.Data) != `{"v":49}` {
		t.Errorf("the last value is %s", list[0].JSON())
	}
	have["key7"] = `{"v":49}`
	for n := range 290 { // more than are remembered
		w.EndSignal(room, fmt.Sprint("key", n))
	}
	set(5, 2)
	shown(t, s, have, func(m map[string]string) bool { return len(m) == 11 && m["key5"] == `{"v":2}` })
	idle(t, s)
	for n := 290; n < 300; n++ { // these are told one by one
		w.EndSignal(room, fmt.Sprint("key", n))
	}
	for _, ev := range take(t, s, 10) {
		if ev.Kind != live.KindSignal || !ev.Signal.Gone {
			t.Errorf("got %s", ev.JSON())
		}
	}
}

// TestSignalsWhileListed: what ends while a new subscriber is being sent the
// list is told to it.
func TestSignalsWhileListed(t *testing.T) {
	w := newWorld(t, live.Limits{})
	for n := range 150 {
		if err := w.Signal(room, fmt.Sprint("key", n), typing{true}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	s := w.subscribe(live.Public(), live.Options{})
	have := map[string]string{}
	shown(t, s, have, func(m map[string]string) bool { return len(m) > 0 })
	if len(have) == 150 {
		t.Fatal("all came at once")
	}
	w.EndSignal(room, "key0")
	w.EndSignal(room, "key149")
	shown(t, s, have, func(m map[string]string) bool { return len(m) == 148 })
	if _, there := have["key0"]; there {
		t.Error("a signal that has ended is shown")
	}
	idle(t, s)
}

func TestSignalLimits(t *testing.T) {
	w := newWorld(t, live.Limits{Signals: 2, SignalBytes: 6000})
	for name, tt := range map[string]struct {
		topic, key string
		data       any
		d          time.Duration
		want       error
	}{
		"topic":      {"", "k", typing{}, time.Second, live.ErrInvalid},
		"no key":     {"t", "", typing{}, time.Second, live.ErrInvalid},
		"long key":   {"t", strings.Repeat("k", live.MaxSignalKey+1), typing{}, time.Second, live.ErrInvalid},
		"no text":    {"t", "\xff", typing{}, time.Second, live.ErrInvalid},
		"no time":    {"t", "k", typing{}, 0, live.ErrInvalid},
		"long":       {"t", "k", typing{}, live.MaxSignalTime + 1, live.ErrInvalid},
		"no object":  {"t", "k", 1, time.Second, live.ErrInvalid},
		"large":      {"t", "k", map[string]string{"x": strings.Repeat("x", live.MaxSignalBytes-7)}, time.Second, live.ErrInvalid},
		"all of all": {"t", "k", map[string]string{"x": strings.Repeat("x", 2000)}, time.Second, live.ErrTooMany},
	} {
		if err := w.Signal(tt.topic, tt.key, tt.data, tt.d); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	set := func(topic, key string, want error) {
		t.Helper()
		if err := w.Signal(topic, key, typing{}, live.MaxSignalTime); !errors.Is(err, want) {
			t.Errorf("%s %s: %v", topic, key, err)
		}
	}
	set("t", strings.Repeat("k", live.MaxSignalKey), nil)
	set("t", "b", nil)
	set("t", "b", nil)
	set("t", "c", live.ErrTooMany)
	set("u", "c", nil)
	s, err := w.Subscribe(t.Context(), "t", live.Public(), live.Options{SignalsOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	have := map[string]string{}
	shown(t, s, have, func(m map[string]string) bool { return len(m) == 2 })
	w.clock.Pass(live.MaxSignalTime)
	shown(t, s, have, func(m map[string]string) bool { return len(m) == 0 })
	set("t", "c", nil)

	// The largest fits where there is room.
	big := newWorld(t, live.Limits{})
	if err := big.Signal("t", "k", map[string]string{"x": strings.Repeat("x", live.MaxSignalBytes-8)}, time.Second); err != nil {
		t.Error(err)
	}
}
