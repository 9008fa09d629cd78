package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/tracing"
)

// flushTime is how long the end of the server waits for the last spans to be
// exported.
const flushTime = 5 * time.Second

// startTracing returns what makes spans, nil if the configuration names no
// collector, and what exports the last ones. Names of the environment other
// than those of the address are read by OpenTelemetry's own code.
func startTracing(ctx context.Context, set *settings, log *slog.Logger) (pds.Tracer, func(), error) {
	endpoint := set.tracesURL
	if endpoint == "" && set.otlpURL != "" {
		endpoint = set.otlpURL + "/v1/traces"
	}
	if endpoint == "" || set.otelOff {
		return nil, func() {}, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "pdskit"), attribute.String("service.version", set.version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv()) // what the environment says comes last, and wins
	if err != nil {
		return nil, nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("exporting spans failed", "error", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	flush := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last spans were not exported", "error", err)
		}
	}
	return tracing.New(provider), flush, nil
}

// tracedIdentity is the transport for identities, of which spans name the
// directory alone.
func tracedIdentity(t pds.Tracer, set *settings, next http.RoundTripper) http.RoundTripper {
	var hosts []string
	if u, err := url.Parse(set.plcURL); err == nil {
		hosts = append(hosts, u.Hostname())
	}
	return pds.TraceTransport(t, next, hosts...)
}
