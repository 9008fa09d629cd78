package pds

import (
	"log/slog"
	"net/http"
	"testing"

	"github.com/pdskit/pdskit/internal/jobs"
)

// TestNoTracer shows that a server without a Tracer does nothing for one.
func TestNoTracer(t *testing.T) {
	var off tracer
	ctx := t.Context()
	allocs := testing.AllocsPerRun(100, func() {
		same, sp := off.start(ctx, SpanInternal, spanSign)
		sp.setString(attrAccount, "did:web:example.com")
		sp.set(slog.Int(attrStatus, 200))
		sp.end(nil)
		w := off.startWait(same, spanLane)
		w.end(nil)
		w.end(nil)
	})
	if allocs != 0 {
		t.Errorf("%v allocations without a Tracer", allocs)
	}
	next := http.DefaultTransport
	if got := TraceTransport(nil, next); got != next {
		t.Errorf("a nil Tracer wraps a transport: %T", got)
	}
	cfg := Config{Transport: next}.traced()
	if cfg.Transport != next || off.traceStore(nil) != nil || off.traceJob(jobs.Handler{}).Run != nil {
		t.Error("something is wrapped without a Tracer")
	}
}
