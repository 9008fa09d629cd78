package dpop_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// FuzzHeader sends any text as a proof. Only what was signed passes.
func FuzzHeader(f *testing.F) {
	b := newBench(f)
	good := b.proof().Sign(f, b.signer)
	f.Add(good)
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := b.check(text)
		if code := codeOf(t, err); (p == nil) == (code == "") || p != nil && p.JTI != "id" {
			t.Fatalf("%v, %v", p, err)
		}
	})
}

// FuzzClaims reads any claims, without the signature, which takes most of the
// time. What passes has to be what the standard asks for, by an independent
// reading.
func FuzzClaims(f *testing.F) {
	b := newBench(f)
	for _, claims := range []object{
		{}, {"jti": "x", "htm": "POST", "htu": htu, "iat": now.Unix(), "nonce": b.nonce, "ath": dpop.TokenHash(token)},
		{"jti": "x", "htm": "POST", "htu": "HTTPS://PDS.example.com:443/a/../%78rpc/com.atproto.repo.createRecord?a#b", "iat": now.Unix(), "exp": now.Unix(), "nbf": 1.5, "nonce": b.nonce, "ath": dpop.TokenHash(token)},
	} {
		text, err := json.Marshal(claims)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := b.checker.ReadClaims([]byte(text), "POST", htu, dpop.TokenHash(token))
		if code := codeOf(t, err); code != "" {
			return
		}
		var claims struct {
			JTI   string  `json:"jti"`
			HTM   string  `json:"htm"`
			HTU   string  `json:"htu"`
			IAT   float64 `json:"iat"`
			Nonce string  `json:"nonce"`
			ATH   string  `json:"ath"`
		}
		if err := jose.DecodeJSON([]byte(text), &claims); err != nil {
			t.Fatal(err)
		}
		age := float64(now.Unix()) - claims.IAT
		u, err := url.Parse(claims.HTU)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case claims.JTI == "", claims.JTI != id, claims.HTM != "POST", claims.Nonce != b.nonce, claims.ATH != dpop.TokenHash(token),
			age > 181, age < -61, !strings.EqualFold(u.Hostname(), "pds.example.com"), u.Scheme != "https", u.User != nil:
			t.Fatalf("%s passed", text)
		}
	})
}
