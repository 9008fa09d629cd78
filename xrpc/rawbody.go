package xrpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// errBodyClosed is what a closed rawBody reads.
var errBodyClosed = errors.New("xrpc: the body is closed")

// A rawBody is a body that somebody else than the handler's goroutine may read,
// as an http.Transport does.
type rawBody struct {
	mu   sync.Mutex // guards following field; held by Read
	wire *wireReader
}

// RawBody returns the body of the request that ctx belongs to as it was sent,
// still encoded, for a [Config.Fallback]. It is limited to so many bytes and to
// the times of [Config.BodyIdle]. The errors of its Read but io.EOF are of type
// *[Error]; so is the error for a length above the limit that is announced.
//
// Another goroutine may call Read. Close is for the handler, which must call it
// before it returns: it interrupts a Read that is under way, waits for it, and
// lets no other one happen.
func RawBody(ctx context.Context, limit int64) (io.ReadCloser, error) {
	c := callFrom(ctx)
	if c == nil || c.rw == nil {
		return nil, errors.New("xrpc: RawBody outside of a request")
	}
	if c.req.ContentLength > limit {
		return nil, tooLarge(tooLargeStream)
	}
	return &rawBody{wire: &wireReader{call: c, left: limit, name: tooLargeStream}}, nil
}

func (b *rawBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wire.isClosed() {
		return 0, errBodyClosed
	}
	return b.wire.Read(p)
}

// Close implements io.Closer.
func (b *rawBody) Close() error {
	ended := b.wire.close()
	b.mu.Lock() // that is, after the Read
	defer b.mu.Unlock()
	// Whoever sent what nobody has read is not waited for, if that can still
	// be said.
	if rw := b.wire.call.rw; !ended && rw.status == 0 {
		rw.Header().Set("Connection", "close")
	}
	return nil
}

func (w *wireReader) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// close ends a Read that waits for the client, and reports whether all of the
// body had been read.
func (w *wireReader) close() (ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// After the end net/http watches the connection, which a deadline would
	// end.
	if !w.closed && !w.ended && w.call.req.ContentLength != 0 {
		_ = http.NewResponseController(w.call.rw.ResponseWriter).SetReadDeadline(time.Unix(1, 0))
	}
	w.closed = true
	return w.ended
}
