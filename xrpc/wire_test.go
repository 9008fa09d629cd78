package xrpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/xrpc"
)

func splitArray(t testing.TB, text string) []json.RawMessage {
	t.Helper()
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPathsAndVerbs(t *testing.T) {
	srv := newServer(t, xrpc.Config{Owned: func(nsid string) bool { return strings.HasPrefix(nsid, "com.owned.") }},
		failing("com.example.broken", errors.New("secret detail")), touch(xrpc.Public()))
	srv.Handle(xrpc.Query("com.example.hello", xrpc.Public(), ok[xrpc.None]))
	const (
		badPath  = `{"error":"InvalidRequest","message":"invalid xrpc path"}`
		notFound = `{"error":"XRPCNotSupported","message":"XRPC Not Supported"}`
		absent   = `{"error":"MethodNotImplemented","message":"Method Not Implemented"}`
	)
	for _, tt := range []struct {
		verb, target string
		status       int
		body         string
	}{
		{"GET", "/xrpc/com.example.hello", 200, `{"ok":true}`},
		{"GET", "/xrpc/com.example.hello/", 200, `{"ok":true}`},
		{"GET", "/xrpc/com.example.hello?x=1", 200, `{"ok":true}`},
		{"GET", "/xrpc/COM.Example.hello", 200, `{"ok":true}`},
		{"HEAD", "/xrpc/com.example.hello", 200, `{"ok":true}`}, // net/http drops the body
		{"GET", "/xrpc/com.example.Hello", 501, absent},
		{"GET", "/xrpc/com.example.hello//", 400, badPath},
		{"GET", "/xrpc//com.example.hello", 400, badPath},
		{"GET", "/xrpc/com.example.hello/x", 400, badPath},
		{"GET", "/xrpc/com.example.hell%6f", 400, badPath},
		{"GET", "/xrpc/com.example.hello%2F", 400, badPath},
		{"GET", "/xrpc/com.foo.1bar", 400, badPath},
		{"GET", "/xrpc/notnsid", 400, badPath},
		{"GET", "/xrpc/", 400, badPath},
		{"GET", "/xrpc", 404, notFound},
		{"GET", "/other", 404, notFound},
		{"GET", "/xrpc/com.unknown.method", 501, absent},
		{"POST", "/xrpc/com.owned.method", 501, absent},
		{"GET", "/xrpc/com.example.broken", 500, `{"error":"InternalServerError","message":"Internal Server Error"}`},
		{"POST", "/xrpc/com.example.hello", 400, `{"error":"InvalidRequest","message":"Incorrect HTTP method (POST) expected GET"}`},
		{"PUT", "/xrpc/com.example.hello", 400, `{"error":"InvalidRequest","message":"Incorrect HTTP method (PUT) expected GET"}`},
		{"GET", "/xrpc/com.example.touch", 400, `{"error":"InvalidRequest","message":"Incorrect HTTP method (GET) expected POST"}`},
		{"HEAD", "/xrpc/com.example.touch", 400, `{"error":"InvalidRequest","message":"Incorrect HTTP method (HEAD) expected POST"}`},
		{"POST", "/xrpc/com.example.touch", 200, ``},
	} {
		t.Run(tt.verb+" "+tt.target, func(t *testing.T) {
			expect(t, request{verb: tt.verb, target: tt.target}.send(t, srv), tt.status, tt.body)
		})
	}
}

func TestFallback(t *testing.T) {
	srv := newServer(t, xrpc.Config{
		Owned: func(nsid string) bool { return nsid == "com.owned.method" },
		Fallback: func(w http.ResponseWriter, r *http.Request) error {
			if r.URL.RawQuery == "fail" {
				return xrpc.NewError(502, "", "no luck")
			}
			_, err := fmt.Fprintf(w, "%s %s", r.Method, xrpc.MethodFrom(r.Context()))
			return err
		},
	})
	expect(t, request{verb: "POST", target: "/xrpc/Com.Other.thing?a=b"}.send(t, srv), 200, "POST com.other.thing")
	expect(t, request{target: "/xrpc/com.other.thing?fail"}.send(t, srv), 502, `{"error":"UpstreamFailure","message":"no luck"}`)
	expect(t, request{target: "/xrpc/com.OWNED.method"}.send(t, srv), 501, `{"error":"MethodNotImplemented","message":"Method Not Implemented"}`)
	expect(t, request{target: "/xrpc/nope"}.send(t, srv), 400, `{"error":"InvalidRequest","message":"invalid xrpc path"}`)
}

func TestErrors(t *testing.T) {
	e := func(status int) error { return xrpc.NewError(status, "", "") }
	for _, tt := range []struct {
		err    error
		status int
		body   string
	}{
		{e(400), 400, `{"error":"InvalidRequest","message":"Invalid Request"}`},
		{e(401), 401, `{"error":"AuthenticationRequired","message":"Authentication Required"}`},
		{e(403), 403, `{"error":"Forbidden","message":"Forbidden"}`},
		{e(404), 404, `{"error":"XRPCNotSupported","message":"XRPC Not Supported"}`},
		{e(406), 406, `{"error":"NotAcceptable","message":"Not Acceptable"}`},
		{e(413), 413, `{"error":"PayloadTooLarge","message":"request entity too large"}`},
		{e(415), 415, `{"error":"UnsupportedMediaType","message":"Unsupported Media Type"}`},
		{e(429), 429, `{"error":"RateLimitExceeded","message":"Rate Limit Exceeded"}`},
		{e(500), 500, `{"error":"InternalServerError","message":"Internal Server Error"}`},
		{e(501), 501, `{"error":"MethodNotImplemented","message":"Method Not Implemented"}`},
		{e(502), 502, `{"error":"UpstreamFailure","message":"Upstream Failure"}`},
		{e(503), 503, `{"error":"NotEnoughResources","message":"Not Enough Resources"}`},
		{e(504), 504, `{"error":"UpstreamTimeout","message":"Upstream Timeout"}`},
		{e(418), 418, `{"error":"InvalidRequest","message":"Invalid Request"}`},
		{e(200), 500, `{"error":"InternalServerError","message":"Internal Server Error"}`},
		{e(600), 500, `{"error":"InternalServerError","message":"Internal Server Error"}`},
		{xrpc.NewError(500, "Database", "password=hunter2"), 500, `{"error":"InternalServerError","message":"Internal Server Error"}`},
		{xrpc.NewError(400, "RepoNotFound", `no "repo" <here>`), 400, `{"error":"RepoNotFound","message":"no \"repo\" \u003chere\u003e"}`},
		{fmt.Errorf("wrapped: %w", xrpc.NewError(404, "BlobNotFound", "gone")), 404, `{"error":"BlobNotFound","message":"gone"}`},
		{xrpc.InvalidRequest("a %d", 7).WithCause(errors.New("inner")), 400, `{"error":"InvalidRequest","message":"a 7"}`},
		{xrpc.InvalidRequest("100%"), 400, `{"error":"InvalidRequest","message":"100%"}`},
		{errors.New("plain"), 500, `{"error":"InternalServerError","message":"Internal Server Error"}`},
		{(*xrpc.Error)(nil), 500, `{"error":"InternalServerError","message":"Internal Server Error"}`},
		{context.Canceled, 500, `{"error":"InternalServerError","message":"Internal Server Error"}`},
	} {
		srv := newServer(t, xrpc.Config{}, failing("com.example.fail", tt.err))
		res := request{target: "/xrpc/com.example.fail"}.send(t, srv)
		if got := res.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
			t.Errorf("Content-Type %q", got)
		}
		if got := res.Header.Get("Content-Length"); got != fmt.Sprint(len(tt.body)) {
			t.Errorf("Content-Length %q, want %d", got, len(tt.body))
		}
		expect(t, res, tt.status, tt.body)
	}
}

