package jose_test

import (
	"testing"

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
