package identity_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/pdskit/pdskit/identity"
)

func newKey(t testing.TB) (atcrypto.PrivateKey, string) {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	return key, didKey(t, key)
}

func newP256(t testing.TB) (atcrypto.PrivateKey, string) {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	return key, didKey(t, key)
}

func didKey(t testing.TB, key atcrypto.PrivateKey) string {
	t.Helper()
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pub.DIDKey()
}

func operation(prev *string, handle string, rotation ...string) *identity.Operation {
	return &identity.Operation{
		Type:                identity.TypeOperation,
		RotationKeys:        rotation,
		VerificationMethods: map[string]string{"atproto": rotation[0]},
		AlsoKnownAs:         []string{"at://" + handle},
		Services:            map[string]identity.Service{"atproto_pds": {Type: identity.ServicePDSType, Endpoint: "https://pds.test"}},
		Prev:                prev,
	}
}

func sign(t testing.TB, op *identity.Operation, key atcrypto.PrivateKey) *identity.Operation {
	t.Helper()
	if err := op.Sign(key); err != nil {
		t.Fatal(err)
	}
	return op
}

func cidOf(t testing.TB, op *identity.Operation) *string {
	t.Helper()
	c, err := op.CID()
	if err != nil {
		t.Fatal(err)
	}
	return new(c.String())
}

// The encoding must be that of an independent DAG-CBOR codec over the JSON form.
func TestEncodingAgreesWithIndigo(t *testing.T) {
	key, k := newKey(t)
	_, p := newP256(t)
	prev := "bafyreidj5ywfhbfvr27l4cc7a3u4clup5vx343ufuzdliethuhzzxjbg4q"
	rich := operation(&prev, "alice.test", k, p)
	rich.AlsoKnownAs = append(rich.AlsoKnownAs, "https://example.com/"+strings.Repeat("ü", 200))
	rich.Services["b"] = identity.Service{Type: "B", Endpoint: strings.Repeat("x", 300)}
	rich.Services["aa"] = identity.Service{}
	rich.Services["é"] = identity.Service{Type: strings.Repeat("y", 60000)}
	rich.VerificationMethods["zz"] = p
	ops := map[string]*identity.Operation{
		"genesis":   operation(nil, "alice.test", k),
		"empty":     {Type: identity.TypeOperation},
		"rich":      rich,
		"tombstone": {Type: identity.TypeTombstone, Prev: &prev},
		"legacy":    {Type: identity.TypeLegacyCreate, Legacy: &identity.LegacyCreate{SigningKey: k, RecoveryKey: p, Handle: "a.test", Service: "https://pds.test"}},
	}
	for name, op := range ops {
		t.Run(name, func(t *testing.T) {
			check := func(got []byte) {
				data, err := json.Marshal(op)
				if err != nil {
					t.Fatal(err)
				}
				var m map[string]any
				if err := json.Unmarshal(data, &m); err != nil {
					t.Fatal(err)
				}
				want, err := atdata.MarshalCBOR(m)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("encoding differs:\n got %x\nwant %x", got, want)
				}
			}
			unsigned, err := op.UnsignedBytes()
			if err != nil {
				t.Fatal(err)
			}
			check(unsigned)
			if _, err := op.CID(); !errors.Is(err, identity.ErrUnsigned) {
				t.Errorf("CID of unsigned operation: %v", err)
			}
			sign(t, op, key)
			signed, err := op.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			check(signed)
			if i, err := op.Verify([]string{"did:key:zUnknown", p, k}); i != 2 || err != nil {
				t.Errorf("Verify = %d, %v", i, err)
			}
			data, err := json.Marshal(op)
			if err != nil {
				t.Fatal(err)
			}
			back, err := identity.ParseOperation(data)
			if err != nil {
				t.Fatal(err)
			}
			if *cidOf(t, back) != *cidOf(t, op) {
				t.Error("CID changes on the way through JSON")
			}
		})
	}
}

