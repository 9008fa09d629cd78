package pds_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// appViewDID is the app view of the servers of withAppView.
const appViewDID = "did:web:api.example.com"

// fakeService is another service of the network, over real sockets.
type fakeService struct {
	*httptest.Server
	DID syntax.DID

	mu       sync.Mutex // guards following field
	requests []sentRequest
}

// sentRequest is what a fakeService got.
type sentRequest struct {
	*http.Request
	body string
}

// newService starts a service that notes requests and answers them.
func newService(t testing.TB, answer http.HandlerFunc) *fakeService {
	t.Helper()
	f := &fakeService{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		if 0 < r.ContentLength && r.ContentLength < 1<<16 {
			body, _ = io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		f.mu.Lock()
		f.requests = append(f.requests, sentRequest{r.Clone(t.Context()), string(body)})
		f.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// last returns the newest request.
func (f *fakeService) last(t *testing.T) sentRequest {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.requests) == 0 {
		t.Fatal("the service got no request")
	}
	return f.requests[len(f.requests)-1]
}

// all returns all requests.
func (f *fakeService) all() []sentRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fakeService) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.requests)
}

// publish gives the service an identity with these endpoints.
func (f *fakeService) publish(t *testing.T, srv *pdstest.PDS, services map[string]string) {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	pub, err := key.PublicKey()
	ok(t, err)
	registry := identity.NewPLCRegistry(srv.PLC.Client(), key, "")
	list := map[string]identity.Service{}
	for name, endpoint := range services {
		list[name] = identity.Service{Type: "Service", Endpoint: endpoint}
	}
	did, op, err := registry.New(t.Context(), identity.NewIdentity{
		Handle: "service.example.com", SigningKey: pub, PDS: "https://elsewhere.example.com", Services: list,
	})
	ok(t, err)
	ok(t, registry.Submit(t.Context(), did, op))
	f.DID = did
}

// loopback is a transport that reaches sockets of this computer, and the test
// network for everything else.
type loopback struct {
	sockets, network http.RoundTripper
}

func (l loopback) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() == "127.0.0.1" {
		return l.sockets.RoundTrip(r)
	}
	return l.network.RoundTrip(r)
}

// withSockets lets a test server reach services on this computer.
func withSockets(cfg *pds.Config) {
	cfg.Transport = loopback{identity.NewTransport(identity.TransportConfig{AllowPrivate: true}), cfg.Transport}
}

// withAppView makes a service the app view of a test server.
func withAppView(f *fakeService) func(*pds.Config) {
	return func(cfg *pds.Config) {
		withSockets(cfg)
		cfg.AppView = pds.Service{URL: f.URL, DID: appViewDID}
	}
}

// claims are those of a service token.
type claims struct {
	Issuer   syntax.DID `json:"iss"`
	Audience string     `json:"aud"`
	Method   string     `json:"lxm"`
	Issued   int64      `json:"iat"`
	Expires  int64      `json:"exp"`
	ID       string     `json:"jti"`
}

// checkToken verifies the token of a request with the account's key.
func checkToken(t *testing.T, a *pdstest.Account, r sentRequest) (c claims) {
	t.Helper()
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	parts := strings.Split(token, ".")
	if !found || len(parts) != 3 {
		t.Fatalf("Authorization: %q", r.Header.Get("Authorization"))
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	ok(t, err)
	pub, err := signingKeyOf(t, a.PDS, a.DID).PublicKey()
	ok(t, err)
	ok(t, pub.HashAndVerify([]byte(parts[0]+"."+parts[1]), sig))
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	ok(t, err)
	ok(t, json.Unmarshal(text, &c))
	return c
}

// answering is a handler that always gives the same answer.
func answering(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// names returns the names of headers, sorted.
func names(h http.Header) (out []string) {
	for name := range h {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// roundTrip is a function as a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// changed returns a body with other bytes.
func changed(t *testing.T, body io.ReadCloser, change func([]byte) []byte) io.ReadCloser {
	t.Helper()
	data, err := io.ReadAll(body)
	ok(t, err)
	return io.NopCloser(bytes.NewReader(change(data)))
}
