package xrpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

const alice = syntax.DID("did:plc:aliceaaaaaaaaaaaaaaaaaaa")

// bearer knows the tokens that tests use.
var bearer = xrpc.AuthenticatorFunc(func(r *http.Request) (*xrpc.Caller, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok:
		return nil, nil
	case token == "alice":
		return &xrpc.Caller{Account: alice, Actor: alice, Kind: xrpc.KindSession, Scopes: []string{"com.atproto.access"}}, nil
	case token == "expired":
		return nil, xrpc.ExpiredToken()
	case token == "broken-store":
		return nil, errors.New("the store is on fire at 10.0.0.7")
	}
	return nil, xrpc.InvalidToken("Token could not be verified")
})

const testSchemas = `[
{"lexicon":1,"id":"com.example.search","defs":{"main":{"type":"query","parameters":{"type":"params",
  "required":["q"],"properties":{
    "q":{"type":"string","maxLength":10},
    "limit":{"type":"integer","minimum":1,"maximum":100,"default":50},
    "deep":{"type":"boolean","default":true},
    "order":{"type":"string","default":"asc"},
    "who":{"type":"string","format":"did"},
    "tags":{"type":"array","maxLength":30,"items":{"type":"string"}},
    "sizes":{"type":"array","items":{"type":"integer"}},
    "unused":{"type":"integer"}}},
  "output":{"encoding":"application/json","schema":{"type":"object","properties":{}}}}}},
{"lexicon":1,"id":"com.example.save","defs":{"main":{"type":"procedure",
  "input":{"encoding":"application/json","schema":{"type":"object","required":["name"],"properties":{
    "name":{"type":"string","maxLength":200000},"count":{"type":"integer"},"record":{"type":"unknown"}}}},
  "output":{"encoding":"application/json","schema":{"type":"object","required":["ok"],"properties":{
    "ok":{"type":"boolean"},"list":{"type":"array","items":{"type":"string"}}}}}}}},
{"lexicon":1,"id":"com.example.touch","defs":{"main":{"type":"procedure"}}},
{"lexicon":1,"id":"com.example.note","defs":{"main":{"type":"procedure","input":{"encoding":"text/plain"},
  "output":{"encoding":"application/json"}}}},
{"lexicon":1,"id":"com.example.put","defs":{"main":{"type":"procedure","input":{"encoding":"*/*"},
  "output":{"encoding":"application/json"}}}},
{"lexicon":1,"id":"com.example.live","defs":{"main":{"type":"subscription","parameters":{"type":"params",
  "properties":{"cursor":{"type":"integer"}}},"message":{"schema":{"type":"union","refs":[]}}}}},
{"lexicon":1,"id":"com.example.liveJson","defs":{"main":{"type":"subscription","subprotocol":"xrpc.v1.json","message":{"schema":{"type":"union","refs":[]}}}}}
]`

func testCatalog(t testing.TB) *lexicons.Catalog {
	t.Helper()
	cat := lexicons.New()
	for _, schema := range splitArray(t, testSchemas) {
		if err := cat.Add(schema); err != nil {
			t.Fatal(err)
		}
	}
	return cat
}

// newServer returns a server with the test's schemas and credentials.
func newServer(t testing.TB, cfg xrpc.Config, methods ...xrpc.Method) *xrpc.Server {
	t.Helper()
	if cfg.Catalog == nil {
		cfg.Catalog = testCatalog(t)
	}
	if cfg.Authenticators == nil {
		cfg.Authenticators = []xrpc.Authenticator{bearer}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	srv, err := xrpc.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv.Handle(methods...)
	if err := srv.Verify(); err != nil {
		t.Fatal(err)
	}
	return srv
}

// A request is one request of a table, given as a verb, a target, headers
// ("Name: value") and a body.
type request struct {
	verb   string
	target string
	header []string
	body   string
}

func (q request) send(t testing.TB, h http.Handler) *http.Response {
	t.Helper()
	verb := q.verb
	if verb == "" {
		verb = http.MethodGet
	}
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	r := httptest.NewRequest(verb, q.target, body)
	for _, line := range q.header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	if r.Header.Get("Content-Length") == "0" {
		r.ContentLength = 0
	}
	if r.Header.Get("Transfer-Encoding") != "" {
		r.ContentLength = -1
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func readAll(t testing.TB, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// expect checks status and body of an answer.
func expect(t testing.TB, res *http.Response, status int, body string) {
	t.Helper()
	got := readAll(t, res.Body)
	if res.StatusCode != status || got != body {
		t.Errorf("got %d %s\nwant %d %s", res.StatusCode, got, status, body)
	}
}

type okOutput struct {
	OK bool `json:"ok"`
}

func ok[T any](context.Context, *T) (*okOutput, error) { return &okOutput{true}, nil }

type saveInput struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func touch(rule xrpc.Rule) xrpc.Method {
	return xrpc.Procedure("com.example.touch", rule, func(context.Context, *xrpc.None) (*xrpc.None, error) { return nil, nil })
}

func save() xrpc.Method { return xrpc.Procedure("com.example.save", xrpc.Public(), ok[saveInput]) }

// failing returns a query that fails with err.
func failing(nsid string, err error) xrpc.Method {
	return xrpc.Query(nsid, xrpc.Public(), func(context.Context, *xrpc.None) (*okOutput, error) { return nil, err })
}

func logTo(buf *bytes.Buffer) *slog.Logger { return slog.New(slog.NewJSONHandler(buf, nil)) }
