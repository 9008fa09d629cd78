package xrpc

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if cors(w, r) {
		return
	}
	start := s.now()
	c := &call{server: s, rw: &recorder{ResponseWriter: w}}
	c.ip = ForwardedIP(r, s.cfg.TrustedProxies)
	c.id = s.requestID(r)
	c.req = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	w.Header().Set("X-Request-Id", c.id)
	defer func() {
		if p := recover(); p != nil {
			c.recovered(p)
		}
		took := s.now().Sub(start)
		c.log(took)
		c.report(took)
		BoundDrain(w, r, s.cfg.BodyIdle)
		if c.abort() {
			panic(http.ErrAbortHandler) //nolint:forbidigo // how net/http is told to cut the connection
		}
	}()
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

// serve finds the method and runs it.
func (c *call) serve() error {
	b, nsid, err := c.server.parsePath(c.req)
	if err != nil {
		return err
	}
	c.nsid, c.known = nsid, b != nil
	if trace := c.server.cfg.Trace; trace != nil {
		var ctx context.Context
		ctx, c.traced = trace(c.req.Context(), nsid, c.known)
		c.req = c.req.WithContext(ctx)
	}
	if b != nil {
		err := b.serve(c)
		if err != nil && !c.counted && c.rw.status == 0 {
			// Requests that fail early count as well, above all those with
			// wrong credentials.
			if over := c.takeLimits(c.req.Context(), c.server.cfg.GlobalLimits, true); over != nil {
				return over
			}
		}
		return err
	}
	s := c.server
	if err := c.takeLimits(c.req.Context(), s.cfg.GlobalLimits, true); err != nil {
		return err
	}
	if s.cfg.Fallback == nil || s.cfg.Owned != nil && s.cfg.Owned(nsid) {
		return NotImplemented()
	}
	return s.cfg.Fallback(c.rw, c.req)
}

// fail answers with an error, if that is still possible.
func (c *call) fail(err error) {
	if _, known := asError(err); !known && c.server.cfg.Explain != nil {
		err = c.server.cfg.Explain(err)
	}
	c.err = err
	if c.rw.status == 0 {
		WriteError(c.rw, c.req, err)
	}
}

// A panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func (c *call) recovered(p any) {
	if p == http.ErrAbortHandler {
		c.err = http.ErrAbortHandler
		return
	}
	c.fail(&panicError{p, debug.Stack()})
}

// abort reports whether the connection has to be cut, since the answer is not
// complete and the client could not tell otherwise.
func (c *call) abort() bool {
	if c.err == http.ErrAbortHandler {
		return true
	}
	e, _ := asError(c.err)
	return c.err != nil && c.rw.status != 0 && c.rw.status != e.status() && c.rw.status != http.StatusSwitchingProtocols
}

// log writes the line of the request.
func (c *call) log(took time.Duration) {
	level := slog.LevelInfo
	status := c.rw.status
	if c.err != nil {
		if _, known := asError(c.err); !known {
			level = slog.LevelError
		}
		if isGone(c.err) || c.req.Context().Err() != nil {
			level = slog.LevelInfo
		}
	}
	ctx := c.req.Context()
	if !c.server.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("id", c.id),
		slog.String("method", c.nsid),
		slog.String("verb", c.req.Method),
		slog.Int("status", status),
		slog.Duration("took", took),
		slog.Int64("bytes", c.rw.bytes),
		slog.String("ip", c.ip.String()),
	)
	if who := c.caller; who != nil {
		// Who acts for an account stands in no log: logs go further and live
		// longer than what the account's owners may know.
		attrs = append(attrs, slog.String("auth", who.Kind.String()), slog.String("account", who.Account.String()))
	}
	if c.err != nil {
		e, _ := asError(c.err)
		name, _ := e.wire()
		attrs = append(attrs, slog.String("error", name))
		if cause := causeOf(c.err); cause != nil {
			attrs = append(attrs, slog.String("cause", cause.Error()))
			if p, ok := cause.(*panicError); ok {
				attrs = append(attrs, slog.String("stack", string(p.stack)))
			}
		}
	}
	c.server.log.LogAttrs(ctx, level, "xrpc", attrs...)
}

// report tells whoever wants to know that the request has been answered.
func (c *call) report(took time.Duration) {
	if c.server.cfg.OnServed == nil && c.traced == nil {
		return
	}
	served := Served{Status: c.rw.status, Took: took}
	if c.known {
		served.Method = syntax.NSID(c.nsid)
	}
	if c.err != nil {
		served.Error = ErrorName(c.err)
	}
	if c.traced != nil {
		c.traced(served)
	}
	if c.server.cfg.OnServed != nil {
		c.server.cfg.OnServed(served)
	}
}

// causeOf returns what the client was not told: nil if it was told all.
func causeOf(err error) error {
	if e, known := asError(err); known {
		return e.cause
	}
	return err
}

func isGone(err error) bool {
	_, ok := err.(*goneError)
	return ok
}

const maxRequestID = 64

// requestID returns the id that a trusted proxy has given to a request, or
// makes one. It is for finding a request in logs, not a secret.
func (s *Server) requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= maxRequestID && isToken(id) && s.fromProxy(r) {
		return id
	}
	id := strconv.FormatUint(rand.Uint64(), 16)
	return strings.Repeat("0", 16-len(id)) + id
}

func (s *Server) fromProxy(r *http.Request) bool {
	direct := http.Request{RemoteAddr: r.RemoteAddr}
	return containsIP(s.cfg.TrustedProxies, ForwardedIP(&direct, nil))
}

func isToken(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.:", c) >= 0) {
			return false
		}
	}
	return true
}
