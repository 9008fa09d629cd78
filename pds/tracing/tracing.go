// Package tracing records what a server does as spans of OpenTelemetry. Import
// it to see where the time of a request goes: in the queue of an account, with
// the policy, in the store, at another service.
//
//	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
//	cfg.Tracer = tracing.New(provider)
//	srv, err := pds.New(cfg)
//
// A request to createRecord becomes
//
//	com.atproto.repo.createRecord
//	├ lane wait       for earlier writes of the account
//	├ policy          of the embedder
//	├ sign
//	└ store update
//
// and one that another service answers has a span "call GET" with its host.
// Jobs, background tasks and pages of the firehose that are read from the store
// have spans, too. [pds.Tracer] says what spans never hold.
//
// What a client says of a trace of its own is not believed, since it could fill
// the trace store. A server behind a proxy of one's own that begins traces
// continues them by a handler around the server (pds.Config.Middleware), such
// as that of otelhttp: spans are put below the one of the request's context.
// To the services of the configuration the header traceparent of W3C Trace
// Context is sent, to others it is not; baggage is sent to nobody.
//
// The package pds does not import it, nor OpenTelemetry.
package tracing

import (
	"context"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/pdskit/pdskit/pds"
)

// scope is the name of the instrumentation.
const scope = "github.com/pdskit/pdskit/pds/tracing"

// attrError is the attribute with the name of an error.
const attrError = attribute.Key("error.type")

// New returns a tracer for pds.Config.Tracer that makes spans of a provider's.
// Which of them are kept is for the provider's sampler to say. The provider
// must be shut down after the server, so that the last spans are exported.
func New(p trace.TracerProvider) pds.Tracer { return &tracer{p.Tracer(scope)} }

type tracer struct{ to trace.Tracer }

var kinds = map[pds.SpanKind]trace.SpanKind{
	pds.SpanInternal: trace.SpanKindInternal,
	pds.SpanServer:   trace.SpanKindServer,
	pds.SpanClient:   trace.SpanKindClient,
}

// Start implements pds.Tracer.
func (t *tracer) Start(ctx context.Context, kind pds.SpanKind, name string) (context.Context, pds.Span) {
	ctx, s := t.to.Start(ctx, name, trace.WithSpanKind(kinds[kind]))
	return ctx, span{s}
}

// Inject implements pds.Tracer.
func (t *tracer) Inject(ctx context.Context, h http.Header) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
}

type span struct{ to trace.Span }

// Set implements pds.Span.
func (s span) Set(a slog.Attr) {
	if a.Value.Kind() == slog.KindInt64 {
		s.to.SetAttributes(attribute.Int64(a.Key, a.Value.Int64()))
		return
	}
	s.to.SetAttributes(attribute.String(a.Key, a.Value.String()))
}

// End implements pds.Span.
func (s span) End(failure string) {
	if failure != "" {
		s.to.SetAttributes(attrError.String(failure))
		s.to.SetStatus(codes.Error, failure)
	}
	s.to.End()
}
