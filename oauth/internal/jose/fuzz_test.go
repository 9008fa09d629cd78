package jose_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/internal/josetest"
)

// FuzzDecodeJSON compares with encoding/json: what passes here passes there, and
// an object has the same members, spelled the same.
func FuzzDecodeJSON(f *testing.F) {
	for _, text := range []string{
		`{"text":"a","list":["b"],"inner":{"name":"c"},"map":{"d":{}},"date":1.5}`, `{"text":"a","text":"b"}`, `{"TEXT":1}`,
		`{"x":[[[[]]]],"y":1e9,"z":"\ud83d\ude00\ud83d"}`, `[null,true,false,-0.0]`, `{"inners":[{"name":"a"},null]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var doc document
		before := bytes.Clone(data)
		_ = jose.DecodeJSON(data, &doc) // most is of the wrong type; the point is no panic
		members, err := jose.ParseObject(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the data was changed")
		}
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("passes here alone: %v", err)
		}
		if len(members) != len(want) {
			t.Fatalf("%d members, want %d", len(members), len(want))
		}
		for name, value := range want {
			if !bytes.Equal(bytes.TrimSpace(value), members[name]) {
				t.Fatalf("%q is %s, want %s", name, members[name], value)
			}
		}
	})
}

// FuzzParseKey writes down what it could read and reads that; the other library
// has to agree about the key and its thumbprint.
func FuzzParseKey(f *testing.F) {
	private := newEC(f, elliptic.P256())
	ec := ecJWK(f, &private.PublicKey)
	f.Add(ec.text(f))
	f.Add(ec.with("kid", "a").with("alg", "ES256").with("key_ops", []string{"verify"}).text(f))
	f.Add(ec.with("d", "AQAB").text(f))
	f.Add(ecJWK(f, &newEC(f, elliptic.P384()).PublicKey).text(f))
	f.Add(rsaJWK(&newRSA(f, 2048).PublicKey).text(f))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	f.Add(k256JWK(f, newK256(f)).text(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := jose.ParseKey(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		again, err := jose.ParseKey(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if back, err := json.Marshal(again); err != nil || !bytes.Equal(back, text) || again.Thumbprint() != key.Thumbprint() {
			t.Fatalf("%s became %s, and that %s", data, text, back)
		}
		// Of the written form, and without the members that do not make the key:
		// the other library is stricter about the values of some.
		var members object
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"kid", "alg", "use", "key_ops"} {
			delete(members, name)
		}
		if members["crv"] == "secp256k1" {
			return
		}
		theirs, err := jwk.ParseKey(members.text(t))
		if err != nil {
			t.Fatalf("%v: the other library says %v", members, err)
		}
		print, err := theirs.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if key.Thumbprint() != base64.RawURLEncoding.EncodeToString(print) {
			t.Fatalf("%v: thumbprint %s", members, key.Thumbprint())
		}
	})
}

// FuzzParse checks that what passes has one form, and that the other library
// agrees where the signature is by the key in the header.
func FuzzParse(f *testing.F) {
	good := josetest.Proof{Method: "POST", URL: "https://pds.example.com/"}.Sign(f, josetest.NewSigner(f))
	f.Add(good)
	f.Add(compact(`{"alg":"none"}`, `{}`, func(string) []byte { return []byte("x") }))
	f.Add(compact(`{"alg":"ES256","crit":["b64"],"b64":false}`, `{}`, func(string) []byte { return []byte("x") }))
	f.Add(strings.ReplaceAll(good, ".", "=."))
	f.Fuzz(func(t *testing.T, text string) {
		token, err := jose.Parse(text, maxBytes)
		if err != nil {
			return
		}
		parts := strings.Split(text, ".")
		if len(parts) != 3 || len(text) > maxBytes {
			t.Fatalf("%d parts, %d bytes", len(parts), len(text))
		}
		if b64(token.Claims) != parts[1] {
			t.Fatalf("claims %q are written %q", token.Claims, parts[1])
		}
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		if err != nil {
			t.Fatal(err)
		}
		members, err := jose.ParseObject(header)
		if err != nil || members["crit"] != nil || members["b64"] != nil || members["alg"] == nil {
			t.Fatalf("header %s: %v", header, err)
		}
		if key := token.Header.JWK; key != nil && token.Verify(key, everyAlg) == nil {
			var jwk object
			if err := json.Unmarshal(members["jwk"], &jwk); err != nil {
				t.Fatal(err)
			}
			oracle(t, token.Header.Alg, jwk, text, true)
		}
	})
}
