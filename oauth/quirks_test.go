package oauth_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/scope"
)

// What clients in use do, beyond what the standards ask for or against them.
func TestQuirks(t *testing.T) {
	e := newEnv(t)
	a := e.newConfidential("app.example.org")

	t.Run("fragment", func(t *testing.T) { // @atproto/oauth-client-browser
		location, _, err := e.srv.Authorize(t.Context(), a.id, a.pushed("response_mode", "fragment"), alice, alice, []string{"atproto"})
		u, _ := url.Parse(location)
		if err != nil || u.RawQuery != "" || !strings.Contains(u.Fragment, "code=cod-") {
			t.Errorf("location %s, %v", location, err)
		}
	})
	t.Run("JSON bodies", func(t *testing.T) { // @atcute/oauth-browser-client
		e.in(t)
		b := e.newApp("browser.example.org")
		b.json = true
		got := b.signedIn()
		got = tokensOf(b.refresh(got.refresh))
		b.post("/oauth/revoke", map[string]string{"token": got.refresh}).isOK()
	})
	t.Run("empty parameters", func(t *testing.T) { // indigo
		e.in(t)
		r := a.newRequest("/oauth/par", merge(a.pushValues(), map[string]string{
			"client_id": a.id, "login_hint": "", "prompt": "", "response_mode": "", "dpop_jkt": "", "request": "", "nonce": "",
			"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": a.assertion(),
		}))
		e.do(r).isOK()
	})
	t.Run("audience in a list", func(t *testing.T) { // indigo
		e.in(t)
		b := *a
		b.assertionClaims = object{"aud": []string{issuer}}
		b.push().isOK()
	})
	t.Run("short names of proofs", func(t *testing.T) { // @atproto/oauth-client
		e.in(t)
		b := *a
		b.proofClaims = object{"jti": "1"}
		b.push().isOK()
		other := *a.another() // the names are per key
		other.proofClaims = object{"jti": "1"}
		other.push().isOK()
		other.push().is(400, "invalid_dpop_proof")
	})
	t.Run("address with query", func(t *testing.T) {
		e.in(t)
		got := a.signedIn()
		b := *a
		b.proofClaims = object{"htu": issuer + "/xrpc/com.example.get?a=b"}
		b.mustUse(got.access)
		r := a.resourceRequest(got.access)
		r.URL.RawQuery = "cursor=%2F"
		if _, err := e.srv.Verifier().Verify(r); err != nil {
			t.Error(err)
		}
	})
	t.Run("more claims in proofs", func(t *testing.T) { // indigo
		e.in(t)
		b := *a
		b.proofClaims = object{"exp": e.clock.Now().Unix() + 30, "iss": a.id, "sub": "x"}
		got := b.signedIn()
		b.mustUse(got.access)
	})
	t.Run("first request without nonce", func(t *testing.T) {
		e.in(t)
		b := e.newApp("fresh.example.org")
		values := b.pushValues("client_id", b.id)
		first := e.do(b.newRequest("/oauth/par", values)).is(400, "use_dpop_nonce")
		b.nonce = first.Header.Get("DPoP-Nonce")
		e.do(b.newRequest("/oauth/par", values)).isOK() // same state, same challenge
	})
	t.Run("nonce of the server at the resource", func(t *testing.T) {
		e.in(t)
		got := a.signedIn()
		if _, err := e.srv.Verifier().Verify(a.resourceRequest(got.access)); err != nil {
			t.Error(err)
		}
	})
	t.Run("revocation", func(t *testing.T) {
		e.in(t)
		got := a.signedIn()
		e.clock.advance(20 * time.Minute)
		silent := *a
		silent.auth = nil
		silent.post("/oauth/revoke", map[string]string{"token": got.access}).isOK()
		silent.post("/oauth/revoke", map[string]string{"token": got.refresh}).isOK()
		a.refresh(got.refresh).isInvalidGrant()
	})
	t.Run("order of scopes", func(t *testing.T) { // FAPI2SPFinalEnsureOtherScopeOrderSucceeds
		e.in(t)
		code := a.authorized("scope", "transition:email  transition:generic atproto", "code_challenge", challengeOf(verifier+"order"))
		got := a.exchange(code, "code_verifier", verifier+"order").isOK()
		if got.text("scope") != "transition:email transition:generic atproto" {
			t.Errorf("scope %q", got.text("scope"))
		}
	})
	t.Run("number sign in audiences", func(t *testing.T) {
		e.in(t)
		for _, value := range []string{"rpc:com.example.get?aud=did:web:api.example.com#svc", "rpc:com.example.get?aud=did:web:api.example.com%23svc"} {
			b := e.newApp("aud.example.org")
			b.publish(object{"scope": "atproto " + value})
			e.clock.advance(10 * time.Minute)
			got := b.signedIn("scope", "atproto "+value)
			if !b.mustUse(got.access).Scope.Allows(scope.RPC{Method: "com.example.get", Audience: "did:web:api.example.com#svc"}) {
				t.Errorf("%s is not understood", value)
			}
		}
	})
	t.Run("loopback ports", func(t *testing.T) {
		e.in(t)
		for _, redirect := range []string{"http://127.0.0.1:9999/", "http://[::1]:1/", "http://127.0.0.1/"} {
			b := e.loopback("?scope=atproto%20transition:generic")
			b.redirect = redirect
			b.mustUse(b.signedIn().access)
		}
	})
	t.Run("names in another case", func(t *testing.T) {
		e.in(t)
		got := a.signedIn()
		r := a.resourceRequest(got.access)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := e.srv.Verifier().Verify(r)
			if err != nil {
				http.Error(w, err.Error(), 401)
			}
		}))
		defer server.Close()
		sent, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/xrpc/com.example.get", nil)
		sent.Header["DPOP"] = r.Header["Dpop"]
		sent.Header["AUTHORIZATION"] = []string{"dpop " + got.access}
		answer, err := server.Client().Do(sent)
		if err != nil || answer.StatusCode != 200 {
			t.Errorf("status %v, %v", answer, err)
		}
	})
	t.Run("preflight", func(t *testing.T) {
		for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server", "/oauth/jwks", "/oauth/par", "/oauth/token", "/oauth/revoke"} {
			r := httptest.NewRequest(http.MethodOptions, issuer+path, nil)
			r.Header.Set("Origin", "http://127.0.0.1:8080")
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "dpop,content-type")
			got := e.do(r)
			h := got.Header
			if got.Status != 200 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Methods") != "*" || h.Get("Access-Control-Allow-Credentials") != "" ||
				h.Get("Access-Control-Allow-Headers") != "Content-Type,DPoP" || h.Get("Access-Control-Expose-Headers") != "DPoP-Nonce" || h.Get("Access-Control-Max-Age") != "86400" {
				t.Errorf("%s: %d %v", path, got.Status, h)
			}
		}
	})
	t.Run("other methods", func(t *testing.T) { // FAPI2SPFinalPARRejectInvalidHttpVerb
		for _, path := range []string{"/oauth/par", "/oauth/token", "/oauth/revoke"} {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead} {
				if got := e.do(httptest.NewRequest(method, issuer+path, nil)); got.Status != 405 || got.Header.Get("Allow") != "POST, OPTIONS" {
					t.Errorf("%s %s: %d", method, path, got.Status)
				}
			}
		}
		if got := e.do(httptest.NewRequest(http.MethodPost, issuer+"/oauth/jwks", nil)); got.Status != 405 {
			t.Errorf("POST to the keys: %d", got.Status)
		}
	})
}

