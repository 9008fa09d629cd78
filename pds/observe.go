package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// Observer is called with events, see [Server.Observe].
type Observer func(ctx context.Context, ev *Event) error

// docObserver is the kind of the documents that hold how far observers are;
// the key is the observer's name.
const docObserver = "observer"

// Bounds of observers.
const (
	maxObserverName = 128

	// observerBatch is how many events are read, and at most how many are seen
	// again after a crash.
	observerBatch      = 100
	observerBatchBytes = 1 << 20

	// observerLease is for how long a process is an observer's only one without
	// renewing its claim.
	observerLease = 30 * time.Second

	// observerSave is how soon it is stored how far an idle observer is.
	observerSave = time.Second

	// The pauses after an observer failed.
	observerFirstPause = 100 * time.Millisecond
	observerLastPause  = time.Minute
)

type namedObserver struct {
	name string
	fn   Observer
}

// Observe has fn called with every event of the server, in their order, by
// [Server.Run], whether that runs already or not. The name identifies the
// observer across restarts: how far it has come is stored under it. A new
// observer begins with the oldest event that the server still has (see
// Limits.EventAge).
//
// fn sees each event at least once: again after an error, and the last up to
// 100 of them again after a crash. One that returns an error is called with the
// same event again after a pause, which grows to a minute; a panic counts as an
// error. It may take its time: neither writes nor other observers wait for it,
// but one that falls back by more than Limits.EventAge misses events
// (Event.Gap). Events of accounts that have been deleted in the meantime are
// left out, but for the one that says so. Calls for one observer come one
// after another, also if several processes serve the same store, unless a
// single call takes longer than 30 seconds.
//
// Observe panics if the name is empty, longer than 128 bytes, or taken.
func (s *Server) Observe(name string, fn Observer) {
	if name == "" || len(name) > maxObserverName {
		panic(fmt.Sprintf("pds: observer name %q", name)) //nolint:forbidigo // a mistake of the programmer at registration
	}
	s.observing.Lock()
	defer s.observing.Unlock()
	for _, o := range s.observers {
		if o.name == name {
			panic("pds: two observers named " + name) //nolint:forbidigo // a mistake of the programmer at registration
		}
	}
	o := namedObserver{name, fn}
	s.observers = append(s.observers, o)
	if s.observer != nil {
		s.observer(o)
	}
}

// startObservers calls start with all observers and those to come, until it is
// called with nil.
func (s *Server) startObservers(start func(namedObserver)) {
	s.observing.Lock()
	defer s.observing.Unlock()
	s.observer = start
	if start == nil {
		return
	}
	for _, o := range s.observers {
		start(o)
	}
}

// position is how far an observer is, as stored.
type position struct {
	Seq    int64     `json:"seq"`
	Holder string    `json:"holder,omitempty"`
	Until  time.Time `json:"until,omitzero"` // of the holder's claim
}

// observation is an observer at work.
type observation struct {
	namedObserver
	s *Server

	seq   int64     // of the newest event that was seen
	saved int64     // the same, as stored
	ahead int       // how many were seen since that was stored
	until time.Time // of this process's claim
}

// observe runs one observer until ctx ends.
func (s *Server) observe(ctx context.Context, named namedObserver) {
	o := &observation{namedObserver: named, s: s}
	defer func() {
		if err := o.release(context.WithoutCancel(ctx)); err != nil {
			s.log.ErrorContext(ctx, "storing how far an observer is failed", "observer", o.name, "error", err)
		}
	}()
	signals := s.store.Watch(ctx)
	pause := observerFirstPause
	for ctx.Err() == nil {
		before := o.seq
		more, err := o.batch(ctx)
		if o.seq != before { // it has got on: this is a new failure, if it is one
			pause = observerFirstPause
		}
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "observer failed", "observer", o.name, "error", err, "pause", pause)
			sleep(ctx, pause)
			pause = min(2*pause, observerLastPause)
			continue
		}
		pause = observerFirstPause
		if more {
			continue
		}
		// Nothing to do: wait, and store what was seen before long. Another
		// process may let go of the observer without a signal.
		wait := observerLease / 2
		if o.seq != o.saved {
			wait = observerSave
		}
		select {
		case _, ok := <-signals:
			if !ok {
				return
			}
		case <-time.After(wait):
			if o.seq != o.saved {
				if err := o.save(ctx); err != nil && ctx.Err() == nil {
					s.log.ErrorContext(ctx, "storing how far an observer is failed", "observer", o.name, "error", err)
				}
			}
		case <-ctx.Done():
		}
	}
}

