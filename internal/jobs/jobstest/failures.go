package jobstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
)

// retryWait is longer than any delay between two attempts.
const retryWait = jobs.MaxRetry + jobs.MaxRetry/5 + time.Second

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
			panic("oh")
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
