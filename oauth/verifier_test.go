package oauth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/storage"
)

func TestChallenge(t *testing.T) {
	v := newEnv(t).srv.Verifier()
	for want, err := range map[string]error{
		`DPoP algs="ES256"`: nil,
		`DPoP algs="ES256", error="use_dpop_nonce", error_description="why 'not'?"`: &oauth.Error{Status: 401, Code: "use_dpop_nonce", Description: "why \"not\"\n"},
		`DPoP algs="ES256", error="invalid_token", error_description="x"`:           &oauth.Error{Status: 401, Code: "invalid_token", Description: "x"},
		"": errors.New("of the store"),
	} {
		h := http.Header{}
		v.Challenge(h, err)
		if got := h.Get("WWW-Authenticate"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	h := http.Header{}
	v.Challenge(h, &oauth.Error{Status: 503, Code: "temporarily_unavailable"})
	if len(h) > 0 {
		t.Errorf("got %v", h)
	}
}

// remoteVerifier makes a verifier for tokens of e, as a resource elsewhere has it.
func (e *env) remoteVerifier(change ...func(*oauth.VerifierConfig)) *oauth.Verifier {
	e.t.Helper()
	// The resource fetches from the server itself.
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/oauth/jwks"} {
		e.web.set(issuer+path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e.srv.ServeHTTP(w, httptest.NewRequest(http.MethodGet, issuer+path, nil))
		}))
	}
	cfg := oauth.VerifierConfig{Issuer: issuer, Resource: issuer, Audience: audience, Transport: e.web, Clock: e.clock.Now}
	for _, fn := range change {
		fn(&cfg)
	}
	v, err := oauth.NewVerifier(cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	return v
}

// useAt uses a token at a verifier.
func (a *app) useAt(v *oauth.Verifier, token string) (*oauth.Token, error) {
	h := http.Header{}
	v.SetNonce(h)
	other := *a
	other.nonce = h.Get("DPoP-Nonce")
	return v.Verify(other.resourceRequest(token))
}

func TestRemoteVerifier(t *testing.T) {
	stateless := func(c *oauth.Config) { c.Stateless = true }
	e := newEnv(t, stateless)
	a := e.newApp("app.example.org")
	v := e.remoteVerifier()
	answer := a.exchange(a.authorized()).isOK()
	if answer.Body["expires_in"] != 300.0 {
		t.Errorf("a token lives %v s", answer.Body["expires_in"])
	}
	got := tokensOf(answer)
	token, err := a.useAt(v, got.access)
	if err != nil || token.Account != alice || token.Actor != alice || token.Client != a.id || token.Scope.Source() != "atproto transition:generic" || token.Session == "" {
		t.Fatalf("token %+v, %v", token, err)
	}
	a.mustUse(got.access) // the server itself takes it, too
	if n := e.web.count(issuer + "/oauth/jwks"); n != 1 {
		t.Errorf("keys were fetched %d times", n)
	}
	if _, err := a.another().useAt(v, got.access); err == nil {
		t.Error("another key is accepted")
	}
	r := a.resourceRequest(got.access)
	if _, err := v.Verify(r); err == nil {
		t.Error("the server's nonce is accepted")
	} else {
		requireError(t, err, 401, "use_dpop_nonce")
	}

	_, params, err := e.srv.Authorize(t.Context(), a.id, a.pushed("code_challenge", challengeOf(verifier+"2")), bob, alice, []string{"atproto"})
	if err != nil {
		t.Fatal(err)
	}
	acting := tokensOf(a.exchange(params.Get("code"), "code_verifier", verifier+"2"))
	if token, err := a.useAt(v, acting.access); err != nil || token.Account != bob || token.Actor != alice {
		t.Errorf("token %+v, %v", token, err)
	}

	e.clock.advance(5 * time.Minute)
	_, err = a.useAt(v, got.access)
	requireError(t, err, 401, "invalid_token")

	t.Run("scope too long for a token", func(t *testing.T) {
		e.in(t)
		long := "atproto"
		for i := range 200 {
			long += fmt.Sprintf(" repo:com.example.collection%d.with.a.long.name", i)
		}
		a := e.newApp("long.example.org")
		a.publish(object{"scope": long})
		code := a.authorized("scope", long, "code_challenge", challengeOf(verifier+"3"))
		a.exchange(code, "code_verifier", verifier+"3").is(400, "invalid_scope")
	})
	t.Run("stateful tokens", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		token, err := a.useAt(e.remoteVerifier(), a.signedIn().access)
		if err != nil || !token.Scope.IsEmpty() {
			t.Errorf("a token without scope allows something: %+v, %v", token, err)
		}
	})
	t.Run("replay", func(t *testing.T) {
		for _, shared := range []bool{false, true} {
			e := newEnv(t, stateless)
			a := e.newApp("app.example.org")
			cfg := func(c *oauth.VerifierConfig) {
				if shared {
					c.Store, c.Secret = e.store, []byte(strings.Repeat("v", 32))
				}
			}
			v, twin := e.remoteVerifier(cfg), e.remoteVerifier(cfg)
			got := a.signedIn()
			h := http.Header{}
			v.SetNonce(h)
			a.nonce = h.Get("DPoP-Nonce")
			r := a.resourceRequest(got.access)
			if _, err := v.Verify(r); err != nil {
				t.Fatal(err)
			}
			_, err := v.Verify(r)
			requireError(t, err, 401, "invalid_dpop_proof")
			_, err = twin.Verify(r)
			requireError(t, err, 401, map[bool]string{false: "use_dpop_nonce", true: "invalid_dpop_proof"}[shared])
		}
	})
}