// sleep waits, but not longer than ctx lives.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// batch shows the observer its next events and reports whether there may be
// more at once.
func (o *observation) batch(ctx context.Context) (more bool, err error) {
	if o.ahead >= observerBatch {
		if err := o.save(ctx); err != nil {
			return false, unlessHeld(err)
		}
	}
	events, gap, err := o.next(ctx)
	if err != nil || len(events) == 0 {
		return false, err
	}
	for _, stored := range events {
		if o.s.clock.Now().After(o.until.Add(-2 * observerLease / 3)) {
			if err := o.save(ctx); err != nil {
				return false, unlessHeld(err)
			}
		}
		ev, err := decodeEvent(stored)
		if err != nil {
			return false, fmt.Errorf("event %d: %w", stored.Seq, err)
		}
		ev.Gap, gap = gap, false
		if err := callObserver(ctx, o.fn, ev); err != nil {
			return false, fmt.Errorf("event %d: %w", ev.Seq, err)
		}
		o.seq = ev.Seq
		o.ahead++
		if ctx.Err() != nil {
			return false, nil
		}
	}
	return true, nil
}

// unlessHeld returns err unless it says that another process has the observer,
// which is no failure.
func unlessHeld(err error) error {
	if errors.Is(err, errHeldElsewhere) {
		return nil
	}
	return err
}

func callObserver(ctx context.Context, fn Observer, ev *Event) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return fn(ctx, ev)
}

// next returns the events that follow, or nothing if another process is at
// them.
func (o *observation) next(ctx context.Context) (events []storage.Event, gap bool, err error) {
	err = o.s.store.View(ctx, func(tx storage.Tx) error {
		if !o.s.clock.Now().Before(o.until) { // another process may have been at it
			at, _, err := getPosition(tx, o.name)
			if err != nil || o.s.heldElsewhere(at) {
				return err
			}
			o.seq = max(o.seq, at.Seq)
			o.saved = at.Seq
		}
		if events, err = tx.ListEvents(o.seq, observerBatch-o.ahead, observerBatchBytes); err != nil {
			return err
		}
		pruned, _, err := prunedTo(tx)
		gap = o.seq > 0 && o.seq < pruned
		return err
	})
	return events, gap, err
}

// errHeldElsewhere says that another process runs the observer now.
var errHeldElsewhere = errors.New("pds: another process runs this observer")

func (s *Server) heldElsewhere(p position) bool {
	return p.Holder != "" && p.Holder != s.process && s.clock.Now().Before(p.Until)
}

// save stores how far the observer is and claims it for a while.
func (o *observation) save(ctx context.Context) error {
	return o.put(ctx, position{Holder: o.s.process, Until: o.s.clock.Now().Add(observerLease)})
}

// release stores how far the observer is and lets other processes have it.
func (o *observation) release(ctx context.Context) error {
	if o.seq == o.saved && o.until.IsZero() {
		return nil
	}
	return unlessHeld(o.put(ctx, position{}))
}

func (o *observation) put(ctx context.Context, claim position) error {
	err := o.s.store.Update(ctx, func(tx storage.Tx) error {
		at, doc, err := getPosition(tx, o.name)
		if err != nil {
			return err
		}
		if o.s.heldElsewhere(at) {
			return errHeldElsewhere
		}
		claim.Seq = max(o.seq, at.Seq)
		if doc.Value, err = json.Marshal(claim); err != nil {
			return err
		}
		_, err = tx.PutDoc(doc)
		return err
	})
	if err == nil {
		o.seq, o.saved, o.ahead, o.until = claim.Seq, claim.Seq, 0, claim.Until
	}
	return err
}

func getPosition(tx storage.Docs, name string) (at position, doc storage.Doc, err error) {
	doc, err = tx.GetDoc(docObserver, name)
	if errors.Is(err, storage.ErrNotFound) {
		return position{}, storage.Doc{Kind: docObserver, Key: name}, nil
	}
	if err == nil {
		err = json.Unmarshal(doc.Value, &at)
	}
	return at, doc, err
}

// newProcessName makes a name for this process that no other has.
func newProcessName() string { return strings.ToLower(randomCode(26)) }
