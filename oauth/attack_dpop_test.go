package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// sendProof sends a request with these DPoP headers to the token endpoint, where
// a good proof is answered by unsupported_grant_type.
func (a *app) sendProof(proofs ...string) answer {
	a.t.Helper()
	r := a.newRequest("/oauth/token", map[string]string{"client_id": a.id, "grant_type": "password"})
	r.Header["Dpop"] = proofs
	return a.do(r)
}

func (a *app) tokenProof() string { return a.proof(http.MethodPost, issuer+"/oauth/token", "") }

// sendAtResource sends a request with a proof to the resource.
func (a *app) sendAtResource(token string, proofs ...string) error {
	r := a.resourceRequest(token)
	r.Header["Dpop"] = proofs
	_, err := a.srv.Verifier().Verify(r)
	return err
}

func (a *app) resourceProof(token string) string {
	return a.proof(http.MethodGet, issuer+"/xrpc/com.example.get", token)
}

// refusesProof sends a proof, made by change of a good one, to the token endpoint
// and to the resource and requires both to refuse it.
func (a *app) refusesProof(t *testing.T, token, code string, change func(*app)) {
	t.Helper()
	bad := *a
	bad.in(t)
	change(&bad)
	bad.sendProof(bad.tokenProof()).is(400, code)
	requireError(t, bad.sendAtResource(token, bad.resourceProof(token)), 401, code)
}

// withSession returns an app that has a session and a nonce.
func withSession(t *testing.T, change ...func(*oauth.Config)) (*app, string) {
	t.Helper()
	a := newEnv(t, change...).newApp("app.example.org")
	got := a.signedIn()
	a.mustUse(got.access)
	return a, got.access
}

func TestAttack19_ProofReplay(t *testing.T) {
	for name, change := range map[string]func(*oauth.Config){
		"one process": func(*oauth.Config) {},
		"replicated":  func(c *oauth.Config) { c.Replicated = true },
	} {
		t.Run(name, func(t *testing.T) {
			a, token := withSession(t, change)

			// At the authorization server.
			r := a.newRequest("/oauth/par", a.pushValues("client_id", a.id))
			proof := r.Header.Get("DPoP")
			a.do(r).isOK()
			again := a.newRequest("/oauth/par", a.pushValues("client_id", a.id, "code_challenge", challengeOf(verifier+"2")))
			again.Header.Set("DPoP", proof)
			a.do(again).is(400, "invalid_dpop_proof")

			// At the resource.
			used := a.resourceProof(token)
			if err := a.sendAtResource(token, used); err != nil {
				t.Fatal(err)
			}
			requireError(t, a.sendAtResource(token, used), 401, "invalid_dpop_proof")
			// Another instance in the same process, and one after a restart.
			unused := a.resourceProof(token)
			if err := a.sendAtResource(token, unused); err != nil {
				t.Fatal(err)
			}
			a.restart()
			want := "use_dpop_nonce"
			if a.cfg.Replicated {
				want = "invalid_dpop_proof"
			}
			requireError(t, a.sendAtResource(token, unused), 401, want)
			again = a.newRequest("/oauth/par", a.pushValues("client_id", a.id, "code_challenge", challengeOf(verifier+"2")))
			again.Header.Set("DPoP", proof)
			a.do(again).is(400, want)
			a.mustUse(token)
		})
	}
}

func TestAttack19_ProofReplayRace(t *testing.T) {
	for _, replicated := range []bool{false, true} {
		a, token := withSession(t, func(c *oauth.Config) { c.Replicated = replicated })
		proof := a.resourceProof(token)
		won := make(chan struct{}, 50)
		race(50, func(int) {
			if a.sendAtResource(token, proof) == nil {
				won <- struct{}{}
			}
		})
		if len(won) != 1 {
			t.Errorf("%d requests got through with one proof", len(won))
		}
	}
}

