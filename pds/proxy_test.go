package pds_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc"
)

const getSuggestions = "app.bsky.actor.getSuggestions"

// oauthCallers knows tokens of the form "DPoP scope scope".
func oauthCallers(who **pdstest.Account) xrpc.Authenticator {
	return xrpc.AuthenticatorFunc(func(r *http.Request) (*xrpc.Caller, error) {
		scopes, found := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
		if !found {
			return nil, nil
		}
		return &xrpc.Caller{Account: (*who).DID, Actor: (*who).DID, Kind: xrpc.KindOAuth, Scopes: strings.Fields(scopes)}, nil
	})
}

// proxied sends a request with a proxy header.
func proxied(t *testing.T, srv *pdstest.PDS, nsid, auth, header string) error {
	t.Helper()
	h := http.Header{"Authorization": {auth}}
	if header != "" {
		h.Set("Atproto-Proxy", header)
	}
	_, err := srv.Call(t.Context(), http.MethodGet, nsid, nil, h, nil)
	return err
}

// Proxying: every header error.
func TestProxyHeaderErrors(t *testing.T) {
	t.Parallel()
	up := newService(t, answering(200, "application/json", `{}`))
	srv := pdstest.New(t, withAppView(up))
	alice := srv.CreateAccount("alice")
	up.publish(t, srv, map[string]string{
		"good": up.URL, "ftp": "ftp://127.0.0.1", "user": "http://a@127.0.0.1/", "text": "nothing", "path": up.URL + "/base/path/",
	})
	did := string(up.DID)
	for header, want := range map[string]string{
		"#good":                                 "no did specified in proxy header",
		"#":                                     "no did specified in proxy header",
		did:                                     "no service id specified in proxy header",
		did + "#":                               "no service id specified in proxy header",
		did + "#good#good":                      "invalid proxy header format",
		did + "#go od":                          "proxy header cannot contain spaces",
		" " + did + " x#good":                   "proxy header cannot contain spaces",
		"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#good": "could not resolve proxy did",
		"did:web:nobody.example.org#good":       "could not resolve proxy did",
		"did:key:abc#good":                      "could not resolve proxy did",
		"alice.test#good":                       "could not resolve proxy did",
		did + "#other":                          "could not resolve proxy did service url",
		did + "#ftp":                            "could not resolve proxy did service url",
		did + "#user":                           "could not resolve proxy did service url",
		did + "#text":                           "could not resolve proxy did service url",
		did + "#a/b":                            "could not resolve proxy did service url",
	} {
		err := proxied(t, srv, getSuggestions, "Bearer "+alice.Access, header)
		var e *pdstest.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Name != "InvalidRequest" || e.Message != want {
			t.Errorf("%q: %v, want %s", header, err, want)
		}
	}
	if up.count() != 0 {
		t.Error("a request went out")
	}
	for _, header := range []string{did + "#good", did + "#path"} {
		ok(t, proxied(t, srv, getSuggestions, "Bearer "+alice.Access, header))
		if got := up.last(t).URL.Path; got != "/xrpc/"+getSuggestions {
			t.Errorf("%s: path %s", header, got)
		}
	}
	h := http.Header{"Authorization": {"Bearer " + alice.Access}, "Atproto-Proxy": {did + "#good", did + "#good"}}
	_, err := srv.Call(t.Context(), http.MethodGet, getSuggestions, nil, h, nil)
	wantError(t, err, 400, "InvalidRequest")
}

