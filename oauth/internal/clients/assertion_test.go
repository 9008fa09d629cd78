package clients_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/clients"
	"github.com/pdskit/pdskit/oauth/internal/jose"
)

const issuer = "https://auth.example.org"

// claimsAt are the claims of an assertion as clients make them.
func claimsAt(now time.Time) object {
	return object{"iss": appID, "sub": appID, "aud": issuer, "jti": "n-0S6_WzA2Mj", "iat": now.Unix(), "exp": now.Unix() + 60}
}

func assertion(t testing.TB, s jose.Signer, now time.Time, changes object) string {
	t.Helper()
	out, err := jose.Sign(s, "JWT", with(claimsAt(now), changes))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// compact puts a token together from a header, claims and a function that signs.
func compact(t testing.TB, header object, claims any, sign func(input []byte) []byte) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	body, ok := claims.(json.RawMessage) // which json.Marshal would tidy up
	if !ok {
		body = json.RawMessage(text(t, claims))
	}
	input := encode([]byte(text(t, header))) + "." + encode(body)
	return input + "." + encode(sign([]byte(input)))
}

// signText signs claims of any text.
func signText(t testing.TB, s signer, claims string) string {
	t.Helper()
	return compact(t, object{"alg": "ES256", "kid": s.kid}, json.RawMessage(claims), func(input []byte) []byte {
		signature, err := s.Sign(input)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	})
}

// party is a confidential client with a key, known to a resolver whose clock
// stands still.
type party struct {
	r   *clients.Resolver
	c   *clients.Client
	w   *web
	key signer
	now time.Time
}

