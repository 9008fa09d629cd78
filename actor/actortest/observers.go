package actortest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
)

// diary is an observer that remembers the numbers of what it saw. Its methods
// may be called concurrently.
type diary struct {
	mu   sync.Mutex // guards following field
	seqs []int64
}

func (d *diary) observe(_ context.Context, ev *pds.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seqs = append(d.seqs, ev.Seq)
	return nil
}

func (d *diary) seen() []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seqs)
}

// wait returns what the diary says once it has the newest event.
func (e *env) wait(d *diary) []int64 {
	e.Helper()
	want := e.newest()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if seen := d.seen(); len(seen) > 0 && seen[len(seen)-1] >= want {
			return seen
		}
		if time.Now().After(deadline) {
			e.Fatalf("%d events were seen, and not the newest one, %d", len(d.seen()), want)
		}
	}
}

// stored returns the numbers of all events after one.
func (e *env) stored(after int64) (seqs []int64) {
	e.Helper()
	for {
		n := len(seqs)
		e.must(e.srv.Config.Store.View(e.Context(), func(tx storage.Tx) error {
			page, err := tx.ListEvents(after, 100, 1<<20)
			for _, ev := range page {
				seqs, after = append(seqs, ev.Seq), ev.Seq
			}
			return err
		}))
		if len(seqs) == n {
			return seqs
		}
	}
}

// crowd writes to several accounts at the same time.
func (e *env) crowd(accounts, writes int) {
	e.Helper()
	var wg sync.WaitGroup
	for range accounts {
		did := e.account()
		wg.Go(func() {
			for i := range writes {
				if err := note(e.Context(), e.srv.Server, did, fmt.Sprint(i)); err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func observersInOrder(e *env) {
	var early, late diary
	e.srv.Observe("early", early.observe)
	e.crowd(4, 15)
	e.srv.Observe("late", late.observe)
	want := e.stored(0)
	for name, d := range map[string]*diary{"early": &early, "late": &late} {
		if got := e.wait(d); !slices.Equal(got, want) {
			e.Errorf("the %s one saw %v, want %v", name, got, want)
		}
	}
}

func observersAgain(e *env) {
	var d diary
	failures := map[int64]int{}
	e.srv.Observe("flaky", func(ctx context.Context, ev *pds.Event) error {
		if len(d.seen())%5 == 0 && failures[ev.Seq] < 2 {
			if failures[ev.Seq]++; failures[ev.Seq] == 1 {
				return errors.New("not now")
			}
			panic("not now either")
		}
		return d.observe(ctx, ev)
	})
	e.crowd(1, 8)
	if got, want := e.wait(&d), e.stored(0); !slices.Equal(got, want) || len(failures) < 2 {
		e.Errorf("%v after %d failures, want %v", got, len(failures), want)
	}
}

func observersGoOn(e *env) {
	did := e.account()
	var all []int64
	for range 3 {
		s := e.process()
		var d diary
		s.Observe("index", d.observe)
		stop := e.background(s)
		for range 5 {
			e.must(note(e.Context(), s, did, "x"))
		}
		all = append(all, e.wait(&d)...)
		stop()
	}
	// What was seen just before a stop may be seen again, if it could not be
	// stored how far it was; nothing else, and nothing is left out.
	want := e.stored(0)
	if got := slices.Compact(slices.Sorted(slices.Values(all))); !slices.Equal(got, want) {
		e.Errorf("seen were %v, want %v", got, want)
	}
	if extra := len(all) - len(want); extra > 2*len(want) {
		e.Errorf("%d events were seen again", extra)
	}
}

func observersOfSeveral(e *env) {
	var one, other diary
	s := e.process()
	e.srv.Observe("index", one.observe)
	s.Observe("index", other.observe)
	stop := e.background(s)
	e.crowd(2, 10)
	want := e.stored(0)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got := append(one.seen(), other.seen()...)
		if len(got) >= len(want) {
			slices.Sort(got)
			if !slices.Equal(got, want) {
				e.Errorf("the two saw %v, want %v", got, want)
			}
			break
		}
		if time.Now().After(deadline) {
			e.Fatalf("the two saw %d of %d", len(got), len(want))
		}
	}
	stop()
}

// failures: observers and jobs that panic, fail or hang delay neither writes nor
// each other.
func failures(e *env) {
	release := make(chan struct{})
	defer close(release)
	hang := func(ctx context.Context) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	s := e.process()
	for name, bad := range map[string]func(context.Context) error{
		"hangs":  hang,
		"fails":  func(context.Context) error { return errors.New("no") },
		"panics": func(context.Context) error { panic("no") },
	} {
		s.Observe(name, func(ctx context.Context, _ *pds.Event) error { return bad(ctx) })
		job := "com.example." + name
		s.HandleJobs(pds.JobHandler{Kind: job, Run: func(ctx context.Context, _ pds.Job) error { return bad(ctx) }})
		for i := range 10 {
			e.must(again(func() error { return s.Schedule(e.Context(), pds.Job{Kind: job, Name: fmt.Sprint(i)}) }))
		}
	}
	var d diary
	s.Observe("good", d.observe)
	done := make(chan string, 1)
	s.HandleJobs(pds.JobHandler{Kind: "com.example.good", Run: func(_ context.Context, j pds.Job) error {
		select {
		case done <- j.Name:
		default: // it may run again
		}
		return nil
	}})
	stop := e.background(s)
	e.crowd(2, 10)
	e.must(again(func() error { return s.Schedule(e.Context(), pds.Job{Kind: "com.example.good", Name: "x"}) }))
	select {
	case <-done:
	case <-time.After(patience):
		e.Error("a good job waits for bad ones")
	}
	if got, want := e.wait(&d), e.stored(0); !slices.Equal(got, want) {
		e.Errorf("a good observer saw %v, want %v", got, want)
	}
	stop()
}
