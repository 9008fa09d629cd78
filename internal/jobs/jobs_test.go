package jobs_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/internal/jobs/jobstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

func TestJobs(t *testing.T) {
	jobstest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
		s, err := sqlite.OpenMemory(sqlite.Options{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// TestRestart leaves a job in a store that is closed and opened again.
func TestRestart(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "jobs.db"), storagetest.NewClock()
	open := func() (*sqlite.Store, *jobs.Queue) {
		s, err := sqlite.Open(path, sqlite.Options{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		return s, jobs.New(storage.DocsOf(s), s.Guard(), slog.New(slog.DiscardHandler))
	}
	s, q := open()
	err := s.Update(t.Context(), func(tx storage.Tx) error {
		return q.Put(tx, jobs.Job{Kind: "com.example.job", Name: "a", Data: json.RawMessage(`1`)})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, q = open()
	defer s.Close()
	var got string
	err = q.Handle(jobs.Handler{Kind: "com.example.job", Run: func(_ context.Context, j jobs.Job) error {
		got = string(j.Data)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := q.RunDue(t.Context()); err != nil || n != 1 || got != "1" {
		t.Fatalf("%d runs, data %q, error %v", n, got, err)
	}
}
