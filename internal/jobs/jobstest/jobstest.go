// Package jobstest checks that jobs work on a store: import it into the tests
// of one.
package jobstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

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

// retryWait is longer than any delay between two attempts.
const retryWait = jobs.MaxRetry + jobs.MaxRetry/5 + time.Second

func dueOnTime(e *env) {
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run})
	e.put(
		jobs.Job{Kind: kind, Name: "now", Data: json.RawMessage(`{"a":1}`)},
		jobs.Job{Kind: kind, Name: "later", Due: e.clock.Now().Add(time.Hour)},
	)
	e.runDue(1)
	if got := r.runs[0]; got.Name != "now" || string(got.Data) != `{"a":1}` || got.Attempt != 1 {
		e.Fatalf("the handler got %+v", got)
	}
	e.clock.Pass(time.Hour - time.Millisecond)
	e.runDue(0)
	e.clock.Pass(time.Millisecond)
	e.runDue(1)
	e.wantNone()
}

func oldestFirst(e *env) {
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run, Parallel: 1})
	for _, name := range []string{"c", "a", "b"} {
		e.put(jobs.Job{Kind: kind, Name: name})
		e.clock.Pass(time.Millisecond)
	}
	e.runDue(3)
	if got := strings.Join(r.names(), ""); got != "cab" {
		e.Fatalf("they ran in order %s", got)
	}
}

func failedTransaction(e *env) {
	failure := errors.New("no")
	err := e.store.Update(e.Context(), func(tx storage.Tx) error {
		if err := e.queue.Put(tx, jobs.Job{Kind: kind, Name: "a"}); err != nil {
			return err
		}
		return failure
	})
	if !errors.Is(err, failure) {
		e.Fatal(err)
	}
	e.wantNone()
}

func putReplaces(e *env) {
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run})
	e.put(jobs.Job{Kind: kind, Name: "a", Data: json.RawMessage(`1`)})
	e.put(jobs.Job{Kind: kind, Name: "a", Data: json.RawMessage(`2`), Due: e.clock.Now().Add(time.Minute)})
	e.put(jobs.Job{Kind: "com.example.other", Name: "a"}) // another job
	e.runDue(0)
	e.clock.Pass(time.Minute)
	e.runDue(1)
	if string(r.runs[0].Data) != `2` {
		e.Fatalf("the job that was replaced ran: %+v", r.runs[0])
	}
}

func putWhileRunning(e *env) {
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: func(_ context.Context, j jobs.Job) error {
		if r.add(j) == 1 {
			e.put(jobs.Job{Kind: kind, Name: "a", Data: json.RawMessage(`2`)})
			return errors.New("of no interest any more")
		}
		return nil
	}})
	e.put(jobs.Job{Kind: kind, Name: "a", Data: json.RawMessage(`1`)})
	e.runDue(2)
	if got := r.runs[1]; string(got.Data) != `2` || got.Attempt != 1 {
		e.Fatalf("the second run is %+v", got)
	}
	e.wantNone()
}

func putByHandler(e *env) {
	runs := 0
	e.handle(jobs.Handler{Kind: kind, Run: func(context.Context, jobs.Job) error {
		if runs++; runs < 3 {
			e.put(jobs.Job{Kind: kind, Name: "a", Due: e.clock.Now().Add(time.Minute)})
		}
		return nil
	}})
	e.put(jobs.Job{Kind: kind, Name: "a"})
	for range 3 {
		e.runDue(1)
		e.clock.Pass(time.Minute)
	}
	e.wantNone()
}

func cancelled(e *env) {
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run})
	e.put(jobs.Job{Kind: kind, Name: "a"})
	for range 2 { // the second time there is nothing
		e.update(func(tx storage.Tx) error { return e.queue.Cancel(tx, kind, "a") })
	}
	e.runDue(0)
	e.wantNone()
}