// Proxying: default routes; a header that names this server; 501 for what a PDS
// owns.
func TestProxyRoutes(t *testing.T) {
	t.Parallel()
	var mod, reports *fakeService
	view := newService(t, answering(200, "application/json", `{"from":"view"}`))
	mod = newService(t, answering(200, "application/json", `{"from":"mod"}`))
	reports = newService(t, answering(200, "application/json", `{"from":"reports"}`))
	srv := pdstest.New(t, withAppView(view), func(c *pds.Config) {
		c.ModService = pds.Service{URL: mod.URL + "/", DID: "did:web:mod.example.com"}
		c.ReportService = pds.Service{URL: reports.URL, DID: "did:web:reports.example.com"}
	})
	alice := srv.CreateAccount("alice")
	own := "did:web:" + strings.ReplaceAll(strings.TrimPrefix(srv.URL, "http://"), ":", "%3A")
	for _, tt := range []struct {
		nsid, header string
		to           *fakeService
		status       int
		name         string
	}{
		{nsid: getSuggestions, to: view},
		{nsid: "app.bsky.not.thoughtOfYet", to: view},
		{nsid: "com.atproto.label.queryLabels", to: view},
		{nsid: "com.example.method", to: view},
		{nsid: "tools.ozone.moderation.getEvent", to: mod},
		{nsid: "chat.bsky.convo.listConvos", status: 400, name: "InvalidRequest"},
		// Services of the configuration are where it says, whatever their
		// documents say.
		{nsid: "tools.ozone.moderation.getEvent", header: appViewDID + "#bsky_appview", to: view},
		{nsid: getSuggestions, header: "did:web:mod.example.com#atproto_labeler", to: mod},
		{nsid: "com.example.method", header: "did:web:reports.example.com#atproto_labeler", to: reports},
		{nsid: getSuggestions, header: "did:web:mod.example.com#bsky_appview", status: 400, name: "InvalidRequest"},

		{nsid: getSuggestions, header: own + "#atproto_pds", status: 501, name: "MethodNotImplemented"},
		{nsid: getSuggestions, header: string(alice.DID) + "#atproto_pds", status: 501, name: "MethodNotImplemented"},
		{nsid: "com.atproto.sync.listReposByCollection", header: "did:web:mod.example.com#atproto_labeler", status: 501, name: "MethodNotImplemented"},
		{nsid: "com.atproto.server.unheardOf", status: 501, name: "MethodNotImplemented"},
		{nsid: "com.atproto.server.getSession", header: own + "#atproto_pds"}, // served
		{nsid: "com.atproto.server.getSession", header: "did:web:mod.example.com#atproto_labeler"},
	} {
		before := view.count() + mod.count() + reports.count()
		err := proxied(t, srv, tt.nsid, "Bearer "+alice.Access, tt.header)
		if tt.status != 0 {
			wantError(t, err, tt.status, tt.name)
		} else if err != nil {
			t.Errorf("%s %s: %v", tt.nsid, tt.header, err)
		}
		went := view.count() + mod.count() + reports.count() - before
		if (went == 1) != (tt.to != nil) {
			t.Errorf("%s %s: %d requests went out", tt.nsid, tt.header, went)
		}
		if tt.to != nil && tt.to.last(t).URL.Path != "/xrpc/"+tt.nsid {
			t.Errorf("%s %s went elsewhere", tt.nsid, tt.header)
		}
	}

	bare := pdstest.New(t)
	bob := bare.CreateAccount("bob")
	err := proxied(t, bare, getSuggestions, "Bearer "+bob.Access, "")
	wantError(t, err, 400, "InvalidRequest")
	if !strings.Contains(err.Error(), "No service configured for "+getSuggestions) {
		t.Error(err)
	}
}

