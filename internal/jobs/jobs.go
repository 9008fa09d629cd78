// Package jobs holds work that is to be done later, as documents in a store:
// it survives restarts and crashes, several processes on one store share it,
// and what fails is tried again.
//
// A job is put into the queue inside the transaction that decides on it, with
// [Queue.Put], and is done by the [Handler] of its kind at least once: a
// process that dies in between leaves the job to be done again. While the
// handler works, the job is leased: it is due again, for everybody, when the
// lease ends.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// Limits of a job.
const (
	MaxKindBytes = 128
	MaxNameBytes = 512
	MaxDataBytes = 64 << 10
)

// Defaults of a [Handler].
const (
	DefaultParallel = 4
	DefaultTimeout  = time.Minute
	DefaultAttempts = 20
)

// How failed jobs are tried again: after FirstRetry, then after twice as long
// each time, up to MaxRetry, give or take a fifth. Twenty attempts take about
// ten hours.
const (
	FirstRetry = 5 * time.Second
	MaxRetry   = time.Hour
)

const (
	// DeadTTL is how long a job that was given up stays for operators to see.
	DeadTTL = 30 * 24 * time.Hour

	// leaseMargin is how much longer a lease is than the time limit.
	leaseMargin = 30 * time.Second
)

// Job is work that is to be done later.
type Job struct {
	Kind string // letters, digits, '.' and '-', at most MaxKindBytes
	Name string // at most MaxNameBytes; a job takes the place of the one with its kind and name

	// Owner, if not empty, is the account that the job belongs to and leaves
	// with.
	Owner syntax.DID

	Due   time.Time       // kept to the millisecond; zero: at once
	Until time.Time       // zero: none; after this the job is dropped if it is not done
	Data  json.RawMessage // for the handler, at most MaxDataBytes

	// Attempt is set for the handler: one at the first attempt.
	Attempt int
}

// Handler does the jobs of one kind.
type Handler struct {
	Kind string

	// Run does a job. It may be called concurrently, but not twice at a time
	// for the same name in one process. An error or a panic lets the job be
	// tried again, unless the error is [Permanent].
	Run func(ctx context.Context, j Job) error

	Parallel int           // runs at a time in this process; zero: DefaultParallel
	Timeout  time.Duration // then the context of Run ends; zero: DefaultTimeout
	Attempts int           // then the job is given up; zero: DefaultAttempts

	// Destructive jobs wait while the clock is in doubt.
	Destructive bool
}

// Permanent marks an error that trying again will not mend.
func Permanent(err error) error { return permanentError{err} }

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Queue is the jobs of a store as one process sees them. Its methods may be
// called concurrently.
type Queue struct {
	store storage.DocStore
	clock *storage.Guard
	log   *slog.Logger
	wake  chan struct{}

	dispatching sync.Mutex // held while jobs are claimed; taken before mu

	mu      sync.Mutex // guards following 2 fields
	workers map[string]*worker
	changed chan struct{} // closed and replaced when a run ends
}

// worker is a handler with the names of the jobs that it works on.
type worker struct {
	Handler
	running map[string]bool // guarded by the queue's mu
}

// New returns the queue of a store.
func New(store storage.DocStore, clock *storage.Guard, log *slog.Logger) *Queue {
	return &Queue{
		store: store, clock: clock, log: log, wake: make(chan struct{}, 1),
		workers: map[string]*worker{}, changed: make(chan struct{}),
	}
}

// Handle adds the handler of a kind, before or while jobs run. Jobs of a kind
// that no process handles wait. It returns an error if the kind is malformed
// or has a handler already.
func (q *Queue) Handle(h Handler) error {
	if err := checkKind(h.Kind); err != nil {
		return err
	}
	if h.Run == nil || h.Parallel < 0 || h.Timeout < 0 || h.Attempts < 0 {
		return fmt.Errorf("jobs: the handler of %s has no function, or a negative limit", h.Kind)
	}
	if h.Parallel == 0 {
		h.Parallel = DefaultParallel
	}
	if h.Timeout == 0 {
		h.Timeout = DefaultTimeout
	}
	if h.Attempts == 0 {
		h.Attempts = DefaultAttempts
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.workers[h.Kind] != nil {
		return fmt.Errorf("jobs: %s has a handler already", h.Kind)
	}
	q.workers[h.Kind] = &worker{Handler: h, running: map[string]bool{}}
	return nil
}

// Put puts a job into the queue, in place of the one with its kind and name.
// It is part of the transaction tx; when that has been committed, call
// [Queue.Wake]. A run of the job that was replaced goes on, but what becomes
// of it no longer matters. It returns storage.ErrNotFound if the owner is no
// account.
func (q *Queue) Put(tx storage.Docs, j Job) error {
	if err := j.Check(); err != nil {
		return err
	}
	e, err := get(tx, j.Kind, j.Name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		e.job = storage.Doc{Kind: docJob, Key: jobKey(j.Kind, j.Name)}
	case err != nil:
		return err
	default:
		if err := e.dropIndex(tx); err != nil {
			return err
		}
	}
	due := j.Due
	if due.IsZero() {
		due = q.clock.Latest()
	}
	e.kind, e.name, e.job.Owner, e.job.Expires = j.Kind, j.Name, j.Owner, time.Time{}
	e.stored = stored{Due: millis(due), Until: millis(j.Until), Data: j.Data}
	return e.put(tx)
}

// Cancel removes a job; one that is not there is no error. A run of it goes
// on.
func (q *Queue) Cancel(tx storage.Docs, kind, name string) error {
	e, err := get(tx, kind, name)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return e.delete(tx)
}

// Wake lets Run look for due jobs at once. Without it, it looks once in
// [PollInterval].
func (q *Queue) Wake() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Check returns why Put would refuse the job, or nil.
func (j *Job) Check() error {
	if err := checkKind(j.Kind); err != nil {
		return err
	}
	switch {
	case j.Name == "" || len(j.Name) > MaxNameBytes || !utf8.ValidString(j.Name):
		return fmt.Errorf("jobs: the name of a %s must be text of 1 to %d bytes", j.Kind, MaxNameBytes)
	case len(j.Data) > MaxDataBytes:
		return fmt.Errorf("jobs: %d bytes of data in a %s, at most %d are allowed", len(j.Data), j.Kind, MaxDataBytes)
	case len(j.Data) > 0 && !json.Valid(j.Data):
		return fmt.Errorf("jobs: the data of a %s must be JSON", j.Kind)
	}
	return nil
}

func checkKind(kind string) error {
	ok := kind != "" && len(kind) <= MaxKindBytes
	for _, r := range kind {
		ok = ok && ('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-')
	}
	if !ok {
		return fmt.Errorf("jobs: the kind %.200q must be 1 to %d letters, digits, '.' and '-'", kind, MaxKindBytes)
	}
	return nil
}

// retryDelay is how long a job waits after a failed attempt.
func retryDelay(attempt int) time.Duration {
	d := MaxRetry
	if shift := attempt - 1; shift < 16 {
		d = min(FirstRetry<<shift, MaxRetry)
	}
	return d - d/5 + rand.N(2*d/5)
}
