package pds

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// SpanKind says which side of a call a span is.
type SpanKind int

// The kinds of spans.
const (
	SpanInternal SpanKind = iota // work inside the server
	SpanServer                   // a request that the server answers
	SpanClient                   // a request that it makes
)

// Tracer records what the server does as spans, which form trees: package
// pds/tracing makes those of OpenTelemetry. Its methods may be called
// concurrently, and must not block.
//
// Spans are named after methods and after what the server does, with
// attributes that are the same for everybody who may see the network: NSIDs,
// DIDs, hosts and statuses. No token, address, handle, query or text of an
// error is ever among them.
type Tracer interface {
	// Start begins a span, below the one that ctx belongs to, and returns a
	// context that belongs to the new one.
	Start(ctx context.Context, kind SpanKind, name string) (context.Context, Span)

	// Inject adds the headers by which another service continues the trace
	// that ctx belongs to. It is called for the services of the configuration
	// alone (AppView, ModService, ReportService): what a caller names may be
	// anybody's, who would learn which requests belong together.
	Inject(ctx context.Context, h http.Header)
}

// Span is something that takes time. It is used by one goroutine at a time.
type Span interface {
	// Set adds an attribute: a string or an integer.
	Set(attr slog.Attr)

	// End ends the span. If failure is not empty, it names the error.
	End(failure string)
}

// Names of spans; those of requests are NSIDs.
const (
	spanOther    = "other" // a method that the server does not have
	spanOAuth    = "oauth"
	spanLane     = "lane wait"
	spanSign     = "sign"
	spanUpdate   = "store update"
	spanBackfill = "firehose backfill"
	spanJob      = "job"
	spanTask     = "task"
)

// Names of attributes: of OpenTelemetry's conventions where there is one.
const (
	attrSystem  = "rpc.system"
	attrMethod  = "rpc.method"
	attrVerb    = "http.request.method"
	attrStatus  = "http.response.status_code"
	attrHost    = "server.address"
	attrError   = "error.type"
	attrAccount = "pdskit.account"
	attrJob     = "pdskit.job.kind"
	attrAttempt = "pdskit.job.attempt"
	attrTask    = "pdskit.task"
	attrEvents  = "pdskit.events"
)

// tracer starts spans, or does nothing without a Tracer.
type tracer struct{ to Tracer }

// span is a span, or nothing.
type span struct{ to Span }

func (t tracer) start(ctx context.Context, kind SpanKind, name string) (context.Context, span) {
	if t.to == nil {
		return ctx, span{}
	}
	ctx, s := t.to.Start(ctx, kind, name)
	return ctx, span{s}
}

func (s span) set(attr slog.Attr) {
	if s.to != nil {
		s.to.Set(attr)
	}
}

func (s span) setString(name, value string) {
	if s.to != nil && value != "" {
		s.to.Set(slog.String(name, value))
	}
}

// end ends a span with the name of an error: its text may quote what was sent.
func (s span) end(err error) {
	if s.to != nil {
		s.to.End(failureName(err))
	}
}

// wait is a span of waiting, which ends when the wait does or is given up:
// whichever comes first. A nil one does nothing.
type wait struct {
	span  span
	ended bool
}

func (t tracer) startWait(ctx context.Context, name string) *wait {
	if t.to == nil {
		return nil
	}
	_, sp := t.start(ctx, SpanInternal, name)
	return &wait{span: sp}
}

func (w *wait) end(err error) {
	if w != nil && !w.ended {
		w.ended = true
		w.span.end(err)
	}
}

func failureName(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, storage.ErrConflict):
		return "conflict"
	}
	return xrpc.ErrorName(err)
}

// traceCall traces a request for a method, see xrpc.Config.Trace. A request
// that is refused is no failure of the server's.
func (t tracer) traceCall(ctx context.Context, nsid string, known bool) (context.Context, func(xrpc.Served)) {
	name := spanOther
	if known {
		name = nsid
	}
	traced, sp := t.start(ctx, SpanServer, name)
	sp.setString(attrSystem, "xrpc")
	sp.setString(attrMethod, nsid)
	if r := xrpc.RequestFrom(ctx); r != nil {
		sp.setString(attrVerb, usualVerb(r.Method))
	}
	return traced, func(served xrpc.Served) {
		if c := xrpc.CallerFrom(ctx); c != nil {
			sp.setString(attrAccount, string(c.Account))
		}
		sp.set(slog.Int(attrStatus, served.Status))
		sp.setString(attrError, served.Error)
		failure := ""
		if served.Status == 0 || served.Status >= http.StatusInternalServerError && served.Status != http.StatusNotImplemented {
			failure = served.Error
		}
		sp.to.End(failure)
	}
}

