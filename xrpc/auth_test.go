package xrpc_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/xrpc"
)

func TestRules(t *testing.T) {
	whoami := func(nsid string, rule xrpc.Rule) xrpc.Method {
		type output struct {
			Who  string `json:"who"`
			Kind string `json:"kind"`
		}
		return xrpc.Query(nsid, rule, func(ctx context.Context, _ *xrpc.None) (*output, error) {
			if c := xrpc.CallerFrom(ctx); c != nil {
				return &output{c.Account.String(), c.Kind.String()}, nil
			}
			return &output{"nobody", "none"}, nil
		})
	}
	deny := func(ctx context.Context, c *xrpc.Caller) error {
		return xrpc.NewError(403, "ScopeMissingError", xrpc.MethodFrom(ctx)+" for "+c.Account.String())
	}
	srv := newServer(t, xrpc.Config{},
		whoami("com.example.public", xrpc.Public()),
		whoami("com.example.optional", xrpc.Optional(nil)),
		whoami("com.example.required", xrpc.Required(nil)),
		whoami("com.example.denied", xrpc.Required(deny)),
		whoami("com.example.optDenied", xrpc.Optional(deny)),
		whoami("com.example.service", xrpc.Required(nil).Missing(xrpc.NewError(401, "MissingJwt", "missing jwt"))))
	const (
		nobody   = `{"who":"nobody","kind":"none"}`
		isAlice  = `{"who":"did:plc:aliceaaaaaaaaaaaaaaaaaaa","kind":"session"}`
		missing  = `{"error":"AuthMissing","message":"Authentication Required"}`
		bad      = `{"error":"InvalidToken","message":"Token could not be verified"}`
		expired  = `{"error":"ExpiredToken","message":"Token has expired"}`
		scheme   = `{"error":"InvalidToken","message":"Unexpected authorization type"}`
		unusable = `{"error":"AuthenticationRequired","message":"unusable credentials"}`
		internal = `{"error":"InternalServerError","message":"Internal Server Error"}`
	)
	for _, tt := range []struct {
		method, auth string
		status       int
		body         string
	}{
		{"public", "", 200, nobody},
		{"public", "Bearer bad", 200, nobody},
		{"public", "Bearer alice", 200, nobody},
		{"optional", "", 200, nobody},
		{"optional", "Bearer alice", 200, isAlice},
		{"optional", "Bearer bad", 400, bad},
		{"optional", "Digest x", 401, unusable},
		{"required", "", 401, missing},
		{"required", "Bearer alice", 200, isAlice},
		{"required", "Bearer bad", 400, bad},
		{"required", "Bearer expired", 400, expired},
		{"required", "Digest x", 400, scheme},
		{"required", "Bearer broken-store", 500, internal},
		{"denied", "", 401, missing},
		{"denied", "Bearer alice", 403, `{"error":"ScopeMissingError","message":"com.example.denied for did:plc:aliceaaaaaaaaaaaaaaaaaaa"}`},
		{"optDenied", "", 200, nobody},
		{"optDenied", "Bearer alice", 403, `{"error":"ScopeMissingError","message":"com.example.optDenied for did:plc:aliceaaaaaaaaaaaaaaaaaaa"}`},
		{"service", "", 401, `{"error":"MissingJwt","message":"missing jwt"}`},
	} {
		t.Run(tt.method+" "+tt.auth, func(t *testing.T) {
			var header []string
			if tt.auth != "" {
				header = []string{"Authorization: " + tt.auth}
			}
			res := request{target: "/xrpc/com.example." + tt.method, header: header}.send(t, srv)
			private := res.Header.Get("Cache-Control") == "private" && strings.Contains(strings.Join(res.Header["Vary"], ","), "Authorization")
			if private == (tt.method == "public") {
				t.Errorf("headers %v", res.Header)
			}
			expect(t, res, tt.status, tt.body)
		})
	}
}

// TestOrderOfChecks breaks everything, then mends one thing after the other.
func TestOrderOfChecks(t *testing.T) {
	limit := xrpc.Limit{Points: 1, Window: 1e12}
	srv := newServer(t, xrpc.Config{}, xrpc.Procedure("com.example.save", xrpc.Required(nil), ok[saveInput]).WithLimits(limit),
		xrpc.Query("com.example.search", xrpc.Required(nil), ok[searchParams]).WithLimits(limit))
	auth := "Authorization: Bearer alice"
	for _, tt := range []struct {
		q      request
		status int
		name   string
	}{
		{request{"POST", "/xrpc/com.example.search", []string{auth}, "x"}, 400, "Incorrect HTTP method"},
		{request{"GET", "/xrpc/com.example.search", nil, "x"}, 400, "invalid parameters"},
		{request{"GET", "/xrpc/com.example.search?q=a", nil, "x"}, 401, "AuthMissing"},
		{request{"GET", "/xrpc/com.example.search?q=a", []string{auth}, "x"}, 400, "when none was expected"},
		{request{"GET", "/xrpc/com.example.search?q=a", []string{auth}, ""}, 200, "ok"},
		{request{"GET", "/xrpc/com.example.search?q=a", []string{auth}, ""}, 429, "RateLimitExceeded"},
		{request{"GET", "/xrpc/com.example.search?q=a", []string{auth}, "x"}, 400, "when none was expected"},
		{request{"POST", saveURL, []string{isJSON}, `{`}, 401, "AuthMissing"},
		{request{"POST", saveURL, []string{isJSON, auth}, `{`}, 400, "invalid input"},
		{request{"POST", saveURL, []string{isJSON, auth}, `{"name":""}`}, 200, "ok"},
		{request{"POST", saveURL, []string{isJSON, auth}, `{"name":""}`}, 429, "RateLimitExceeded"},
	} {
		res := tt.q.send(t, srv)
		if body := readAll(t, res.Body); res.StatusCode != tt.status || !strings.Contains(body, tt.name) {
			t.Errorf("%s %s %q: %d %s, want %d %s", tt.q.verb, tt.q.target, tt.q.body, res.StatusCode, body, tt.status, tt.name)
		}
	}
}

