package storagetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// Options say what a store can do besides the contract's minimum.
type Options struct {
	// Reopen opens the store that lives in the folder dir, and makes it if
	// there is none. A store that keeps nothing after Close leaves it nil;
	// cases that close and open again are then skipped.
	Reopen func(t testing.TB, dir string, clock storage.Clock) storage.Store

	// Durable says that what an Update acknowledged survives the death of the
	// process. It needs Reopen. Cases that kill a child process, which is the
	// test binary run again, are skipped without it.
	Durable bool
}

// Run runs the suite. Open returns a new, empty store that uses the clock; Run
// closes it. Run must be called from a test function, directly or in a
// subtest, that does nothing else before it, because the killed children run
// that function again.
func Run(t *testing.T, open func(t testing.TB, clock storage.Clock) storage.Store, opts Options) {
	for _, c := range slices.Concat(txCases, accountCases, repoCases, randomCases, listCases, generationCases,
		eventCases, blobCases, docCases, maintainCases, concurrencyCases, reopenCases, killCases) {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the rule: %s", c.rule)
				}
			})
			e := &env{T: t, opts: opts, clock: NewClock()}
			switch {
			case c.needs >= needReopen && opts.Reopen == nil:
				t.Skip("the store cannot be reopened")
			case c.needs >= needDurable && !opts.Durable:
				t.Skip("the store is not durable")
			case c.needs == needNothing:
				e.store = open(t, e.clock)
				t.Cleanup(func() { e.store.Close() })
			}
			c.run(e)
		})
	}
}

// What a case needs.
const (
	needNothing = iota
	needReopen  // opens stores itself
	needDurable
)

// testCase is one rule of the contract and its check.
type testCase struct {
	name  string
	rule  string
	run   func(e *env)
	needs int
}

// env is what a case works with.
type env struct {
	*testing.T
	opts  Options
	clock *Clock
	store storage.Store
}

// view fails the test if the View does.
func (e *env) view(fn func(tx storage.Tx) error) {
	e.Helper()
	if err := e.store.View(context.Background(), fn); err != nil {
		e.Fatalf("View: %v", err)
	}
}

// update fails the test if the Update does.
func (e *env) update(fn func(tx storage.Tx) error) {
	e.Helper()
	if err := e.store.Update(context.Background(), fn); err != nil {
		e.Fatalf("Update: %v", err)
	}
}

// refused fails the test unless the Update fails with an error that matches.
func (e *env) refused(want error, fn func(tx storage.Tx) error) {
	e.Helper()
	if err := e.store.Update(context.Background(), fn); !errors.Is(err, want) {
		e.Fatalf("Update returned %v, want %v", err, want)
	}
}

// maintain calls Maintain until no work is left.
func (e *env) maintain(b storage.Budget) {
	e.Helper()
	b.Time = max(b.Time, 10*time.Second)
	for range 1000 {
		more, err := e.store.Maintain(context.Background(), b)
		if err != nil {
			e.Fatalf("Maintain: %v", err)
		}
		if !more {
			return
		}
	}
	e.Fatal("Maintain always says that there is more to do")
}

// same fails the test unless got equals want.
func same[T comparable](e *env, what string, got, want T) {
	e.Helper()
	if got != want {
		e.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// sameList fails the test unless the lists are equal; nil equals empty.
func sameList[T comparable](e *env, what string, got, want []T) {
	e.Helper()
	if !slices.Equal(got, want) {
		e.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// matches fails the test unless err matches want.
func matches(e *env, what string, err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("%s returned error %v, want %v", what, err, want)
	}
}