func retries(e *env) {
	const attempts = 4
	fail := true
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Attempts: attempts, Run: func(_ context.Context, j jobs.Job) error {
		r.add(j)
		if fail {
			return errors.New("not today")
		}
		return nil
	}})
	e.put(jobs.Job{Kind: kind, Name: "a", Data: json.RawMessage(`"kept"`)})
	delay := jobs.FirstRetry
	for i := range attempts {
		e.runDue(1)
		if r.runs[i].Attempt != i+1 {
			e.Fatalf("run %d is attempt %d", i+1, r.runs[i].Attempt)
		}
		if i == attempts-1 {
			break
		}
		if info := e.list(false)[0]; info.Running || info.Dead || info.Error != "not today" {
			e.Fatalf("after a failure the job is %+v", info)
		}
		e.clock.Pass(delay - delay/5 - time.Millisecond)
		e.runDue(0)
		e.clock.Pass(2*delay/5 + 2*time.Millisecond)
		delay *= 2
	}
	e.clock.Pass(24 * time.Hour)
	e.runDue(0)
	dead := e.list(true)
	if len(dead) != 1 || !dead[0].Dead || dead[0].Attempt != attempts || dead[0].Error != "not today" {
		e.Fatalf("dead jobs: %+v", dead)
	}
	if all := e.list(false); len(all) != 1 || !all[0].Dead {
		e.Fatalf("all jobs: %+v", all)
	}

	fail = false
	if err := e.queue.Retry(e.Context(), kind, "a"); err != nil {
		e.Fatal(err)
	}
	if err := e.queue.Retry(e.Context(), kind, "a"); !errors.Is(err, storage.ErrNotFound) {
		e.Fatalf("retry of a job that waits: %v", err)
	}
	e.runDue(1)
	if last := r.runs[attempts]; last.Attempt != 1 || string(last.Data) != `"kept"` {
		e.Fatalf("the retry is %+v", last)
	}
	e.wantNone()
}

func permanent(e *env) {
	e.handle(jobs.Handler{Kind: kind, Run: func(context.Context, jobs.Job) error {
		return fmt.Errorf("wrapped: %w", jobs.Permanent(errors.New(strings.Repeat("é", 1000))))
	}})
	e.put(jobs.Job{Kind: kind, Name: "a"})
	e.runDue(1)
	dead := e.list(true)
	if len(dead) != 1 || len(dead[0].Error) > 500 || !strings.HasPrefix(dead[0].Error, "wrapped: éé") {
		e.Fatalf("dead jobs: %+v", dead)
	}
	e.put(jobs.Job{Kind: kind, Name: "a", Due: e.clock.Now().Add(time.Hour)})
	if len(e.list(true)) != 0 || len(e.list(false)) != 1 {
		e.Fatal("a job does not take the place of a dead one")
	}
}

func until(e *env) {
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: func(_ context.Context, j jobs.Job) error {
		r.add(j)
		return errors.New("no")
	}})
	end := e.clock.Now().Add(time.Minute)
	e.put(jobs.Job{Kind: kind, Name: "a", Until: end}, jobs.Job{Kind: kind, Name: "b", Until: end})
	e.update(func(tx storage.Tx) error { return e.queue.Cancel(tx, kind, "b") })
	e.put(jobs.Job{Kind: kind, Name: "c", Due: end, Until: end})
	e.runDue(1)
	for range 60 { // "a" is tried again until its time is over
		e.clock.Pass(time.Second)
		if _, err := e.queue.RunDue(e.Context()); err != nil {
			e.Fatal(err)
		}
	}
	names := r.names()
	if n := len(names); n < 3 || names[n-1] != "c" || slices.Contains(names[:n-1], "c") {
		e.Fatalf("runs: %v", names)
	}
	e.wantNone()

	e.put(jobs.Job{Kind: kind, Name: "late", Until: e.clock.Now()})
	e.clock.Pass(time.Millisecond)
	e.runDue(0)
	e.wantNone()
}

func panics(e *env) {
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: func(_ context.Context, j jobs.Job) error {
		if r.add(j); j.Name == "bad" && j.Attempt == 1 {
			panic("oh") //nolint:forbidigo // the panic of a bad handler
		}
		return nil
	}})
	e.put(jobs.Job{Kind: kind, Name: "bad"}, jobs.Job{Kind: kind, Name: "good"})
	e.runDue(2)
	if list := e.list(false); len(list) != 1 || list[0].Name != "bad" || list[0].Error != "panic: oh" {
		e.Fatalf("after a panic: %+v", list)
	}
	e.clock.Pass(retryWait)
	e.runDue(1)
	e.wantNone()
}

