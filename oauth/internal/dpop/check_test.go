package dpop_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
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