func newParty(t testing.TB, changes object) *party {
	t.Helper()
	p := &party{w: &web{}, key: newSigner(t, "key-1"), now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	p.w.put(appID, text(t, with(webApp, with(backend, changes))))
	p.w.put(keysAt, text(t, jwks(t, p.key)))
	p.r = newResolver(t, clients.Config{Transport: p.w, Clock: func() time.Time { return p.now }})
	var err error
	if p.c, err = p.r.Client(t.Context(), appID); err != nil {
		t.Fatal(err)
	}
	return p
}

// try authenticates by an assertion, with a proof of an unrelated key.
func (p *party) try(t testing.TB, assertion string) (*clients.Assertion, error) {
	t.Helper()
	return p.r.Authenticate(t.Context(), p.c, clients.AssertionType, assertion, issuer, "dpop-key")
}

func TestAuthenticate(t *testing.T) {
	p := newParty(t, nil)
	got, err := p.try(t, assertion(t, p.key, p.now, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := clients.Assertion{
		Method: "private_key_jwt", Alg: "ES256", KeyID: "key-1", JKT: p.key.Public().Thumbprint(),
		JTI: "n-0S6_WzA2Mj", Expires: p.now.Add(91 * time.Second).Local(),
	}
	if *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

func TestAuthenticateParameters(t *testing.T) {
	p := newParty(t, nil)
	valid := assertion(t, p.key, p.now, nil)
	for _, tt := range []struct{ kind, assertion, says string }{
		{"", "", "missing"},
		{clients.AssertionType, "", "missing"},
		{"", valid, "missing"},
		{"urn:ietf:params:oauth:client-assertion-type:saml2-bearer", valid, "not supported"},
		{clients.AssertionType, "x", "not a signed token"},
		{clients.AssertionType, valid + ".x", "not a signed token"},
		{clients.AssertionType, valid + "=", "not a signed token"},
		{clients.AssertionType, strings.Repeat("x", clients.MaxAssertion+1), "not a signed token"},
		{clients.AssertionType, compact(t, object{"alg": "ES256", "kid": "key-1", "crit": []string{"b64"}, "b64": false}, claimsAt(p.now), func([]byte) []byte { return make([]byte, 64) }), "not a signed token"},
		{clients.AssertionType, compact(t, object{"alg": "ES256", "kid": "key-1"}, claimsAt(p.now), func([]byte) []byte { return make([]byte, 64) }), "signature"},
		{clients.AssertionType, assertion(t, newSigner(t, "key-1"), p.now, nil), "signature"},
	} {
		_, err := p.r.Authenticate(t.Context(), p.c, tt.kind, tt.assertion, issuer, "")
		wantError(t, err, clients.CodeInvalidClient, tt.says)
	}
}

func TestPublicClients(t *testing.T) {
	p := newParty(t, nil)
	public, err := load(t, webApp)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.r.Authenticate(t.Context(), public, "", "", issuer, "dpop-key")
	if err != nil || *got != (clients.Assertion{Method: "none"}) {
		t.Errorf("%+v, %v", got, err)
	}
	valid := assertion(t, p.key, p.now, nil)
	for _, params := range [][2]string{{clients.AssertionType, valid}, {"", valid}, {clients.AssertionType, ""}} {
		_, err := p.r.Authenticate(t.Context(), public, params[0], params[1], issuer, "dpop-key")
		wantError(t, err, clients.CodeInvalidClient, "sends no assertion")
	}
}

// An assertion is accepted for 120 seconds at most, counted by our clock, and
// its name is to be remembered until the end of them. That it is not used twice
// is the caller's business.
func TestAttack29AssertionLifetime(t *testing.T) {
	p := newParty(t, nil)
	issued := p.now
	early := assertion(t, p.key, issued, object{"exp": nil})
	first, last := time.Time{}, time.Time{}
	for p.now = issued.Add(-3 * time.Minute); p.now.Before(issued.Add(3 * time.Minute)); p.now = p.now.Add(time.Second) {
		got, err := p.try(t, early)
		if err != nil {
			continue
		}
		if first.IsZero() {
			first = p.now
		}
		last = p.now
		if !p.now.Before(got.Expires) {
			t.Errorf("accepted at %v, but its name only kept until %v", p.now, got.Expires)
		}
	}
	if first.Sub(issued) != -30*time.Second || last.Sub(issued) != 90*time.Second {
		t.Errorf("accepted from %v to %v", first.Sub(issued), last.Sub(issued))
	}
}

func TestAttack30BadClaims(t *testing.T) {
	p := newParty(t, nil)
	at := func(seconds int64) int64 { return p.now.Unix() + seconds }
	for _, tt := range []struct {
		name string
		with object
		says string // empty: valid
	}{
		{"aud as array", object{"aud": []string{issuer}}, ""},
		{"aud absent", object{"aud": nil}, "aud"},
		{"aud empty", object{"aud": ""}, "aud"},
		{"aud empty array", object{"aud": []string{}}, "aud"},
		{"aud token endpoint", object{"aud": issuer + "/oauth/token"}, "aud"},
		{"aud PAR endpoint", object{"aud": issuer + "/oauth/par"}, "aud"},
		{"aud PAR endpoint in array", object{"aud": []string{issuer + "/oauth/par"}}, "aud"},
		{"aud with slash", object{"aud": issuer + "/"}, "aud"},
		{"aud in other case", object{"aud": "https://AUTH.example.org"}, "aud"},
		{"aud of another server", object{"aud": "https://evil.com"}, "aud"},
		{"aud of several", object{"aud": []string{issuer, "https://evil.com"}}, "aud"},
		{"aud twice the same", object{"aud": []string{issuer, issuer}}, "aud"},
		{"aud number", object{"aud": 5}, "aud"},
		{"aud nested", object{"aud": []any{[]string{issuer}}}, "aud"},
		{"iss of another", object{"iss": "https://evil.com/x"}, "iss and sub"},
		{"sub of another", object{"sub": "https://evil.com/x"}, "iss and sub"},
		{"both of another", object{"iss": "https://evil.com/x", "sub": "https://evil.com/x"}, "iss and sub"},
		{"iss absent", object{"iss": nil}, "iss and sub"},
		{"sub absent", object{"sub": nil}, "iss and sub"},
		{"iss in capitals", object{"iss": nil, "ISS": appID}, "iss and sub"},
		{"jti absent", object{"jti": nil}, "jti"},
		{"jti empty", object{"jti": ""}, "jti"},
		{"jti number", object{"jti": 5}, "claims"},
		{"jti at the limit", object{"jti": strings.Repeat("x", clients.MaxJTI)}, ""},
		{"jti above", object{"jti": strings.Repeat("x", clients.MaxJTI+1)}, "jti"},
		{"iat absent", object{"iat": nil}, "iat"},
		{"iat text", object{"iat": fmt.Sprint(at(0))}, "claims"},
		{"iat null", object{"iat": json.RawMessage("null")}, "claims"},
		{"iat 8 s ahead", object{"iat": at(8)}, ""},
		{"iat 30 s ahead", object{"iat": at(30)}, ""},
		{"iat 31 s ahead", object{"iat": at(31)}, "in the future"},
		{"iat an hour ahead", object{"iat": at(3600), "exp": at(3660)}, "in the future"},
		{"iat 90 s old", object{"iat": at(-90), "exp": at(30)}, ""},
		{"iat 91 s old", object{"iat": at(-91), "exp": at(30)}, "too old"},
		{"exp absent", object{"exp": nil}, ""},
		{"exp 29 s past", object{"exp": at(-29)}, ""},
		{"exp 30 s past", object{"exp": at(-30)}, "expired"},
		{"exp 5 min past", object{"exp": at(-300)}, "expired"},
		{"exp far", object{"exp": at(1 << 30)}, ""},
		{"exp text", object{"exp": fmt.Sprint(at(60))}, "claims"},
		{"nbf now", object{"nbf": at(0)}, ""},
		{"nbf 30 s ahead", object{"nbf": at(30)}, ""},
		{"nbf 31 s ahead", object{"nbf": at(31)}, "nbf"},
		{"nbf over a minute ahead", object{"nbf": at(61)}, "nbf"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := p.try(t, assertion(t, p.key, p.now, tt.with))
			if tt.says != "" {
				wantError(t, err, clients.CodeInvalidClient, tt.says)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	_, err := p.try(t, assertion(t, signer{p.key.Signer, ""}, p.now, nil))
	wantError(t, err, clients.CodeInvalidClient, "kid is missing")
	twice := strings.Replace(text(t, claimsAt(p.now)), "{", `{"iss":"https://evil.com/x",`, 1)
	_, err = p.try(t, signText(t, p.key, twice))
	wantError(t, err, clients.CodeInvalidClient, "claims are not valid")
	_, err = p.try(t, signText(t, p.key, "[]"))
	wantError(t, err, clients.CodeInvalidClient, "claims are not valid")
}

// indigo's client sends an array for aud, empty claims that have no place in an
// assertion, and an exp of 30 seconds.
func TestQuirksOfIndigo(t *testing.T) {
	p := newParty(t, nil)
	quirks := object{"aud": []string{issuer}, "htm": "", "hti": "", "ath": nil, "exp": p.now.Unix() + 30}
	if _, err := p.try(t, assertion(t, p.key, p.now, quirks)); err != nil {
		t.Error(err)
	}
	p.now = p.now.Add(59 * time.Second)
	if _, err := p.try(t, assertion(t, p.key, p.now.Add(-59*time.Second), quirks)); err != nil {
		t.Errorf("within the skew: %v", err)
	}
}

// What a client is allowed to do follows its document: a public one that turns
// confidential has to authenticate, the reverse must not.
func TestAttack32UpgradeAndDowngrade(t *testing.T) {
	p := newParty(t, nil)
	valid := assertion(t, p.key, p.now, nil)
	if _, err := p.try(t, valid); err != nil {
		t.Fatal(err)
	}
	p.w.put(appID, text(t, webApp))
	reload := func() {
		t.Helper()
		p.now = p.now.Add(clients.DefaultTTL)
		var err error
		if p.c, err = p.r.Client(t.Context(), appID); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	_, err := p.try(t, assertion(t, p.key, p.now, nil))
	wantError(t, err, clients.CodeInvalidClient, "sends no assertion")
	if ok, err := p.r.HasKey(t.Context(), p.c, "key-1", p.key.Public().Thumbprint()); ok || err != nil {
		t.Errorf("a client without keys has one: %v", err)
	}
	p.w.put(appID, text(t, with(webApp, backend)))
	reload()
	_, err = p.r.Authenticate(t.Context(), p.c, "", "", issuer, "dpop-key")
	wantError(t, err, clients.CodeInvalidClient, "missing")
	if got, err := p.try(t, assertion(t, p.key, p.now, nil)); err != nil || got.Method != "private_key_jwt" {
		t.Errorf("%+v, %v", got, err)
	}
}

// A document with the keys in it is read anew for an unknown key; what it says
// by then counts.
func TestDocumentChangesUnderAssertion(t *testing.T) {
	key := newSigner(t, "key-1")
	missing := func(*http.Request) (*http.Response, error) { return answer(404, "text/html", ""), nil }
	says := func(document object) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			return answer(200, "application/json", text(t, document)), nil
		}
	}
	for name, tt := range map[string]struct {
		page func(*http.Request) (*http.Response, error)
		wait time.Duration
		code string
	}{
		"public":      {says(webApp), 0, clients.CodeInvalidClient},
		"gone":        {missing, 0, clients.CodeInvalidClient},
		"gone, later": {missing, clients.DefaultTTL, clients.CodeInvalidClientMetadata},
		"has moved":   {says(with(webApp, backend)), 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParty(t, object{"jwks_uri": nil, "jwks": jwks(t, key)})
			other := newSigner(t, "key-2")
			p.w.put(keysAt, text(t, jwks(t, other)))
			p.w.serve(appID, tt.page)
			p.now = p.now.Add(tt.wait)
			_, err := p.try(t, assertion(t, other, p.now, nil))
			if tt.code != "" {
				wantError(t, err, tt.code, "")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAttack33KeyConfusion(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	es256, err := jose.NewES256(private)
	if err != nil {
		t.Fatal(err)
	}
	p := newParty(t, nil)
	p.key = signer{es256, "key-1"}
	p.w.put(keysAt, text(t, jwks(t, p.key)))

	// The public key, in any form, as the secret of HS256.
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{der, point, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), []byte(text(t, p.key.jwk(t, nil))), {}} {
		for _, alg := range []string{"HS256", "none", "hs256"} {
			_, err := p.try(t, compact(t, object{"alg": alg, "kid": "key-1"}, claimsAt(p.now), func(input []byte) []byte {
				mac := hmac.New(sha256.New, secret)
				mac.Write(input)
				return mac.Sum(nil)
			}))
			wantError(t, err, clients.CodeInvalidClient, "alg is not the one")
		}
	}
	// An algorithm that is fine, but not the one that the client declares, and a
	// key that does not fit the declared one.
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	p.w.put(keysAt, text(t, object{"keys": []object{
		p.key.jwk(t, nil),
		{"kty": "RSA", "kid": "rsa", "n": encode(rsaKey.N.Bytes()), "e": "AQAB"},
		p.key.jwk(t, object{"kid": "for-encryption", "use": "enc"}),
		p.key.jwk(t, object{"kid": "for-ES384", "alg": "ES384"}),
		p.key.jwk(t, object{"kid": "for-signing", "key_ops": []string{"sign"}}),
	}}))
	for _, kid := range []string{"rsa", "for-encryption", "for-ES384", "for-signing"} {
		_, err = p.try(t, assertion(t, signer{es256, kid}, p.now, nil))
		wantError(t, err, clients.CodeInvalidClient, "signature")
	}
	_, err = p.try(t, compact(t, object{"alg": "RS256", "kid": "rsa"}, claimsAt(p.now), func([]byte) []byte { return make([]byte, 256) }))
	wantError(t, err, clients.CodeInvalidClient, "alg is not the one")

	// The same key for both, and a confirmation of another key.
	jkt := p.key.Public().Thumbprint()
	_, err = p.r.Authenticate(t.Context(), p.c, clients.AssertionType, assertion(t, p.key, p.now, nil), issuer, jkt)
	wantError(t, err, clients.CodeInvalidClient, "signed with the DPoP key")
	for _, tt := range []struct {
		cnf, jkt string
		ok       bool
	}{
		{`{"jkt":"dpop-key"}`, "dpop-key", true},
		{`{"jkt":"other"}`, "dpop-key", false},
		{`{"jkt":"dpop-key"}`, "", false},
		{`{"jkt":""}`, "dpop-key", false},
		{`{"JKT":"other"}`, "dpop-key", true}, // unknown, so ignored
		{`{"x5t#S256":"x"}`, "dpop-key", true},
		{`null`, "dpop-key", true},
		{`"dpop-key"`, "dpop-key", false},
		{`{"jkt":"dpop-key","jkt":"other"}`, "dpop-key", false},
	} {
		token := signText(t, p.key, strings.Replace(text(t, claimsAt(p.now)), "{", `{"cnf":`+tt.cnf+",", 1))
		_, err := p.r.Authenticate(t.Context(), p.c, clients.AssertionType, token, issuer, tt.jkt)
		if tt.ok != (err == nil) {
			t.Errorf("cnf %s with a proof of %q: %v", tt.cnf, tt.jkt, err)
		}
	}
}

// An assertion that is wrong anyway makes nobody fetch anything.
func TestBadAssertionsFetchNothing(t *testing.T) {
	p := newParty(t, nil)
	before := p.w.hits()
	for _, changes := range []object{{"aud": "https://evil.com"}, {"iat": 1}, {"iss": "x"}, {"jti": nil}} {
		if _, err := p.try(t, assertion(t, newSigner(t, "random"), p.now, changes)); err == nil {
			t.Error("accepted")
		}
	}
	if p.w.hits() != before {
		t.Errorf("%q", p.w.asked)
	}
}