func TestAttack20_Algorithms(t *testing.T) {
	a, token := withSession(t)
	for name, header := range map[string]object{
		"none":         {"alg": "none"},
		"None":         {"alg": "None"},
		"empty":        {"alg": ""},
		"absent":       {"alg": nil},
		"HS256":        {"alg": "HS256"},
		"RS256":        {"alg": "RS256"},
		"ES256K":       {"alg": "ES256K"},
		"es256":        {"alg": "es256"},
		"a list":       {"alg": []string{"ES256"}},
		"EdDSA":        {"alg": "EdDSA"},
		"no key":       {"jwk": nil},
		"no type":      {"typ": nil},
		"JWT":          {"typ": "JWT"},
		"at+jwt":       {"typ": "at+jwt"},
		"oct":          {"alg": "HS256", "jwk": object{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}},
		"oct as ES256": {"jwk": object{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}},
	} {
		t.Run(name, func(t *testing.T) {
			a.refusesProof(t, token, "invalid_dpop_proof", func(a *app) { a.proofHeader = header })
		})
	}
	t.Run("HMAC with the embedded key", func(t *testing.T) {
		secret := []byte("0123456789abcdef0123456789abcdef")
		a.refusesProof(t, token, "invalid_dpop_proof", func(a *app) {
			a.key = hmacKey{a.key, secret}
			a.proofHeader = object{"alg": "HS256", "jwk": object{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret)}}
		})
	})
	t.Run("no signature", func(t *testing.T) {
		proof := a.tokenProof()
		for _, cut := range []string{proof[:strings.LastIndex(proof, ".")], proof[:strings.LastIndex(proof, ".")+1]} {
			a.sendProof(cut).is(400, "invalid_dpop_proof")
		}
	})
}

// hmacKey signs with a shared secret under the name of another key.
type hmacKey struct {
	jose.Signer
	secret []byte
}

func (k hmacKey) Sign(input []byte) ([]byte, error) {
	mac := hmac.New(sha256.New, k.secret)
	mac.Write(input)
	return mac.Sum(nil), nil
}

