package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// Limits of a batch. No closure joins a batch that has reached one of them.
const (
	maxBatch      = 64
	maxBatchBytes = 4 << 20
	maxBatchTime  = 5 * time.Millisecond
)

// States of a request.
const (
	waiting = iota
	running
	cancelled
)

// request is an Update on its way through the writer.
type request struct {
	fn    func(storage.Tx) error
	state atomic.Int32
	done  chan struct{} // closed when the fate is known

	// Set by the writer before done is closed.
	err      error
	panicked any
	exited   bool // fn ended its goroutine
}

// claim moves a request out of the waiting state. Only one caller succeeds.
func (r *request) claim(state int32) bool { return r.state.CompareAndSwap(waiting, state) }

// Update implements [storage.Store].
func (s *Store) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	r := &request{fn: fn, done: make(chan struct{})}
	select {
	case s.queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return storage.ErrClosed
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.claim(cancelled) {
			return ctx.Err()
		}
		<-r.done
	case <-s.writer.stopped:
		if r.claim(cancelled) {
			return storage.ErrClosed
		}
		<-r.done
	}
	switch {
	case r.panicked != nil:
		panic(r.panicked) //nolint:forbidigo // the closure's own panic, in its caller's goroutine
	case r.exited:
		runtime.Goexit()
	}
	return r.err
}

// writer owns the connection that writes. One goroutine runs its loop; all
// state is in its fields, so that another one can go on where a closure ended
// the first (see call).
type writer struct {
	s       *Store
	c       *conn
	stopped chan struct{} // closed when the loop has ended

	lastSeq int64 // the last number given, in the open transaction

	// The open transaction: closures that have run, in order; whether it must
	// not grow because its closure runs alone; what it has cost so far.
	batch   []*request
	solo    bool
	started time.Time
	bytes   int
	seqAt   int64 // lastSeq at the beginning

	cur *request // the closure that runs, or has just run
	tx  *tx      // of cur

	alone []*request // closures of a lost batch, each to run again alone

	// hot are published generations as the open transaction has left them: only
	// the writer changes them, so they need not be read again. Whatever is
	// undone, or changes rows of generations elsewhere, forgets them.
	hot     map[int64]*generation
	encoded []byte // room for recent nodes

	retry <-chan time.Time // while there is no room: when to look again

	commits atomic.Int64
}

// maxHot is how many generations are remembered, at up to maxRecent bytes each.
const maxHot = 256

// remember keeps a generation that has been stored as it is.
func (w *writer) remember(g *generation) {
	for id := range w.hot {
		if len(w.hot) < maxHot {
			break
		}
		delete(w.hot, id) // any one
	}
	g.t = nil
	w.hot[g.id] = g
}

func (w *writer) forget(id int64) { delete(w.hot, id) }

func (w *writer) forgetAll() { clear(w.hot) }

func newWriter(s *Store, c *conn, lastSeq int64) *writer {
	return &writer{s: s, c: c, lastSeq: lastSeq, hot: map[int64]*generation{}, stopped: make(chan struct{})}
}

func (w *writer) loop() {
	for {
		if w.cur != nil {
			w.settle()
		}
		r := w.take()
		if r == nil {
			close(w.stopped)
			return
		}
		w.start(r)
	}
}

// take returns the next closure to run, which joins the open batch if there is
// one. It commits a batch that is full or that nobody wants to join. It
// returns nil when the store closes.
func (w *writer) take() *request {
	for len(w.batch) > 0 {
		if w.solo || len(w.batch) >= maxBatch || w.bytes >= maxBatchBytes || time.Since(w.started) >= maxBatchTime {
			w.commit()
			break
		}
		select {
		case r := <-w.s.queue:
			if r.claim(running) {
				return r
			}
		default:
			w.commit()
		}
	}
	if len(w.alone) > 0 {
		r := w.alone[0]
		w.alone = w.alone[1:]
		w.solo = true
		return r
	}
	for {
		w.s.check.between(w.c)
		select {
		case r := <-w.s.queue:
			if r.claim(running) {
				return r
			}
		case <-w.s.check.ready:
		case <-w.retry:
			if w.makeRoom() {
				w.s.log.Info("there is room on the disk again", "path", w.s.path)
			}
		case <-w.s.quit:
			return nil
		}
	}
}

