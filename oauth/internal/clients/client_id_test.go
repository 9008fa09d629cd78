package clients_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/internal/clients"
)

func TestClassOf(t *testing.T) {
	for id, want := range map[string]string{
		"http://localhost":              "loopback",
		"http://localhost?scope=a":      "loopback",
		"http://localhost.example.com/": "loopback", // and not valid
		"https://app.example.com/x":     "discoverable",
		"https://":                      "discoverable",
		"http://127.0.0.1":              "unknown",
		"http://app.example.com/x":      "unknown",
		"HTTPS://app.example.com/x":     "registered",
		"":                              "registered",
		"our-app":                       "registered",
	} {
		if got := clients.ClassOf(id).String(); got != want {
			t.Errorf("%q: %s, want %s", id, got, want)
		}
	}
}

func TestDiscoverableIDs(t *testing.T) {
	for _, id := range []string{
		appID,
		"https://a.co/x",
		"https://example.com/x",
		"https://xn--bcher-kva.example.com/x",
		"https://app.example.com//x",
		"https://app.example.com/a%2Fb/@c,d;e=f~g!$&'()*+:",
		"https://app.example.com/x?version=1&y=%20z",
		"https://app.example.com/x?",
		"https://app.example.com/.../x",
		"https://1.2.3.4.example.com/x",
		"https://0x7f.com/x",
		"https://" + strings.Repeat("a", 63) + ".com/x",
		"https://app.example.com/" + strings.Repeat("x", clients.MaxURL-len("https://app.example.com/")),
	} {
		if _, err := load(t, with(webApp, object{"client_id": id, "redirect_uris": []string{"https://app.example.com/cb"}})); err != nil {
			t.Errorf("%.80s: %v", id, err)
		}
	}
	w := &web{}
	r := newResolver(t, clients.Config{Transport: w})
	for id, says := range map[string]string{
		"https://app.example.com":                        "no path",
		"https://app.example.com/":                       "no path",
		"https://app.example.com?x":                      "no path",
		"https://app.example.com/oauth/":                 "ends in a slash",
		"https://app.example.com/oauth/?x":               "ends in a slash",
		"https://app.example.com:443/x":                  "default port",
		"https://app.example.com:8443/x":                 "has a port",
		"https://app.example.com:/x":                     "port is not valid",
		"https://app.example.com:0443/x":                 "port is not valid",
		"https://app.example.com:65536/x":                "port is not valid",
		"https://user@app.example.com/x":                 "user name",
		"https://user:pw@app.example.com/x":              "user name",
		"https://@app.example.com/x":                     "user name",
		"https://app.example.com/x#y":                    "fragment",
		"https://app.example.com/x#":                     "fragment",
		"https://app.example.com/./x":                    "dot segments",
		"https://app.example.com/x/..":                   "dot segments",
		"https://app.example.com/%2E%2e/x":               "dot segments",
		"https://app.example.com/.%2e/x":                 "dot segments",
		"https://app.example.com/x y":                    "percent-encoded",
		"https://app.example.com/x\ty":                   "percent-encoded",
		"https://app.example.com/x\x7f":                  "percent-encoded",
		"https://app.example.com/x\x00":                  "percent-encoded",
		"https://app.example.com/\"x\"":                  "percent-encoded",
		"https://app.example.com/{x}":                    "percent-encoded",
		"https://app.example.com\\x/y":                   "percent-encoded",
		"https://app.example.com/é":                      "percent-encoded",
		"https://app.example.com/%zz":                    "malformed",
		"https://app.example.com/%2":                     "malformed",
		"https://App.example.com/x":                      "lower-case",
		"https://bücher.example.com/x":                   "percent-encoded",
		"https://app..example.com/x":                     "lower-case",
		"https://app.example.com./x":                     "lower-case",
		"https://-app.example.com/x":                     "lower-case",
		"https://app_1.example.com/x":                    "lower-case",
		"https:///x":                                     "lower-case",
		"https://" + strings.Repeat("a", 64) + ".c/":     "lower-case",
		"https://" + strings.Repeat("a.", 126) + "com/x": "too long",
		"https://app/x":                                  "no domain",
		"https://localhost/x":                            "localhost",
		"https://app.localhost/x":                        "local domain",
		"https://app.local/x":                            "local domain",
		"https://app.test/x":                             "local domain",
		"https://app.invalid/x":                          "local domain",
		"https://app.example/x":                          "local domain",
		"https://127.0.0.1/x":                            "IP address",
		"https://8.8.8.8/x":                              "IP address",
		"https://[2606:4700::1]/x":                       "IP address",
		"https://127.1/x":                                "IP address",
		"https://0177.0.0.1/x":                           "IP address",
		"https://app.example.0x7f/":                      "IP address",
		"https://app.0x/x":                               "IP address",
		"http://app.example.com/x":                       "on localhost",
		"http://127.0.0.1/":                              "on localhost",
		"HTTPS://app.example.com/x":                      "no such client",
		"our-app":                                        "no such client",
		"":                                               "no such client",
		"https://app.example.com/" + strings.Repeat("x", clients.MaxURL-len("https://app.example.com/")+1): "too long",
	} {
		_, err := r.Client(t.Context(), id)
		wantError(t, err, clients.CodeInvalidClient, says)
		if !r.Known(id) {
			t.Errorf("%q: not refused at once", id)
		}
	}
	if w.hits() != 0 {
		t.Errorf("fetched %q", w.asked)
	}
}

