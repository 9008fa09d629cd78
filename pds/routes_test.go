package pds_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// request sends a request under a host name; redirects are not followed.
func request(t *testing.T, srv *pdstest.PDS, method, host, path string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
	ok(t, err)
	if host != "" {
		r.Host = host
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(r)
	ok(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ok(t, err)
	return resp, string(body)
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Version = "1.2.3"
		c.Info = pds.Info{Name: "Our PDS", Contact: "us@example.com"}
	})
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	bob.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	for _, tt := range []struct {
		method, host, path string
		status             int
		body               string // part of it
	}{
		{"GET", "", "/", 200, "This is an AT Protocol Personal Data Server"},
		{"GET", "", "/", 200, "Our PDS"},
		{"GET", "", "/", 200, "us@example.com"},
		{"HEAD", "", "/", 200, ""},
		{"POST", "", "/", 405, ""},
		{"GET", "", "/robots.txt", 200, "Allow: /"},
		{"GET", "", "/nothing", 404, ""},
		{"GET", "", "/xrpc", 404, ""},
		{"GET", "", "/xrpc/", 400, ""},
		{"GET", "", "/xrpc/_health", 200, `{"version":"1.2.3"}`},
		{"HEAD", "", "/xrpc/_health", 200, ""},
		{"GET", "", "/xrpc/_ready", 200, `{"version":"1.2.3"}`},
		{"POST", "", "/xrpc/_ready", 400, "InvalidRequest"},
		{"POST", "", "/xrpc/_health", 400, "InvalidRequest"},

		{"GET", "", "/xrpc/notansid", 400, `"invalid xrpc path"`},
		{"GET", "", "/xrpc/com.foo.1bar", 400, `"invalid xrpc path"`},
		{"GET", "", "/xrpc/com.atproto.server.describeServer/", 200, `"did"`},
		{"POST", "", "/xrpc/com.atproto.server.describeServer", 400, "Incorrect HTTP method (POST) expected GET"},
		{"GET", "", "/xrpc/com.atproto.server.createSession", 400, "Incorrect HTTP method (GET) expected POST"},
		{"GET", "", "/xrpc/com.atproto.sync.notifyOfUpdate", 501, `"MethodNotImplemented"`},
		{"GET", "", "/xrpc/com.example.unknown", 400, `"No service configured for com.example.unknown"`},
		{"GET", "", "/xrpc/com.atproto.sync.unknown", 501, `"MethodNotImplemented"`},

		{"GET", "alice.test", "/.well-known/atproto-did", 200, string(alice.DID)},
		{"GET", "ALICE.test:8080", "/.well-known/atproto-did", 200, string(alice.DID)},
		{"GET", "bob.test", "/.well-known/atproto-did", 404, "User not found"},
		{"GET", "nobody.test", "/.well-known/atproto-did", 404, "User not found"},
		{"GET", "", "/.well-known/atproto-did", 404, "User not found"},
		{"GET", "alice.example.com", "/.well-known/atproto-did", 404, "User not found"},

		{"GET", "", "/.well-known/did.json", 200, `"serviceEndpoint":"` + srv.URL + `"`},
		{"GET", "", "/.well-known/did.json", 200, `"AtprotoPersonalDataServer"`},
		{"GET", "alice.test", "/.well-known/did.json", 404, "Not found"},
		{"GET", "", "/.well-known/other", 404, ""},

		// A handle's host serves its documents and nothing else.
		{"GET", "alice.test", "/", 302, srv.URL},
		{"GET", "alice.test", "/xrpc/com.atproto.server.describeServer", 302, srv.URL},
		{"POST", "alice.test", "/xrpc/com.atproto.server.createSession", 302, ""},
		{"GET", "alice.test", "/xrpc/_health", 302, ""},

		{"GET", "", "/tls-check?domain=localhost", 200, `{"success":true}`},
		{"GET", "", "/tls-check?domain=alice.test", 200, `{"success":true}`},
		{"GET", "", "/tls-check?domain=ALICE.test", 200, `{"success":true}`},
		{"GET", "", "/tls-check?domain=bob.test", 200, `{"success":true}`},
		{"GET", "", "/tls-check?domain=nobody.test", 404, `"NotFound"`},
		{"GET", "", "/tls-check?domain=alice.example.com", 400, `"InvalidRequest"`},
		{"GET", "", "/tls-check?domain=x..test", 404, `"NotFound"`},
		{"GET", "", "/tls-check?domain=", 400, `"InvalidRequest"`},
		{"GET", "", "/tls-check", 400, `"InvalidRequest"`},

		{"POST", "", "/admin/clock/accept", 401, `"AuthenticationRequired"`},
		{"GET", "", "/admin/clock/accept", 405, ""},
	} {
		resp, body := request(t, srv, tt.method, tt.host, tt.path)
		if tt.status == 302 {
			body = resp.Header.Get("Location")
		}
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s %s%s: %d %s", tt.method, tt.host, tt.path, resp.StatusCode, body)
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); tt.status != 302 && tt.path != "/xrpc" && got != "*" {
			t.Errorf("%s %s%s: Access-Control-Allow-Origin %q", tt.method, tt.host, tt.path, got)
		}
	}
	for _, host := range []string{"", "alice.test"} {
		if resp, _ := request(t, srv, "OPTIONS", host, "/.well-known/atproto-did"); resp.StatusCode != 204 || resp.Header.Get("Access-Control-Max-Age") != "86400" {
			t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
		}
	}
	_, body := request(t, srv, "GET", "", "/.well-known/did.json")
	var doc struct {
		ID      string
		Context []string `json:"@context"`
	}
	ok(t, json.Unmarshal([]byte(body), &doc))
	if want := "did:web:" + strings.ReplaceAll(strings.TrimPrefix(srv.URL, "http://"), ":", "%3A"); doc.ID != want {
		t.Errorf("did.json is of %s, want %s", doc.ID, want)
	}
}

// Server: health 200 and 503; other routes say 500, not that nobody is there.
func TestRoutesOnFailingStore(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
	srv.CreateAccount("alice")
	if resp, _ := request(t, srv, "GET", "", "/xrpc/_health"); resp.StatusCode != 200 {
		t.Errorf("health: %d", resp.StatusCode)
	}
	store.set(func(s *brokenStore) { s.view = errDisk })
	defer store.mend()
	for _, tt := range []struct {
		host, path string
		status     int
	}{
		{"", "/xrpc/_health", 503},
		{"alice.test", "/.well-known/atproto-did", 500},
		{"alice.test", "/.well-known/did.json", 500},
		{"", "/tls-check?domain=alice.test", 500},
		{"", "/robots.txt", 200},
	} {
		resp, body := request(t, srv, "GET", tt.host, tt.path)
		if resp.StatusCode != tt.status || strings.Contains(body, "secret") {
			t.Errorf("%s%s: %d %s", tt.host, tt.path, resp.StatusCode, body)
		}
	}
	if _, body := request(t, srv, "GET", "", "/xrpc/_health"); body != `{"version":"pdskit","error":"Service Unavailable"}` {
		t.Errorf("health: %s", body)
	}
}