func TestAttack21_Keys(t *testing.T) {
	a, token := withSession(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	point, err := p384.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	var own object
	if err := json.Unmarshal(publicJWK(t, a.key), &own); err != nil {
		t.Fatal(err)
	}
	for name, jwk := range map[string]object{
		"P-384":            {"kty": "EC", "crv": "P-384", "x": enc(point[1:49]), "y": enc(point[49:])},
		"P-384 as P-256":   {"kty": "EC", "crv": "P-256", "x": enc(point[1:49]), "y": enc(point[49:])},
		"off the curve":    merged(own, object{"y": own["x"]}),
		"zero":             merged(own, object{"x": enc(make([]byte, 32)), "y": enc(make([]byte, 32))}),
		"private":          merged(own, object{"d": own["x"]}),
		"RSA of 1024":      {"kty": "RSA", "n": b64(new(big.Int).Rsh(small.N, 1024)), "e": "AQAB"},
		"RSA":              {"kty": "RSA", "n": b64(small.N), "e": "AQAB"},
		"for encryption":   merged(own, object{"use": "enc"}),
		"for other things": merged(own, object{"key_ops": []string{"sign"}}),
		"for another alg":  merged(own, object{"alg": "ES384"}),
		"without y":        merged(own, object{"y": nil}),
		"a list":           {"keys": []any{own}},
	} {
		t.Run(name, func(t *testing.T) {
			a.refusesProof(t, token, "invalid_dpop_proof", func(a *app) { a.proofHeader = object{"jwk": jwk} })
		})
	}
}

func TestAttack22_FormOfProofs(t *testing.T) {
	a, token := withSession(t)
	for name, header := range map[string]object{
		"crit":     {"crit": []string{"exp"}},
		"crit b64": {"crit": []string{"b64"}, "b64": false},
		"b64":      {"b64": false},
	} {
		t.Run(name, func(t *testing.T) {
			a.refusesProof(t, token, "invalid_dpop_proof", func(a *app) { a.proofHeader = header })
		})
	}
	t.Run("jku and x5u are not used", func(t *testing.T) {
		other := *a
		other.proofHeader = object{"jku": "https://thief.example.org/keys", "x5u": "https://thief.example.org/cert", "x5c": []string{"x"}}
		other.sendProof(other.tokenProof()).is(400, "unsupported_grant_type")
		if n := a.web.count("https://thief.example.org/keys"); n > 0 {
			t.Error("jku was fetched")
		}
	})
	t.Run("missing", func(t *testing.T) {
		a.sendProof().is(400, "invalid_dpop_proof")
		requireError(t, a.sendAtResource(token), 401, "invalid_dpop_proof")
	})
	for name, change := range map[string]func(string) []string{
		"empty":    func(string) []string { return []string{""} },
		"doubled":  func(p string) []string { return []string{p, p} },
		"list":     func(p string) []string { return []string{p + ", " + p} },
		"padded":   func(p string) []string { return []string{p + "="} },
		"four":     func(p string) []string { return []string{p + ".x"} },
		"spaces":   func(p string) []string { return []string{" " + p} },
		"too long": func(p string) []string { return []string{p + strings.Repeat("A", oauth.MaxJWTBytes)} },
		"JSON": func(p string) []string {
			parts := strings.Split(p, ".")
			return []string{`{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`}
		},
		"changed claims": func(p string) []string {
			parts := strings.Split(p, ".")
			return []string{parts[0] + "." + parts[1][:len(parts[1])-2] + "AA." + parts[2]}
		},
		"other signature": func(p string) []string {
			parts := strings.Split(p, ".")
			return []string{parts[0] + "." + parts[1] + "." + strings.Split(a.tokenProof(), ".")[2]}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a.sendProof(change(a.tokenProof())...).is(400, "invalid_dpop_proof")
			requireError(t, a.sendAtResource(token, change(a.resourceProof(token))...), 401, "invalid_dpop_proof")
		})
	}
}

func TestAttack23_MethodAndAddress(t *testing.T) {
	a, token := withSession(t)
	for name, claims := range map[string]object{
		"GET for POST":     {"htm": "PUT"},
		"lower case":       {"htm": "post"},
		"no method":        {"htm": nil},
		"other host":       {"htu": "https://thief.example.org/oauth/token"},
		"other path":       {"htu": issuer + "/oauth/other"},
		"http":             {"htu": "http://pds.example.com/oauth/token"},
		"other port":       {"htu": "https://pds.example.com:8443/oauth/token"},
		"user":             {"htu": "https://x@pds.example.com/oauth/token"},
		"path in case":     {"htu": issuer + "/OAuth/token"},
		"trailing slash":   {"htu": issuer + "/oauth/token/"},
		"host alone":       {"htu": issuer},
		"no address":       {"htu": nil},
		"not an address":   {"htu": "/oauth/token"},
		"an encoded slash": {"htu": issuer + "/oauth%2ftoken"},
	} {
		t.Run(name, func(t *testing.T) {
			a.refusesProof(t, token, "invalid_dpop_proof", func(a *app) { a.proofClaims = claims })
		})
	}
	t.Run("spoofed headers", func(t *testing.T) {
		// A proof for another server, with headers that say that this is it.
		bad := *a
		bad.proofClaims = object{"htu": "https://thief.example.org/oauth/token"}
		r := bad.newRequest("/oauth/token", map[string]string{"client_id": bad.id, "grant_type": "password"})
		r.Header.Set("X-Forwarded-Host", "thief.example.org")
		r.Header.Set("Forwarded", "host=thief.example.org")
		bad.do(r).is(400, "invalid_dpop_proof")

		bad.proofClaims = object{"htu": "https://thief.example.org/xrpc/com.example.get"}
		r = bad.resourceRequest(token)
		r.Host = "thief.example.org"
		r.Header.Set("X-Forwarded-Host", "thief.example.org")
		_, err := a.srv.Verifier().Verify(r)
		requireError(t, err, 401, "invalid_dpop_proof")
	})
	t.Run("what counts as the same", func(t *testing.T) {
		for _, htu := range []string{
			"HTTPS://PDS.Example.COM/oauth/token", "https://pds.example.com:443/oauth/token", issuer + "/oauth/token?a=b", issuer + "/oauth/token#x",
			issuer + "/oauth/./token", issuer + "/x/../oauth/token", issuer + "/oauth/%74oken",
		} {
			good := *a
			good.proofClaims = object{"htu": htu}
			good.sendProof(good.tokenProof()).is(400, "unsupported_grant_type")
		}
	})
}