// A signature has one valid spelling only.
func TestSignatureMalleability(t *testing.T) {
	order := map[string]string{
		"k256": "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
		"p256": "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
	}
	for curve, gen := range map[string]func(testing.TB) (atcrypto.PrivateKey, string){"k256": newKey, "p256": newP256} {
		t.Run(curve, func(t *testing.T) {
			key, k := gen(t)
			op := sign(t, operation(nil, "alice.test", k), key)
			good := op.Sig
			raw, err := base64.RawURLEncoding.DecodeString(good)
			if err != nil {
				t.Fatal(err)
			}
			n, _ := new(big.Int).SetString(order[curve], 16)
			high := bytes.Clone(raw)
			new(big.Int).Sub(n, new(big.Int).SetBytes(raw[32:])).FillBytes(high[32:])
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			lastChar := alphabet[strings.IndexByte(alphabet, good[85])|1]
			for name, sig := range map[string]string{
				"padded":       good + "==",
				"line break":   good[:40] + "\n" + good[40:],
				"trailing":     good + "\r",
				"padding bits": good[:85] + string(lastChar),
				"high S":       base64.RawURLEncoding.EncodeToString(high),
				"short":        base64.RawURLEncoding.EncodeToString(raw[:63]),
				"long":         base64.RawURLEncoding.EncodeToString(append(bytes.Clone(raw), 0)),
				"zero":         base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
				"std alphabet": strings.Repeat("+", 86),
				"hex":          fmt.Sprintf("%x", raw),
			} {
				op.Sig = sig
				if _, err := op.Verify([]string{k}); !errors.Is(err, identity.ErrInvalidSignature) {
					t.Errorf("%s: err = %v", name, err)
				}
			}
			op.Sig = good
			if _, err := op.Verify([]string{k}); err != nil {
				t.Errorf("good signature: %v", err)
			}
			if _, err := op.Verify(nil); !errors.Is(err, identity.ErrInvalidSignature) {
				t.Errorf("no keys: %v", err)
			}
		})
	}
}

