package pds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

func errPolicyTime() *xrpc.Error {
	return xrpc.NewError(http.StatusServiceUnavailable, "PolicyTimeout", "The server's rules for this account did not answer in time")
}

// extensionCall says how code of the embedder is called.
type extensionCall struct {
	what     string     // for the log
	about    syntax.DID // the account that waits for it
	limit    time.Duration
	readOnly bool // the State
	alone    bool // nothing else of the kind runs about the account meanwhile
}

// runningCall names what code of the embedder is busy with.
type runningCall struct {
	what  string
	about syntax.DID
}

// callExtension calls code of the embedder and returns its answer and its State,
// closed. A panic is an error; one that takes too long gives errPolicyTime and
// goes on alone. Until that has returned the code is not called again about the
// account, so that calls which never return do not pile up; one that is to be
// alone is refused as long as another runs at all.
func callExtension[T any](ctx context.Context, s *Server, c extensionCall, fn func(context.Context, *State) (T, error)) (out T, st *State, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	ctx, sp := s.tracer.start(ctx, SpanInternal, c.what)
	defer func() { sp.end(err) }()
	state := newState(ctx, s)
	state.readOnly = c.readOnly
	defer state.close()
	type answer struct {
		value T
		err   error
	}
	running := runningCall{c.what, c.about}
	if c.alone {
		_, stuck := s.running.LoadOrStore(running, true)
		if stuck {
			return out, state, errPolicyTime()
		}
	} else if _, stuck := s.running.Load(running); stuck {
		return out, state, errPolicyTime()
	}
	done := make(chan answer, 1)
	go func() {
		a := answer{err: fmt.Errorf("pds: the %s did not return", c.what)} // as after runtime.Goexit
		defer func() {
			if v := recover(); v != nil {
				s.log.ErrorContext(ctx, "a "+c.what+" panicked", "did", c.about, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
				a = answer{err: fmt.Errorf("pds: the %s panicked: %v", c.what, v)}
			}
			if c.alone { // the account is free before anybody gets the answer
				s.running.Delete(running)
				done <- a
				return
			}
			done <- a
			s.running.Delete(running)
		}()
		a.value, a.err = fn(ctx, state)
	}()
	select {
	case a := <-done:
		return a.value, state, a.err
	case <-ctx.Done():
		if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
			return out, state, err
		}
		s.log.WarnContext(ctx, "a "+c.what+" took too long", "did", c.about, "limit", c.limit)
		if !c.alone {
			s.running.Store(running, true)
			if len(done) > 0 { // it has returned in between
				s.running.Delete(running)
			}
		}
		return out, state, errPolicyTime()
	}
}