func merge(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

func TestPushParameters(t *testing.T) {
	e := newEnv(t)
	a, confidential := e.newApp("app.example.org"), e.newConfidential("backend.example.org")
	for name, c := range map[string]struct {
		by     *app
		change []string
		code   string
	}{
		"handle as hint":              {a, []string{"login_hint", "Alice.Example.com"}, ""},
		"DID as hint":                 {a, []string{"login_hint", alice.String()}, ""},
		"e-mail as hint":              {a, []string{"login_hint", "alice@example.com"}, "invalid_request"},
		"bad DID as hint":             {a, []string{"login_hint", "did:"}, "invalid_request"},
		"markup as hint":              {a, []string{"login_hint", "<script>"}, "invalid_request"},
		"prompt login":                {a, []string{"prompt", "login"}, ""},
		"prompt consent":              {a, []string{"prompt", "consent"}, ""},
		"prompt select_account":       {a, []string{"prompt", "select_account"}, ""},
		"two prompts":                 {a, []string{"prompt", "login consent"}, "invalid_request"},
		"unknown prompt":              {a, []string{"prompt", "other"}, "invalid_request"},
		"prompt none, public":         {a, []string{"prompt", "none"}, "invalid_request"},
		"prompt none, confidential":   {confidential, []string{"prompt", "none"}, ""},
		"prompt create, no sign-up":   {a, []string{"prompt", "create"}, "invalid_request"},
		"display":                     {a, []string{"display", "popup"}, ""},
		"unknown display":             {a, []string{"display", "wap"}, ""},
		"languages":                   {a, []string{"ui_locales", "de-AT en x_y " + strings.Repeat("fr ", 50)}, ""},
		"max_age":                     {a, []string{"max_age", "0"}, ""},
		"negative max_age":            {a, []string{"max_age", "-1"}, "invalid_request"},
		"max_age in words":            {a, []string{"max_age", "never"}, "invalid_request"},
		"unknown parameters":          {a, []string{"unknown", "x"}, ""},
		"unparsable scopes are left":  {a, []string{"scope", "atproto repo:com.example.note"}, ""},
		"no scope":                    {a, []string{"scope", ""}, "invalid_scope"},
		"state of 2,048 bytes":        {a, []string{"state", strings.Repeat("s", 2048)}, ""}, // FAPI2SPFinalEnsureAuthorizationRequestWithLongState
		"unregistered redirect":       {a, []string{"redirect_uri", "https://thief.example.org/"}, "invalid_request"},
		"wrong way to authenticate":   {a, []string{"client_assertion_type", "x", "client_assertion", "y"}, "invalid_client"},
		"no client":                   {a, []string{"client_id", ""}, "invalid_request"},
		"client of an unknown scheme": {a, []string{"client_id", "ftp://app.example.org/client.json"}, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			e.in(t)
			got := c.by.push(c.change...)
			if c.code == "" {
				got.isOK()
			} else {
				got.is(400, c.code)
			}
		})
	}
}

