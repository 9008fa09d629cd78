package pds_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
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

// TestOperatorSeesJobs lists and retries by the administration routes.
func TestOperatorSeesJobs(t *testing.T) {
	t.Parallel()
	const kind = "com.example.digest"
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	fail := errors.New("not today")
	srv.HandleJobs(pds.JobHandler{Kind: kind, Attempts: 1, Run: func(context.Context, pds.Job) error { return fail }})
	ctx := t.Context()
	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Name: "bad/1", Owner: alice.DID, Data: json.RawMessage(`"private"`)}))
	ok(t, srv.Schedule(ctx, pds.Job{Kind: kind, Name: "later", Due: srv.Clock.Now().Add(time.Hour)}))
	srv.RunJobs()
	request := func(method, path, auth, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, srv.URL+path, strings.NewReader(body))
		ok(t, err)
		r.Header.Set("Authorization", auth)
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		ok(t, err)
		return resp.StatusCode, string(text)
	}
	type page struct {
		Jobs   []struct{ Kind, Name, Account, State, Error string }
		Cursor string
	}
	list := func(query string) (p page) {
		t.Helper()
		status, text := request(http.MethodGet, "/admin/jobs"+query, adminAuth, "")
		if status != http.StatusOK || strings.Contains(text, "private") {
			t.Fatalf("%d %s", status, text)
		}
		ok(t, json.Unmarshal([]byte(text), &p))
		return p
	}
	first := list("?limit=1")
	if len(first.Jobs) != 1 || first.Jobs[0].Name != "bad/1" || first.Jobs[0].State != "dead" ||
		first.Jobs[0].Error != "not today" || first.Jobs[0].Account != string(alice.DID) {
		t.Errorf("the first page: %+v", first)
	}
	second := list("?limit=1&cursor=" + url.QueryEscape(first.Cursor))
	if len(second.Jobs) != 1 || second.Jobs[0].Name != "later" || second.Jobs[0].State != "waiting" {
		t.Errorf("the second page: %+v", second)
	}
	if last := list("?cursor=" + url.QueryEscape(second.Cursor)); len(last.Jobs) != 0 {
		t.Errorf("the last page: %+v", last)
	}
	if dead := list("?dead=true"); len(dead.Jobs) != 1 {
		t.Errorf("dead jobs: %+v", dead)
	}

	retry := `{"kind":"` + kind + `","name":"bad/1"}`
	for _, c := range []struct {
		method, path, auth, body string
		want                     int
	}{
		{http.MethodGet, "/admin/jobs", "", "", http.StatusUnauthorized},
		{http.MethodGet, "/admin/jobs", "Bearer " + alice.Access, "", http.StatusUnauthorized},
		{http.MethodGet, "/admin/jobs?limit=x", adminAuth, "", http.StatusBadRequest},
		{http.MethodGet, "/admin/jobs?dead=x", adminAuth, "", http.StatusBadRequest},
		{http.MethodPost, "/admin/jobs/retry", "", retry, http.StatusUnauthorized},
		{http.MethodPost, "/admin/jobs/retry", adminAuth, "x", http.StatusBadRequest},
		{http.MethodPost, "/admin/jobs/retry", adminAuth, `{"kind":"` + strings.Repeat("x", 5000) + `"}`, http.StatusBadRequest},
		{http.MethodPost, "/admin/jobs/retry", adminAuth, `{"kind":"` + kind + `","name":"later"}`, http.StatusNotFound},
		{http.MethodPost, "/admin/jobs/retry", adminAuth, retry, http.StatusOK},
	} {
		if status, text := request(c.method, c.path, c.auth, c.body); status != c.want {
			t.Errorf("%s %s %.100s: %d %s, want %d", c.method, c.path, c.body, status, text, c.want)
		}
	}
	srv.RunJobs()
	if dead := list("?dead=true"); len(dead.Jobs) != 1 {
		t.Errorf("dead jobs after the retry: %+v", dead)
	}
	if got := auditLog(t, srv)[0]; got.Action != "job retry" || got.Subject != kind+"/bad/1" || got.Result != "ok" {
		t.Errorf("audit: %+v", got)
	}
}