func TestAttack24_Nonces(t *testing.T) {
	a, token := withSession(t)
	for name, nonce := range map[string]any{
		"none": nil, "empty": "", "made up": "nonce", "of another server": strings.Repeat("A", 43),
	} {
		t.Run(name, func(t *testing.T) {
			a.refusesProof(t, token, "use_dpop_nonce", func(a *app) { a.proofClaims = object{"nonce": nonce} })
		})
	}
	t.Run("lifetime", func(t *testing.T) {
		a, _ := withSession(t)
		old := a.nonce
		a.sendProof(a.tokenProof()).is(400, "unsupported_grant_type")
		a.clock.advance(2 * time.Minute)
		a.sendProof(a.tokenProof()).is(400, "unsupported_grant_type")
		a.clock.advance(time.Minute)
		if got := a.sendProof(a.tokenProof()).is(400, "use_dpop_nonce"); got.Header.Get("DPoP-Nonce") == old {
			t.Error("the old nonce is handed out again")
		}
	})
	t.Run("future", func(t *testing.T) {
		a, _ := withSession(t)
		a.clock.advance(time.Hour)
		a.nonce = a.sendProof("").Header.Get("DPoP-Nonce")
		a.clock.advance(-time.Hour)
		a.sendProof(a.tokenProof()).is(400, "use_dpop_nonce")
	})
	t.Run("restart", func(t *testing.T) {
		a, token := withSession(t)
		a.restart()
		a.sendProof(a.tokenProof()).is(400, "use_dpop_nonce")
		requireError(t, a.sendAtResource(token, a.resourceProof(token)), 401, "use_dpop_nonce")
	})
	t.Run("replicated, restart", func(t *testing.T) {
		a, token := withSession(t, func(c *oauth.Config) { c.Replicated = true })
		a.restart()
		a.sendProof(a.tokenProof()).is(400, "unsupported_grant_type")
		if err := a.sendAtResource(token, a.resourceProof(token)); err != nil {
			t.Error(err)
		}
	})
	t.Run("the resource's nonce is good at the server", func(t *testing.T) {
		a, token := withSession(t)
		a.restart()
		h := http.Header{}
		a.srv.Verifier().SetNonce(h)
		a.nonce = h.Get("DPoP-Nonce")
		a.sendProof(a.tokenProof()).is(400, "unsupported_grant_type")
		if err := a.sendAtResource(token, a.resourceProof(token)); err != nil {
			t.Error(err)
		}
	})
	t.Run("on every answer", func(t *testing.T) {
		for _, path := range []string{"/oauth/par", "/oauth/token", "/oauth/revoke"} {
			r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader("x=y"))
			if got := a.do(r); got.Status != 415 || got.Header.Get("DPoP-Nonce") == "" {
				t.Errorf("%s: %d %v", path, got.Status, got.Header)
			}
		}
	})
}

