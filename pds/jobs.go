package pds

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
)

// Job is work that is to be done later, see [Server.Schedule].
type Job struct {
	// Kind says which handler does it: letters, digits, '-' and at least one
	// '.', such as "com.example.digest", at most 128 bytes.
	Kind string

	// Name tells the jobs of a kind apart: a job takes the place of the one
	// with its kind and name. At most 512 bytes; empty: a random one. It stands
	// in the log, like the error that Run returns, when the job fails.
	Name string

	// Owner, if not empty, is the account that the job belongs to: it
	// vanishes with the account.
	Owner syntax.DID

	// Due is when the job is to be done, to the millisecond; a running server
	// is late by a second at most. Zero: at once.
	Due time.Time

	// Until, if not zero, is when the job loses its sense: it is dropped if it
	// has not been done by then.
	Until time.Time

	// Data is for the handler: at most 64 KiB. It is stored as it is; keep
	// secrets out of it.
	Data json.RawMessage

	// Attempt is set for the handler: one at the first attempt.
	Attempt int
}

// JobHandler does the jobs of one kind.
type JobHandler struct {
	Kind string

	// Run does a job, at least once: after a crash, and when the lease has
	// ended before Run did, it is called again. It may be called concurrently,
	// but within one process not twice at a time for the same name. If it
	// returns an error or panics, the job is tried again after 5 seconds, then
	// after twice as long each time, up to an hour. It may schedule its own
	// job anew.
	Run func(ctx context.Context, j Job) error

	Parallel int           // calls of Run at a time in this process: 4
	Timeout  time.Duration // then the context of Run ends; the lease is 30 s longer: 1 min
	Attempts int           // then the job is given up, see Server.Jobs: 20

	// Destructive jobs wait while the clock is in doubt.
	Destructive bool
}

// JobInfo is a job as an operator sees it.
type JobInfo struct {
	Job            // Due is the end of the lease while the job runs; without Data
	Running bool   // or it did when its process died
	Dead    bool   // given up, at Due
	Error   string // of the last attempt, shortened
}

// JobQuery selects jobs, in order of kind and name.
type JobQuery struct {
	Dead bool // those that were given up, alone

	// AfterKind and AfterName name the last job of the page before.
	AfterKind, AfterName string

	Limit int // at most 1,000; zero: 100
}

// Lengths of the pages in which jobs and acts are listed.
const (
	defaultPage = 100
	maxPage     = 1000
)

// pageLimit is the length of a page of which so many entries were asked for.
func pageLimit(asked int) int {
	if asked <= 0 {
		return defaultPage
	}
	return min(asked, maxPage)
}

// HandleJobs adds the handler of a kind of jobs. It panics if the kind has no
// dot or has a handler already. Call it before Run; jobs of a kind without a
// handler wait.
func (s *Server) HandleJobs(h JobHandler) {
	err := checkJobKind(h.Kind)
	if err == nil && h.Run == nil {
		err = fmt.Errorf("pds: jobs of kind %s need a function", h.Kind)
	}
	if err == nil {
		err = s.jobs.Handle(s.tracer.traceJob(jobs.Handler{
			Kind: h.Kind, Parallel: h.Parallel, Timeout: h.Timeout, Attempts: h.Attempts, Destructive: h.Destructive,
			Run: func(ctx context.Context, j jobs.Job) error { return h.Run(ctx, Job(j)) },
		}))
	}
	if err != nil {
		panic(err) //nolint:forbidigo // a mistake of the programmer at registration
	}
}

// Schedule puts a job into the queue, in place of the one with its kind and
// name. When it returns, the job is durable: it will be done, at least once,
// by a process on this store that has a handler and runs [Server.Run]. It
// returns an error that matches storage.ErrNotFound if the owner is no
// account, and one that says why if the job is malformed.
func (s *Server) Schedule(ctx context.Context, j Job) error {
	job, err := j.checked()
	if err != nil {
		return err
	}
	return s.schedule(ctx, job)
}

// checked returns a job of a program as the queue takes it.
func (j Job) checked() (jobs.Job, error) {
	if err := checkJobKind(j.Kind); err != nil {
		return jobs.Job{}, err
	}
	if j.Name == "" {
		j.Name = rand.Text()
	}
	out := jobs.Job(j)
	return out, out.Check()
}

// schedule puts a job into the queue that needs no other change.
func (s *Server) schedule(ctx context.Context, j jobs.Job) error {
	err := storage.Retry(ctx, storage.DocsOf(s.store), func(tx storage.Docs) error { return s.jobs.Put(tx, j) })
	if err == nil {
		s.jobs.Wake()
	}
	return err
}

// CancelJob removes a job, dead or alive; one that is not there is no error. A
// run of it goes on. Only jobs of programs, whose kinds have a dot, can be
// cancelled.
func (s *Server) CancelJob(ctx context.Context, kind, name string) error {
	if err := checkJobKind(kind); err != nil {
		return err
	}
	return storage.Retry(ctx, storage.DocsOf(s.store), func(tx storage.Docs) error { return s.jobs.Cancel(tx, kind, name) })
}

// Jobs lists jobs, those of the server itself included: what waits, what runs,
// and what was given up. Jobs that were given up are kept for 30 days.
func (s *Server) Jobs(ctx context.Context, q JobQuery) ([]JobInfo, error) {
	query := jobs.Query{Dead: q.Dead, Limit: pageLimit(q.Limit)}
	if q.AfterKind != "" {
		query.After = q.AfterKind + "/" + q.AfterName
	}
	list, err := s.jobs.List(ctx, query)
	if err != nil {
		return nil, err
	}
	out := make([]JobInfo, 0, len(list))
	for _, i := range list {
		i.Data = nil
		out = append(out, JobInfo{Job: Job(i.Job), Running: i.Running, Dead: i.Dead, Error: i.Error})
	}
	return out, nil
}

// RetryJob lets a job that was given up begin anew. It returns
// storage.ErrNotFound if no such job has been given up.
func (s *Server) RetryJob(ctx context.Context, kind, name string) error {
	return s.jobs.Retry(ctx, kind, name)
}

// RunDueJobs does all jobs that are due, and those that become due by them,
// and returns how many it began when none is left and none runs any more, in
// Run either. It is meant for tests, and for programs that do not use Run.
func (s *Server) RunDueJobs(ctx context.Context) (int, error) { return s.jobs.RunDue(ctx) }

// checkJobKind refuses kinds that are not those of programs.
func checkJobKind(kind string) error {
	if !strings.Contains(kind, ".") {
		return fmt.Errorf("pds: the kind of a job, %.200q, must have a dot, as in com.example.digest", kind)
	}
	return nil
}
