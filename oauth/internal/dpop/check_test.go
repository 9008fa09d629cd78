package dpop_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/internal/josetest"
)

const (
	htu   = "https://pds.example.com/xrpc/com.atproto.repo.createRecord"
	token = "header.claims.signature"
)

var now = time.Date(2026, 11, 22, 12, 0, 30, 0, time.UTC)

type object = map[string]any

// A bench has a checker at a fixed time, and a client's key.
type bench struct {
	checker dpop.Checker
	signer  jose.Signer
	nonce   string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	nonces, err := dpop.NewNonces([32]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{
		checker: dpop.Checker{Nonces: nonces, Clock: func() time.Time { return now }},
		signer:  josetest.NewSigner(t),
		nonce:   nonces.Next(now),
	}
}

// proof is a good proof for a resource server, to be made worse.
func (b *bench) proof() josetest.Proof {
	return josetest.Proof{Method: "POST", URL: htu, Token: token, Nonce: b.nonce, ID: "id", Issued: now}
}

// check sends headers to a resource server.
func (b *bench) check(proofs ...string) (*dpop.Proof, error) {
	r := httptest.NewRequest("POST", "http://other.example/", http.NoBody)
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	return b.checker.Check(r, htu, dpop.TokenHash(token))
}

// codeOf returns the code of a refusal, or "".
func codeOf(t testing.TB, err error) string {
	t.Helper()
	var e *dpop.Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("%v is no *dpop.Error", err)
	}
	if e == nil {
		return ""
	}
	return e.Code
}

func TestCheck(t *testing.T) {
	b := newBench(t)
	got, err := b.check(b.proof().Sign(t, b.signer))
	if err != nil {
		t.Fatal(err)
	}
	want := dpop.Proof{JKT: b.signer.Public().Thumbprint(), JTI: "id", Alg: "ES256", Issued: time.Unix(now.Unix(), 0)}
	if *got != want {
		t.Errorf("%+v, want %+v", *got, want)
	}
	if got, err := b.check(); got != nil || err != nil {
		t.Errorf("no proof: %v, %v", got, err)
	}
}