// start runs a closure in the open batch, or in a new one. The first closure
// of a batch needs no savepoint: if it fails, the transaction is rolled back.
func (w *writer) start(r *request) {
	err := w.s.writable()
	if errors.Is(err, storage.ErrClosed) {
		err = nil // what was claimed before Close runs
	}
	if err == nil {
		if len(w.batch) == 0 {
			w.started, w.bytes, w.seqAt = time.Now(), 0, w.lastSeq
			_, err = w.c.exec("BEGIN IMMEDIATE")
		} else {
			_, err = w.c.exec("SAVEPOINT closure")
		}
		if err != nil {
			err = fmt.Errorf("sqlite: begin: %w", err)
		}
	}
	if err != nil {
		if len(w.batch) > 0 {
			w.lose()
		}
		w.solo = false
		r.err = err
		close(r.done)
		return
	}
	r.err = nil
	w.cur = r
	w.tx = &tx{ctx: context.Background(), s: w.s, c: w.c, w: w, seq: w.lastSeq}
	w.call(r)
}

// call runs the closure of cur and contains its panic. A closure that ends its
// goroutine (as testing.T.FailNow does) ends this one; another then runs the
// loop, and the caller's goroutine ends in Update.
func (w *writer) call(r *request) {
	returned := false
	defer func() {
		if returned {
			return
		}
		r.err = errors.New("sqlite: the closure did not return")
		if p := recover(); p != nil {
			r.panicked = p
			w.s.log.Error("panic in a transaction", "panic", p, "stack", string(debug.Stack()))
			return
		}
		r.exited = true
		go w.loop()
	}()
	r.err = r.fn(w.tx)
	returned = true
}

// settle keeps or undoes the effects of the closure that has just run.
func (w *writer) settle() {
	r, t := w.cur, w.tx
	w.cur, w.tx = nil, nil
	t.end()
	first := len(w.batch) == 0
	if r.err == nil && t.err != nil {
		r.err = t.err // the closure ignored a failure of the store
	}
	r.err = fullError(r.err)
	if r.err == nil {
		if !first {
			if _, err := w.c.exec("RELEASE closure"); err != nil {
				r.err = fmt.Errorf("sqlite: release: %w", err)
				w.lose()
				close(r.done)
				return
			}
		}
		w.lastSeq = t.seq
		w.bytes += t.bytes
		w.batch = append(w.batch, r)
		return
	}
	w.forgetAll()
	if first {
		_, _ = w.c.exec("ROLLBACK") // fails if SQLite has rolled back already
		w.solo = false
		close(r.done)
		return
	}
	_, err := w.c.exec("ROLLBACK TO closure")
	if err == nil {
		_, err = w.c.exec("RELEASE closure")
	}
	if err != nil {
		// After some failures SQLite rolls back the whole transaction, and
		// with it the work of the closures before this one.
		w.lose()
		close(r.done)
		return
	}
	// It may have seen effects of the closures before it, so it waits for
	// their fate too.
	w.batch = append(w.batch, r)
}

// lose gives up the open transaction and has its closures run again, each in
// a transaction of its own.
func (w *writer) lose() {
	w.forgetAll()
	_, _ = w.c.exec("ROLLBACK") // the same
	w.lastSeq = w.seqAt
	for _, r := range w.batch {
		r.err, r.panicked = nil, nil
	}
	w.alone = append(w.alone, w.batch...)
	w.batch = nil
}

// commit makes the batch durable and tells everybody.
func (w *writer) commit() {
	_, err := w.c.exec("COMMIT")
	if err != nil {
		err = w.commitFailed(err)
		for _, r := range w.batch {
			r.err = err
		}
	} else {
		w.commits.Add(1)
		if w.lastSeq != w.seqAt {
			w.s.watchers.notify()
		}
	}
	for _, r := range w.batch {
		close(r.done)
	}
	w.s.check.wrote(len(w.batch), w.bytes)
	clear(w.batch)
	w.batch, w.solo = w.batch[:0], false
}
