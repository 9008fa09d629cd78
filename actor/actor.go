package actor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pdskit/pdskit/internal/lane"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
)

// Limits that are not configurable.
const (
	// MaxIDBytes is the length of the longest ID of an actor.
	MaxIDBytes = 256

	// MaxNameBytes is the length of the longest name of a kind.
	MaxNameBytes = 50
)

// Errors of calls.
var (
	// ErrBusy says that too many calls wait for the actor.
	ErrBusy = errors.New("actor: too many calls wait")

	// ErrReentered says that an actor was called by itself, which would wait for
	// ever.
	ErrReentered = errors.New("actor: a call cannot wait for the same actor")

	// ErrID says that an ID is empty, too long, or not text without slashes.
	ErrID = errors.New("actor: invalid ID")
)

// PanicError is what a call returns that panicked. Nothing of it was stored.
type PanicError struct {
	Value any    // what the function panicked with
	Stack []byte // where
}

// Error names the value.
func (e *PanicError) Error() string { return fmt.Sprintf("actor: panic: %v", e.Value) }

// Options bounds a [System]. A field that is not positive takes the default named
// in its comment.
type Options struct {
	Active  int           // actors of each kind whose state stays in memory: 1,000
	Waiting int           // calls that wait for one actor: 1,000
	Timeout time.Duration // of an alarm or message: 1 min
}

// System holds the kinds of actors of a program. It may be used concurrently.
type System struct {
	srv  *pds.Server
	opts Options

	mu    sync.Mutex // guards following field
	kinds map[string]bool
}

// New returns a System on a server. The server's Run carries alarms and messages
// out.
func New(srv *pds.Server, opts Options) *System {
	if opts.Active <= 0 {
		opts.Active = 1000
	}
	if opts.Waiting <= 0 {
		opts.Waiting = 1000
	}
	if opts.Timeout <= 0 {
		opts.Timeout = time.Minute
	}
	return &System{srv: srv, opts: opts, kinds: map[string]bool{}}
}

// Kind says what actors of a kind are. S is their state: what encoding/json can
// take, at most pds.MaxDocumentBytes when encoded. The state of an actor that
// was never called is the zero S.
type Kind[S any] struct {
	// Name is the kind's own, such as "com.example.room": letters, digits,
	// dots, at least one of them, and hyphens.
	Name string

	// Alarm is called when the actor's alarm is due, see [Call.SetAlarm].
	Alarm func(c *Call[S]) error

	// Receive is called with each message, see [Send].
	Receive func(c *Call[S], message json.RawMessage) error
}

// Actors are the actors of one kind. Its methods may be called concurrently.
type Actors[S any] struct {
	sys   *System
	kind  Kind[S]
	lanes *lane.Group[string, activation[S]]
}

// activation is an actor in memory: its state and the stored form of it.
type activation[S any] struct {
	valid   bool
	encoded []byte
	state   S
}

// Register adds a kind. Register it before the server's Run, on every start:
// alarms and messages of a kind that nobody registered wait. It panics if the
// name is malformed or taken.
func Register[S any](sys *System, k Kind[S]) *Actors[S] {
	if !strings.Contains(k.Name, ".") || len(k.Name) > MaxNameBytes {
		panic(fmt.Sprintf("actor: %q is no name of a kind", k.Name)) //nolint:forbidigo // a mistake of the programmer at registration
	}
	sys.mu.Lock()
	defer sys.mu.Unlock()
	if sys.kinds[k.Name] {
		panic("actor: two kinds named " + k.Name) //nolint:forbidigo // likewise
	}
	sys.kinds[k.Name] = true
	a := &Actors[S]{sys: sys, kind: k, lanes: lane.New[string, activation[S]](sys.opts.Active, sys.opts.Waiting)}
	if k.Alarm != nil {
		sys.srv.HandleJobs(pds.JobHandler{Kind: a.alarmKind(), Timeout: sys.opts.Timeout, Run: a.runAlarm})
	}
	if k.Receive != nil {
		sys.srv.HandleJobs(pds.JobHandler{Kind: a.messageKind(), Timeout: sys.opts.Timeout, Run: a.runMessage})
	}
	return a
}

// The kinds of the jobs that are alarms and messages.
func (a *Actors[S]) alarmKind() string   { return a.kind.Name + ".alarm" }
func (a *Actors[S]) messageKind() string { return a.kind.Name + ".message" }

func (a *Actors[S]) document(id string) pds.DocumentKey {
	return pds.DocumentKey{Kind: a.kind.Name, Key: id}
}

func checkID(id string) error {
	if id == "" || len(id) > MaxIDBytes || strings.ContainsRune(id, '/') {
		return fmt.Errorf("%w: %.100q", ErrID, id)
	}
	return nil
}

// Call is one call of an actor. It is valid until the function that it was given
// to returns, and not safe for concurrent use.
type Call[S any] struct {
	// ID is the actor's.
	ID string

	// State is the actor's state. What the function changes is stored when it
	// returns nil.
	State *S

	// Docs gives further documents, which are stored together with the state.
	Docs *pds.State

	ctx    context.Context
	actors *Actors[S]
}

