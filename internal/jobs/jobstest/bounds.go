package jobstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
)

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
