package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// transferIdle is how long a transfer may stand still.
const transferIdle = 2 * time.Minute

var errIdle = errors.New("nothing came for too long")

// sourceError is an error of the server that a transfer comes from.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// transfer streams the answer of a query there into a procedure here, and reads
// its JSON into out, which may be nil. It returns how many bytes went over.
func (m *mover) transfer(ctx context.Context, query string, params url.Values, procedure string, out any) (n int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := &transferred{timer: time.AfterFunc(m.idle, func() { cancel(errIdle) }), idle: m.idle}
	defer body.timer.Stop()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errIdle) {
			err = fmt.Errorf("%w: %w", errIdle, err)
		}
	}()
	from, err := m.there.send(ctx, http.MethodGet, query, "Bearer "+m.There.Access, params, "", nil)
	if err != nil {
		return 0, sourceError{err}
	}
	defer from.Body.Close()
	body.r = from.Body
	contentType := cmp.Or(from.Header.Get("Content-Type"), "application/octet-stream")
	to, err := m.here.send(ctx, http.MethodPost, procedure, "Bearer "+m.Here.Access, nil, contentType, body)
	n, broken := body.result()
	if err != nil {
		return n, errors.Join(err, broken)
	}
	defer to.Body.Close()
	if out != nil {
		err = json.NewDecoder(io.LimitReader(to.Body, maxPeerAnswer)).Decode(out)
	}
	return n, err
}

// transferred is the body of a transfer. Once it has been read the timer rests:
// what is done with it takes its time. An HTTP client may read it for a while
// after the answer is there.
type transferred struct {
	r     io.Reader
	timer *time.Timer
	idle  time.Duration

	mu  sync.Mutex // guards following 2 fields
	n   int64
	err error // of the source
}

func (b *transferred) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n += int64(n)
	switch {
	case err == io.EOF:
		b.timer.Stop()
	case err != nil:
		b.err = sourceError{err}
	default:
		b.timer.Reset(b.idle)
	}
	return n, err
}

// result is how many bytes were read, and what went wrong with the source.
func (b *transferred) result() (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n, b.err
}