func TestAttack25_ProofTimes(t *testing.T) {
	a, token := withSession(t)
	now := a.clock.Now().Unix()
	for name, claims := range map[string]object{
		"an hour ago":     {"iat": now - 3600},
		"in an hour":      {"iat": now + 3600},
		"181 seconds ago": {"iat": now - 181},
		"in 61 seconds":   {"iat": now + 61},
		"none":            {"iat": nil},
		"text":            {"iat": "1"},
		"negative":        {"iat": -1},
		"huge":            {"iat": 1e300},
		"expired":         {"exp": now - 31},
		"not yet":         {"nbf": now + 61},
	} {
		t.Run(name, func(t *testing.T) {
			a.refusesProof(t, token, "invalid_dpop_proof", func(a *app) { a.proofClaims = claims })
		})
	}
	for _, claims := range []object{
		{"iat": now - 180}, {"iat": now + 60}, {"iat": now - 10}, {"iat": now + 10}, {"exp": now + 30}, {"exp": now + 300}, {"exp": now - 30}, {"nbf": now + 60}, {"iat": float64(now) + 0.5},
	} {
		good := *a
		good.proofClaims = claims
		good.sendProof(good.tokenProof()).is(400, "unsupported_grant_type")
	}
}

func TestAttack26_TokenHash(t *testing.T) {
	a, token := withSession(t)
	other := a.signedIn()
	for name, ath := range map[string]any{
		"missing": nil, "empty": "", "of another token": base64.RawURLEncoding.EncodeToString(sha(other.access)), "the token": token,
	} {
		t.Run(name, func(t *testing.T) {
			bad := *a
			bad.proofClaims = object{"ath": ath}
			requireError(t, bad.sendAtResource(token, bad.resourceProof(token)), 401, "invalid_dpop_proof")
		})
	}
	bad := *a
	bad.proofClaims = object{"ath": base64.RawURLEncoding.EncodeToString(sha(token))}
	bad.sendProof(bad.tokenProof()).is(400, "invalid_dpop_proof")
}

func TestAttack27_AnotherKeyOrScheme(t *testing.T) {
	a, token := withSession(t)
	_, err := a.another().use(token)
	requireError(t, err, 401, "invalid_token")
	v := a.srv.Verifier()
	for name, headers := range map[string][]string{
		"Bearer":   {"Bearer " + token},
		"Basic":    {"Basic " + token},
		"no token": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := a.resourceRequest(token)
			r.Header["Authorization"] = headers
			if got, err := v.Verify(r); got != nil || err != nil {
				t.Errorf("got %v, %v: that is for others to look at", got, err)
			}
		})
	}
	for name, headers := range map[string][]string{
		"two headers":     {"DPoP " + token, "DPoP " + token},
		"DPoP and Bearer": {"DPoP " + token, "Bearer x"},
		"Bearer and DPoP": {"Bearer x", "DPoP " + token},
		"no token":        {"DPoP"},
		"empty token":     {"DPoP "},
		"three parts":     {"DPoP " + token + " x"},
		"two spaces":      {"DPoP  " + token},
		"list":            {"DPoP " + token + ",Bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.resourceRequest(token)
			r.Header["Authorization"] = headers
			got, err := v.Verify(r)
			if e, ok := err.(*oauth.Error); got != nil || !ok || e.Code != "invalid_request" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestAttack28_ProofFlood(t *testing.T) {
	a, token := withSession(t, func(c *oauth.Config) { c.Limits.ReplayEntries = 10 })
	first := a.resourceProof(token)
	if err := a.sendAtResource(token, first); err != nil { // withSession has used one already
		t.Fatal(err)
	}
	for range 8 {
		if err := a.sendAtResource(token, a.resourceProof(token)); err != nil {
			t.Fatal(err)
		}
	}
	requireError(t, a.sendAtResource(token, a.resourceProof(token)), 503, "temporarily_unavailable")
	requireError(t, a.sendAtResource(token, first), 401, "invalid_dpop_proof") // and nothing is forgotten
	// Those who cannot prove anything take no room.
	a.clock.advance(5 * time.Minute)
	stranger := a.another()
	for range 20 {
		_, err := stranger.use(token)
		requireError(t, err, 401, "invalid_token")
	}
	a.mustUse(token)
}
