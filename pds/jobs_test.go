package pds_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// TestJobsOfPrograms schedules, replaces, cancels and lists jobs of a program.
func TestJobsOfPrograms(t *testing.T) {
	t.Parallel()
	const kind = "com.example.digest"
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	done := make(chan pds.Job, 10)
	srv.HandleJobs(pds.JobHandler{Kind: kind, Attempts: 2, Run: func(_ context.Context, j pds.Job) error {
		if done <- j; j.Name == "bad" {
			return errors.New("it will not do")
		}
		return nil
	}})
	ctx := t.Context()

	begin := time.Now()
	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Name: "a", Owner: alice.DID, Data: json.RawMessage(`{"to":"alice"}`)}))
	j := <-done // Run does it, without being asked
	if j.Name != "a" || j.Owner != alice.DID || string(j.Data) != `{"to":"alice"}` || j.Attempt != 1 {
		t.Errorf("the handler got %+v", j)
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Logf("a job that is due at once took %v", took)
	}

	later := srv.Clock.Now().Add(time.Hour)
	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Name: "b", Due: later}))
	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Name: "b", Due: later.Add(time.Hour)})) // instead
	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Due: later}))                           // a name of its own
	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Due: later}))
	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Name: "c", Due: later}))
	ok(t, srv.CancelJob(ctx, kind, "c"))
	srv.RunJobs() // what is left of "a"
	list, err := srv.Jobs(ctx, pds.JobQuery{Limit: 2})
	ok(t, err)
	rest, err := srv.Jobs(ctx, pds.JobQuery{AfterKind: kind, AfterName: list[1].Name})
	ok(t, err)
	if len(list) != 2 || len(rest) != 1 {
		t.Errorf("pages of %d and %d jobs", len(list), len(rest))
	}
	srv.Clock.Advance(time.Hour)
	srv.RunJobs()
	if len(done) != 2 {
		t.Errorf("%d jobs were done, want 2", len(done))
	}

	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Name: "bad"}))
	srv.RunJobs()
	srv.Clock.Advance(time.Minute)
	srv.RunJobs()
	dead, err := srv.Jobs(ctx, pds.JobQuery{Dead: true})
	ok(t, err)
	if len(dead) != 1 || dead[0].Name != "bad" || dead[0].Attempt != 2 || !strings.Contains(dead[0].Error, "it will not do") {
		t.Fatalf("dead jobs: %+v", dead)
	}
	ok(t, srv.RetryJob(ctx, kind, "bad"))
	if err := srv.RetryJob(ctx, kind, "b"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("retry of a job that waits: %v", err)
	}

	for _, bad := range []pds.Job{
		{Kind: "digest", Name: "a"}, {Kind: "delete-account", Name: string(alice.DID)}, {Kind: kind + "/x"}, {},
		{Kind: kind, Owner: "did:plc:nobody"},
	} {
		if err := srv.Schedule(ctx, bad); err == nil {
			t.Errorf("%+v was scheduled", bad)
		}
	}
	if err := srv.CancelJob(ctx, "delete-account", string(alice.DID)); err == nil {
		t.Error("a program cancels a job of the server")
	}
}

// TestJobHandlersAreChecked registers what cannot be one.
func TestJobHandlersAreChecked(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	run := func(context.Context, pds.Job) error { return nil }
	srv.HandleJobs(pds.JobHandler{Kind: "com.example.twice", Run: run})
	for name, h := range map[string]pds.JobHandler{
		"twice":       {Kind: "com.example.twice", Run: run},
		"no dot":      {Kind: "example", Run: run},
		"no function": {Kind: "com.example.none"},
		"bad letter":  {Kind: "com.example/none", Run: run},
		"negative":    {Kind: "com.example.none", Run: run, Timeout: -1},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			srv.HandleJobs(h)
		}()
	}
}