func TestErrorHeaderAndUnwrap(t *testing.T) {
	inner := errors.New("inner")
	base := xrpc.NewError(401, "use_dpop_nonce", "nonce")
	err := base.WithHeader("DPoP-Nonce", "n1").WithCause(inner)
	if base.Header != nil || !errors.Is(err, inner) || errors.Is(base, inner) {
		t.Error("WithHeader and WithCause must copy")
	}
	if got := err.Error(); got != "xrpc: 401 use_dpop_nonce: nonce: inner" {
		t.Errorf("Error() = %q", got)
	}
	// A cause that the client is told anyway is not said twice.
	if got := base.WithCause(errors.New("nonce")).Error(); got != "xrpc: 401 use_dpop_nonce: nonce" {
		t.Errorf("Error() = %q", got)
	}
	srv := newServer(t, xrpc.Config{}, failing("com.example.fail", err))
	res := request{target: "/xrpc/com.example.fail"}.send(t, srv)
	if res.Header.Get("DPoP-Nonce") != "n1" {
		t.Errorf("headers %v", res.Header)
	}
	expect(t, res, 401, `{"error":"use_dpop_nonce","message":"nonce"}`)
}

func TestErrorName(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{xrpc.NewError(400, "BadThing", "x"), "BadThing"},
		{fmt.Errorf("wrapped: %w", xrpc.InvalidRequest("x")), "InvalidRequest"},
		{xrpc.NewError(500, "Secret", "x"), "InternalServerError"},
		{errors.New("x"), "InternalServerError"},
	} {
		if got := xrpc.ErrorName(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestNilOutputIsAnError(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, xrpc.Query("com.example.nothing", xrpc.Public(),
		func(context.Context, *xrpc.None) (*okOutput, error) { return nil, nil }))
	expect(t, request{target: "/xrpc/com.example.nothing"}.send(t, srv), 500,
		`{"error":"InternalServerError","message":"Internal Server Error"}`)
}

func TestCORS(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, save())
	res := request{verb: "OPTIONS", target: "/xrpc/com.example.save", header: []string{
		"Origin: https://app.example", "Access-Control-Request-Method: POST",
		"Access-Control-Request-Headers: authorization,content-type,dpop"}}.send(t, srv)
	want := map[string]string{
		"Access-Control-Allow-Origin":  "*",
		"Access-Control-Allow-Methods": "GET, HEAD, POST",
		"Access-Control-Allow-Headers": "authorization,content-type,dpop",
		"Access-Control-Max-Age":       "86400",
		"Vary":                         "Access-Control-Request-Headers",
	}
	if res.StatusCode != 204 {
		t.Errorf("preflight: status %d", res.StatusCode)
	}
	for name, value := range want {
		if got := res.Header.Get(name); got != value {
			t.Errorf("preflight: %s: %q, want %q", name, got, value)
		}
	}
	for _, target := range []string{"/xrpc/com.example.save", "/xrpc/nope", "/other"} {
		res = request{target: target}.send(t, srv)
		if res.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: no CORS", target)
		}
		exposed := res.Header.Get("Access-Control-Expose-Headers")
		for _, name := range []string{"DPoP-Nonce", "WWW-Authenticate", "RateLimit-Limit", "RateLimit-Remaining",
			"RateLimit-Reset", "RateLimit-Policy", "Retry-After", "atproto-repo-rev", "atproto-content-labelers", "Atproto-Upstream-Lag"} {
			if !strings.Contains(", "+exposed+",", ", "+name+",") {
				t.Errorf("%s: %s is not exposed", target, name)
			}
		}
	}
}

