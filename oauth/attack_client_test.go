package oauth_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAttack29_AssertionReplay(t *testing.T) {
	e := newEnv(t)
	a := e.newConfidential("app.example.org")
	a.push().isOK()
	used := a.assertion()
	withIt := func(path string, values map[string]string) answer {
		values["client_id"] = a.id
		values["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
		values["client_assertion"] = used
		return a.do(a.newRequest(path, values))
	}
	withIt("/oauth/par", a.pushValues()).isOK()
	withIt("/oauth/par", a.pushValues()).is(400, "invalid_client")

	// Across endpoints, and after a restart.
	got := a.signedIn()
	code := a.authorized()
	exchange := map[string]string{"grant_type": "authorization_code", "code": code, "redirect_uri": a.redirect, "code_verifier": verifier}
	refresh := map[string]string{"grant_type": "refresh_token", "refresh_token": got.refresh}
	withIt("/oauth/token", exchange).is(400, "invalid_client")
	withIt("/oauth/token", refresh).is(400, "invalid_client")
	withIt("/oauth/revoke", map[string]string{"token": got.access}).is(400, "invalid_client")
	e.restart()
	a.push().isOK() // for a nonce
	withIt("/oauth/token", refresh).is(400, "invalid_client")

	// Nothing was burnt.
	a.exchange(code).isOK()
	a.refresh(got.refresh).isOK()
	// Another client may use the same name for an assertion.
	other := e.newConfidential("other.example.org")
	a.assertionClaims, other.assertionClaims = object{"jti": "same"}, object{"jti": "same"}
	a.nonce = "" // the nonce answer comes before the assertion is used
	a.push("code_challenge", challengeOf(verifier+"2")).isOK()
	other.push("code_challenge", challengeOf(verifier+"2")).isOK()
	a.push("code_challenge", challengeOf(verifier+"2")).is(400, "invalid_client")
}

func TestAttack29_AssertionReplayRace(t *testing.T) {
	e := newEnv(t)
	a := e.newConfidential("app.example.org")
	a.push().isOK()
	used := a.assertion()
	var o outcomes
	race(50, func(int) {
		mine := *a
		values := mine.pushValues("client_id", a.id, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", used)
		o.add(mine.do(mine.newRequest("/oauth/par", values)))
	})
	if o.counts[""] != 1 || o.counts["invalid_client"] != 49 {
		t.Errorf("outcomes: %v", o.counts)
	}
}

func TestAttack30_AssertionClaims(t *testing.T) {
	e := newEnv(t)
	a := e.newConfidential("app.example.org")
	a.push().isOK()
	now := e.clock.Now().Unix()
	for name, claims := range map[string]object{
		"aud of another server": {"aud": "https://thief.example.org"},
		"aud token endpoint":    {"aud": issuer + "/oauth/token"},
		"aud PAR endpoint":      {"aud": issuer + "/oauth/par"},
		"aud with a slash":      {"aud": issuer + "/"},
		"two aud":               {"aud": []string{issuer, "https://thief.example.org"}},
		"no aud":                {"aud": nil},
		"empty aud":             {"aud": []string{}},
		"other iss":             {"iss": "https://thief.example.org/client.json"},
		"other sub":             {"sub": "https://thief.example.org/client.json"},
		"no iss":                {"iss": nil},
		"no sub":                {"sub": nil},
		"no jti":                {"jti": nil},
		"empty jti":             {"jti": ""},
		"long jti":              {"jti": strings.Repeat("x", 257)},
		"no iat":                {"iat": nil},
		"future iat":            {"iat": now + 31},
		"old iat":               {"iat": now - 91},
		"text iat":              {"iat": "1"},
		"past exp":              {"exp": now - 31},
		"exp 5 minutes ago":     {"exp": now - 300},
		"future nbf":            {"nbf": now + 61},
	} {
		t.Run(name, func(t *testing.T) {
			bad := *a
			bad.assertionClaims = claims
			bad.push().is(400, "invalid_client")
			bad.refresh("x").is(400, "invalid_client")
		})
	}
	t.Run("no kid", func(t *testing.T) {
		bad := *a
		bad.assertionHeader = object{"kid": nil}
		bad.push().is(400, "invalid_client")
	})
	t.Run("no assertion", func(t *testing.T) {
		bad := *a
		bad.auth = nil
		bad.push().is(400, "invalid_client")
		bad.refresh("x").is(400, "invalid_client")
		bad.push("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "client_assertion", a.assertion()).is(400, "invalid_client")
	})
	for name, claims := range map[string]object{
		"aud in a list":        {"aud": []string{issuer}},
		"exp, nbf and others":  {"exp": now + 30, "nbf": now - 8, "htm": "", "hti": ""},
		"iat 8 seconds ahead":  {"iat": now + 8},
		"iat a minute ago":     {"iat": now - 60},
		"exp in 5 minutes":     {"exp": now + 300},
		"nbf 8 seconds ahead":  {"nbf": now + 8},
		"expired 8 secods ago": {"exp": now - 8},
	} {
		t.Run(name, func(t *testing.T) {
			good := *a
			good.assertionClaims = claims
			good.push().isOK()
		})
	}
}

func TestAttack31_KeysOfClients(t *testing.T) {
	t.Run("another client's key", func(t *testing.T) {
		e := newEnv(t)
		a, other := e.newConfidential("app.example.org"), e.newConfidential("other.example.org")
		thief := *a
		thief.auth = other.auth
		thief.push().is(400, "invalid_client")
		thief.assertionHeader = object{"kid": a.auth.KeyID()}
		thief.push().is(400, "invalid_client")
	})
	t.Run("removed key", func(t *testing.T) {
		e := newEnv(t)
		a := e.newConfidential("app.example.org")
		got := a.signedIn()
		withNew := *a
		withNew.auth = newKey(t)
		withNew.becomeConfidential()
		e.clock.advance(10 * time.Minute) // the cache
		a.refresh(got.refresh).is(400, "invalid_client")
		// The new key is good, but not for a session that is bound to the old one.
		withNew.push().isOK()
		withNew.refresh(got.refresh).isInvalidGrant()
		a.mustBeDead(got.access)
	})
	t.Run("new key under the same kid", func(t *testing.T) {
		e := newEnv(t)
		a := e.newConfidential("app.example.org")
		got := a.signedIn()
		withNew := *a
		withNew.auth = newKey(t)
		jwk := object{}
		if err := json.Unmarshal(publicJWK(t, withNew.auth), &jwk); err != nil {
			t.Fatal(err)
		}
		jwk["kid"] = a.auth.KeyID()
		withNew.publish(object{"jwks": object{"keys": []any{jwk}}})
		withNew.assertionHeader = object{"kid": a.auth.KeyID()}
		e.clock.advance(10 * time.Minute)
		withNew.refresh(got.refresh).isInvalidGrant()
		a.mustBeDead(got.access)
	})
	t.Run("code with another key", func(t *testing.T) {
		e := newEnv(t)
		a := e.newConfidential("app.example.org")
		second := *a
		second.auth = newKey(t)
		keys := []any{json.RawMessage(publicJWK(t, a.auth)), json.RawMessage(publicJWK(t, second.auth))}
		a.publish(object{"jwks": object{"keys": keys}})
		second.metadata = a.metadata
		code := a.authorized()
		second.exchange(code).isInvalidGrant()
		a.exchange(code).isOK()
	})
}

func TestAttack32_MethodChanges(t *testing.T) {
	t.Run("public becomes confidential", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		got := a.signedIn()
		before, _ := e.srv.Sessions(t.Context(), alice)
		upgraded := *a
		upgraded.auth = newKey(t)
		upgraded.becomeConfidential()
		e.clock.advance(10 * time.Minute)
		a.refresh(got.refresh).is(400, "invalid_client") // without assertion, no more
		next := tokensOf(upgraded.refresh(got.refresh))
		// The key is bound now; the lifetime is that of a public client.
		third := upgraded
		third.auth = newKey(t)
		third.publish(object{"jwks": object{"keys": []any{
			json.RawMessage(publicJWK(t, upgraded.auth)), json.RawMessage(publicJWK(t, third.auth)),
		}}})
		e.clock.advance(10 * time.Minute)
		after, _ := e.srv.Sessions(t.Context(), alice)
		if len(after) != 1 || after[0].Expires.After(before[0].Created.Add(14*24*time.Hour)) {
			t.Errorf("sessions: %+v", after)
		}
		third.refresh(next.refresh).isInvalidGrant()
		upgraded.refresh(next.refresh).isInvalidGrant()
	})
	t.Run("confidential becomes public", func(t *testing.T) {
		e := newEnv(t)
		a := e.newConfidential("app.example.org")
		got := a.signedIn()
		downgraded := *a
		downgraded.auth = nil
		downgraded.publish(object{"token_endpoint_auth_method": "none", "token_endpoint_auth_signing_alg": nil, "jwks": nil})
		e.clock.advance(10 * time.Minute)
		downgraded.refresh(got.refresh).isInvalidGrant()
		a.mustBeDead(got.access)
	})
	t.Run("public client with an assertion", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		a.auth = newKey(t)
		a.push().is(400, "invalid_client")
	})
}

func TestAttack33_AssertionKeys(t *testing.T) {
	e := newEnv(t)
	a := e.newConfidential("app.example.org")
	for name, change := range map[string]func(*app){
		"HS256 with the public key": func(a *app) {
			a.auth = hmacKey{a.auth, publicJWK(t, a.auth)}
			a.assertionHeader = object{"alg": "HS256"}
		},
		"RS256":        func(a *app) { a.assertionHeader = object{"alg": "RS256"} },
		"none":         func(a *app) { a.assertionHeader = object{"alg": "none"} },
		"the DPoP key": func(a *app) { a.key = a.auth },
		"cnf of another key": func(a *app) {
			a.assertionClaims = object{"cnf": object{"jkt": newKey(t).Public().Thumbprint()}}
		},
		"key in the header": func(a *app) {
			thief := newKey(t)
			a.assertionHeader = object{"jwk": publicJWK(t, thief), "kid": a.auth.KeyID()}
			a.auth = thief
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad := *a
			change(&bad)
			bad.push().is(400, "invalid_client")
		})
	}
	a.assertionClaims = object{"cnf": object{"jkt": a.key.Public().Thumbprint()}}
	a.push().isOK()
}

func TestAttack42_ClientDocuments(t *testing.T) {
	for name, change := range map[string]func(a *app){
		"another client_id": func(a *app) { a.publish(object{"client_id": "https://app.example.org/other.json"}) },
		"no client_id":      func(a *app) { a.publish(object{"client_id": nil}) },
		"not there":         func(a *app) { a.web.set(a.id, nil) },
		"redirect": func(a *app) {
			a.web.set(a.id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://other.example.org/client.json", http.StatusFound)
			}))
		},
		"201": func(a *app) {
			a.web.set(a.id, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(201)
				writeJSON(t, w, a.metadata)
			}))
		},
		"text": func(a *app) {
			a.web.set(a.id, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				writeJSON(t, w, a.metadata)
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			a := e.newApp("app.example.org")
			change(a)
			a.push().is(400, "invalid_client_metadata")
			a.refresh("x").is(400, "invalid_client")
			if got := a.web.count("https://other.example.org/client.json"); got > 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}
