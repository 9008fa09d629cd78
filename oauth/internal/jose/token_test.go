package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/internal/josetest"
)

const maxBytes = 8 << 10

var everyAlg = []string{
	"ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
}

// signECDSA signs with any curve and hash, as a signer without scruples.
func signECDSA(t testing.TB, key *ecdsa.PrivateKey, hash crypto.Hash, input string) []byte {
	t.Helper()
	h := hash.New()
	h.Write([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	n := (key.Curve.Params().BitSize + 7) / 8
	out := make([]byte, 2*n)
	r.FillBytes(out[:n])
	s.FillBytes(out[n:])
	return out
}

// compact makes a token from the texts of a header and claims.
func compact(header, claims string, sign func(input string) []byte) string {
	input := b64([]byte(header)) + "." + b64([]byte(claims))
	return input + "." + b64(sign(input))
}

// check parses a token and verifies its signature.
func check(text string, key *jose.Key, algs ...string) error {
	token, err := jose.Parse(text, maxBytes)
	if err != nil {
		return err
	}
	return token.Verify(key, algs)
}

func TestSignAndVerify(t *testing.T) {
	signer := josetest.NewSigner(t)
	text, err := jose.Sign(signer, "at+jwt", map[string]any{"sub": "did:web:example.com", "exp": jose.NumericDate(9)})
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Parse(text, len(text))
	if err != nil {
		t.Fatal(err)
	}
	want := jose.Header{Alg: "ES256", Typ: "at+jwt", KeyID: signer.Public().Thumbprint()}
	if token.Header != want {
		t.Errorf("header %+v, want %+v", token.Header, want)
	}
	if string(token.Claims) != `{"exp":9,"sub":"did:web:example.com"}` {
		t.Errorf("claims %s", token.Claims)
	}
	if err := token.Verify(signer.Public(), []string{"ES256"}); err != nil {
		t.Error(err)
	}
	if err := token.Verify(josetest.NewSigner(t).Public(), []string{"ES256"}); err == nil {
		t.Error("another key verifies")
	}
	if err := token.Verify(signer.Public(), nil); err == nil {
		t.Error("verifies without allowed algorithms")
	}
	if _, err := jose.Parse(text, len(text)-1); err == nil {
		t.Error("a token that is too long passed")
	}
	if _, err := jose.Sign(signer, "", func() {}); err == nil {
		t.Error("signed claims that are no JSON")
	}
	if _, err := jose.NewES256(newEC(t, elliptic.P384())); err == nil {
		t.Error("a P-384 key signs ES256")
	}
}

// TestTampered changes each character of a token.
func TestTampered(t *testing.T) {
	signer := josetest.NewSigner(t)
	text := josetest.Token(t, signer, object{"alg": "ES256"}, object{"a": 1})
	for i := range len(text) {
		for _, c := range "Aa1.=+" {
			changed := text[:i] + string(c) + text[i+1:]
			if changed != text && check(changed, signer.Public(), everyAlg...) == nil {
				t.Fatalf("%s passes as %s", changed, text)
			}
		}
		if check(text[:i], signer.Public(), everyAlg...) == nil {
			t.Fatalf("%s passes", text[:i])
		}
	}
}

// TestEveryAlgorithm signs by the standard library and checks each signature
// under each algorithm's name.
func TestEveryAlgorithm(t *testing.T) {
	p256, p384, p521 := newEC(t, elliptic.P256()), newEC(t, elliptic.P384()), newEC(t, elliptic.P521())
	k256, rsaKey := newK256(t), newRSA(t, 2048)
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signEC := func(key *ecdsa.PrivateKey, hash crypto.Hash) func(string) []byte {
		return func(input string) []byte { return signECDSA(t, key, hash, input) }
	}
	signRSA := func(hash crypto.Hash, options crypto.SignerOpts) func(string) []byte {
		return func(input string) []byte {
			h := hash.New()
			h.Write([]byte(input))
			out, err := rsaKey.Sign(rand.Reader, h.Sum(nil), options)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	pss := func(hash crypto.Hash) *rsa.PSSOptions {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signEd := func(input string) []byte { return ed25519.Sign(edKey, []byte(input)) }
	ed := object{"kty": "OKP", "crv": "Ed25519", "x": b64(edPublic)}
	cases := []struct {
		alg  string
		jwk  object
		sign func(string) []byte
	}{
		{"ES256", ecJWK(t, &p256.PublicKey), signEC(p256, crypto.SHA256)},
		{"ES384", ecJWK(t, &p384.PublicKey), signEC(p384, crypto.SHA384)},
		{"ES512", ecJWK(t, &p521.PublicKey), signEC(p521, crypto.SHA512)},
		{"ES256K", k256JWK(t, k256), func(input string) []byte {
			out, err := k256.HashAndSign([]byte(input))
			if err != nil {
				t.Fatal(err)
			}
			return out
		}},
		{"EdDSA", ed, signEd},
		{"Ed25519", ed, signEd},
		{"RS256", rsaJWK(&rsaKey.PublicKey), signRSA(crypto.SHA256, crypto.SHA256)},
		{"RS384", rsaJWK(&rsaKey.PublicKey), signRSA(crypto.SHA384, crypto.SHA384)},
		{"RS512", rsaJWK(&rsaKey.PublicKey), signRSA(crypto.SHA512, crypto.SHA512)},
		{"PS256", rsaJWK(&rsaKey.PublicKey), signRSA(crypto.SHA256, pss(crypto.SHA256))},
		{"PS384", rsaJWK(&rsaKey.PublicKey), signRSA(crypto.SHA384, pss(crypto.SHA384))},
		{"PS512", rsaJWK(&rsaKey.PublicKey), signRSA(crypto.SHA512, pss(crypto.SHA512))},
	}
	for _, c := range cases {
		key := mustParseKey(t, c.jwk)
		for _, alg := range everyAlg {
			same := alg == c.alg || alg == "EdDSA" && c.alg == "Ed25519" || alg == "Ed25519" && c.alg == "EdDSA"
			text := compact(`{"alg":"`+alg+`"}`, `{}`, c.sign)
			if err := check(text, key, alg); (err == nil) != same {
				t.Errorf("%s as %s: %v", c.alg, alg, err)
			}
			if err := check(text, key, "ES256"); (err == nil) != (same && alg == "ES256") {
				t.Errorf("%s as %s where ES256 alone is allowed: %v", c.alg, alg, err)
			}
			bad := compact(`{"alg":"`+alg+`"}`, `{}`, func(input string) []byte {
				out := c.sign(input)
				out[len(out)-1] ^= 1
				return out
			})
			if check(bad, key, alg) == nil {
				t.Errorf("%s: a wrong signature verifies", alg)
			}
			if alg == c.alg {
				oracle(t, alg, c.jwk, text, true)
				oracle(t, alg, c.jwk, bad, false)
			}
		}
	}
}

// TestAttack20Algorithms covers tokens without signature, and those signed by
// something public.
func TestAttack20Algorithms(t *testing.T) {
	private := newEC(t, elliptic.P256())
	jwk := ecJWK(t, &private.PublicKey)
	key := mustParseKey(t, jwk)
	hs256 := func(secret []byte) func(string) []byte {
		return func(input string) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			return mac.Sum(nil)
		}
	}
	es256 := func(input string) []byte { return signECDSA(t, private, crypto.SHA256, input) }
	for name, text := range map[string]string{
		"none":                  b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{}`)) + ".",
		"none, two parts":       b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{}`)),
		"none, signed":          compact(`{"alg":"none"}`, `{}`, es256),
		"None":                  compact(`{"alg":"None"}`, `{}`, es256),
		"no alg":                compact(`{"typ":"JWT"}`, `{}`, es256),
		"null":                  compact(`{"alg":null}`, `{}`, es256),
		"ALG":                   compact(`{"ALG":"ES256"}`, `{}`, es256),
		"lower case":            compact(`{"alg":"es256"}`, `{}`, es256),
		"list":                  compact(`{"alg":["ES256"]}`, `{}`, es256),
		"HS256":                 compact(`{"alg":"HS256"}`, `{}`, hs256(jwk.text(t))),
		"HS256 empty":           compact(`{"alg":"HS256"}`, `{}`, hs256(nil)),
		"HS256 with its secret": compact(`{"alg":"HS256","jwk":{"kty":"oct","k":"c2VjcmV0"}}`, `{}`, hs256([]byte("secret"))),
	} {
		if check(text, key, "ES256") == nil {
			t.Errorf("%s passed", name)
		}
		// Not even if somebody allows it.
		if check(text, key, "none", "None", "HS256", "es256", "") == nil {
			t.Errorf("%s passed where it is allowed", name)
		}
	}
}

// TestAttack21Curves covers algorithms with keys of another curve or use.
func TestAttack21Curves(t *testing.T) {
	p256, p384 := newEC(t, elliptic.P256()), newEC(t, elliptic.P384())
	on256 := func(input string) []byte { return signECDSA(t, p256, crypto.SHA256, input) }
	on384 := func(input string) []byte { return signECDSA(t, p384, crypto.SHA256, input) }
	jwk := ecJWK(t, &p256.PublicKey)
	good := compact(`{"alg":"ES256"}`, `{}`, on256)
	if err := check(good, mustParseKey(t, jwk), everyAlg...); err != nil {
		t.Fatal(err)
	}
	if check(compact(`{"alg":"ES256"}`, `{}`, on384), mustParseKey(t, ecJWK(t, &p384.PublicKey)), everyAlg...) == nil {
		t.Error("ES256 by a P-384 key passed")
	}
	for name, key := range map[string]object{
		"encryption":      jwk.with("use", "enc"),
		"signing only":    jwk.with("key_ops", []string{"sign"}),
		"other algorithm": jwk.with("alg", "ES384"),
	} {
		if check(good, mustParseKey(t, key), everyAlg...) == nil {
			t.Errorf("a key for %s verifies", name)
		}
	}
	for name, key := range map[string]string{
		"private":   string(jwk.with("d", "AQAB").text(t)),
		"secret":    `{"kty":"oct","k":"AAAA"}`,
		"off curve": string(jwk.with("x", jwk["y"]).text(t)),
		"RSA-1024":  string(rsaJWK(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}).text(t)),
		"unknown":   `{"kty":"new"}`,
		"null":      `null`,
		"text":      `"key"`,
	} {
		if _, err := jose.Parse(compact(`{"alg":"ES256","jwk":`+key+`}`, `{}`, on256), maxBytes); err == nil {
			t.Errorf("a header with a %s key passed", name)
		}
	}
	token, err := jose.Parse(compact(`{"alg":"ES256","jwk":`+string(jwk.text(t))+`}`, `{}`, on256), maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	if token.Header.JWK == nil || token.Header.JWK.Thumbprint() != mustParseKey(t, jwk).Thumbprint() {
		t.Errorf("key of the header: %+v", token.Header.JWK)
	}
}

// TestHighS covers signatures by WebCrypto, which does not choose the lower of
// the two values for S.
func TestHighS(t *testing.T) {
	p256, k256 := newEC(t, elliptic.P256()), newK256(t)
	k256Order, _ := new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
	both := func(order *big.Int, sign func(string) []byte) (low, high func(string) []byte) {
		turn := func(want bool) func(string) []byte {
			return func(input string) []byte {
				out := sign(input)
				s := new(big.Int).SetBytes(out[32:])
				other := new(big.Int).Sub(order, s)
				if (s.Cmp(other) > 0) != want {
					other.FillBytes(out[32:])
				}
				return out
			}
		}
		return turn(false), turn(true)
	}
	lowP, highP := both(elliptic.P256().Params().N, func(input string) []byte { return signECDSA(t, p256, crypto.SHA256, input) })
	lowK, highK := both(k256Order, func(input string) []byte {
		out, err := k256.HashAndSign([]byte(input))
		if err != nil {
			t.Fatal(err)
		}
		return out
	})
	for _, sign := range []func(string) []byte{lowP, highP} {
		if err := check(compact(`{"alg":"ES256"}`, `{}`, sign), mustParseKey(t, ecJWK(t, &p256.PublicKey)), "ES256"); err != nil {
			t.Error(err)
		}
	}
	for _, sign := range []func(string) []byte{lowK, highK} {
		if err := check(compact(`{"alg":"ES256K"}`, `{}`, sign), mustParseKey(t, k256JWK(t, k256)), "ES256K"); err != nil {
			t.Error(err)
		}
	}
}

// TestSignatureForms covers signatures that are right but written differently.
func TestSignatureForms(t *testing.T) {
	private := newEC(t, elliptic.P256())
	key := mustParseKey(t, ecJWK(t, &private.PublicKey))
	n := elliptic.P256().Params().N
	for name, sign := range map[string]func(string) []byte{
		"DER": func(input string) []byte {
			sum := sha256.Sum256([]byte(input))
			out, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
			if err != nil {
				t.Fatal(err)
			}
			return out
		},
		"longer": func(input string) []byte { return append(signECDSA(t, private, crypto.SHA256, input), 0) },
		"zero before s": func(input string) []byte {
			return slices.Insert(signECDSA(t, private, crypto.SHA256, input), 32, 0)
		},
		"shorter": func(input string) []byte { return signECDSA(t, private, crypto.SHA256, input)[:63] },
		"wider": func(input string) []byte {
			s := signECDSA(t, private, crypto.SHA256, input)
			out := make([]byte, 66)
			copy(out[1:], s[:32])
			copy(out[34:], s[32:])
			return out
		},
		"zero": func(string) []byte { return make([]byte, 64) },
		"r is 0": func(input string) []byte {
			return append(make([]byte, 32), signECDSA(t, private, crypto.SHA256, input)[32:]...)
		},
		"s is n": func(input string) []byte {
			return append(signECDSA(t, private, crypto.SHA256, input)[:32], n.Bytes()...)
		},
		"all ones": func(string) []byte { return []byte(strings.Repeat("\xff", 64)) },
	} {
		if check(compact(`{"alg":"ES256"}`, `{}`, sign), key, "ES256") == nil {
			t.Errorf("%s passed", name)
		}
	}
}

// TestAttack22Headers covers headers that ask for another way of reading, and
// other serializations.
func TestAttack22Headers(t *testing.T) {
	private := newEC(t, elliptic.P256())
	key := mustParseKey(t, ecJWK(t, &private.PublicKey))
	sign := func(input string) []byte { return signECDSA(t, private, crypto.SHA256, input) }
	for _, header := range []string{
		`{"alg":"ES256","crit":["b64"],"b64":false}`, `{"alg":"ES256","crit":["exp"],"exp":1}`,
		`{"alg":"ES256","crit":[]}`, `{"alg":"ES256","crit":null}`, `{"alg":"ES256","crit":"x"}`,
		`{"alg":"ES256","b64":false}`, `{"alg":"ES256","b64":true}`, `{"alg":"ES256","b64":null}`,
	} {
		if check(compact(header, `{}`, sign), key, "ES256") == nil {
			t.Errorf("%s passed", header)
		}
	}
	// What is ignored, and never fetched.
	header := `{"alg":"ES256","jku":"http://127.0.0.1/keys","x5u":"http://127.0.0.1/cert","x5c":["AAAA"],"x5t":"a","cty":"JWT","zip":"DEF","CRIT":["x"],"other":{}}`
	if err := check(compact(header, `{}`, sign), key, "ES256"); err != nil {
		t.Error(err)
	}
	good := compact(`{"alg":"ES256"}`, `{}`, sign)
	parts := strings.Split(good, ".")
	for name, text := range map[string]string{
		"flattened":      `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"general":        `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`,
		"with dots":      `{"payload":"` + parts[1] + `","x.y.z":0,"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"detached":       parts[0] + ".." + parts[2],
		"five parts":     good + ".AA.AA",
		"four parts":     good + ".",
		"two parts":      parts[0] + "." + parts[1],
		"empty":          "",
		"dots":           "..",
		"space before":   " " + good,
		"space after":    good + " ",
		"line end":       good + "\n",
		"inner line end": parts[0] + ".\r\n" + parts[1] + "." + parts[2],
		"Bearer":         "DPoP " + good,
	} {
		if check(text, key, "ES256") == nil {
			t.Errorf("%s passed", name)
		}
	}
}

// TestAttack58Differentials covers texts that parsers read in different ways.
func TestAttack58Differentials(t *testing.T) {
	private := newEC(t, elliptic.P256())
	key := mustParseKey(t, ecJWK(t, &private.PublicKey))
	sign := func(input string) []byte { return signECDSA(t, private, crypto.SHA256, input) }
	for _, header := range []string{
		`{"alg":"ES256","alg":"ES256"}`, `{"alg":"ES256","alg":"none"}`, `{"alg":"none","alg":"ES256"}`, `{"alg":"ES256","\u0061lg":"none"}`,
		`{"alg":"ES256","other":{"a":1,"a":2}}`, `{"alg":"ES256"}{}`, `{"alg":"ES256"} x`, `[{"alg":"ES256"}]`, `null`, `"ES256"`, "{\"alg\":\"ES256\",\"x\":\"\xff\"}", "\xef\xbb\xbf{\"alg\":\"ES256\"}",
		`{"alg":"ES256","typ":1}`, `{"alg":"ES256","kid":1}`, `{"alg":"ES256","x":[[[[[[[[]]]]]]]]}`, `{'alg':'ES256'}`, `{"alg":"ES256",}`,
	} {
		if check(compact(header, `{}`, sign), key, "ES256") == nil {
			t.Errorf("%s passed", header)
		}
	}
	// Padding, the other alphabet, and stray bits in a last character.
	for i, sep := range []string{"=", "==", "%3D", "\n", "\x00"} {
		input := b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(`{"a":1}`))
		for _, text := range []string{
			strings.Replace(input, ".", sep+".", 1) + "." + b64(sign(strings.Replace(input, ".", sep+".", 1))),
			input + sep + "." + b64(sign(input+sep)),
			input + "." + b64(sign(input)) + sep,
		} {
			if check(text, key, "ES256") == nil {
				t.Errorf("%d: %q passed", i, text)
			}
		}
	}
	stray := b64([]byte(`{"alg":"ES256"}`)) + ".e31" // "e30" is {}, "e31" the same with a stray bit
	if check(stray+"."+b64(sign(stray)), key, "ES256") == nil {
		t.Error("stray bits passed")
	}
	// Claims are read by DecodeJSON alone, which is tested beside it.
	var claims struct {
		Sub string `json:"sub"`
	}
	token, err := jose.Parse(compact(`{"alg":"ES256"}`, `{"sub":"a","sub":"b"}`, sign), maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	if jose.DecodeJSON(token.Claims, &claims) == nil {
		t.Error("duplicate claims passed")
	}
}
