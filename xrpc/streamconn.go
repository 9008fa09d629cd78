package xrpc

import (
	"bufio"
	"net"
	"net/http"
	"sync"
)

// A corkedConn is a connection that can hold back what is written for a
// moment, so that many frames go out in one system call.
type corkedConn struct {
	net.Conn

	mu   sync.Mutex // guards following field, and is held while it is sent
	held []byte     // from chunks; nil: not corked
}

// Write sends p, or keeps it while the connection is corked and there is room.
func (c *corkedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil && len(c.held)+len(p) > cap(c.held) {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if c.held == nil || len(p) > cap(c.held) {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

// flush sends what is held. The caller holds c.mu.
func (c *corkedConn) flush() error {
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.held)
	c.held = c.held[:0]
	return err
}

func (c *corkedConn) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = *chunks.Get().(*[]byte)
	}
}

// uncork sends what was held back.
func (c *corkedConn) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.flush()
	if c.held != nil {
		b := c.held[:0]
		c.held = nil
		chunks.Put(&b)
	}
	return err
}

// A corkingWriter makes Hijack return a corkedConn, and remembers it.
type corkingWriter struct {
	http.ResponseWriter
	conn *corkedConn
}

// Hijack implements [http.Hijacker].
func (w *corkingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.conn = &corkedConn{Conn: conn}
	return w.conn, bufio.NewReadWriter(rw.Reader, bufio.NewWriter(w.conn)), nil
}
