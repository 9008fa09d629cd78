package sqlite

import (
	"context"
	"fmt"
	"sync"

	"github.com/pdskit/pdskit/storage"
)

// readers are the connections of Views. The one that was used last is used
// next: what it has in its page cache, and the processor in its own, serves the
// next View too.
type readers struct {
	path  string
	slots chan struct{} // one element for each View that runs

	mu   sync.Mutex // guards following field
	idle []*conn
}

func newReaders(path string, n int) *readers {
	return &readers{path: path, slots: make(chan struct{}, n)}
}

// take returns a connection, which belongs to the caller until put.
func (p *readers) take(ctx context.Context, quit <-chan struct{}) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-quit:
		return nil, storage.ErrClosed
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := connect(p.path,
		fmt.Sprintf("busy_timeout=%d", busyTimeout.Milliseconds()),
		fmt.Sprintf("cache_size=-%d", readerCache),
		"query_only=1",
	)
	if err != nil {
		<-p.slots
		return nil, fmt.Errorf("sqlite: open a read connection: %w", err)
	}
	return c, nil
}

// put takes a connection back, or nil for one that has been closed.
func (p *readers) put(c *conn) {
	if c != nil {
		p.mu.Lock()
		p.idle = append(p.idle, c)
		p.mu.Unlock()
	}
	<-p.slots
}

// close waits for the Views that run and closes all connections.
func (p *readers) close() {
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.close()
	}
	p.idle = nil
}