func timeLimit(e *env) {
	e.handle(jobs.Handler{Kind: kind, Timeout: time.Nanosecond, Run: func(ctx context.Context, _ jobs.Job) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	e.put(jobs.Job{Kind: kind, Name: "a"})
	e.runDue(1)
	if list := e.list(false); len(list) != 1 || list[0].Error == "" || list[0].Running || list[0].Attempt != 1 {
		e.Fatalf("after the time limit: %+v", list)
	}
}

func parallelism(e *env) {
	const places, n = 3, 20
	var mu sync.Mutex
	running, most, second := 0, 0, make(chan struct{})
	e.handle(jobs.Handler{Kind: kind, Parallel: places, Run: func(ctx context.Context, _ jobs.Job) error {
		mu.Lock()
		if running++; running > most {
			if most = running; most == 2 {
				close(second)
			}
		}
		mu.Unlock()
		select { // so that at least two run at the same time
		case <-second:
		case <-ctx.Done():
		}
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	}})
	for i := range n {
		e.put(jobs.Job{Kind: kind, Name: fmt.Sprint(i)})
	}
	e.runDue(n)
	if most < 2 || most > places {
		e.Fatalf("%d ran at a time, want 2 to %d", most, places)
	}
}

func slowKind(e *env) {
	release := make(chan struct{})
	began := make(chan struct{}, 1)
	e.handle(jobs.Handler{Kind: "com.example.slow", Parallel: 1, Run: func(context.Context, jobs.Job) error {
		began <- struct{}{}
		<-release // deaf to its context
		return nil
	}})
	done := make(chan struct{}, 1)
	e.handle(jobs.Handler{Kind: kind, Run: func(context.Context, jobs.Job) error {
		done <- struct{}{}
		return nil
	}})
	ctx, stop := context.WithCancel(e.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); e.queue.Run(ctx) }()
	e.put(jobs.Job{Kind: "com.example.slow", Name: "1"}, jobs.Job{Kind: "com.example.slow", Name: "2"})
	e.queue.Wake()
	<-began
	e.put(jobs.Job{Kind: kind, Name: "a"})
	e.queue.Wake()
	<-done
	close(release)
	<-began // the second of the slow ones
	stop()
	<-ended
}

func severalProcesses(e *env) {
	const n, processes = 100, 4
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run})
	queues := []*jobs.Queue{e.queue}
	for range processes - 1 {
		q := e.newQueue()
		e.handleOn(q, jobs.Handler{Kind: kind, Run: r.run})
		queues = append(queues, q)
	}
	for i := range n {
		e.put(jobs.Job{Kind: kind, Name: fmt.Sprint(i)})
	}
	var wg sync.WaitGroup
	for _, q := range queues {
		wg.Go(func() {
			if _, err := q.RunDue(e.Context()); err != nil {
				e.Error(err)
			}
		})
	}
	wg.Wait()
	names := r.names()
	slices.Sort(names)
	if len(names) != n || len(slices.Compact(names)) != n {
		e.Fatalf("%d runs of %d jobs", len(names), n)
	}
	e.wantNone()
}

// stuck starts a run of a job on another queue and returns a function that
// ends it.
func (e *env) stuck(timeout time.Duration) (release func()) {
	q := e.newQueue()
	began, end := make(chan struct{}), make(chan struct{})
	e.handleOn(q, jobs.Handler{Kind: kind, Timeout: timeout, Run: func(context.Context, jobs.Job) error {
		close(began)
		<-end
		return nil
	}})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = q.RunDue(context.WithoutCancel(e.Context()))
	}()
	<-began
	release = sync.OnceFunc(func() { close(end); <-ended })
	e.Cleanup(release)
	return release
}

func deadProcess(e *env) {
	e.put(jobs.Job{Kind: kind, Name: "a"})
	e.stuck(time.Minute)
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run})
	e.runDue(0)
	if list := e.list(false); len(list) != 1 || !list[0].Running || list[0].Attempt != 1 {
		e.Fatalf("a leased job: %+v", list)
	}
	e.clock.Pass(time.Minute)
	e.runDue(0) // the time limit, but not yet the lease
	e.clock.Pass(time.Minute)
	e.runDue(1)
	if r.runs[0].Attempt != 2 {
		e.Fatalf("the second run is %+v", r.runs[0])
	}
	e.wantNone()
}