// TestBadProofs has one case for each check of a proof.
func TestBadProofs(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("x", dpop.MaxIDBytes)
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, c := range map[string]struct {
		header, claims object
		want           string // code, "" for a good proof
	}{
		"typ JWT":          {header: object{"typ": "JWT"}, want: dpop.CodeInvalidProof},
		"typ missing":      {header: object{"typ": nil}, want: dpop.CodeInvalidProof},
		"typ upper case":   {header: object{"typ": "DPOP+JWT"}, want: dpop.CodeInvalidProof},
		"typ long":         {header: object{"typ": "application/dpop+jwt"}, want: dpop.CodeInvalidProof},
		"jwk missing":      {header: object{"jwk": nil}, want: dpop.CodeInvalidProof},
		"jwk of another":   {header: object{"jwk": josetest.NewSigner(t).Public()}, want: dpop.CodeInvalidProof},
		"jti missing":      {claims: object{"jti": nil}, want: dpop.CodeInvalidProof},
		"jti empty":        {claims: object{"jti": ""}, want: dpop.CodeInvalidProof},
		"jti number":       {claims: object{"jti": 1}, want: dpop.CodeInvalidProof},
		"jti too long":     {claims: object{"jti": long + "x"}, want: dpop.CodeInvalidProof},
		"jti longest":      {claims: object{"jti": long}},
		"iat missing":      {claims: object{"iat": nil}, want: dpop.CodeInvalidProof},
		"iat text":         {claims: object{"iat": strconv.FormatInt(now.Unix(), 10)}, want: dpop.CodeInvalidProof},
		"iat fraction":     {claims: object{"iat": float64(now.Unix()) + 0.5}},
		"exp passed":       {claims: object{"exp": at(-dpop.Leeway - time.Second)}, want: dpop.CodeInvalidProof},
		"exp just passed":  {claims: object{"exp": at(-dpop.Leeway)}},
		"exp in 5 minutes": {claims: object{"exp": at(5 * time.Minute)}},
		"exp text":         {claims: object{"exp": "2026"}, want: dpop.CodeInvalidProof},
		"nbf ahead":        {claims: object{"nbf": at(dpop.MaxAhead + time.Second)}, want: dpop.CodeInvalidProof},
		"nbf just ahead":   {claims: object{"nbf": at(dpop.MaxAhead)}},
		"nbf text":         {claims: object{"nbf": "0"}, want: dpop.CodeInvalidProof},
		"more claims":      {claims: object{"sub": "x", "aud": []string{"a"}, "CRIT": 1}, header: object{"kid": "x", "jku": "http://127.0.0.1/"}},
		"names by case":    {claims: object{"jti": nil, "JTI": "id"}, want: dpop.CodeInvalidProof},
	} {
		p := b.proof()
		p.Header, p.Claims = c.header, c.claims
		got, err := b.check(p.Sign(t, b.signer))
		if code := codeOf(t, err); code != c.want || (got == nil) != (err != nil) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestDescriptions checks that errors can stand in a header as they are.
func TestDescriptions(t *testing.T) {
	e := &dpop.Error{Code: dpop.CodeUseNonce, Description: "text"}
	if e.Error() != "use_dpop_nonce: text" {
		t.Error(e)
	}
	b := newBench(t)
	for _, proof := range []string{"", "x", "\"\\\r\n", "ä.ö.ü", b.proof().Sign(t, josetest.NewSigner(t)) + "x"} {
		_, err := b.check(proof)
		if err == nil || strings.ContainsAny(err.Error(), "\"\\\r\nä") {
			t.Errorf("%q: %v", proof, err)
		}
	}
}

// TestRealProofs has the habits of existing clients.
func TestRealProofs(t *testing.T) {
	b := newBench(t)
	for name, change := range map[string]func(*josetest.Proof){
		"short jti":       func(p *josetest.Proof) { p.ID = "x" },
		"htu with query":  func(p *josetest.Proof) { p.URL += "?limit=1&cursor=a%20b" },
		"htu fragment":    func(p *josetest.Proof) { p.URL += "#x" },
		"exp of indigo":   func(p *josetest.Proof) { p.Claims = object{"exp": now.Add(30 * time.Second).Unix()} },
		"iss of indigo":   func(p *josetest.Proof) { p.Claims = object{"iss": "https://app.example.com/client"} },
		"empty strings":   func(p *josetest.Proof) { p.Claims = object{"iss": "", "aud": "", "sub": ""} },
		"key of a parser": func(p *josetest.Proof) { p.Header = object{"jwk": bareKey(t, b.signer)} },
	} {
		p := b.proof()
		change(&p)
		if _, err := b.check(p.Sign(t, b.signer)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The name of the header in capitals, as sent over HTTP/1.
	text := "POST / HTTP/1.1\r\nHost: x\r\nDPOP: " + b.proof().Sign(t, b.signer) + "\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := b.checker.Check(r, htu, dpop.TokenHash(token)); p == nil || err != nil {
		t.Errorf("DPOP: %v, %v", p, err)
	}
}

// keyText is a public key as JSON.
func keyText(t testing.TB, s jose.Signer) string {
	t.Helper()
	text, err := json.Marshal(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// bareKey is a public key as clients send it: what WebCrypto exports, without ID
// and algorithm.
func bareKey(t testing.TB, s jose.Signer) object {
	t.Helper()
	var key object
	if err := json.Unmarshal([]byte(keyText(t, s)), &key); err != nil {
		t.Fatal(err)
	}
	delete(key, "kid")
	delete(key, "alg")
	delete(key, "use")
	key["ext"], key["key_ops"] = true, []string{"verify"}
	return key
}

// TestAuthorizationServer checks proofs that come without an access token.
func TestAuthorizationServer(t *testing.T) {
	b := newBench(t)
	p := b.proof()
	p.Token = ""
	r := httptest.NewRequest("POST", "/", http.NoBody)
	r.Header.Set("DPoP", p.Sign(t, b.signer))
	if got, err := b.checker.Check(r, htu, ""); got == nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// TestOtherAlgorithms allows more than ES256.
func TestOtherAlgorithms(t *testing.T) {
	b := newBench(t)
	good := b.proof().Sign(t, b.signer)
	b.checker.Algs = []string{"ES256K"}
	if _, err := b.check(good); codeOf(t, err) != dpop.CodeInvalidProof {
		t.Errorf("ES256 where it is not allowed: %v", err)
	}
	b.checker.Algs = []string{"ES256K", "ES256"}
	if _, err := b.check(good); err != nil {
		t.Error(err)
	}
}

func TestClock(t *testing.T) {
	b := newBench(t)
	b.checker.Clock = nil
	p := b.proof()
	if _, err := b.check(p.Sign(t, b.signer)); codeOf(t, err) != dpop.CodeInvalidProof {
		t.Errorf("a proof of another time: %v", err)
	}
	p.Issued, p.Nonce = time.Now(), b.checker.Nonces.Next(time.Now())
	if _, err := b.check(p.Sign(t, b.signer)); err != nil {
		t.Error(err)
	}
}

// TestExampleProof is the proof of RFC 9449 section 4.1, which has everything but
// a nonce.
func TestExampleProof(t *testing.T) {
	const proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19." +
		"eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ." +
		"2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	b := newBench(t)
	b.checker.Clock = func() time.Time { return time.Unix(1562262616, 0) }
	r := httptest.NewRequest("POST", "/", http.NoBody)
	for text, want := range map[string]string{proof: dpop.CodeUseNonce, strings.Replace(proof, ".2-", ".3-", 1): dpop.CodeInvalidProof} {
		r.Header.Set("DPoP", text)
		if _, err := b.checker.Check(r, "https://server.example.com/token", ""); codeOf(t, err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