// usualVerb returns a verb that clients have not made up.
func usualVerb(verb string) string {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost}, verb) {
		return verb
	}
	return "_OTHER"
}

// traceOAuth traces requests for the pages and endpoints of OAuth, whose paths
// and queries are nobody's business.
func (t tracer) traceOAuth(next http.Handler) http.Handler {
	if t.to == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, sp := t.start(r.Context(), SpanServer, spanOAuth)
		defer sp.end(nil)
		sp.setString(attrVerb, usualVerb(r.Method))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// traceJob traces the jobs of a kind. Their names and data may be private.
func (t tracer) traceJob(h jobs.Handler) jobs.Handler {
	if t.to == nil {
		return h
	}
	run := h.Run
	h.Run = func(ctx context.Context, j jobs.Job) error {
		ctx, sp := t.start(ctx, SpanInternal, spanJob)
		sp.setString(attrJob, j.Kind)
		sp.setString(attrAccount, string(j.Owner))
		sp.set(slog.Int(attrAttempt, j.Attempt))
		err := run(ctx, j)
		sp.end(err)
		return err
	}
	return h
}

// traceStore returns a store whose updates are traced, with the time that they
// wait in it. Views are not: there are many, and they are short.
func (t tracer) traceStore(s storage.Store) storage.Store {
	if t.to == nil {
		return s
	}
	return &tracedStore{s, t}
}

type tracedStore struct {
	storage.Store
	tracer tracer
}

// Unwrap is for storage.As.
func (s *tracedStore) Unwrap() storage.Store { return s.Store }

// Update implements storage.Store.
func (s *tracedStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	ctx, sp := s.tracer.start(ctx, SpanInternal, spanUpdate)
	err := s.Store.Update(ctx, fn)
	sp.end(err)
	return err
}

// TraceTransport returns a transport whose requests are traced, each until its
// answer begins, with verb and status, and with the host if it is one of hosts:
// others may be handles that are being resolved. A nil Tracer traces nothing.
// It is for the clients of a Directory or a Registry; Config.Transport is
// traced by the server.
func TraceTransport(t Tracer, next http.RoundTripper, hosts ...string) http.RoundTripper {
	if t == nil {
		return next
	}
	return &tracedTransport{next: next, tracer: tracer{t}, named: func(host string) bool { return slices.Contains(hosts, host) }}
}

type tracedTransport struct {
	next   http.RoundTripper
	tracer tracer
	named  func(host string) bool // whether a span names a host; nil: all
	known  []string               // origins of services that get the trace's headers
}

// RoundTrip implements http.RoundTripper.
func (t *tracedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, sp := t.tracer.start(r.Context(), SpanClient, "call "+usualVerb(r.Method))
	sp.setString(attrVerb, usualVerb(r.Method))
	if host := r.URL.Hostname(); t.named == nil || t.named(host) {
		sp.setString(attrHost, host)
	}
	if slices.Contains(t.known, r.URL.Scheme+"://"+r.URL.Host) {
		r = r.Clone(ctx) // a RoundTripper leaves the request as it was
		t.tracer.to.Inject(ctx, r.Header)
	} else {
		r = r.WithContext(ctx)
	}
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		sp.set(slog.Int(attrStatus, resp.StatusCode))
	}
	sp.end(err)
	return resp, err
}

// CloseIdleConnections passes on, for http.Client.
func (t *tracedTransport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// traced returns the configuration with what it names traced, if it has a
// Tracer.
func (c Config) traced() Config {
	t := tracer{c.Tracer}
	if t.to == nil {
		return c
	}
	c.Store = t.traceStore(c.Store)
	out := &tracedTransport{next: c.Transport, tracer: t}
	for _, s := range []Service{c.AppView, c.ModService, c.ReportService} {
		if s.URL != "" {
			out.known = append(out.known, s.URL)
		}
	}
	c.Transport = out
	return c
}
