package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/pdskit/pdskit/storage"
)

const (
	// PollInterval is how often Run looks for jobs that have become due, or
	// that another process has put in.
	PollInterval = time.Second

	// stopWait is how long Run waits, at its end, for handlers.
	stopWait = 10 * time.Second

	// finishTime is how long the end of a run may take to be stored.
	finishTime = 10 * time.Second

	// maxErrorBytes is how much of an error is kept with its job.
	maxErrorBytes = 500
)

// Run does jobs as they become due, until ctx ends. Then the contexts of the
// handlers end, and Run waits for them for a while; a job whose handler gives
// up for that reason is due again as before.
func (q *Queue) Run(ctx context.Context) {
	for {
		if _, err := q.dispatch(ctx); err != nil && ctx.Err() == nil {
			q.log.ErrorContext(ctx, "looking for due jobs failed", "error", err)
		}
		select {
		case <-ctx.Done():
			wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
			defer cancel()
			if err := q.waitIdle(wait); err != nil {
				q.log.ErrorContext(ctx, "handlers of jobs do not end", "error", err)
			}
			return
		case <-q.wake:
		case <-time.After(PollInterval):
		}
	}
}

// RunDue does all jobs that are due, also those that become due meanwhile, and
// returns how many runs it began when none is due and none runs, in Run
// either. Jobs that fail are due again later.
func (q *Queue) RunDue(ctx context.Context) (runs int, err error) {
	for {
		before, changed := q.state()
		n, err := q.dispatch(ctx)
		runs += n
		if err != nil {
			return runs, err
		}
		// A job that was put again while it ran was passed over: look once more
		// when nothing runs.
		running, _ := q.state()
		switch {
		case n == 0 && before == 0 && running == 0:
			return runs, nil
		case running == 0:
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return runs, ctx.Err()
		}
	}
}

// state returns how many runs go on, and a channel that is closed when one of
// them ends.
func (q *Queue) state() (running int, changed <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.workers {
		running += len(w.running)
	}
	return running, q.changed
}

func (q *Queue) waitIdle(ctx context.Context) error {
	for {
		running, changed := q.state()
		if running == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d still run: %w", running, ctx.Err())
		}
	}
}

// candidates are jobs of one worker that seemed due.
type candidates struct {
	*worker
	keys []string // of docDue
}

// dispatch claims due jobs for the free places of all workers, starts them and
// returns how many they are.
func (q *Queue) dispatch(ctx context.Context) (started int, err error) {
	q.dispatching.Lock()
	defer q.dispatching.Unlock()
	found, err := q.find(ctx)
	if err != nil {
		return 0, err
	}
	var failed []error
	for _, c := range found {
		claimed, err := q.claim(ctx, c)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.Kind, err))
			continue
		}
		q.mu.Lock()
		for _, e := range claimed {
			c.running[e.name] = true
		}
		q.mu.Unlock()
		for _, e := range claimed {
			go q.work(ctx, c.worker, e)
		}
		started += len(claimed)
	}
	return started, errors.Join(failed...)
}

// now is the time by which a worker's jobs are due. A clock that steps back
// makes only those wait that must not come early.
func (q *Queue) now(w *worker) time.Time {
	if w.Destructive {
		return q.clock.Now()
	}
	return q.clock.Latest()
}

// find returns what is due for the workers that have a place free.
func (q *Queue) find(ctx context.Context) ([]candidates, error) {
	doubt := q.clock.Doubt() != nil
	type search struct {
		*worker
		running map[string]bool
	}
	var searches []search
	q.mu.Lock()
	for _, kind := range slices.Sorted(maps.Keys(q.workers)) {
		w := q.workers[kind]
		if len(w.running) < w.Parallel && !(w.Destructive && doubt) {
			searches = append(searches, search{w, maps.Clone(w.running)})
		}
	}
	q.mu.Unlock()
	var found []candidates
	err := q.store.View(ctx, func(tx storage.Docs) error {
		found = nil
		for _, s := range searches {
			c := candidates{worker: s.worker}
			docs, err := tx.ScanDocs(docDue, storage.Scan{
				From: s.Kind + "/", To: dueKey(s.Kind, millis(q.now(s.worker))+1, ""), Limit: s.Parallel,
			})
			if err != nil {
				return err
			}
			for _, d := range docs {
				if name := nameOf(d.Key); !s.running[name] && len(c.keys)+len(s.running) < s.Parallel {
					c.keys = append(c.keys, d.Key)
				}
			}
			if len(c.keys) > 0 {
				found = append(found, c)
			}
		}
		return nil
	})
	return found, err
}

