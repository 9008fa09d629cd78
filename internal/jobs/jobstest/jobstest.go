// Package jobstest checks that jobs work on a store: import it into the tests
// of one.
package jobstest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/storagetest"
)

// Run runs the suite. Open returns a new, empty store that uses the clock; it
// is closed with the test.
func Run(t *testing.T, open func(t testing.TB, clock storage.Clock) storage.Store) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clock := storagetest.NewClock()
			store := open(t, clock)
			t.Cleanup(func() { _ = store.Close() })
			guard, ok := storage.GuardOf(store)
			if !ok {
				guard = storage.NewGuard(clock, time.Time{})
			}
			e := &env{T: t, clock: clock, guard: guard, store: store}
			e.queue = e.newQueue()
			c.run(e)
		})
	}
}

var cases = []struct {
	name string
	run  func(e *env)
}{
	{"DueOnTimeNotBefore", dueOnTime},
	{"OldestFirst", oldestFirst},
	{"FailedTransactionLeavesNothing", failedTransaction},
	{"PutReplaces", putReplaces},
	{"PutWhileRunning", putWhileRunning},
	{"PutByItsOwnHandler", putByHandler},
	{"Cancel", cancelled},
	{"RetriesThenGivenUp", retries},
	{"Permanent", permanent},
	{"Until", until},
	{"PanicIsAFailure", panics},
	{"TimeLimit", timeLimit},
	{"BoundedParallelism", parallelism},
	{"SlowKindDelaysNoOther", slowKind},
	{"SeveralProcesses", severalProcesses},
	{"DeadProcess", deadProcess},
	{"CrashingJobIsGivenUp", crashingJob},
	{"LateResultIsIgnored", lateResult},
	{"StopHandsBack", stopHandsBack},
	{"WokenAtOnce", wokenAtOnce},
	{"NobodyHandlesTheKind", unhandled},
	{"ClockInDoubt", clockInDoubt},
	{"ClockStepsBack", clockStepsBack},
	{"OwnerLeaves", ownerLeaves},
	{"DeadOnesExpire", deadExpire},
	{"ListInPages", listPages},
	{"Limits", limits},
}

// env is what a case works with.
type env struct {
	*testing.T
	clock *storagetest.Clock
	guard *storage.Guard
	store storage.Store
	queue *jobs.Queue
}

// newQueue is another process on the same store.
func (e *env) newQueue() *jobs.Queue {
	return jobs.New(storage.DocsOf(e.store), e.guard, slog.New(slog.DiscardHandler))
}

// try is an Update, again if it conflicts, as it may.
func (e *env) try(fn func(tx storage.Tx) error) (err error) {
	for range 100 {
		if err = e.store.Update(e.Context(), fn); !errors.Is(err, storage.ErrConflict) {
			break
		}
	}
	return err
}

func (e *env) update(fn func(tx storage.Tx) error) {
	e.Helper()
	if err := e.try(fn); err != nil {
		e.Fatal(err)
	}
}

func (e *env) put(list ...jobs.Job) {
	e.Helper()
	e.update(func(tx storage.Tx) error {
		for _, j := range list {
			if err := e.queue.Put(tx, j); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *env) handle(h jobs.Handler) { e.handleOn(e.queue, h) }

func (e *env) handleOn(q *jobs.Queue, h jobs.Handler) {
	e.Helper()
	if err := q.Handle(h); err != nil {
		e.Fatal(err)
	}
}

// runDue runs what is due and wants a number of runs.
func (e *env) runDue(want int) {
	e.Helper()
	n, err := e.queue.RunDue(e.Context())
	if err != nil || n != want {
		e.Fatalf("%d runs, error %v; want %d runs", n, err, want)
	}
}

func (e *env) list(dead bool) []jobs.Info {
	e.Helper()
	list, err := e.queue.List(e.Context(), jobs.Query{Dead: dead, Limit: 1000})
	if err != nil {
		e.Fatal(err)
	}
	return list
}

func (e *env) wantNone() {
	e.Helper()
	if list := e.list(false); len(list) != 0 {
		e.Fatalf("jobs are left: %+v", list)
	}
	for _, kind := range []string{"job", "job-due", "job-dead"} {
		err := e.store.View(e.Context(), func(tx storage.Tx) error {
			docs, err := tx.ScanDocs(kind, storage.Scan{Limit: 1})
			if len(docs) > 0 {
				err = fmt.Errorf("a document is left: %s %q", kind, docs[0].Key)
			}
			return err
		})
		if err != nil {
			e.Fatal(err)
		}
	}
}

// recorder is a handler's memory. Its methods may be called concurrently.
type recorder struct {
	mu   sync.Mutex // guards following field
	runs []jobs.Job
}

func (r *recorder) add(j jobs.Job) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, j)
	return len(r.runs)
}

func (r *recorder) run(_ context.Context, j jobs.Job) error {
	r.add(j)
	return nil
}

func (r *recorder) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, j := range r.runs {
		out = append(out, j.Name)
	}
	return out
}

const kind = "com.example.job"