func TestWithCaller(t *testing.T) {
	caller := &xrpc.Caller{Account: alice}
	ctx := xrpc.WithCaller(t.Context(), caller)
	if xrpc.CallerFrom(ctx) != caller || xrpc.CallerFrom(t.Context()) != nil {
		t.Error("CallerFrom")
	}
	if xrpc.RequestFrom(ctx) != nil || xrpc.MethodFrom(ctx) != "" || xrpc.RequestID(ctx) != "" || xrpc.ClientIP(ctx).IsValid() {
		t.Error("there is no request")
	}
	xrpc.ResponseHeader(ctx).Set("A", "b") // goes nowhere
	if err := xrpc.TakeLimits(ctx, xrpc.Limit{Points: 1, Window: 1}); err != nil {
		t.Error(err)
	}
}

func TestAuthenticateInFallback(t *testing.T) {
	var srv *xrpc.Server
	srv = newServer(t, xrpc.Config{Fallback: func(w http.ResponseWriter, r *http.Request) error {
		caller, err := srv.Authenticate(r)
		if err != nil {
			return err
		}
		if caller != xrpc.CallerFrom(r.Context()) {
			t.Error("CallerFrom does not know the caller")
		}
		if caller == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		if got, err := srv.Authorize(r, xrpc.Required(nil)); (got == nil) != (caller == nil) || (err == nil) != (caller != nil) {
			t.Errorf("Authorize: %v, %v", got, err)
		}
		return nil
	}})
	for auth, status := range map[string]int{"": 204, "Bearer alice": 200, "Bearer bad": 400, "Bearer broken-store": 500} {
		res := request{target: "/xrpc/com.other.thing", header: []string{"Authorization: " + auth}}.send(t, srv)
		if res.StatusCode != status {
			t.Errorf("%q: %d", auth, res.StatusCode)
		}
	}
}

// TestLogKeepsSecrets runs requests full of secrets through the server.
func TestLogKeepsSecrets(t *testing.T) {
	var buf bytes.Buffer
	cause := errors.New("the disk is full")
	srv := newServer(t, xrpc.Config{Logger: logTo(&buf)},
		xrpc.Procedure("com.example.save", xrpc.Required(nil), ok[saveInput]),
		failing("com.example.fail", cause),
		failing("com.example.known", xrpc.NewError(400, "Known", "told").WithCause(cause)),
		xrpc.Query("com.example.panic", xrpc.Public(), func(context.Context, *xrpc.None) (*okOutput, error) { panic("oh no") }))
	request{"POST", saveURL + "?token=SECRET", []string{isJSON, "Authorization: Bearer alice", "Cookie: SECRET", "DPoP: SECRET"}, `{"name":"SECRET"}`}.send(t, srv)
	request{"POST", saveURL, []string{isJSON, "Authorization: Bearer SECRET"}, `{"name":"SECRET"}`}.send(t, srv)
	request{target: "/xrpc/SECRET"}.send(t, srv)
	if text := buf.String(); strings.Contains(text, "SECRET") || strings.Count(text, "\n") != 3 ||
		!strings.Contains(text, `"account":"`+alice.String()+`"`) || !strings.Contains(text, `"method":"com.example.save"`) {
		t.Errorf("log: %s", text)
	}
	for target, want := range map[string][]string{
		"/xrpc/com.example.fail":  {`"level":"ERROR"`, `"cause":"the disk is full"`, `"status":500`, `"id":"`},
		"/xrpc/com.example.known": {`"level":"INFO"`, `"cause":"the disk is full"`, `"error":"Known"`, `"status":400`},
		"/xrpc/com.example.panic": {`"level":"ERROR"`, `panic: oh no`, `"stack":"goroutine`, `"status":500`},
	} {
		buf.Reset()
		res := request{target: target}.send(t, srv)
		if body := readAll(t, res.Body); strings.Contains(body, "disk") || strings.Contains(body, "oh no") {
			t.Errorf("%s told %s", target, body)
		}
		if n := strings.Count(buf.String(), "\n"); n != 1 {
			t.Errorf("%s: %d lines", target, n)
		}
		for _, w := range append(want, res.Header.Get("X-Request-Id")) {
			if !strings.Contains(buf.String(), w) {
				t.Errorf("%s: %q is not in %s", target, w, buf.String())
			}
		}
	}
}

func TestRequestID(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, touch(xrpc.Public()))
	id := func(header ...string) string {
		return request{"POST", "/xrpc/com.example.touch", header, ""}.send(t, srv).Header.Get("X-Request-Id")
	}
	if a, b := id(), id(); a == b || len(a) != 16 {
		t.Errorf("ids %q, %q", a, b)
	}
	if got := id("X-Request-Id: mine"); got == "mine" {
		t.Error("an id of a stranger is believed") // httptest's peer is 192.0.2.1
	}
}
