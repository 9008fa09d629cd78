// Package actortest checks that what a server does by itself works on a store:
// jobs, observers and actors. Import it into the tests of one.
//
//	func TestActors(t *testing.T) {
//		actortest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
//			return mystore.New(clock)
//		}, actortest.Options{})
//	}
package actortest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/actor"
	"github.com/pdskit/pdskit/internal/jobs/jobstest"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// Options say what a store can do.
type Options struct {
	// Reopen opens the store that lives in the folder dir, and makes it if
	// there is none. A store that does not survive the death of its process
	// leaves it nil; the case that kills a child process, which is the test
	// binary run again, is then skipped.
	Reopen func(t testing.TB, dir string, clock storage.Clock) storage.Store
}

// Run runs the suite. Open returns a new, empty store that uses the clock; it
// is closed with the test. Run must be called from a test function that does
// nothing else before it, because the killed children run that function again.
func Run(t *testing.T, open func(t testing.TB, clock storage.Clock) storage.Store, opts Options) {
	t.Run("Jobs", func(t *testing.T) { jobstest.Run(t, open) })
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clock := pdstest.NewClock()
			c.run(newEnv(t, open(t, clock), clock))
		})
	}
	t.Run("KillAndResume", func(t *testing.T) {
		if opts.Reopen == nil {
			t.Skip("the store does not survive its process")
		}
		killAndResume(t, opts)
	})
}

var cases = []struct {
	name string
	run  func(e *env)
}{
	{"ObserversSeeAllInOrder", observersInOrder},
	{"ObserversAreGivenAgain", observersAgain},
	{"ObserversGoOn", observersGoOn},
	{"OneObserverOfSeveral", observersOfSeveral},
	{"FailuresHarmNobody", failures},
	{"OneCallAtATime", oneCall},
	{"AlarmsSurvive", alarms},
	{"MessagesTakeEffectOnce", messages},
	{"EvictionUnderLoad", eviction},
}

// patience is how long a case waits for what has to happen.
const patience = 30 * time.Second

const collection = "com.example.note"

// env is what a case works with: a server on the store.
type env struct {
	*testing.T
	clock storage.Clock
	srv   *pdstest.PDS
}

// newEnv starts a server on a store, which it closes afterwards.
func newEnv(t *testing.T, store storage.Store, clock storage.Clock) *env {
	t.Helper()
	t.Cleanup(func() { _ = store.Close() })
	srv := pdstest.New(t, func(cfg *pds.Config) {
		cfg.Store = store
		if _, guarded := storage.GuardOf(store); !guarded {
			cfg.Clock = clock
		}
	})
	return &env{T: t, clock: clock, srv: srv}
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// process is another server on the same store, as in another process.
func (e *env) process() *pds.Server {
	e.Helper()
	s, err := pds.New(e.srv.Config)
	e.must(err)
	return s
}

// background does the work of a server until stop is called.
func (e *env) background(s *pds.Server) (stop func()) {
	ctx, cancel := context.WithCancel(e.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		e.Helper()
		cancel()
		e.must(<-done)
	}
}

// again does something until it does not conflict, as whoever uses a store has to
// be prepared for.
func again(do func() error) error {
	for range 100 {
		if err := do(); !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
	return errors.New("actortest: it always conflicts")
}

// account makes an account.
func (e *env) account() syntax.DID {
	e.Helper()
	var did syntax.DID
	e.must(again(func() error {
		a, err := e.srv.Server.CreateAccount(e.Context(), pds.NewAccount{Handle: fmt.Sprintf("a%d.test", rand.Uint64()>>16)})
		did = a.DID
		return err
	}))
	return did
}

// note writes a record.
func note(ctx context.Context, s *pds.Server, did syntax.DID, text string) error {
	rec, err := repo.RecordFromValue(map[string]any{"text": text}, collection)
	if err != nil {
		return err
	}
	return again(func() error {
		_, err := s.Apply(ctx, pds.Batch{Account: did, Actor: did, Ops: []pds.Op{{Action: pds.Create, Collection: collection, Record: rec}}})
		return err
	})
}

// newest is the number of the newest event.
func (e *env) newest() (seq int64) {
	e.Helper()
	e.must(e.srv.Config.Store.View(e.Context(), func(tx storage.Tx) (err error) {
		seq, err = tx.LastSeq()
		return err
	}))
	return seq
}

// thing is the state of the actors of the suite.
type thing struct {
	Count  int `json:"count"`
	Alarms int `json:"alarms"`
}

const kind = "com.example.thing"

func increment(c *actor.Call[thing]) error { c.State.Count++; return nil }

// register makes the actors of a process.
func register(s *pds.Server, k actor.Kind[thing], opts actor.Options) *actor.Actors[thing] {
	k.Name = kind
	return actor.Register(actor.New(s, opts), k)
}

// call increments an actor. A call that always conflicts has not happened.
func (e *env) call(a *actor.Actors[thing], id string) {
	e.Helper()
	if err := again(func() error { return a.Do(e.Context(), id, increment) }); err != nil {
		e.Errorf("a call of %s: %v", id, err)
	}
}

func (e *env) state(a *actor.Actors[thing], id string) (out thing) {
	e.Helper()
	e.must(a.View(e.Context(), id, func(s thing) error { out = s; return nil }))
	return out
}
