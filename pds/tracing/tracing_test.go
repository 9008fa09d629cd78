package tracing_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/pds/tracing"
)

// recorded is a server whose spans are kept in memory.
type recorded struct {
	*pdstest.PDS
	spans *tracetest.SpanRecorder
	ended chan struct{} // has an element when a span has ended
}

// OnEnd tells find, which waits: spans end after the answers of requests.
func (r *recorded) OnEnd(s sdktrace.ReadOnlySpan) {
	r.spans.OnEnd(s)
	select {
	case r.ended <- struct{}{}:
	default:
	}
}

// The rest of a sdktrace.SpanProcessor.
func (r *recorded) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (r *recorded) Shutdown(context.Context) error                  { return nil }
func (r *recorded) ForceFlush(context.Context) error                { return nil }

func start(t *testing.T, adjust ...func(*pds.Config)) *recorded {
	t.Helper()
	rec := &recorded{spans: tracetest.NewSpanRecorder(), ended: make(chan struct{}, 1)}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))
	rec.PDS = pdstest.New(t, append(adjust, func(c *pds.Config) { c.Tracer = tracing.New(provider) })...)
	return rec
}

// find returns the last span of a name that has ended, or will soon.
func (r *recorded) find(t *testing.T, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		for _, s := range slices.Backward(r.spans.Ended()) {
			if s.Name() == name {
				return s
			}
		}
		select {
		case <-r.ended:
		case <-late:
			t.Fatalf("no span %q", name)
		}
	}
}

// tree shows a span with those below it, each with its attributes.
func (r *recorded) tree(root sdktrace.ReadOnlySpan) string {
	var b strings.Builder
	var show func(s sdktrace.ReadOnlySpan, indent string)
	show = func(s sdktrace.ReadOnlySpan, indent string) {
		fmt.Fprintf(&b, "%s%s\n", indent, s.Name())
		var below []sdktrace.ReadOnlySpan
		for _, c := range r.spans.Ended() {
			if c.Parent().SpanID() == s.SpanContext().SpanID() {
				below = append(below, c)
			}
		}
		slices.SortStableFunc(below, func(a, b sdktrace.ReadOnlySpan) int {
			return cmp.Compare(a.StartTime().UnixNano(), b.StartTime().UnixNano())
		})
		for _, c := range below {
			show(c, indent+"  ")
		}
	}
	show(root, "")
	return b.String()
}

func attr(s sdktrace.ReadOnlySpan, name string) string {
	for _, a := range s.Attributes() {
		if string(a.Key) == name {
			return a.Value.String()
		}
	}
	return ""
}

func wantAttrs(t *testing.T, s sdktrace.ReadOnlySpan, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := attr(s, name); got != value {
			t.Errorf("%s: %s is %q, want %q", s.Name(), name, got, value)
		}
	}
}

func TestCreateRecord(t *testing.T) {
	srv := start(t, func(c *pds.Config) {
		c.Policy = pds.PolicyFunc(func(ctx context.Context, w *pds.Write) error {
			if !trace.SpanContextFromContext(ctx).IsValid() {
				t.Error("the policy's context belongs to no span")
			}
			return nil
		})
	})
	alice := srv.CreateAccount("alice")
	alice.CreateRecord("com.example.note", map[string]any{"$type": "com.example.note", "text": "hi"})

	root := srv.find(t, "com.atproto.repo.createRecord")
	const want = `com.atproto.repo.createRecord
  lane wait
  policy
  sign
  store update
`
	if got := srv.tree(root); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if root.SpanKind() != trace.SpanKindServer {
		t.Errorf("kind %s", root.SpanKind())
	}
	wantAttrs(t, root, map[string]string{
		"rpc.system": "xrpc", "rpc.method": "com.atproto.repo.createRecord", "http.request.method": "POST",
		"http.response.status_code": "200", "pdskit.account": string(alice.DID), "error.type": "",
	})
}

func TestRefusalsAreNoFailures(t *testing.T) {
	srv := start(t)
	_, err := srv.Call(t.Context(), http.MethodGet, "com.atproto.server.getSession", nil, nil, nil)
	if err == nil {
		t.Fatal("answered without credentials")
	}
	s := srv.find(t, "com.atproto.server.getSession")
	wantAttrs(t, s, map[string]string{"http.response.status_code": "401", "error.type": "AuthMissing", "pdskit.account": ""})
	if s.Status().Code != codes.Unset {
		t.Errorf("status %v", s.Status())
	}
}