func crashingJob(e *env) {
	e.put(jobs.Job{Kind: kind, Name: "a"})
	e.stuck(time.Minute)
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Attempts: 1, Run: r.run})
	e.clock.Pass(time.Hour)
	e.runDue(0)
	if dead := e.list(true); len(dead) != 1 || dead[0].Error == "" {
		e.Fatalf("dead jobs: %+v", dead)
	}
}

func lateResult(e *env) {
	e.put(jobs.Job{Kind: kind, Name: "a"})
	release := e.stuck(time.Minute)
	e.handle(jobs.Handler{Kind: kind, Run: func(context.Context, jobs.Job) error {
		return errors.New("tried again later")
	}})
	e.clock.Pass(2 * time.Minute)
	e.runDue(1)
	release() // it succeeds, when its lease has long been over
	if list := e.list(false); len(list) != 1 || list[0].Attempt != 2 {
		e.Fatalf("a late result was taken: %+v", list)
	}
}

func stopHandsBack(e *env) {
	began := make(chan struct{})
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: func(ctx context.Context, j jobs.Job) error {
		if r.add(j) == 1 {
			close(began)
			<-ctx.Done()
			return fmt.Errorf("stopped: %w", ctx.Err())
		}
		return nil
	}})
	e.put(jobs.Job{Kind: kind, Name: "a"})
	ctx, stop := context.WithCancel(e.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); e.queue.Run(ctx) }()
	<-began
	stop()
	<-ended
	if list := e.list(false); len(list) != 1 || list[0].Running || list[0].Attempt != 0 {
		e.Fatalf("after a stop: %+v", list)
	}
	e.runDue(1)
	if r.runs[1].Attempt != 1 {
		e.Fatalf("the second run is %+v", r.runs[1])
	}
	e.wantNone()
}

func wokenAtOnce(e *env) {
	done := make(chan string, 1)
	e.handle(jobs.Handler{Kind: kind, Run: func(_ context.Context, j jobs.Job) error {
		done <- j.Name
		return nil
	}})
	ctx, stop := context.WithCancel(e.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); e.queue.Run(ctx) }()
	defer func() { stop(); <-ended }()
	const n = 20
	begin := time.Now()
	for i := range n {
		e.put(jobs.Job{Kind: kind, Name: fmt.Sprint(i)})
		e.queue.Wake()
		if got := <-done; got != fmt.Sprint(i) {
			e.Fatalf("job %s ran instead of %d", got, i)
		}
	}
	if took := time.Since(begin); took > n*jobs.PollInterval/2 {
		e.Fatalf("%d jobs in a row took %v", n, took)
	}
}

func unhandled(e *env) {
	e.put(jobs.Job{Kind: kind, Name: "a"})
	e.runDue(0)
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run})
	e.runDue(1)
}

func clockInDoubt(e *env) {
	var mild, destructive recorder
	e.handle(jobs.Handler{Kind: "com.example.mild", Run: mild.run})
	e.handle(jobs.Handler{Kind: "com.example.destructive", Run: destructive.run, Destructive: true})
	for _, k := range []string{"com.example.mild", "com.example.destructive"} {
		e.put(jobs.Job{Kind: k, Name: "now"}, jobs.Job{Kind: k, Name: "tomorrow", Due: e.clock.Now().Add(24 * time.Hour)})
	}
	e.clock.Step(365 * 24 * time.Hour)
	e.runDue(1)
	if got := mild.names(); len(got) != 1 || got[0] != "now" {
		e.Fatalf("with the clock in doubt %v ran", got)
	}
	e.clock.Step(-365 * 24 * time.Hour)
	e.runDue(1)
	e.clock.Pass(24 * time.Hour)
	e.runDue(2)
}

func clockStepsBack(e *env) {
	var mild, destructive recorder
	e.handle(jobs.Handler{Kind: "com.example.mild", Run: mild.run})
	e.handle(jobs.Handler{Kind: "com.example.destructive", Run: destructive.run, Destructive: true})
	e.put(jobs.Job{Kind: "com.example.mild", Name: "a"}, jobs.Job{Kind: "com.example.destructive", Name: "a"})
	e.clock.Step(-time.Hour)
	e.runDue(1) // the mild one
	e.clock.Pass(time.Hour)
	e.runDue(1)
	if len(mild.runs) != 1 || len(destructive.runs) != 1 {
		e.Fatalf("mild %v, destructive %v", mild.runs, destructive.runs)
	}
}

