// Package josetest makes signed tokens for tests: proofs of possession as
// clients send them, and tokens with any header, good or bad.
package josetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// NewSigner returns a signer with a fresh P-256 key.
func NewSigner(t testing.TB) jose.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewES256(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Token signs whatever header and claims it is given.
func Token(t testing.TB, s jose.Signer, header, claims map[string]any) string {
	t.Helper()
	return Text(t, s, marshal(t, header), marshal(t, claims))
}

// Text signs texts in place of a header and claims, JSON or not.
func Text(t testing.TB, s jose.Signer, header, claims string) string {
	t.Helper()
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(claims))
	signature, err := s.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + enc.EncodeToString(signature)
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Proof is a DPoP proof (RFC 9449 section 4.2) to be made. Empty fields are left
// out, but for ID, which is made up, and Issued, which is now.
type Proof struct {
	Method string
	URL    string
	Token  string // the access token that "ath" is made of
	Nonce  string
	ID     string
	Issued time.Time
	Header map[string]any // added to the header; nil values remove a member
	Claims map[string]any // added to the claims; nil values remove a member
}

// Sign returns the proof.
func (p Proof) Sign(t testing.TB, s jose.Signer) string {
	t.Helper()
	public := s.Public()
	header := map[string]any{"typ": "dpop+jwt", "alg": s.Alg(), "jwk": public}
	if p.ID == "" {
		p.ID = rand.Text()
	}
	if p.Issued.IsZero() {
		p.Issued = time.Now()
	}
	claims := map[string]any{"jti": p.ID, "htm": p.Method, "htu": p.URL, "iat": p.Issued.Unix()}
	if p.Nonce != "" {
		claims["nonce"] = p.Nonce
	}
	if p.Token != "" {
		sum := sha256.Sum256([]byte(p.Token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	merge(header, p.Header)
	merge(claims, p.Claims)
	return Token(t, s, header, claims)
}

func merge(to, from map[string]any) {
	for name, value := range from {
		if value == nil {
			delete(to, name)
		} else {
			to[name] = value
		}
	}
}
