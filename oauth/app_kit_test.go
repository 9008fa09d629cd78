package oauth_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// app is a client of the server.
type app struct {
	*env
	id       string
	redirect string
	metadata object
	key      jose.Signer // of DPoP
	auth     jose.Signer // of client assertions; nil for public clients
	json     bool        // sends bodies of JSON
	nonce    string

	// What proofs and assertions are made with besides, or instead; nil values
	// take away.
	proofHeader, proofClaims         object
	assertionHeader, assertionClaims object
	withoutProof                     bool
}

// newApp makes a public client.
func (e *env) newApp(host string) *app {
	a := &app{env: e, id: "https://" + host + "/client.json", redirect: "https://" + host + "/callback", key: newKey(e.t)}
	a.metadata = object{
		"client_id":                  a.id,
		"client_name":                "An app",
		"redirect_uris":              []string{a.redirect},
		"scope":                      allScope,
		"grant_types":                []string{"authorization_code", "refresh_token"},
		"response_types":             []string{"code"},
		"token_endpoint_auth_method": "none",
		"dpop_bound_access_tokens":   true,
	}
	e.web.set(a.id, a.metadata)
	return a
}

// newConfidential makes a client that authenticates by a key.
func (e *env) newConfidential(host string) *app {
	a := e.newApp(host)
	a.auth = newKey(e.t)
	a.becomeConfidential()
	return a
}

func (a *app) becomeConfidential() {
	jwk, err := json.Marshal(a.auth.Public())
	if err != nil {
		a.t.Fatal(err)
	}
	a.publish(object{
		"token_endpoint_auth_method":      "private_key_jwt",
		"token_endpoint_auth_signing_alg": "ES256",
		"jwks":                            object{"keys": []any{json.RawMessage(jwk)}},
	})
}

// publish changes the metadata.
func (a *app) publish(change object) {
	a.metadata = merged(a.metadata, change)
	a.web.set(a.id, a.metadata)
}

// another returns the same client with another DPoP key.
func (a *app) another() *app {
	other := *a
	other.key, other.nonce = newKey(a.t), ""
	return &other
}

func (a *app) proof(method, address, token string) string {
	claims := object{
		"jti": rand.Text(), "htm": method, "htu": address, "iat": a.clock.Now().Unix(),
	}
	if a.nonce != "" {
		claims["nonce"] = a.nonce
	}
	if token != "" {
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sha(token))
	}
	return sign(a.t, a.key,
		merged(object{"typ": "dpop+jwt", "alg": "ES256", "jwk": publicJWK(a.t, a.key)}, a.proofHeader), merged(claims, a.proofClaims))
}