// Values that a client declares and this server does not know are left out.
func TestUnknownScopes(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	text := "atproto future:thing repo:com.example.note repo:not-an-nsid transition:unknown"
	a.publish(object{"scope": text})
	uri := a.pushed("scope", text)
	_, params, err := e.srv.Authorize(t.Context(), a.id, uri, alice, alice, strings.Fields(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := a.exchange(params.Get("code")).isOK(); got.text("scope") != "atproto repo:com.example.note" {
		t.Errorf("scope %q", got.text("scope"))
	}
}

func TestClientPolicy(t *testing.T) {
	trust := map[string]oauth.Trust{}
	var seen oauth.ClientInfo
	e := newEnv(t, func(c *oauth.Config) {
		c.ClientPolicy = func(_ context.Context, info oauth.ClientInfo) oauth.Trust {
			seen = info
			return trust[info.ID]
		}
	})
	a := e.newApp("app.example.org")
	a.push().isOK()
	if seen.ID != a.id || seen.Name != "An app" || seen.Confidential || seen.Loopback {
		t.Errorf("the policy sees %+v", seen)
	}
	got := a.signedIn()
	trust[a.id] = oauth.Trusted
	a.push("prompt", "none").isOK()
	trust[a.id] = 77
	a.push("prompt", "none").is(400, "invalid_request")
	trust[a.id] = oauth.Denied
	a.push().is(400, "unauthorized_client")
	a.refresh(got.refresh).is(400, "unauthorized_client")

	loopback := e.loopback("")
	trust[loopback.id] = oauth.FirstParty
	loopback.push("scope", "atproto", "prompt", "none").is(400, "invalid_request") // never trusted
	if !seen.Loopback {
		t.Errorf("the policy sees %+v", seen)
	}
	refusing := newEnv(t, func(c *oauth.Config) { c.RefuseLoopbackClients = true })
	refusing.loopback("").push("scope", "atproto").is(400, "invalid_client")
}
