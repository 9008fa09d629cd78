package pds_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
)

// notebook collects what an observer saw.
type notebook struct {
	mu   sync.Mutex
	seen []*pds.Event
}

func (n *notebook) observe(_ context.Context, ev *pds.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, ev)
	return nil
}

func (n *notebook) events() []*pds.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*pds.Event(nil), n.seen...)
}

// wait waits until the newest event was seen and returns all.
func (n *notebook) wait(t *testing.T, srv *pdstest.PDS) []*pds.Event {
	t.Helper()
	want := lastSeq(t, srv)
	for deadline := time.Now().Add(20 * time.Second); ; {
		if seen := n.events(); len(seen) > 0 && seen[len(seen)-1].Seq == want {
			return seen
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d events seen, not up to %d", len(n.events()), want)
		}
		<-waitABit(t)
	}
}

// seqs checks that events come in order, and returns their numbers.
func seqs(t *testing.T, events []*pds.Event) (out []int64) {
	t.Helper()
	for i, ev := range events {
		if i > 0 && ev.Seq <= events[i-1].Seq {
			t.Fatalf("event %d after %d", ev.Seq, events[i-1].Seq)
		}
		out = append(out, ev.Seq)
	}
	return out
}

func TestObserveSeesEverythingInOrder(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	var early, late notebook
	srv.Observe("early", early.observe)
	note(t, a, "one", "first")
	note(t, a, "one", "second")
	mustWrite(t, a, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "one"})
	rec, err := repo.RecordFromValue(map[string]any{"text": "by a bot"}, noteCollection)
	ok(t, err)
	_, err = srv.Apply(t.Context(), pds.Batch{
		Account: a.DID, Actor: "did:web:bot.example", Client: "https://bot.example/client",
		Ops: []pds.Op{{Action: pds.Create, Collection: noteCollection, RKey: "two", Record: rec}},
	})
	ok(t, err)
	ok(t, post(t, srv, "com.atproto.server.deactivateAccount", "Bearer "+a.Access, map[string]any{}, nil))
	srv.Observe("late", late.observe)

	var got []string
	for _, ev := range early.wait(t, srv) {
		s := fmt.Sprintf("%s active=%v %s %s by %s", ev.Kind, ev.Active, ev.Status, ev.Handle, ev.Actor)
		if ev.Commit != nil {
			for _, op := range ev.Commit.Ops {
				s += fmt.Sprintf(" %s %s", op.Action, op.RKey)
				if op.Record != nil {
					s += fmt.Sprintf(" %v", op.Record.Value["text"])
				}
				if op.Prev.Defined() == (op.Action == pds.Create) || op.CID.Defined() == (op.Action == pds.Delete) {
					t.Errorf("%+v", op)
				}
			}
		}
		if ev.Account != a.DID || ev.Gap || ev.Time.IsZero() {
			t.Errorf("%+v", ev)
		}
		got = append(got, s)
	}
	me := string(a.DID)
	want := []string{
		"identity active=false  alice.test by " + me,
		"account active=true   by " + me,
		"commit active=false   by " + me,
		"sync active=false   by " + me,
		"commit active=false   by " + me + " create one first",
		"commit active=false   by " + me + " update one second",
		"commit active=false   by " + me + " delete one",
		"commit active=false   by did:web:bot.example create two by a bot",
		"account active=false deactivated  by " + me,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(seqs(t, early.events()), seqs(t, late.wait(t, srv))); diff != "" {
		t.Error(diff)
	}
	if ev := late.events()[7]; ev.Client != "https://bot.example/client" {
		t.Errorf("client %q", ev.Client)
	}
}