func TestRemoteVerifierRefuses(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	key, thief := newKey(t), newKey(t)
	set, err := json.Marshal(jose.NewKeySet(key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	v := e.remoteVerifier()
	e.web.set(issuer+"/oauth/jwks", json.RawMessage(set))
	now := e.clock.Now().Unix()
	header := object{"typ": "at+jwt", "alg": "ES256", "kid": key.KeyID()}
	claims := object{
		"iss": issuer, "sub": alice, "aud": audience, "iat": now, "exp": now + 300, "client_id": a.id, "scope": "atproto",
		"cnf": object{"jkt": a.key.Public().Thumbprint()},
	}
	good := func(t *testing.T, header, claims object) {
		t.Helper()
		if _, err := a.useAt(v, sign(t, key, header, claims)); err != nil {
			t.Error(err)
		}
	}
	good(t, header, claims)
	good(t, header, merged(claims, object{"aud": []string{audience}, "other": object{"a": 1}}))
	for name, c := range map[string]struct{ header, claims object }{
		"type":             {header: object{"typ": "JWT"}},
		"no type":          {header: object{"typ": nil}},
		"HS256":            {header: object{"alg": "HS256"}},
		"none":             {header: object{"alg": "none"}},
		"unknown key":      {header: object{"kid": "other"}},
		"no key":           {header: object{"kid": nil}},
		"other issuer":     {claims: object{"iss": "https://thief.example.org"}},
		"issuer and slash": {claims: object{"iss": issuer + "/"}},
		"other audience":   {claims: object{"aud": "did:web:thief.example.org"}},
		"two audiences":    {claims: object{"aud": []string{audience, "did:web:thief.example.org"}}},
		"no audience":      {claims: object{"aud": nil}},
		"expired":          {claims: object{"exp": now}},
		"no expiry":        {claims: object{"exp": nil}},
		"expiry as text":   {claims: object{"exp": "9999999999"}},
		"future":           {claims: object{"iat": now + 31}},
		"no time":          {claims: object{"iat": nil}},
		"no subject":       {claims: object{"sub": nil}},
		"subject no DID":   {claims: object{"sub": "alice"}},
		"actor no DID":     {claims: object{"act": object{"sub": "bob"}}},
		"no client":        {claims: object{"client_id": nil}},
		"no key bound":     {claims: object{"cnf": nil}},
		"empty key bound":  {claims: object{"cnf": object{"jkt": ""}}},
		"other key bound":  {claims: object{"cnf": object{"jkt": thief.Public().Thumbprint()}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.useAt(v, sign(t, key, merged(header, c.header), merged(claims, c.claims)))
			requireError(t, err, 401, "invalid_token")
		})
	}
	_, err = a.useAt(v, sign(t, thief, header, claims))
	requireError(t, err, 401, "invalid_token")
	good(t, header, claims)
}

func TestRemoteKeys(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Stateless = true })
	a := e.newApp("app.example.org")
	v := e.remoteVerifier()
	const jwks = issuer + "/oauth/jwks"
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) })
	up := e.web.documents[jwks]
	token := a.signedIn().access

	// No keys are known: that is nobody's bad token, and asked for once a second.
	e.web.set(jwks, down)
	for range 3 {
		if _, err := a.useAt(v, token); err == nil {
			t.Fatal("a token is accepted without keys")
		} else if e, ok := errors.AsType[*oauth.Error](err); ok {
			t.Fatalf("got %v, want an error of the network", e)
		}
	}
	if n := e.web.count(jwks); n != 1 {
		t.Errorf("keys were asked for %d times", n)
	}
	e.web.set(jwks, up)
	e.clock.advance(time.Second)
	if _, err := a.useAt(v, token); err != nil {
		t.Fatal(err)
	}

	// Known keys serve for a day if they cannot be fetched again.
	e.web.set(jwks, down)
	for range 3 {
		e.clock.advance(7 * time.Hour)
		if _, err := a.useAt(v, a.signedIn().access); err != nil {
			t.Fatal(err)
		}
	}
	e.clock.advance(7 * time.Hour)
	if _, err := a.useAt(v, a.signedIn().access); err == nil {
		t.Error("keys of more than a day ago are used")
	}
	e.web.set(jwks, up)
	e.clock.advance(time.Second)
	if _, err := a.useAt(v, a.signedIn().access); err != nil {
		t.Fatal(err)
	}

	// A key that is not known is looked for once a minute.
	before := e.web.count(jwks)
	bad := func() {
		t.Helper()
		_, err := a.useAt(v, sign(t, a.key, object{"typ": "at+jwt", "alg": "ES256", "kid": "unknown"}, object{}))
		requireError(t, err, 401, "invalid_token")
	}
	bad()
	e.clock.advance(time.Minute)
	for range 5 {
		bad()
	}
	if n := e.web.count(jwks) - before; n != 1 {
		t.Errorf("keys were fetched %d times", n)
	}

	t.Run("metadata of another issuer", func(t *testing.T) {
		v := e.remoteVerifier()
		e.web.set(issuer+"/.well-known/oauth-authorization-server", object{"issuer": "https://thief.example.org", "jwks_uri": jwks})
		if _, err := a.useAt(v, token); err == nil {
			t.Error("accepted")
		}
		e.web.set(issuer+"/.well-known/oauth-authorization-server", object{"issuer": issuer, "jwks_uri": "http://pds.example.com/oauth/jwks"})
		e.clock.advance(time.Second)
		if _, err := a.useAt(v, token); err == nil {
			t.Error("keys are fetched without TLS")
		}
	})
}

