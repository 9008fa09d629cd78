package clients_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/internal/clients"
)

func TestLoopbackClients(t *testing.T) {
	defaults := []string{"http://127.0.0.1/", "http://[::1]/"}
	w := &web{}
	r := newResolver(t, clients.Config{Transport: w})
	for _, tt := range []struct {
		id        string
		scopes    []string
		redirects []string
	}{
		{"http://localhost", []string{"atproto"}, defaults},
		{"http://localhost/", []string{"atproto"}, defaults},
		{"http://localhost?", []string{"atproto"}, defaults},
		{"http://localhost/?", []string{"atproto"}, defaults},
		{"http://localhost?scope=atproto%20transition:generic", []string{"atproto", "transition:generic"}, defaults},
		{"http://localhost/?scope=transition:generic+atproto", []string{"transition:generic", "atproto"}, defaults},
		{"http://localhost?redirect_uri=http%3A%2F%2F127.0.0.1%3A3000%2Fcb", []string{"atproto"}, []string{"http://127.0.0.1:3000/cb"}},
		{
			"http://localhost?redirect_uri=http://127.0.0.1/a&scope=atproto&redirect_uri=http://[::1]:80/b", []string{"atproto"},
			[]string{"http://127.0.0.1/a", "http://[::1]:80/b"},
		},
	} {
		c, err := r.Client(t.Context(), tt.id)
		if err != nil {
			t.Errorf("%s: %v", tt.id, err)
			continue
		}
		m := c.Metadata
		if c.ID != tt.id || m.ClientID != tt.id || c.Class != clients.Loopback || c.Host() != "localhost" || c.Confidential() ||
			!slices.Equal(c.Scopes(), tt.scopes) || !slices.Equal(m.RedirectURIs, tt.redirects) ||
			m.ClientName != "Development client" || m.ApplicationType != "native" || m.TokenEndpointAuthMethod != "none" || !m.DPoPBoundAccessTokens ||
			!slices.Equal(m.ResponseTypes, []string{"code"}) || !c.HasGrant("authorization_code") || !c.HasGrant("refresh_token") || c.HasGrant("implicit") {
			t.Errorf("%s: %+v", tt.id, c)
		}
	}
	many := func(n int) string { return "http://localhost?" + strings.Repeat("redirect_uri=http://[::1]&", n) }
	for id, says := range map[string]string{
		"http://localhost:80":                                  "neither port nor path",
		"http://localhost:3000/":                               "neither port nor path",
		"http://localhost/x":                                   "neither port nor path",
		"http://localhost//":                                   "neither port nor path",
		"http://localhost.evil.com/":                           "neither port nor path",
		"http://localhost@evil.com/":                           "neither port nor path",
		"http://localhost#":                                    "fragment",
		"http://localhost?scope=atproto#x":                     "fragment",
		"http://localhost?scope=atproto&scope=atproto":         "more than once",
		"http://localhost?scope=transition:generic":            "does not have atproto",
		"http://localhost?scope=":                              "missing",
		"http://localhost?scope=atproto++x":                    "single spaces",
		"http://localhost?scope=atproto%0Ax":                   "characters",
		"http://localhost?client_name=Bank":                    "only",
		"http://localhost?Scope=atproto":                       "only",
		"http://localhost?scope=%zz":                           "malformed",
		"http://localhost?a;b":                                 "malformed",
		"http://localhost?redirect_uri=":                       "redirect_uri 1",
		"http://localhost?redirect_uri=http://localhost/":      "plain http",
		"http://localhost?redirect_uri=https://app.example/":   "http://",
		"http://localhost?redirect_uri=http://127.0.0.1/%2523": "", // an encoded #
		"http://localhost?redirect_uri=http://127.0.0.1/%23":   "fragment",
		"http://localhost?redirect_uri=http://127.0.0.1:0/":    "port is not valid",
		"http://localhost?redirect_uri=com.example.app:/cb":    "http://",
		"http://localhost?scope=atproto+" + url.QueryEscape(strings.Repeat("x", clients.MaxURL)): "too long",
		many(70):                          "",
		many(100):                         "too long",
		"http://localhost?scope=atproto%": "malformed",
	} {
		_, err := r.Client(t.Context(), id)
		if says == "" {
			if err != nil {
				t.Errorf("%q: %v", id, err)
			}
			continue
		}
		wantError(t, err, clients.CodeInvalidClient, says)
	}
	if w.hits() != 0 || !r.Known("http://localhost") {
		t.Errorf("fetched %q", w.asked)
	}
}

func TestNoLoopback(t *testing.T) {
	_, err := newResolver(t, clients.Config{NoLoopback: true}).Client(t.Context(), "http://localhost")
	wantError(t, err, clients.CodeInvalidClient, "switched off")
}