// What a program claims is its own, whatever a request says.
func TestProxyClaimedNamespaces(t *testing.T) {
	t.Parallel()
	view := newService(t, answering(200, "application/json", `{"from":"view"}`))
	srv := pdstest.New(t, withAppView(view), func(c *pds.Config) { c.Namespaces = []string{"com.Example.chat", "org.example"} })
	srv.Handle(xrpc.Query("com.example.chat.list", xrpc.Public(), func(context.Context, *xrpc.None) (*struct{}, error) { return &struct{}{}, nil }))
	alice := srv.CreateAccount("alice")
	for _, tt := range []struct {
		nsid      string
		proxied   bool
		available bool
	}{
		{nsid: "com.example.chat.list", available: true},
		{nsid: "com.example.chat.send"},
		{nsid: "COM.example.Chat.send"},
		{nsid: "com.example.chat.room.send"},
		{nsid: "org.example.send"},
		{nsid: "com.example.chatter.send", proxied: true},
		{nsid: "com.example.send", proxied: true},
		{nsid: "com.example.chat", proxied: true}, // a method of com.example
	} {
		for _, header := range []string{"", appViewDID + "#bsky_appview", serviceDID(srv) + "#atproto_pds", "did:web:elsewhere.example.com#chat"} {
			for _, auth := range []string{"Bearer " + alice.Access, ""} {
				if tt.proxied && (auth == "" || header != "" && header != appViewDID+"#bsky_appview") {
					continue // refused for other reasons
				}
				before := view.count()
				err := proxied(t, srv, tt.nsid, auth, header)
				if tt.proxied || tt.available {
					ok(t, err)
				} else {
					wantError(t, err, 501, "MethodNotImplemented")
				}
				if went := view.count() > before; went != tt.proxied {
					t.Errorf("%s %s: passed on: %v", tt.nsid, header, went)
				}
			}
		}
	}
	for _, bad := range []string{"", "com", "com.example.", "com.example.*", "com example.chat"} {
		c := srv.Config
		c.Namespaces = []string{bad}
		if _, err := pds.New(c); err == nil || !strings.Contains(err.Error(), "Config.Namespaces") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Proxying: JWT claims.
func TestProxyToken(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{false, true} {
		up := newService(t, answering(200, "application/json", `{}`))
		srv := pdstest.New(t, withAppView(up), func(c *pds.Config) { c.AudienceNamesService = full })
		alice := srv.CreateAccount("alice")
		alice.Get(getSuggestions, nil, nil)
		got := checkToken(t, alice, up.last(t))
		want := appViewDID
		if full {
			want += "#bsky_appview"
		}
		now := srv.Clock.Now().Unix()
		if got.Issuer != alice.DID || got.Audience != want || got.Method != getSuggestions || got.ID == "" ||
			got.Expires-got.Issued != 60 || got.Issued > now || got.Issued < now-10 {
			t.Errorf("%+v", got)
		}
	}
}

// Proxying: scope with combined aud; wrong service refused; protected and
// privileged methods refused; who may proxy at all.
func TestProxyAuth(t *testing.T) {
	t.Parallel()
	up := newService(t, answering(200, "application/json", `{}`))
	var alice *pdstest.Account
	srv := pdstest.New(t, withAppView(up), func(c *pds.Config) {
		c.Authenticators = []xrpc.Authenticator{oauthCallers(&alice)}
	})
	alice = srv.CreateAccount("alice")
	up.publish(t, srv, map[string]string{"bsky_chat": up.URL})
	chat := string(up.DID) + "#bsky_chat"
	app := login(t, srv, string(alice.DID), newAppPassword(t, alice, "plain", false)).access()
	privileged := login(t, srv, string(alice.DID), newAppPassword(t, alice, "privileged", true)).access()
	carol, dave := srv.CreateAccount("carol"), srv.CreateAccount("dave")
	carolToken, daveToken := "Bearer "+carol.Access, "Bearer "+dave.Access
	takeDown(t, srv, string(carol.DID), true)
	ok(t, post(t, srv, "com.atproto.server.deactivateAccount", daveToken, map[string]any{}, nil))
	const listConvos = "chat.bsky.convo.listConvos"
	session := "Bearer " + alice.Access
	appView := url.QueryEscape(appViewDID + "#bsky_appview")
	for _, tt := range []struct {
		name, nsid, auth, header string
		status                   int
		error                    string
	}{
		{"session", getSuggestions, session, "", 200, ""},
		{"app password", getSuggestions, app, "", 200, ""},
		{"deactivated", getSuggestions, daveToken, "", 200, ""},
		{"taken down", getSuggestions, carolToken, "", 401, "AccountTakedown"},
		{"nothing", getSuggestions, "", "", 401, "AuthMissing"},
		{"scheme", getSuggestions, "Digest x", "", 400, "InvalidToken"},
		{"administrator", getSuggestions, adminAuth, "", 400, "InvalidToken"},
		{"service", getSuggestions, newOutsider(t, srv, "o.example.com").token(t, srv, getSuggestions), "", 400, "InvalidToken"},
		{"refresh token", getSuggestions, "Bearer " + alice.Refresh, "", 400, "InvalidToken"},

		{"chat, session", listConvos, session, chat, 200, ""},
		{"chat, app password", listConvos, app, chat, 400, "InvalidToken"},
		{"chat, app password, other case", "Chat.Bsky.convo.listConvos", app, chat, 400, "InvalidToken"},
		{"chat, privileged", listConvos, privileged, chat, 200, ""},

		{"OAuth, all", getSuggestions, "DPoP rpc:" + getSuggestions + "?aud=*", "", 200, ""},
		{"OAuth, service", getSuggestions, "DPoP rpc:" + getSuggestions + "?aud=" + appView, "", 200, ""},
		{"OAuth, every method", getSuggestions, "DPoP rpc:*?aud=" + appView, "", 200, ""},
		{"OAuth, other method", getSuggestions, "DPoP rpc:app.bsky.actor.getProfile?aud=*", "", 403, "ScopeMissingError"},
		{"OAuth, other service", getSuggestions, "DPoP rpc:*?aud=" + url.QueryEscape(chat), "", 403, "ScopeMissingError"},
		{"OAuth, other service of the header", getSuggestions, "DPoP rpc:*?aud=" + appView, chat, 403, "ScopeMissingError"},
		{"OAuth, service of the header", listConvos, "DPoP rpc:*?aud=" + url.QueryEscape(chat), chat, 200, ""},
		{"OAuth, nothing", getSuggestions, "DPoP atproto", "", 403, "ScopeMissingError"},
		{"OAuth, generic", getSuggestions, "DPoP transition:generic", "", 200, ""},
		{"OAuth, generic, chat", listConvos, "DPoP transition:generic", chat, 403, "ScopeMissingError"},
	} {
		before := up.count()
		err := proxied(t, srv, tt.nsid, tt.auth, tt.header)
		if tt.status == 200 {
			ok(t, err)
		} else {
			var e *pdstest.Error
			if !errors.As(err, &e) || e.Status != tt.status || e.Name != tt.error {
				t.Errorf("%s: %v, want %d %s", tt.name, err, tt.status, tt.error)
			}
		}
		if went := up.count() - before; (went == 1) != (tt.status == 200) {
			t.Errorf("%s: %d requests went out", tt.name, went)
		}
	}
	// Protected methods are never passed on, whatever the case of their names.
	for _, nsid := range []string{
		"com.atproto.admin.sendEMAIL", "com.atproto.server.GETSESSION", "com.atproto.identity.signPLCOperation", "COM.ATPROTO.server.confirmemail",
	} {
		err := proxied(t, srv, nsid, session, chat)
		var e *pdstest.Error
		if !errors.As(err, &e) || e.Status != 501 && e.Status != 400 {
			t.Errorf("%s: %v", nsid, err)
		}
	}
	for _, verb := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch} {
		_, err := srv.Call(t.Context(), verb, getSuggestions, nil, http.Header{"Authorization": {session}}, nil)
		wantError(t, err, 400, "InvalidRequest")
	}
}

// Proxying: forwarded and withheld headers, both ways; path and query byte for
// byte.
func TestProxyHeaders(t *testing.T) {
	t.Parallel()
	up := newService(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for _, name := range []string{"Content-Language", "Atproto-Repo-Rev", "Atproto-Content-Labelers"} {
			h.Set(name, "value of "+name)
		}
		h.Set("Content-Type", "application/json")
		h.Set("Set-Cookie", "a=b")
		h.Set("Server", "secret")
		h.Set("Access-Control-Allow-Origin", "https://example.com")
		h.Set("Www-Authenticate", "Basic")
		h.Set("DPoP-Nonce", "x")
		h.Set("X-Request-Id", "mine")
		h.Set("Location", "https://example.com")
		_, _ = io.WriteString(w, `{"a":1}`)
	})
	srv := pdstest.New(t, withAppView(up))
	alice := srv.CreateAccount("alice")
	send := func(verb, path, body string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), verb, srv.URL+path, strings.NewReader(body))
		ok(t, err)
		r.Header = http.Header{
			"Authorization": {"Bearer " + alice.Access}, "Accept-Encoding": {"br;q=0.5, gzip"}, "Accept-Language": {"de, en"},
			"Atproto-Accept-Labelers": {"did:web:a;redact", "did:web:b"}, "X-Bsky-Topics": {"cats"}, "X-Atproto-Anything": {"1", "2"},
			"Cookie": {"a=b"}, "Referer": {"https://example.com"}, "Origin": {"https://example.com"}, "X-Forwarded-For": {"1.2.3.4"},
			"Dpop": {"proof"}, "Accept": {"text/html"}, "User-Agent": {"a browser"}, "X-Ratelimit-Bypass": {"key"}, "Range": {"bytes=0-1"},
			"If-None-Match": {"x"}, "Content-Type": {"application/x-thing"}, "Content-Encoding": {"br"},
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		ok(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		ok(t, err)
		if string(text) != `{"a":1}` || resp.StatusCode != 200 {
			t.Fatalf("%d %q", resp.StatusCode, text)
		}
		return resp
	}
	const path = "/xrpc/app.bsky.Not.known/?b=%2f+%20x&a&a=1;2&&=%C3%9C"
	resp := send("GET", path, "")
	got := up.last(t)
	if got.RequestURI != path {
		t.Errorf("path and query: %s", got.RequestURI)
	}
	common := []string{"Accept-Encoding", "Accept-Language", "Atproto-Accept-Labelers", "Authorization", "X-Atproto-Anything", "X-Bsky-Topics"}
	if diff := cmp.Diff(common, names(got.Header)); diff != "" {
		t.Errorf("headers of a query: %s", diff)
	}
	for name, want := range map[string]string{
		"Accept-Encoding": "br;q=0.5, gzip", "Accept-Language": "de, en", "Atproto-Accept-Labelers": "did:web:a;redact,did:web:b",
		"X-Bsky-Topics": "cats", "X-Atproto-Anything": "1,2",
	} {
		if got := strings.Join(got.Header.Values(name), ","); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	want := []string{
		"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Atproto-Content-Labelers", "Atproto-Repo-Rev", "Cache-Control",
		"Content-Language", "Content-Length", "Content-Security-Policy", "Content-Type", "Date", "Dpop-Nonce", "Vary", "X-Content-Type-Options", "X-Request-Id",
	}
	if diff := cmp.Diff(want, names(resp.Header)); diff != "" {
		t.Errorf("headers of the answer: %s", diff)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("X-Request-Id") == "mine" || resp.Header.Get("Cache-Control") != "private" {
		t.Error("headers of the service came through")
	}
	send("POST", "/xrpc/app.bsky.a.b", "body")
	got = up.last(t)
	if diff := cmp.Diff([]string{"Accept-Encoding", "Accept-Language", "Atproto-Accept-Labelers", "Authorization", "Content-Encoding",
		"Content-Length", "Content-Type", "X-Atproto-Anything", "X-Bsky-Topics"}, names(got.Header)); diff != "" {
		t.Errorf("headers of a procedure: %s", diff)
	}
	if got.body != "body" || got.Header.Get("Content-Type") != "application/x-thing" || got.Header.Get("Content-Encoding") != "br" || got.ContentLength != 4 {
		t.Errorf("%+v", got)
	}
	// Without a wish for an encoding there is none; without a body no type.
	_, err := srv.Call(t.Context(), http.MethodPost, "app.bsky.a.b", nil, http.Header{
		"Authorization": {"Bearer " + alice.Access}, "Accept-Encoding": {""},
	}, nil)
	ok(t, err)
	if got = up.last(t); got.Header.Get("Accept-Encoding") != "identity" || got.body != "" || got.Method != "POST" {
		t.Errorf("%v %q", got.Header, got.body)
	}
	head, err := http.NewRequestWithContext(t.Context(), http.MethodHead, srv.URL+"/xrpc/app.bsky.a.b", nil)
	ok(t, err)
	head.Header.Set("Authorization", "Bearer "+alice.Access)
	headed, err := http.DefaultClient.Do(head)
	ok(t, err)
	headed.Body.Close()
	if got := up.last(t); got.Method != "HEAD" || headed.StatusCode != 200 || headed.ContentLength != int64(len(`{"a":1}`)) {
		t.Errorf("HEAD: %s, %d, %d", got.Method, headed.StatusCode, headed.ContentLength)
	}
}

// Proxying: upstream error; error and headers pass.
func TestProxyErrors(t *testing.T) {
	t.Parallel()
	var answer http.HandlerFunc
	up := newService(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Set-Cookie", "a=b")
		answer(w, r)
	})
	srv := pdstest.New(t, withAppView(up))
	alice := srv.CreateAccount("alice")
	const usualBad = `{"error":"InvalidRequest","message":"Invalid Request"}`
	for _, tt := range []struct {
		status            int
		contentType, body string
		wantStatus        int
		wantBody          string
	}{
		{400, "application/json", `{"error":"NotFound","message":"no <post>","secret":1}`, 400, `{"error":"NotFound","message":"no \u003cpost\u003e"}`},
		{401, "application/json; charset=utf-8", `{"error":"ExpiredToken"}`, 401, `{"error":"ExpiredToken","message":"Authentication Required"}`},
		{429, "application/json", `{"message":"slow down"}`, 429, `{"error":"RateLimitExceeded","message":"slow down"}`},
		{500, "application/json", `{"error":"InternalServerError","message":"x"}`, 502, `{"error":"InternalServerError","message":"x"}`},
		{500, "text/html", `<h1>oops`, 502, `{"error":"UpstreamFailure","message":"Upstream Failure"}`},
		{503, "", ``, 503, `{"error":"NotEnoughResources","message":"Not Enough Resources"}`},
		{599, "application/json", `{`, 599, `{"error":"InternalServerError","message":"Internal Server Error"}`},
		{400, "application/json", `{"error":{"a":1},"message":["b"]}`, 400, usualBad},
		{400, "application/json", `"a string"`, 400, usualBad},
		{400, "text/plain", `{"error":"A","message":"b"}`, 400, usualBad},
		{400, "application/json", `{"error":"` + strings.Repeat("x", 1<<15) + `"}`, 400, usualBad},
		{302, "", ``, 502, `{"error":"UpstreamFailure","message":"The upstream service answered with the status 302"}`},
		{304, "", ``, 502, `{"error":"UpstreamFailure","message":"The upstream service answered with the status 304"}`},
		{201, "text/plain", `made`, 201, `made`},
	} {
		answer = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://example.com/")
			answering(tt.status, tt.contentType, tt.body)(w, r)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/xrpc/"+getSuggestions, nil)
		ok(t, err)
		r.Header.Set("Authorization", "Bearer "+alice.Access)
		resp, err := http.DefaultTransport.RoundTrip(r)
		ok(t, err)
		text, err := io.ReadAll(resp.Body)
		ok(t, err)
		resp.Body.Close()
		if resp.StatusCode != tt.wantStatus || string(text) != tt.wantBody {
			t.Errorf("%d %q: got %d %q", tt.status, tt.body, resp.StatusCode, text)
		}
		if tt.status != 302 && tt.status != 304 && resp.Header.Get("Retry-After") != "7" || resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Location") != "" {
			t.Errorf("%d: %v", tt.status, resp.Header)
		}
	}
}

// Proxying: upstream down.
func TestProxyUnreachable(t *testing.T) {
	t.Parallel()
	up := newService(t, answering(200, "", ""))
	srv := pdstest.New(t, withAppView(up))
	alice := srv.CreateAccount("alice")
	up.Close()
	err := proxied(t, srv, getSuggestions, "Bearer "+alice.Access, "")
	wantError(t, err, 502, "UpstreamFailure")
	if !strings.Contains(err.Error(), "Upstream service unreachable") || strings.Contains(err.Error(), "127.0.0.1") {
		t.Error(err)
	}
}