// A failing, panicking or slow observer sees the same event again and delays
// nobody.
func TestObserveFailures(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	var calm, flaky notebook
	release := make(chan struct{})
	defer close(release)
	srv.Observe("stuck", func(ctx context.Context, _ *pds.Event) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	tries := 0
	srv.Observe("flaky", func(ctx context.Context, ev *pds.Event) error {
		if ev.Kind == pds.EventCommit && tries < 2 {
			if tries++; tries == 1 {
				return errors.New("not now")
			}
			panic("not now either")
		}
		return flaky.observe(ctx, ev)
	})
	srv.Observe("calm", calm.observe)
	a := srv.CreateAccount("alice")
	for i := range 20 {
		note(t, a, fmt.Sprint("n", i), "x")
	}
	want := seqs(t, calm.wait(t, srv))
	if diff := cmp.Diff(want, seqs(t, flaky.wait(t, srv))); diff != "" || tries != 2 {
		t.Errorf("%s after %d failures", diff, tries)
	}
}

// An observer goes on where it was after a restart; while another process has
// it, no second one calls it.
func TestObserveAcrossProcesses(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	cfg := srv.Config
	var first, second notebook
	start := func(n *notebook) (s *pds.Server, stop func()) {
		t.Helper()
		s, err := pds.New(cfg)
		ok(t, err)
		s.Observe("index", n.observe)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		stopped := false
		stop = func() {
			if !stopped {
				stopped = true
				cancel()
				ok(t, <-done)
			}
		}
		t.Cleanup(stop)
		return s, stop
	}
	_, stopFirst := start(&first)
	note(t, a, "one", "x")
	first.wait(t, srv)
	_, stopSecond := start(&second)
	for i := range 20 {
		note(t, a, fmt.Sprint("n", i), "x")
	}
	first.wait(t, srv)
	stopFirst()
	note(t, a, "two", "x")
	second.wait(t, srv)
	all := append(first.events(), second.events()...)
	if len(first.events()) != 4+21 || len(second.events()) != 1 {
		t.Errorf("%d and %d events", len(first.events()), len(second.events()))
	}
	seqs(t, all)
	stopSecond()
	// Nothing is seen again after an orderly stop.
	var third notebook
	start(&third)
	note(t, a, "three", "x")
	third.wait(t, srv)
	if n := len(third.events()); n != 1 {
		t.Errorf("%d events after a restart", n)
	}
}

// A process that dies leaves its observers to others when its claim ends; the
// events that it had not stored are seen again.
func TestObserveAfterACrash(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	var seen notebook
	s, err := pds.New(srv.Config)
	ok(t, err)
	s.Observe("index", seen.observe)
	at, err := s.ObserveOnce(t.Context(), "index", false)
	ok(t, err)
	if at == 0 || len(seen.events()) != 4 {
		t.Fatalf("at %d after %d events", at, len(seen.events()))
	}
	var heir notebook
	srv.Observe("index", heir.observe)
	note(t, a, "one", "x")
	<-waitABit(t)
	if n := len(heir.events()); n != 0 {
		t.Errorf("%d events while another process has the observer", n)
	}
	srv.Clock.Advance(time.Minute)
	note(t, a, "two", "x")
	if got := heir.wait(t, srv); len(got) != 6 {
		t.Errorf("%d events after the crash", len(got))
	}
}

func TestObserveGap(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Limits.EventAge, c.Limits.BackfillWindow = time.Hour, time.Hour
	})
	a := srv.CreateAccount("alice")
	s, err := pds.New(srv.Config)
	ok(t, err)
	var seen notebook
	s.Observe("index", seen.observe)
	_, err = s.ObserveOnce(t.Context(), "index", true)
	ok(t, err)
	note(t, a, "one", "x")
	srv.Clock.Advance(2 * time.Hour)
	srv.RunTasks(t.Context())
	a.Login()
	note(t, a, "two", "x")
	note(t, a, "three", "x")
	_, err = s.ObserveOnce(t.Context(), "index", true)
	ok(t, err)
	got := seen.events()
	if n := len(got); n != 6 || got[3].Gap || !got[4].Gap || got[5].Gap {
		for _, ev := range got {
			t.Logf("%+v", ev)
		}
		t.Error("no gap is shown where events are missing")
	}
}

func TestObserveNames(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	nothing := func(context.Context, *pds.Event) error { return nil }
	srv.Observe("x", nothing)
	for _, name := range []string{"", "x", fmt.Sprintf("%129s", "")} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("the name %q was taken", name)
				}
			}()
			srv.Observe(name, nothing)
		}()
	}
}

// An observer that never returns does not keep the server from ending.
func TestObserverThatNeverReturns(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	cfg := srv.Config
	cfg.Limits.DrainTime = 50 * time.Millisecond
	s, err := pds.New(cfg)
	ok(t, err)
	release, entered := make(chan struct{}), make(chan struct{})
	defer close(release)
	s.Observe("stuck", func(context.Context, *pds.Event) error {
		close(entered)
		<-release
		return nil
	})
	srv.CreateAccount("alice")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-entered
	cancel()
	select {
	case err := <-ended:
		ok(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not end")
	}
}
