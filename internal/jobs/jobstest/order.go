package jobstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
)

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