// publicJWK is a key as it stands in the header of a proof.
func publicJWK(t testing.TB, key jose.Signer) json.RawMessage {
	data, err := json.Marshal(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (a *app) assertion() string {
	return sign(a.t, a.auth, merged(object{"alg": "ES256", "kid": a.auth.KeyID()}, a.assertionHeader), merged(object{
		"iss": a.id, "sub": a.id, "aud": issuer, "jti": rand.Text(), "iat": a.clock.Now().Unix(),
	}, a.assertionClaims))
}

// newRequest makes a request to an endpoint.
func (a *app) newRequest(path string, values map[string]string) *http.Request {
	var body string
	contentType := "application/x-www-form-urlencoded"
	if a.json {
		data, err := json.Marshal(values)
		if err != nil {
			a.t.Fatal(err)
		}
		body, contentType = string(data), "application/json"
	} else {
		form := url.Values{}
		for name, value := range values {
			form.Set(name, value)
		}
		body = form.Encode()
	}
	r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	if !a.withoutProof {
		r.Header.Set("DPoP", a.proof(http.MethodPost, issuer+path, ""))
	}
	return r
}

// post sends parameters to an endpoint. Empty values are left out. The client's
// own parameters come along.
func (a *app) post(path string, values map[string]string) answer {
	a.t.Helper()
	send := func() answer {
		all := map[string]string{"client_id": a.id}
		if a.auth != nil {
			all["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
			all["client_assertion"] = a.assertion()
		}
		maps.Copy(all, values)
		maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
		answer := a.do(a.newRequest(path, all))
		a.nonce = answer.Header.Get("DPoP-Nonce")
		return answer
	}
	answer := send()
	if answer.text("error") == "use_dpop_nonce" {
		answer = send()
	}
	return answer
}

const verifier = "a-verifier-of-43-characters-or-somewhat-more-than-that"

// challengeOf returns the code_challenge of a verifier.
func challengeOf(verifier string) string { return base64.RawURLEncoding.EncodeToString(sha(verifier)) }

// pushValues are the parameters of a request. change replaces some; empty values
// take away.
func (a *app) pushValues(change ...string) map[string]string {
	values := map[string]string{
		"response_type": "code", "redirect_uri": a.redirect, "state": "the state", "scope": "atproto transition:generic",
		"code_challenge": challengeOf(verifier), "code_challenge_method": "S256",
	}
	for pair := range slices.Chunk(change, 2) {
		values[pair[0]] = pair[1]
	}
	return values
}

// push pushes a request.
func (a *app) push(change ...string) answer {
	a.t.Helper()
	return a.post("/oauth/par", a.pushValues(change...))
}

// pushed pushes a request and returns its request_uri.
func (a *app) pushed(change ...string) string {
	a.t.Helper()
	return a.push(change...).isOK().text("request_uri")
}

// authorized pushes a request that alice grants, and returns the code.
func (a *app) authorized(change ...string) string {
	a.t.Helper()
	uri := a.pushed(change...)
	scope := a.pushValues(change...)["scope"]
	_, params, err := a.srv.Authorize(a.t.Context(), a.id, uri, alice, alice, strings.Fields(scope))
	if err != nil {
		a.t.Fatal(err)
	}
	return params.Get("code")
}

// exchange makes tokens of a code.
func (a *app) exchange(code string, change ...string) answer {
	a.t.Helper()
	values := map[string]string{"grant_type": "authorization_code", "code": code, "redirect_uri": a.redirect, "code_verifier": verifier}
	for pair := range slices.Chunk(change, 2) {
		values[pair[0]] = pair[1]
	}
	return a.post("/oauth/token", values)
}

// tokens are those of a session.
type tokens struct{ access, refresh string }

func tokensOf(a answer) tokens {
	a.t.Helper()
	a.isOK()
	return tokens{a.text("access_token"), a.text("refresh_token")}
}

// signedIn makes a session. Each has its own code_challenge.
func (a *app) signedIn(change ...string) tokens {
	a.t.Helper()
	own := verifier + rand.Text()
	code := a.authorized(append([]string{"code_challenge", challengeOf(own)}, change...)...)
	return tokensOf(a.exchange(code, "code_verifier", own))
}

// refresh makes tokens of a refresh token.
func (a *app) refresh(token string, change ...string) answer {
	a.t.Helper()
	values := map[string]string{"grant_type": "refresh_token", "refresh_token": token}
	for pair := range slices.Chunk(change, 2) {
		values[pair[0]] = pair[1]
	}
	return a.post("/oauth/token", values)
}

// resourceRequest makes a request to the resource.
func (a *app) resourceRequest(token string) *http.Request {
	const address = issuer + "/xrpc/com.example.get"
	r := httptest.NewRequest(http.MethodGet, address, nil)
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Set("DPoP", a.proof(http.MethodGet, address, token))
	return r
}

// use uses an access token, with a nonce that is good.
func (a *app) use(token string) (*oauth.Token, error) {
	v := a.srv.Verifier()
	h := http.Header{}
	v.SetNonce(h)
	a.nonce = h.Get("DPoP-Nonce")
	return v.Verify(a.resourceRequest(token))
}

// mustUse requires that an access token is good.
func (a *app) mustUse(token string) *oauth.Token {
	a.t.Helper()
	got, err := a.use(token)
	if err != nil {
		a.t.Fatalf("the access token is refused: %v", err)
	}
	return got
}

// mustBeDead requires that an access token is not.
func (a *app) mustBeDead(token string) {
	a.t.Helper()
	_, err := a.use(token)
	requireError(a.t, err, http.StatusUnauthorized, "invalid_token")
}