// TestProxiedCall follows calls to a service of the configuration and to one
// that the caller names.
func TestProxiedCall(t *testing.T) {
	var got []http.Header
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Clone())
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}))
	defer service.Close()
	stranger := httptest.NewServer(service.Config.Handler)
	defer stranger.Close()
	srv := start(t, func(c *pds.Config) {
		c.Transport = identity.NewTransport(identity.TransportConfig{AllowPrivate: true})
		c.AppView = pds.Service{URL: service.URL, DID: "did:web:api.example.com"}
	})
	alice := srv.CreateAccount("alice")
	h := http.Header{
		"Authorization": {"Bearer " + alice.Access},
		"Traceparent":   {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Baggage":       {"from=client"},
	}
	if _, err := srv.Call(t.Context(), http.MethodGet, "app.bsky.feed.getLikes", url.Values{"uri": {"at://x"}}, h, nil); err != nil {
		t.Fatal(err)
	}
	root := srv.find(t, "other")
	const want = "other\n  sign\n  call GET\n"
	if got := srv.tree(root); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wantAttrs(t, root, map[string]string{"rpc.method": "app.bsky.feed.getLikes", "pdskit.account": string(alice.DID)})
	call := srv.find(t, "call GET")
	wantAttrs(t, call, map[string]string{"server.address": "127.0.0.1", "http.response.status_code": "200"})
	if call.SpanKind() != trace.SpanKindClient {
		t.Errorf("kind %s", call.SpanKind())
	}
	sc := call.SpanContext()
	if want := fmt.Sprintf("00-%s-%s-01", sc.TraceID(), sc.SpanID()); len(got) != 1 || got[0].Get("traceparent") != want {
		t.Errorf("the service got %v, want traceparent %s", got, want)
	}
	if sc.TraceID().String() == "0af7651916cd43dd8448eb211c80319c" || root.Parent().IsValid() {
		t.Error("a client's traceparent is believed")
	}
	if b := got[0].Get("baggage"); b != "" {
		t.Errorf("baggage %q was passed on", b)
	}

	t.Run("AStrangerLearnsNothing", func(t *testing.T) {
		got = nil
		h.Set("Atproto-Proxy", publish(t, srv.PDS, stranger.URL)+"#stranger")
		if _, err := srv.Call(t.Context(), http.MethodGet, "com.example.query", nil, h, nil); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].Get("traceparent") != "" {
			t.Errorf("a service that nobody has configured got %v", got)
		}
	})
}

// TestNothingSecret looks for what belongs to people in all spans of a server.
func TestNothingSecret(t *testing.T) {
	const mark = "sekret"
	srv := start(t)
	alice := srv.CreateAccount("alice-" + mark)
	calls := []struct {
		verb, nsid string
		params     url.Values
		body       any
	}{
		{http.MethodPost, "com.atproto.server.createSession", nil, map[string]any{"identifier": mark + ".test", "password": mark}},
		{http.MethodPost, "com.atproto.server.requestPasswordReset", nil, map[string]any{"email": alice.Email}},
		{http.MethodPost, "com.atproto.server.resetPassword", nil, map[string]any{"token": mark, "password": mark}},
		{http.MethodGet, "com.atproto.identity.resolveHandle", url.Values{"handle": {mark + ".example.com"}}, nil},
		{http.MethodPost, "com.atproto.repo.createRecord", nil, map[string]any{
			"repo": alice.DID, "collection": "com.example.note", "record": map[string]any{"$type": "com.example.note", "text": mark},
		}},
		{http.MethodPost, "com.atproto.repo.createRecord", nil, map[string]any{"repo": mark, "collection": mark}},
		{http.MethodGet, "com.example.unknown", url.Values{"q": {mark}}, nil},
	}
	for _, c := range calls {
		h := http.Header{"Authorization": {"Bearer " + alice.Access}, "X-Other": {mark}, "Atproto-Proxy": nil}
		_, _ = srv.Call(t.Context(), c.verb, c.nsid, c.params, h, c.body) // some are refused
	}
	srv.RunJobs()
	secrets := []string{mark, alice.Access, alice.Refresh, alice.Password, alice.Email}
	job := srv.find(t, "job")
	if kind := attr(job, "pdskit.job.kind"); kind == "" {
		t.Error("a job has no kind")
	}
	srv.find(t, "com.atproto.identity.resolveHandle")
	for _, s := range srv.spans.Ended() {
		text := s.Name() + s.Status().Description
		for _, a := range slices.Concat(s.Attributes(), events(s)) {
			text += " " + string(a.Key) + "=" + a.Value.String()
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("a span tells %q: %s", secret, text)
			}
		}
	}
}

// publish gives a service an identity.
func publish(t *testing.T, srv *pdstest.PDS, endpoint string) string {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	registry := identity.NewPLCRegistry(srv.PLC.Client(), key, "")
	did, op, err := registry.New(t.Context(), identity.NewIdentity{
		Handle: "service.example.com", SigningKey: pub, PDS: "https://elsewhere.example.com",
		Services: map[string]identity.Service{"stranger": {Type: "Stranger", Endpoint: endpoint}},
	})
	if err == nil {
		err = registry.Submit(t.Context(), did, op)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(did)
}

func events(s sdktrace.ReadOnlySpan) (list []attribute.KeyValue) {
	for _, e := range s.Events() {
		list = append(list, e.Attributes...)
	}
	return list
}

// TestHostsOfHandles looks at a transport that resolves handles, too.
func TestHostsOfHandles(t *testing.T) {
	rec := tracetest.NewSpanRecorder()
	tracer := tracing.New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec)))
	answer := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	rt := pds.TraceTransport(tracer, answer, "plc.example.com")
	for _, host := range []string{"plc.example.com", "alice.example.com"} {
		r := httptest.NewRequest(http.MethodGet, "https://"+host+"/", nil)
		resp, err := rt.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	var hosts []string
	for _, s := range rec.Ended() {
		hosts = append(hosts, attr(s, "server.address"))
	}
	if !slices.Equal(hosts, []string{"plc.example.com", ""}) {
		t.Errorf("hosts %q", hosts)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
