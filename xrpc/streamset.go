package xrpc

import (
	"context"
	"net/http"
	"sync"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// A streamSet knows the open streams of a server.
type streamSet struct {
	mu       sync.Mutex // guards following 6 fields
	open     map[*Stream]*Caller
	callers  map[syntax.DID]map[*Stream]struct{} // by account and actor
	count    int                                 // streams open and being opened
	byClient map[string]int                      // of those whose client is known
	closing  bool                                // shutdown has begun
	drained  chan struct{}                       // closed when closing and count is 0
}

func newStreamSet() *streamSet {
	return &streamSet{
		open: make(map[*Stream]*Caller), callers: make(map[syntax.DID]map[*Stream]struct{}),
		byClient: make(map[string]int), drained: make(chan struct{}),
	}
}

// acquire makes room for a stream, unless there are too many already or the
// server shuts down. client is empty if it is not known.
func (s *streamSet) acquire(client string, cfg *StreamConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing || s.count >= cfg.MaxStreams:
		return NewError(http.StatusServiceUnavailable, "", "")
	case client != "" && s.byClient[client] >= cfg.MaxPerClient:
		return NewError(http.StatusTooManyRequests, "", "Too many open streams")
	}
	s.count++
	if client != "" {
		s.byClient[client]++
	}
	return nil
}

func (s *streamSet) release(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	if client != "" {
		if s.byClient[client]--; s.byClient[client] == 0 {
			delete(s.byClient, client)
		}
	}
	if s.closing && s.count == 0 {
		close(s.drained)
	}
}

func (s *streamSet) add(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[st] = nil
	if s.closing {
		st.cancel(errShutdown)
	}
}

func (s *streamSet) remove(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.open[st]; c != nil {
		for _, did := range []syntax.DID{c.Account, c.Actor} {
			delete(s.callers[did], st)
			if len(s.callers[did]) == 0 {
				delete(s.callers, did)
			}
		}
	}
	delete(s.open, st)
}

// watch lets recheck find a stream by its caller.
func (s *streamSet) watch(st *Stream, c *Caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[st] = c
	for _, did := range []syntax.DID{c.Account, c.Actor} {
		if s.callers[did] == nil {
			s.callers[did] = make(map[*Stream]struct{})
		}
		s.callers[did][st] = struct{}{}
	}
}

// recheck tells the streams of some callers to look at them.
func (s *streamSet) recheck(dids []syntax.DID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, did := range dids {
		for st := range s.callers[did] {
			select {
			case st.again <- struct{}{}:
			default: // it is told already
			}
		}
	}
}

func (s *streamSet) shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		if s.count == 0 {
			close(s.drained)
		}
	}
	for st := range s.open {
		st.cancel(errShutdown)
	}
	s.mu.Unlock()
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.open {
		go func() { _ = st.conn.CloseNow() }()
	}
	return ctx.Err()
}
