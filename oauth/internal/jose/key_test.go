package jose_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// object is a JSON object to be written down.
type object map[string]any

func (o object) with(name string, value any) object {
	out := maps.Clone(o)
	out[name] = value
	return out
}

func (o object) text(t testing.TB) []byte {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func ecJWK(t testing.TB, public *ecdsa.PublicKey) object {
	t.Helper()
	point, err := public.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	n := len(point) / 2
	return object{"kty": "EC", "crv": public.Curve.Params().Name, "x": b64(point[1 : 1+n]), "y": b64(point[1+n:])}
}

func rsaJWK(public *rsa.PublicKey) object {
	return object{"kty": "RSA", "n": b64(public.N.Bytes()), "e": b64(big.NewInt(int64(public.E)).Bytes())}
}

func k256JWK(t testing.TB, private *atcrypto.PrivateKeyK256) object {
	t.Helper()
	public, err := private.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	point := public.(*atcrypto.PublicKeyK256).UncompressedBytes()
	return object{"kty": "EC", "crv": "secp256k1", "x": b64(point[1:33]), "y": b64(point[33:])}
}

func newEC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newK256(t testing.TB) *atcrypto.PrivateKeyK256 {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mustParseKey(t testing.TB, jwk object) *jose.Key {
	t.Helper()
	key, err := jose.ParseKey(jwk.text(t))
	if err != nil {
		t.Fatalf("%v: %v", jwk, err)
	}
	return key
}

func TestParseKey(t *testing.T) {
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, jwk := range map[string]object{
		"ES256":  ecJWK(t, &newEC(t, elliptic.P256()).PublicKey),
		"ES384":  ecJWK(t, &newEC(t, elliptic.P384()).PublicKey),
		"ES512":  ecJWK(t, &newEC(t, elliptic.P521()).PublicKey),
		"ES256K": k256JWK(t, newK256(t)),
		"EdDSA":  {"kty": "OKP", "crv": "Ed25519", "x": b64(ed)},
		"RS256":  rsaJWK(&newRSA(t, 2048).PublicKey),
	} {
		t.Run(name, func(t *testing.T) {
			key := mustParseKey(t, jwk)
			full := jwk.with("kid", "one").with("alg", name).with("use", "sig").with("key_ops", []string{"verify"})
			same := mustParseKey(t, full.with("ext", true).with("x5u", "https://example.com/").with("x5c", []string{"AA=="}).with("D", "d").with("K", "k"))
			if key.KeyID() != "" || same.KeyID() != "one" {
				t.Errorf("key IDs are %q and %q", key.KeyID(), same.KeyID())
			}
			if key.Thumbprint() != same.Thumbprint() {
				t.Error("the thumbprint depends on more than the key")
			}
			for _, alg := range []string{"ES256", "ES384", "ES512", "ES256K", "EdDSA", "RS256", "HS256", "none", "", "ES256 ", "es256", "RSA-OAEP"} {
				if err := same.Fits(alg); (err == nil) != (alg == name) {
					t.Errorf("fits %q: %v", alg, err)
				}
			}
			text, err := json.Marshal(same)
			if err != nil {
				t.Fatal(err)
			}
			var back, want object
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(full.text(t), &want); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(back) != fmt.Sprint(want) {
				t.Errorf("written as %v, want %v", back, want)
			}
		})
	}
}

// TestAttack21Keys covers keys that are off their curve, too short, or private.
func TestAttack21Keys(t *testing.T) {
	private := newEC(t, elliptic.P256())
	ec := ecJWK(t, &private.PublicKey)
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := rsaJWK(&newRSA(t, 2048).PublicKey)
	modulus, err := base64.RawURLEncoding.DecodeString(rsaKey["n"].(string))
	if err != nil {
		t.Fatal(err)
	}
	okp := object{"kty": "OKP", "crv": "Ed25519", "x": b64(make([]byte, 32))}
	short := make([]byte, 128)
	copy(short, modulus[128:])
	short[0] |= 0x80
	long := append(make([]byte, 0, 1025), 1)
	for len(long) < 1025 {
		long = append(long, 1)
	}
	for name, jwk := range map[string]object{
		"off curve":            ec.with("y", b64(point[1:33])),
		"zero":                 ec.with("x", b64(make([]byte, 32))).with("y", b64(make([]byte, 32))),
		"coordinate too large": ec.with("x", b64([]byte(strings.Repeat("\xff", 32)))),
		"long coordinate":      ec.with("x", b64(append([]byte{0}, point[1:33]...))),
		"no x":                 {"kty": "EC", "crv": "P-256", "y": ec["y"]},
		"no y":                 {"kty": "EC", "crv": "P-256", "x": ec["x"]},
		"padding":              ec.with("x", ec["x"].(string)+"="),
		"line break":           ec.with("x", "\n"+ec["x"].(string)),
		"standard base64":      ec.with("x", "+/"+ec["x"].(string)[2:]),
		"number":               ec.with("x", 1),
		"other curve":          ec.with("crv", "P-384"),
		"other curve K":        ec.with("crv", "secp256k1"),
		"unknown curve":        ec.with("crv", "P-224"),
		"case of curve":        ec.with("crv", "p-256"),
		"no type":              {"crv": "P-256", "x": ec["x"], "y": ec["y"]},
		"Ed25519 as EC":        okp.with("kty", "EC"),
		"Ed25519 too short":    okp.with("x", b64(make([]byte, 31))),
		"Ed25519 too long":     okp.with("x", b64(make([]byte, 33))),
		"X25519":               okp.with("crv", "X25519"),
		"secret":               {"kty": "oct", "k": b64([]byte("secret"))},
		"secret without k":     {"kty": "oct"},
		"RSA 1024":             rsaKey.with("n", b64(short)),
		"RSA 2047":             rsaKey.with("n", b64(append([]byte{0x7f}, modulus[1:]...))),
		"RSA 8193":             rsaKey.with("n", b64(long)),
		"RSA leading zero":     rsaKey.with("n", b64(append([]byte{0}, modulus...))),
		"RSA even modulus":     rsaKey.with("n", b64(append(modulus[:255:255], 0))),
		"RSA exponent 1":       rsaKey.with("e", b64([]byte{1})),
		"RSA exponent 0":       rsaKey.with("e", b64([]byte{0})),
		"RSA exponent even":    rsaKey.with("e", b64([]byte{4})),
		"RSA exponent long":    rsaKey.with("e", b64([]byte{1, 0, 0, 0, 1})),
		"RSA exponent 2^31+1":  rsaKey.with("e", b64([]byte{0x80, 0, 0, 1})),
		"RSA exponent padded":  rsaKey.with("e", b64([]byte{0, 1, 0, 1})),
		"RSA without e":        {"kty": "RSA", "n": rsaKey["n"]},
	} {
		if key, err := jose.ParseKey(jwk.text(t)); err == nil {
			t.Errorf("%s: %v passed as %+v", name, jwk, key)
		}
	}
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		for _, jwk := range []object{ec, rsaKey, okp} {
			for _, value := range []any{"AQAB", "", nil, []string{}} {
				if _, err := jose.ParseKey(jwk.with(member, value).text(t)); err == nil {
					t.Errorf("key with %s %v passed", member, value)
				}
			}
		}
	}
	for _, text := range []string{``, `null`, `[]`, `"a"`, `{}`, `{"kty":"EC","kty":"RSA"}`} {
		if _, err := jose.ParseKey([]byte(text)); err == nil {
			t.Errorf("%s passed", text)
		}
	}
}

// TestMissingZeros covers the keys of indigo's OAuth client, which leaves out the
// zeros in front of a coordinate.
func TestMissingZeros(t *testing.T) {
	for {
		private := newEC(t, elliptic.P256())
		point, err := private.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if point[1] != 0 && point[33] != 0 {
			continue
		}
		full := ecJWK(t, &private.PublicKey)
		bare := full.with("x", b64(new(big.Int).SetBytes(point[1:33]).Bytes())).with("y", b64(new(big.Int).SetBytes(point[33:]).Bytes()))
		a, b := mustParseKey(t, full), mustParseKey(t, bare)
		if a.Thumbprint() != b.Thumbprint() {
			t.Errorf("%v and %v have different thumbprints", full, bare)
		}
		return
	}
}

func TestKeyUse(t *testing.T) {
	ec := ecJWK(t, &newEC(t, elliptic.P256()).PublicKey)
	for name, jwk := range map[string]object{
		"other algorithm": ec.with("alg", "ES384"),
		"encryption alg":  ec.with("alg", "ECDH-ES"),
		"encryption":      ec.with("use", "enc"),
		"signing only":    ec.with("key_ops", []string{"sign"}),
		"other operation": ec.with("key_ops", []string{"deriveKey", "VERIFY"}),
	} {
		if err := mustParseKey(t, jwk).Fits("ES256"); err == nil {
			t.Errorf("%s: fits", name)
		}
	}
	for name, jwk := range map[string]object{
		"both operations": ec.with("key_ops", []string{"sign", "verify"}),
		"none":            ec.with("key_ops", []string{}),
	} {
		if err := mustParseKey(t, jwk).Fits("ES256"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestThumbprint has the examples of the standards.
func TestThumbprint(t *testing.T) {
	for want, text := range map[string]string{
		// RFC 7638 section 3.1
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
		// RFC 8037 appendix A.3
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		// RFC 9449 section 6.1 shows the thumbprint of the key in section 4.1.
		"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I": `{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}`,
	} {
		key, err := jose.ParseKey([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := key.Thumbprint(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestNewKey(t *testing.T) {
	private := newEC(t, elliptic.P256())
	key, err := jose.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if want := mustParseKey(t, ecJWK(t, &private.PublicKey)).Thumbprint(); key.Thumbprint() != want || key.KeyID() != want {
		t.Errorf("thumbprint %s, key ID %s, want %s", key.Thumbprint(), key.KeyID(), want)
	}
	if text, err := json.Marshal(key); err != nil || !strings.Contains(string(text), `"alg":"ES256","use":"sig"`) {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := jose.NewKey(&newEC(t, elliptic.P384()).PublicKey); err == nil {
		t.Error("a P-384 key passed")
	}
}

func TestKeySet(t *testing.T) {
	ec := ecJWK(t, &newEC(t, elliptic.P256()).PublicKey)
	other := ecJWK(t, &newEC(t, elliptic.P256()).PublicKey)
	set := func(keys ...object) []byte { return object{"keys": append([]object{}, keys...), "other": 1}.text(t) }
	got, err := jose.ParseKeySet(set(ec.with("kid", "a"), other.with("kid", "b"), ec, object{"kty": "new", "kid": "c"}, object{"kty": "OKP", "crv": "X25519", "kid": "d"}), 5)
	if err != nil {
		t.Fatal(err)
	}
	if got.Len() != 3 || got.Find("a").KeyID() != "a" || got.Find("b").Thumbprint() != mustParseKey(t, other).Thumbprint() {
		t.Errorf("%d keys: %+v", got.Len(), got)
	}
	if got.Find("") != nil || got.Find("A") != nil || got.Find("c") != nil {
		t.Error("found what is not there")
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := jose.ParseKeySet(text, 3); err != nil || again.Len() != 3 {
		t.Errorf("%s: %v", text, err)
	}
	if empty, err := json.Marshal(jose.NewKeySet()); err != nil || string(empty) != `{"keys":[]}` {
		t.Errorf("%s, %v", empty, err)
	}
	if none, err := jose.ParseKeySet(set(), 0); err != nil || none.Len() != 0 {
		t.Errorf("empty set: %v", err)
	}
	for name, text := range map[string][]byte{
		"same key ID":  set(ec.with("kid", "a"), other.with("kid", "a")),
		"private":      set(ec, other.with("d", "AA")),
		"secret":       set(object{"kty": "oct", "k": "AA"}),
		"secret type":  set(object{"kty": "oct"}),
		"off curve":    set(ec.with("x", ec["y"])),
		"too many":     set(ec, ec, ec, ec, ec, ec),
		"no keys":      []byte(`{}`),
		"null":         []byte(`{"keys":null}`),
		"other case":   []byte(`{"Keys":[]}`),
		"no array":     []byte(`{"keys":{}}`),
		"bare array":   []byte(`[]`),
		"twice":        []byte(`{"keys":[],"keys":[]}`),
		"no object":    []byte(`{"keys":[1]}`),
		"one too many": append(set(), '1'),
	} {
		if _, err := jose.ParseKeySet(text, 5); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	if _, err := jose.ParseKey([]byte(`{"kty":"new"}`)); !errors.Is(err, jose.ErrUnsupportedKey) {
		t.Errorf("unknown type: %v", err)
	}
}
