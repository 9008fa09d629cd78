package xrpc

import (
	"context"
	"sync"
)

// A streamSet knows the open streams of a server.
type streamSet struct {
	mu      sync.Mutex // guards following 4 fields
	open    map[*Stream]struct{}
	count   int           // streams open and being opened
	closing bool          // shutdown has begun
	drained chan struct{} // closed when closing and count is 0
}

func newStreamSet() *streamSet {
	return &streamSet{open: make(map[*Stream]struct{}), drained: make(chan struct{})}
}

// acquire makes room for a stream, unless there are max already or the server
// shuts down.
func (s *streamSet) acquire(max int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.count >= max {
		return false
	}
	s.count++
	return true
}

func (s *streamSet) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	if s.closing && s.count == 0 {
		close(s.drained)
	}
}

func (s *streamSet) add(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[st] = struct{}{}
	if s.closing {
		st.cancel(errShutdown)
	}
}

func (s *streamSet) remove(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
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