func TestCORSHandler(t *testing.T) {
	h := xrpc.CORS(http.NotFoundHandler())
	if res := (request{verb: "OPTIONS", target: "/x"}).send(t, h); res.StatusCode != 204 {
		t.Errorf("preflight: %d", res.StatusCode)
	}
	if res := (request{target: "/x"}).send(t, h); res.StatusCode != 404 || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

func TestRegistration(t *testing.T) {
	mustPanic := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		f()
	}
	srv := newServer(t, xrpc.Config{}, save())
	mustPanic("duplicate", func() { srv.Handle(save()) })
	mustPanic("zero method", func() { srv.Handle(xrpc.Method{}) })
	mustPanic("replace nothing", func() { srv.Replace(touch(xrpc.Public())) })
	mustPanic("zero rule", func() { touch(xrpc.Rule{}) })
	mustPanic("bad NSID", func() { failing("nope", nil) })
	mustPanic("no handler", func() { xrpc.Query[xrpc.None, xrpc.None]("com.example.a", xrpc.Public(), nil) })
	mustPanic("map as parameter", func() {
		xrpc.Query("com.example.a", xrpc.Public(), ok[struct{ M map[string]string }])
	})
	mustPanic("parameters are no struct", func() { xrpc.Query("com.example.a", xrpc.Public(), ok[string]) })
	mustPanic("no points", func() { touch(xrpc.Public()).WithLimits(xrpc.Limit{}) })
	mustPanic("no body", func() { touch(xrpc.Public()).WithMaxBody(0) })

	srv.Replace(xrpc.Procedure("com.example.save", xrpc.Public(), func(context.Context, *saveInput) (*okOutput, error) {
		return &okOutput{false}, nil
	}))
	res := request{verb: "POST", target: "/xrpc/com.example.save", header: []string{"Content-Type: application/json"}, body: `{"name":"a"}`}.send(t, srv)
	expect(t, res, 200, `{"ok":false}`)
	if ms := srv.Methods(); len(ms) != 1 || ms[0].NSID() != "com.example.save" || ms[0].Type() != "procedure" || !ms[0].Rule().IsPublic() {
		t.Errorf("methods %v", ms)
	}
}

