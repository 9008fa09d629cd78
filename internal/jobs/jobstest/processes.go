package jobstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pdskit/pdskit/internal/jobs"
)

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
