package jose_test

import (
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"testing"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// oracle asks another library about a key and a token signed by it. It knows
// everything that this package does but secp256k1.
func oracle(t *testing.T, alg string, key object, token string, want bool) {
	t.Helper()
	if alg == "ES256K" {
		return
	}
	parsed, err := jwk.ParseKey(key.text(t))
	if err != nil {
		t.Fatalf("%v: %v", key, err)
	}
	print, err := parsed.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustParseKey(t, key).Thumbprint(); got != base64.RawURLEncoding.EncodeToString(print) {
		t.Errorf("%s: thumbprint %s, the other library has %x", alg, got, print)
	}
	name, ok := jwa.LookupSignatureAlgorithm(alg)
	if !ok {
		t.Fatalf("the other library does not know %s", alg)
	}
	_, err = jws.Verify([]byte(token), jws.WithKey(name, parsed), jws.WithCompact(), jws.WithCritValidation(true))
	if (err == nil) != want {
		t.Errorf("%s: the other library says %v", alg, err)
	}
}

// TestOtherLibrary exchanges tokens with another library.
func TestOtherLibrary(t *testing.T) {
	private := newEC(t, elliptic.P256())
	key := ecJWK(t, &private.PublicKey)
	theirs, err := jws.Sign([]byte(`{"a":1}`), jws.WithKey(jwa.ES256(), private))
	if err != nil {
		t.Fatal(err)
	}
	if err := check(string(theirs), mustParseKey(t, key), jose.ES256); err != nil {
		t.Error(err)
	}
	signer, err := jose.NewES256(private)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := jose.Sign(signer, "at+jwt", object{"a": 1})
	if err != nil {
		t.Fatal(err)
	}
	oracle(t, jose.ES256, key, ours, true)
}