func TestParseOperationStrict(t *testing.T) {
	const good = `{"type":"plc_operation","rotationKeys":["k"],"verificationMethods":{"a":"k"},"alsoKnownAs":[],"services":{"s":{"type":"T","endpoint":"E"}},"prev":null,"sig":"x"}`
	for _, ok := range []string{
		good,
		strings.Replace(good, `,"sig":"x"`, "", 1),
		strings.Replace(good, `null`, `"bafy"`, 1),
		`{"type":"plc_tombstone","prev":"bafy","sig":"x"}`,
		`{"type":"create","signingKey":"a","recoveryKey":"b","handle":"h","service":"s","prev":null,"sig":"x"}`,
	} {
		if _, err := identity.ParseOperation([]byte(ok)); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for name, bad := range map[string]string{
		"empty":             ``,
		"null":              `null`,
		"list":              `[]`,
		"string":            `"plc_operation"`,
		"cut off":           good[:len(good)-1],
		"trailing":          good + `{}`,
		"unknown type":      strings.Replace(good, "plc_operation", "plc_op", 1),
		"no type":           strings.Replace(good, `"type":"plc_operation",`, "", 1),
		"missing field":     strings.Replace(good, `"alsoKnownAs":[],`, "", 1),
		"unknown field":     strings.Replace(good, `"prev"`, `"x":1,"prev"`, 1),
		"field twice":       strings.Replace(good, `"prev"`, `"prev":null,"prev"`, 1),
		"key twice":         strings.Replace(good, `{"a":"k"}`, `{"a":"k","a":"k"}`, 1),
		"case":              strings.Replace(good, `"prev"`, `"Prev"`, 1),
		"prev missing":      strings.Replace(good, `"prev":null,`, "", 1),
		"prev number":       strings.Replace(good, `"prev":null`, `"prev":1`, 1),
		"null list":         strings.Replace(good, `["k"]`, `null`, 1),
		"number in list":    strings.Replace(good, `["k"]`, `[1]`, 1),
		"null in map":       strings.Replace(good, `{"a":"k"}`, `{"a":null}`, 1),
		"service string":    strings.Replace(good, `{"type":"T","endpoint":"E"}`, `"E"`, 1),
		"service field":     strings.Replace(good, `"endpoint":"E"`, `"endpoint":"E","x":"y"`, 1),
		"service partial":   strings.Replace(good, `,"endpoint":"E"`, ``, 1),
		"empty sig":         strings.Replace(good, `"sig":"x"`, `"sig":""`, 1),
		"null sig":          strings.Replace(good, `"sig":"x"`, `"sig":null`, 1),
		"deep":              strings.Replace(good, `"E"`, `{"a":{"b":1}}`, 1),
		"very deep":         strings.Repeat(`{"a":`, 5000),
		"tombstone no prev": `{"type":"plc_tombstone","prev":null,"sig":"x"}`,
		"tombstone extra":   `{"type":"plc_tombstone","prev":"b","sig":"x","services":{}}`,
		"legacy prev":       `{"type":"create","signingKey":"a","recoveryKey":"b","handle":"h","service":"s","prev":"b","sig":"x"}`,
		"not UTF-8":         strings.Replace(good, `"k"`, "\"\xff\"", 1),
		"too long":          strings.Replace(good, `"k"`, `"`+strings.Repeat("k", identity.MaxOperationJSON)+`"`, 1),
	} {
		if op, err := identity.ParseOperation([]byte(bad)); !errors.Is(err, identity.ErrInvalidOperation) {
			t.Errorf("%s: %v, %v", name, op, err)
		}
	}
}

// Each limit holds at its edge and fails one above.
func TestValidateLimits(t *testing.T) {
	_, k := newKey(t)
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i)] = k
		}
		return m
	}
	// filler makes the operation exactly n bytes long with plain entries.
	sized := func(n int) *identity.Operation {
		op := operation(nil, "a.test", k)
		op.Services = map[string]identity.Service{}
		for i := range 8 {
			op.Services[fmt.Sprint(i)] = identity.Service{Type: "T", Endpoint: strings.Repeat("e", 300)}
		}
		b, err := op.UnsignedBytes()
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			add := min(n-len(b), 212)
			op.Services[fmt.Sprint(i)] = identity.Service{Type: "T", Endpoint: strings.Repeat("e", 300+add)}
			if b, err = op.UnsignedBytes(); err != nil {
				t.Fatal(err)
			}
		}
		if len(b) != n {
			t.Fatalf("built %d bytes, want %d", len(b), n)
		}
		return op
	}
	for _, c := range []struct {
		name string
		max  int
		make func(n int) *identity.Operation
	}{
		{"rotation keys", identity.MaxRotationKeys, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.RotationKeys = strings.Split(strings.TrimSuffix(strings.Repeat(k+" ", n), " "), " ")
			return op
		}},
		{"verification methods", identity.MaxVerificationMethods, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.VerificationMethods = many(n)
			return op
		}},
		{"services", identity.MaxServices, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.Services = map[string]identity.Service{}
			for name := range many(n) {
				op.Services[name] = identity.Service{}
			}
			return op
		}},
		{"alsoKnownAs", identity.MaxAlsoKnownAs, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.AlsoKnownAs = nil
			for name := range many(n) {
				op.AlsoKnownAs = append(op.AlsoKnownAs, name)
			}
			return op
		}},
		{"alsoKnownAs length", identity.MaxAlsoKnownAsBytes, func(n int) *identity.Operation {
			return operation(nil, strings.Repeat("a", n-len("at://")), k)
		}},
		{"service name", identity.MaxNameBytes, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.Services[strings.Repeat("n", n)] = identity.Service{}
			return op
		}},
		{"verification method name", identity.MaxNameBytes, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.VerificationMethods[strings.Repeat("n", n)] = k
			return op
		}},
		{"verification method key", identity.MaxKeyBytes, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.VerificationMethods["x"] = "did:key:z" + strings.Repeat("6", n-len("did:key:z"))
			return op
		}},
		{"service type", identity.MaxServiceTypeBytes, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.Services["s"] = identity.Service{Type: strings.Repeat("t", n)}
			return op
		}},
		{"service endpoint", identity.MaxServiceEndpointBytes, func(n int) *identity.Operation {
			op := operation(nil, "a.test", k)
			op.Services["s"] = identity.Service{Endpoint: strings.Repeat("t", n)}
			return op
		}},
		{"bytes", identity.MaxOperationBytes, sized},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.make(c.max).Validate(); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			if err := c.make(c.max + 1).Validate(); !errors.Is(err, identity.ErrOperationTooLarge) {
				t.Errorf("above the limit: %v", err)
			}
		})
	}
	for name, change := range map[string]func(*identity.Operation){
		"duplicate alsoKnownAs": func(op *identity.Operation) { op.AlsoKnownAs = []string{"a", "a"} },
		"bad rotation key":      func(op *identity.Operation) { op.RotationKeys = []string{"did:key:z"} },
		"bad verification key":  func(op *identity.Operation) { op.VerificationMethods["x"] = "nope" },
		"legacy": func(op *identity.Operation) {
			*op = identity.Operation{Type: "create", Legacy: &identity.LegacyCreate{}}
		},
		"unknown type": func(op *identity.Operation) { op.Type = "x" },
	} {
		op := operation(nil, "a.test", k)
		change(op)
		if err := op.Validate(); !errors.Is(err, identity.ErrInvalidOperation) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSetHandle(t *testing.T) {
	for _, c := range []struct{ before, after string }{
		{"", "at://new.test"},
		{"at://old.test", "at://new.test"},
		{"at://new.test", "at://new.test"},
		{"https://x.example at://old.test at://other.test", "at://new.test https://x.example at://other.test"},
		{"at://old.test at://new.test", "at://new.test"},
	} {
		op := &identity.Operation{Type: identity.TypeOperation, AlsoKnownAs: strings.Fields(c.before)}
		op.SetHandle("New.test")
		if got := strings.Join(op.AlsoKnownAs, " "); got != c.after {
			t.Errorf("%q becomes %q, want %q", c.before, got, c.after)
		}
	}
}

func FuzzParseOperation(f *testing.F) {
	f.Add([]byte(`{"type":"plc_operation","rotationKeys":["k"],"verificationMethods":{"a":"k"},"alsoKnownAs":[],"services":{"s":{"type":"T","endpoint":"E"}},"prev":null,"sig":"x"}`))
	f.Add([]byte(`{"type":"plc_tombstone","prev":"bafy","sig":"x"}`))
	f.Add([]byte(`{"type":"create","signingKey":"a","recoveryKey":"b","handle":"h","service":"s","prev":null,"sig":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		op, err := identity.ParseOperation(data)
		if err != nil {
			if !errors.Is(err, identity.ErrInvalidOperation) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		first, err := op.UnsignedBytes()
		if err != nil {
			t.Fatal(err)
		}
		_ = op.Validate()
		_, _ = op.Verify(op.Normalize().RotationKeys)
		out, err := json.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		again, err := identity.ParseOperation(out)
		if err != nil {
			if len(out) > identity.MaxOperationJSON {
				return // escapes made it longer
			}
			t.Fatalf("own output does not parse: %v\n%s", err, out)
		}
		second, err := again.UnsignedBytes()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) || again.Sig != op.Sig {
			t.Fatalf("round trip changes %s", data)
		}
	})
}

func BenchmarkOperation(b *testing.B) {
	key, k := newKey(b)
	op := sign(b, operation(nil, "alice.test", k), key)
	data, err := json.Marshal(op)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := identity.ParseOperation(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := op.Bytes(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