// Context returns the context of the call.
func (c *Call[S]) Context() context.Context { return c.ctx }

// Now returns the time of the server's clock.
func (c *Call[S]) Now() time.Time { return c.Docs.Now() }

// SetAlarm has Kind.Alarm called at a time, in place of an earlier alarm: an
// actor has at most one.
func (c *Call[S]) SetAlarm(at time.Time) error {
	return c.Docs.Schedule(pds.Job{Kind: c.actors.alarmKind(), Name: c.ID, Due: at})
}

// ClearAlarm takes the alarm away, if there is one.
func (c *Call[S]) ClearAlarm() error { return c.Docs.CancelJob(c.actors.alarmKind(), c.ID) }

// Send sends a message to an actor of any kind, to be received not before a
// time; zero: at once. It is sent when the call is stored. message is encoded by
// encoding/json, to at most 64 KiB.
func Send[S any](docs *pds.State, to *Actors[S], id string, message any, at time.Time) error {
	if err := checkID(id); err != nil {
		return err
	}
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return docs.Schedule(pds.Job{Kind: to.messageKind(), Name: id + "/" + rand.Text(), Due: at, Data: data})
}

// Do calls an actor. It returns when what fn did is durable, or fn's error,
// unchanged, and then nothing of it has happened. After an error that is neither
// fn's nor one of this package, nor matches storage.ErrConflict, what fn did may
// or may not have happened. A fn that panics gives a *PanicError.
func (a *Actors[S]) Do(ctx context.Context, id string, fn func(c *Call[S]) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	err := a.lanes.Do(ctx, id, func(ctx context.Context, act *activation[S]) (bool, error) {
		var next []byte
		err := a.sys.srv.Update(ctx, func(st *pds.State) (err error) {
			next, err = a.run(ctx, st, id, act, fn)
			return err
		})
		if err != nil {
			return false, err // the state in memory may be ahead: drop it
		}
		act.valid, act.encoded = true, next
		return true, nil
	})
	return callError(err)
}

// callError turns the errors of lanes into those of this package.
func callError(err error) error {
	switch {
	case errors.Is(err, lane.ErrFull):
		return ErrBusy
	case errors.Is(err, lane.ErrReentered):
		return ErrReentered
	}
	if p, ok := errors.AsType[*lane.PanicError](err); ok {
		return &PanicError{p.Value, p.Stack}
	}
	return err
}

// run runs fn on the state of now and returns the new state as it is to be
// stored.
func (a *Actors[S]) run(ctx context.Context, st *pds.State, id string, act *activation[S], fn func(c *Call[S]) error) ([]byte, error) {
	doc, err := st.Get(a.document(id))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	if !act.valid || !bytes.Equal(doc.Value, act.encoded) {
		var fresh S
		if len(doc.Value) > 0 {
			if err := json.Unmarshal(doc.Value, &fresh); err != nil {
				return nil, fmt.Errorf("actor: the state of %s %q: %w", a.kind.Name, id, err)
			}
		}
		act.state = fresh
	}
	act.valid = false // until it is stored
	if err := fn(&Call[S]{ID: id, State: &act.state, Docs: st, ctx: ctx, actors: a}); err != nil {
		return nil, err
	}
	next, err := json.Marshal(&act.state)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(next, doc.Value) {
		return next, nil
	}
	return next, st.Put(pds.Document{DocumentKey: a.document(id), Value: next})
}

// View calls fn with the stored state of an actor, without waiting for its
// turn. What fn changes has no effect.
func (a *Actors[S]) View(ctx context.Context, id string, fn func(state S) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	return a.sys.srv.View(ctx, func(st *pds.State) error {
		var state S
		doc, err := st.Get(a.document(id))
		if err == nil {
			err = doc.JSON(&state)
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		return fn(state)
	})
}

// Delete removes an actor with its state and its alarm. Messages to it that are
// on their way make a new one.
func (a *Actors[S]) Delete(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	err := a.lanes.Do(ctx, id, func(ctx context.Context, _ *activation[S]) (bool, error) {
		return false, a.sys.srv.Update(ctx, func(st *pds.State) error {
			return errors.Join(st.Delete(a.document(id)), st.CancelJob(a.alarmKind(), id))
		})
	})
	return callError(err)
}

// runAlarm carries an alarm out. The job goes away with the transaction that
// stores the new state, unless the call has set another alarm.
func (a *Actors[S]) runAlarm(ctx context.Context, j pds.Job) error {
	return a.Do(ctx, j.Name, func(c *Call[S]) error {
		if err := c.ClearAlarm(); err != nil {
			return err
		}
		return a.kind.Alarm(c)
	})
}

// runMessage hands a message over, likewise.
func (a *Actors[S]) runMessage(ctx context.Context, j pds.Job) error {
	id, _, _ := strings.Cut(j.Name, "/")
	return a.Do(ctx, id, func(c *Call[S]) error {
		if err := c.Docs.CancelJob(j.Kind, j.Name); err != nil {
			return err
		}
		return a.kind.Receive(c, j.Data)
	})
}