func ownerLeaves(e *env) {
	const did = syntax.DID("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run})
	j := jobs.Job{Kind: kind, Name: "a", Owner: did}
	err := e.store.Update(e.Context(), func(tx storage.Tx) error { return e.queue.Put(tx, j) })
	if !errors.Is(err, storage.ErrNotFound) {
		e.Fatalf("a job of nobody: %v", err)
	}
	e.update(func(tx storage.Tx) error {
		if _, err := tx.PutAccount(storage.Account{DID: did, CreatedAt: e.clock.Now()}); err != nil {
			return err
		}
		return e.queue.Put(tx, j)
	})
	e.update(func(tx storage.Tx) error { return tx.DeleteAccount(did) })
	e.runDue(0)
	e.wantNone()
}

func deadExpire(e *env) {
	e.handle(jobs.Handler{Kind: kind, Run: func(context.Context, jobs.Job) error { return jobs.Permanent(errors.New("no")) }})
	e.put(jobs.Job{Kind: kind, Name: "a"})
	e.runDue(1)
	e.clock.Pass(jobs.DeadTTL - time.Second)
	if len(e.list(true)) != 1 {
		e.Fatal("a dead job went too early")
	}
	e.clock.Pass(2 * time.Second)
	e.wantNone()
}

func listPages(e *env) {
	for i := range 5 {
		e.put(jobs.Job{Kind: kind, Name: fmt.Sprint(i), Due: e.clock.Now().Add(time.Hour)})
	}
	var got []string
	query := jobs.Query{Limit: 2}
	for {
		page, err := e.queue.List(e.Context(), query)
		if err != nil {
			e.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, j := range page {
			got = append(got, j.Name)
			query.After = j.Kind + "/" + j.Name
		}
	}
	if strings.Join(got, "") != "01234" {
		e.Fatalf("listed %v", got)
	}
}

func limits(e *env) {
	long := strings.Repeat("x", jobs.MaxNameBytes)
	data := json.RawMessage(`"` + strings.Repeat("x", jobs.MaxDataBytes-2) + `"`)
	longKind := strings.Repeat("k", jobs.MaxKindBytes)
	for _, c := range []struct {
		j  jobs.Job
		ok bool
	}{
		{jobs.Job{Kind: longKind, Name: long, Data: data}, true},
		{jobs.Job{Kind: longKind + "k", Name: "a"}, false},
		{jobs.Job{Kind: "a/b", Name: "a"}, false},
		{jobs.Job{Name: "a"}, false},
		{jobs.Job{Kind: kind, Name: "a/b"}, true},
		{jobs.Job{Kind: kind, Name: ""}, false},
		{jobs.Job{Kind: kind, Name: "\xff"}, false},
		{jobs.Job{Kind: kind, Name: long + "x"}, false},
		{jobs.Job{Kind: kind, Name: "a", Data: append(json.RawMessage(" "), data...)}, false},
		{jobs.Job{Kind: kind, Name: "a", Data: json.RawMessage(`{`)}, false},
		{jobs.Job{Kind: kind, Name: "old", Due: time.Unix(-5, 0)}, true},
		{jobs.Job{Kind: kind, Name: "far", Due: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, true},
	} {
		err := e.try(func(tx storage.Tx) error { return e.queue.Put(tx, c.j) })
		if (err == nil) != c.ok {
			e.Errorf("kind of %d bytes, name of %d, data of %d: %v", len(c.j.Kind), len(c.j.Name), len(c.j.Data), err)
		}
	}
	var r recorder
	e.handle(jobs.Handler{Kind: kind, Run: r.run})
	e.handle(jobs.Handler{Kind: longKind, Run: r.run})
	e.runDue(3) // "far" is not due
	if !slices.Contains(r.names(), "a/b") {
		e.Errorf("runs: %.300q", r.names())
	}
	for _, h := range []jobs.Handler{
		{Kind: kind, Run: r.run}, {Kind: "a/b", Run: r.run}, {Kind: "com.example.none"}, {Kind: "com.example.neg", Run: r.run, Parallel: -1},
	} {
		if e.queue.Handle(h) == nil {
			e.Errorf("a bad handler of %s is accepted", h.Kind)
		}
	}
}