func TestRegistered(t *testing.T) {
	app := with(webApp, object{
		"client_id": "our-app", "application_type": "native", "client_name": "Ours", "client_uri": "https://www.example.org/",
		"redirect_uris": []string{"https://elsewhere.example.net/cb", "com.example.ours:/cb", "http://127.0.0.1/cb"},
	})
	r := newResolver(t, clients.Config{Transport: &web{}, Registered: []json.RawMessage{json.RawMessage(text(t, app))}})
	c, err := r.Client(t.Context(), "our-app")
	if err != nil {
		t.Fatal(err)
	}
	if c.Class != clients.Registered || c.Host() != "our-app" || c.Metadata.ClientName != "Ours" || c.Metadata.ClientURI == "" || c.Confidential() {
		t.Errorf("%+v", c)
	}
	if !c.MatchRedirect("http://127.0.0.1:5000/cb") || !c.MatchRedirect("com.example.ours:/cb") || c.MatchRedirect("com.example.ours:/cb2") {
		t.Error("redirects are not matched")
	}
	for says, documents := range map[string][]object{
		"there twice":             {app, app},
		"id is empty":             {with(app, object{"client_id": nil})},
		"id is a URL":             {with(app, object{"client_id": "HTTP://app.example.com"})},
		"characters":              {with(app, object{"client_id": "our app"})},
		"id is too long":          {with(app, object{"client_id": strings.Repeat("x", clients.MaxURL+1)})},
		"scope":                   {with(app, object{"scope": nil})},
		"element 1":               {app, with(app, object{"client_id": "b", "redirect_uris": []string{"http://example.com/"}})},
		"not a host name":         {with(app, object{"redirect_uris": []string{"myapp:/cb"}})},
		"Config.Registered":       {{"client_id": 5}},
		"neither jwks nor jwks_u": {with(with(app, backend), object{"jwks_uri": nil, "application_type": "web", "redirect_uris": []string{"https://a.co/"}})},
	} {
		var list []json.RawMessage
		for _, d := range documents {
			list = append(list, json.RawMessage(text(t, d)))
		}
		if _, err := clients.New(clients.Config{Registered: list}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

func TestConfig(t *testing.T) {
	for field, cfg := range map[string]clients.Config{
		"CacheEntries": {CacheEntries: -1}, "CacheBytes": {CacheBytes: -1}, "Fetches": {Fetches: -1},
		"FetchesPerHost": {FetchesPerHost: -1}, "TTL": {TTL: -1}, "FailureTTL": {FailureTTL: -1},
	} {
		if _, err := clients.New(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := newResolver(t, clients.Config{}).Client(t.Context(), "nobody")
	if err.Error() != "clients: invalid_client: client_id: there is no such client" {
		t.Error(err)
	}
	_, err = load(t, with(webApp, object{"scope": 5}))
	if e, ok := errors.AsType[*clients.Error](err); !ok || e.Err == nil || !strings.HasSuffix(err.Error(), "wrong type: "+e.Err.Error()) {
		t.Error(err)
	}
}

// What is shown of a client that nobody vouches for cannot imitate another one:
// names in other scripts appear encoded, and there are no other names.
func TestAttack49HomographIDs(t *testing.T) {
	r := newResolver(t, clients.Config{Transport: &web{}})
	for _, id := range []string{"https://аpple.com/x", "https://app.example.com/\u202ex", "https://app.example.com\uff0fx.evil.com/y", "https://evil.com\u2044bank.com/x"} {
		_, err := r.Client(t.Context(), id)
		wantError(t, err, clients.CodeInvalidClient, "percent-encoded")
	}
	id := "https://xn--pple-43d.com/x"
	c, err := load(t, with(webApp, object{"client_id": id, "client_name": "Apple", "client_uri": "https://apple.com/"}))
	if err != nil || c.Host() != "xn--pple-43d.com" || c.Metadata.ClientURI != "" {
		t.Errorf("%+v, %v", c, err)
	}
}

// An id that is accepted reads the same to net/url, so that what is fetched is
// what was checked, and to byte comparison.
func FuzzClientID(f *testing.F) {
	for _, id := range []string{
		appID, "https://app.example.com:8443/x", "https://u@app.example.com/x", "https://app.example.com/a/../b", "https://127.1/x",
		"https://a.b/%2e", "https://[::1]/x", "http://localhost?scope=atproto&redirect_uri=http%3A%2F%2F127.0.0.1%2F", "http://localhost:80/", "our-app", "https://a.0x7/x", "https://a.co\\b/c?d#e",
	} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		w := &web{}
		r := newResolver(t, clients.Config{Transport: w})
		c, err := r.Client(t.Context(), id)
		switch clients.ClassOf(id) {
		case clients.Discoverable:
			if w.hits() == 0 {
				return
			}
			u, err := new(url.URL).Parse(id) // takes out dot segments
			if err != nil || u.String() != id || u.Host != u.Hostname() || u.User != nil || !strings.HasPrefix(id, "https://"+u.Host+"/") || w.asked[0] != id {
				t.Fatalf("%q is fetched as %q, %v", id, w.asked, err)
			}
			if _, err := netip.ParseAddr(u.Hostname()); err == nil || !strings.Contains(u.Host, ".") {
				t.Errorf("%q is fetched", id)
			}
		case clients.Loopback:
			if err != nil {
				return
			}
			if u, err := url.Parse(id); err != nil || u.Host != "localhost" || u.Path != "" && u.Path != "/" || u.User != nil {
				t.Errorf("%q is accepted, %v", id, err)
			}
			for _, uri := range c.Metadata.RedirectURIs {
				if !c.MatchRedirect(uri) {
					t.Errorf("%q does not match itself", uri)
				}
			}
			fallthrough
		default:
			if w.hits() != 0 {
				t.Errorf("%q: fetched %q", id, w.asked)
			}
		}
	})
}