// nameOf returns the name of the job that a key of docDue belongs to.
func nameOf(key string) string { return strings.SplitN(key, "/", 3)[2] }

// claim leases the candidates that are still there.
func (q *Queue) claim(ctx context.Context, c candidates) ([]entry, error) {
	now := q.clock.Latest()
	lease := millis(now.Add(c.Timeout + leaseMargin))
	var claimed, over []entry
	err := storage.Retry(ctx, q.store, func(tx storage.Docs) error {
		claimed, over = nil, nil
		for _, key := range c.keys {
			e, err := get(tx, c.Kind, nameOf(key))
			if errors.Is(err, storage.ErrNotFound) || err == nil && (e.Dead || e.index().Key != key) {
				continue // done, replaced or leased meanwhile
			}
			if err != nil {
				return err
			}
			switch {
			case e.expired(now):
				over = append(over, e)
				err = e.delete(tx)
			case e.Attempts >= c.Attempts:
				over = append(over, e)
				err = e.bury(tx, now, "the process ended while the job ran")
			default:
				err = e.move(tx, func(e *entry) { e.Due, e.Leased, e.Attempts = lease, true, e.Attempts+1 })
				claimed = append(claimed, e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, e := range over {
		q.logEnd(ctx, &e)
	}
	return claimed, nil
}

// work does a claimed job and stores what became of it.
func (q *Queue) work(ctx context.Context, w *worker, e entry) {
	defer func() {
		q.mu.Lock()
		delete(w.running, e.name)
		close(q.changed)
		q.changed = make(chan struct{})
		q.mu.Unlock()
		q.Wake()
	}()
	failed := q.call(ctx, w, e.toJob())
	stopped := ctx.Err() != nil && errors.Is(failed, ctx.Err())
	if failed != nil && !stopped {
		q.log.WarnContext(ctx, "a job failed", "kind", e.kind, "name", e.name, "attempt", e.Attempts, "error", failed)
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := q.finish(finish, w, e, failed, stopped); err != nil {
		q.log.ErrorContext(ctx, "the end of a job could not be stored, it will run again", "kind", e.kind, "name", e.name, "error", err)
	}
}

// call runs the handler. A panic is an error.
func (q *Queue) call(ctx context.Context, w *worker, j Job) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
			q.log.ErrorContext(ctx, "a job panicked", "kind", j.Kind, "name", j.Name, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	return w.Handler.Run(ctx, j)
}

// finish ends the lease: the job is removed, due again, or given up. A job
// that was replaced, cancelled or leased by somebody else meanwhile is left
// alone.
func (q *Queue) finish(ctx context.Context, w *worker, ran entry, failed error, stopped bool) error {
	now := q.clock.Latest()
	again := millis(now.Add(retryDelay(ran.Attempts)))
	var over *entry
	err := storage.Retry(ctx, q.store, func(tx storage.Docs) error {
		over = nil
		e, err := get(tx, ran.kind, ran.name)
		if errors.Is(err, storage.ErrNotFound) || err == nil && e.job.Version != ran.job.Version {
			return nil
		}
		if err != nil {
			return err
		}
		var permanent permanentError
		switch {
		case failed == nil:
			return e.delete(tx)
		case stopped:
			return e.move(tx, func(e *entry) { e.Due, e.Leased, e.Attempts = millis(now), false, e.Attempts-1 })
		case errors.As(failed, &permanent) || e.Attempts >= w.Attempts:
			over = &e
			return e.bury(tx, now, errorText(failed))
		case e.expired(timeOf(again)):
			over = &e
			return e.delete(tx)
		}
		return e.move(tx, func(e *entry) { e.Due, e.Leased, e.Error = again, false, errorText(failed) })
	})
	if err == nil && over != nil {
		q.logEnd(ctx, over)
	}
	return err
}

// bury keeps a job that is given up, for operators to see.
func (e *entry) bury(tx storage.Docs, now time.Time, reason string) error {
	return e.move(tx, func(e *entry) {
		e.Due, e.Leased, e.Dead, e.Error = millis(now), false, true, reason
		e.job.Expires = now.Add(DeadTTL)
	})
}

func errorText(err error) string {
	text := strings.ToValidUTF8(err.Error(), "?")
	return strings.ToValidUTF8(text[:min(len(text), maxErrorBytes)], "")
}

func (q *Queue) logEnd(ctx context.Context, e *entry) {
	if e.Dead {
		q.log.ErrorContext(ctx, "a job was given up", "kind", e.kind, "name", e.name, "attempts", e.Attempts, "error", e.Error)
		return
	}
	q.log.WarnContext(ctx, "a job was dropped because its time is over", "kind", e.kind, "name", e.name, "attempts", e.Attempts, "error", e.Error)
}
