package pds

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// task is background work that is done again and again.
type task struct {
	name  string
	every time.Duration
	// destructive work waits while the clock is in doubt.
	destructive bool
	// run does a bounded amount of work and reports whether more is left,
	// which is then done soon.
	run func(ctx context.Context) (more bool, err error)
}

// backlogPause is how long a task rests between two pieces of a backlog, so
// that it does not crowd out requests.
const backlogPause = 20 * time.Millisecond

// firstTurns lie this far apart: a server that starts has requests to answer.
const firstTurns = 50 * time.Millisecond

// Run does the background work of a server until ctx ends, then returns nil:
// it does jobs (see [Server.Schedule]), calls observers, finishes what a crash
// interrupted, collects what was deleted, prunes events and topics, removes unused blobs
// and tells crawlers of new events. A server works without it, but sends no
// mail, and nothing is ever cleaned up. Run it once for each Server. An observer
// that does not look at its context is waited for no longer than Limits.DrainTime.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for i, t := range s.tasks() {
		wg.Go(func() { s.repeat(ctx, t, time.Duration(i+1)*firstTurns) })
	}
	wg.Go(func() { s.notifyCrawlers(ctx) })
	wg.Go(func() { s.jobs.Run(ctx) })
	ended := map[string]chan struct{}{} // by the observer's name
	s.startObservers(func(o namedObserver) {
		done := make(chan struct{})
		ended[o.name] = done
		go func() {
			defer close(done)
			s.observe(ctx, o)
		}()
	})
	<-ctx.Done()
	s.startObservers(nil)
	wg.Wait()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Limits.DrainTime)
	defer cancel()
	for name, done := range ended {
		select {
		case <-done:
			continue
		case <-drain.Done():
		}
		select {
		case <-done:
		default:
			s.log.ErrorContext(ctx, "an observer does not end", "observer", name)
		}
	}
	return nil
}

func (s *Server) repeat(ctx context.Context, t task, wait time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = t.every
		if s.runTask(ctx, t) {
			wait = backlogPause
		}
	}
}

// runTask runs a task once. An error or a panic is logged and waits for the
// next turn.
func (s *Server) runTask(ctx context.Context, t task) (more bool) {
	if t.destructive && s.clockDoubt() != nil {
		return false
	}
	defer func() {
		if v := recover(); v != nil {
			s.log.ErrorContext(ctx, "background task panicked", "task", t.name, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			more = false
		}
	}()
	ctx, sp := s.tracer.start(ctx, SpanInternal, spanTask)
	sp.setString(attrTask, t.name)
	more, err := t.run(ctx)
	sp.end(err)
	if err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "background task failed", "task", t.name, "error", err)
		return false
	}
	return more
}

// clockDoubt returns why the clock is not believed, or nil.
func (s *Server) clockDoubt() error {
	return s.clock.Doubt()
}

// maintain is the task that calls the store's own maintenance.
func (s *Server) maintain(ctx context.Context) (bool, error) {
	return s.store.Maintain(ctx, storage.Budget{Time: time.Second, KeepAll: s.clockDoubt() != nil})
}