func TestVerifierConfig(t *testing.T) {
	for name, cfg := range map[string]oauth.VerifierConfig{
		"VerifierConfig.Issuer":           {Resource: issuer},
		"VerifierConfig.Resource":         {Issuer: issuer, Resource: "http://localhost"},
		"Store and Secret":                {Issuer: issuer, Resource: issuer, Secret: make([]byte, 32)},
		"VerifierConfig.Secret has fewer": {Issuer: issuer, Resource: issuer, Secret: make([]byte, 31), Store: storage.DocStore(newMemory())},
		"VerifierConfig.NonceRotation":    {Issuer: issuer, Resource: issuer, NonceRotation: time.Hour},
	} {
		if _, err := oauth.NewVerifier(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestProtect(t *testing.T) {
	store := &broken{}
	e := newEnv(t, func(c *oauth.Config) { store.DocStore, c.Store = c.Store, store })
	a := e.newApp("app.example.org")
	got := a.signedIn()
	var log bytes.Buffer
	v := e.srv.Verifier()
	handler := v.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, oauth.TokenFrom(r.Context()).Account)
	}), slog.New(slog.NewTextHandler(&log, nil)))
	send := func(r *http.Request) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		if h := rec.Header(); h.Get("DPoP-Nonce") == "" || h.Get("Cache-Control") != "private" || h.Get("Vary") != "Authorization" {
			t.Errorf("header %v", h)
		}
		return rec
	}
	if rec := send(a.resourceRequest(got.access)); rec.Code != 200 || rec.Body.String() != alice.String() {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	for name, c := range map[string]struct {
		change func(r *http.Request)
		status int
		code   string
		header string
	}{
		"nothing":  {func(r *http.Request) { r.Header.Del("Authorization") }, 401, "AuthMissing", `DPoP algs="ES256"`},
		"bearer":   {func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "AuthMissing", `DPoP algs="ES256"`},
		"no proof": {func(r *http.Request) { r.Header.Del("DPoP") }, 401, "invalid_dpop_proof", `DPoP algs="ES256", error="invalid_dpop_proof", error_description="the DPoP proof is missing"`},
		"garbage":  {func(r *http.Request) { r.Header.Set("Authorization", "DPoP a b") }, 400, "invalid_request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.resourceRequest(got.access)
			c.change(r)
			rec := send(r)
			if rec.Code != c.status || !strings.Contains(rec.Body.String(), `"error":"`+c.code+`"`) || rec.Header().Get("WWW-Authenticate") != c.header {
				t.Errorf("%d %s %s", rec.Code, rec.Body, rec.Header().Get("WWW-Authenticate"))
			}
		})
	}
	store.view = errors.New("disk is full")
	if rec := send(a.resourceRequest(got.access)); rec.Code != 500 || strings.Contains(rec.Body.String(), "disk") || !strings.Contains(log.String(), "disk") {
		t.Errorf("%d %s, log %s", rec.Code, rec.Body, &log)
	}
	if oauth.TokenFrom(t.Context()) != nil {
		t.Error("a token out of nothing")
	}
}
