package jose_test

import (
	"crypto/elliptic"
	"testing"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/internal/josetest"
)

func BenchmarkParse(b *testing.B) {
	text := josetest.Proof{Method: "POST", URL: "https://pds.example.com/"}.Sign(b, josetest.NewSigner(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jose.Parse(text, maxBytes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	signer := josetest.NewSigner(b)
	token, err := jose.Parse(josetest.Token(b, signer, object{"alg": "ES256"}, object{}), maxBytes)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := token.Verify(signer.Public(), []string{"ES256"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	signer := josetest.NewSigner(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jose.Sign(signer, "at+jwt", object{"sub": "did:web:example.com", "exp": 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseKey(b *testing.B) {
	text := ecJWK(b, &newEC(b, elliptic.P256()).PublicKey).text(b)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := jose.ParseKey(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jwx", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			key, err := jwk.ParseKey(text)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := jwk.PublicRawKeyOf(key); err != nil {
				b.Fatal(err)
			}
		}
	})
}