func TestVerify(t *testing.T) {
	type wrongKind struct {
		Q int `json:"q"`
	}
	type wrongArray struct {
		Tags string `json:"tags"`
	}
	for name, m := range map[string]xrpc.Method{
		"verb":      xrpc.Query("com.example.save", xrpc.Public(), ok[xrpc.None]),
		"no input":  xrpc.Procedure("com.example.save", xrpc.Public(), ok[xrpc.None]),
		"input":     xrpc.Procedure("com.example.touch", xrpc.Public(), func(context.Context, *saveInput) (*xrpc.None, error) { return nil, nil }),
		"output":    xrpc.Procedure("com.example.touch", xrpc.Public(), ok[xrpc.None]),
		"parameter": xrpc.Query("com.example.search", xrpc.Public(), ok[wrongKind]),
		"array":     xrpc.Query("com.example.search", xrpc.Public(), ok[wrongArray]),
	} {
		srv, err := xrpc.NewServer(xrpc.Config{Catalog: testCatalog(t)})
		if err != nil {
			t.Fatal(err)
		}
		srv.Handle(m)
		if err := srv.Verify(); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]xrpc.Config{
		"MaxJSONBody":    {MaxJSONBody: -1},
		"BodyIdle":       {BodyIdle: -1},
		"GzipLevel":      {GzipLevel: 10},
		"GlobalLimits":   {GlobalLimits: []xrpc.Limit{{Points: 1}}},
		"Authenticators": {Authenticators: []xrpc.Authenticator{nil}},
		"Stream":         {Stream: xrpc.StreamConfig{MaxStreams: -1}},
	} {
		if _, err := xrpc.NewServer(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v does not name the field", name, err)
		}
	}
}

func TestTwoServers(t *testing.T) {
	limit := xrpc.Limit{Points: 1, Window: 1e9}
	a := newServer(t, xrpc.Config{}, touch(xrpc.Public()).WithLimits(limit))
	b := newServer(t, xrpc.Config{}, touch(xrpc.Public()).WithLimits(limit))
	q := request{verb: "POST", target: "/xrpc/com.example.touch"}
	for _, srv := range []*xrpc.Server{a, b} {
		if res := q.send(t, srv); res.StatusCode != 200 {
			t.Errorf("status %d: the servers share something", res.StatusCode)
		}
	}
}
