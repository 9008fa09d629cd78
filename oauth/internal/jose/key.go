package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

// Limits of RSA keys. The upper one bounds the work of a check.
const (
	MinRSABits = 2048
	MaxRSABits = 8192
)

// keyKind is a type of key with its curve, as "kty" and "crv" name them.
type keyKind struct{ kty, crv string }

var (
	p256       = keyKind{"EC", "P-256"}
	p384       = keyKind{"EC", "P-384"}
	p521       = keyKind{"EC", "P-521"}
	k256       = keyKind{"EC", "secp256k1"}
	ed25519Key = keyKind{"OKP", "Ed25519"}
	rsaKey     = keyKind{"RSA", ""}
)

// ErrUnsupportedKey is the error of [ParseKey] for a key of a type or curve that
// no algorithm here takes. It may be fine for others.
var ErrUnsupportedKey = errors.New("jose: unsupported type of key")

var (
	errPrivateKey = errors.New("jose: key is private or secret")
	errPoint      = errors.New("jose: key is not a point of its curve")
	errModulus    = fmt.Errorf("jose: RSA keys have %d to %d bits, an odd exponent and no leading zeros", MinRSABits, MaxRSABits)
)

// Key is a public key with what its JSON form says of its use.
type Key struct {
	kind   keyKind
	public any
	first  string // "x" of EC and OKP keys, "n" of RSA ones, in base64url
	second string // "y" or "e"
	thumb  string

	keyID, alg, use string
	operations      []string
}

// keyText is the JSON form of a key (RFC 7517 section 4, RFC 7518 section 6).
type keyText struct {
	Type       string   `json:"kty"`
	Curve      string   `json:"crv,omitempty"`
	X          string   `json:"x,omitempty"`
	Y          string   `json:"y,omitempty"`
	N          string   `json:"n,omitempty"`
	E          string   `json:"e,omitempty"`
	KeyID      string   `json:"kid,omitempty"`
	Algorithm  string   `json:"alg,omitempty"`
	Use        string   `json:"use,omitempty"`
	Operations []string `json:"key_ops,omitempty"`

	// Members that only private and symmetric keys have.
	D      json.RawMessage `json:"d,omitempty"`
	P      json.RawMessage `json:"p,omitempty"`
	Q      json.RawMessage `json:"q,omitempty"`
	DP     json.RawMessage `json:"dp,omitempty"`
	DQ     json.RawMessage `json:"dq,omitempty"`
	QI     json.RawMessage `json:"qi,omitempty"`
	Primes json.RawMessage `json:"oth,omitempty"`
	Secret json.RawMessage `json:"k,omitempty"`
}

func (t *keyText) isPrivate() bool {
	for _, m := range [...]json.RawMessage{t.D, t.P, t.Q, t.DP, t.DQ, t.QI, t.Primes, t.Secret} {
		if len(m) > 0 {
			return true
		}
	}
	return t.Type == "oct"
}

// ParseKey reads a public key: of P-256, P-384, P-521 or secp256k1, an Ed25519
// one, or an RSA one of [MinRSABits] to [MaxRSABits]. What belongs to private or
// symmetric keys is an error, and so is a point that is not on its curve. A key
// of another type is [ErrUnsupportedKey]. Certificates and addresses in it
// ("x5c", "x5u") are ignored.
func ParseKey(raw json.RawMessage) (*Key, error) {
	var text keyText
	if err := DecodeJSON(raw, &text); err != nil {
		return nil, err
	}
	if text.isPrivate() {
		return nil, errPrivateKey
	}
	k := &Key{
		kind: keyKind{text.Type, text.Curve}, keyID: text.KeyID,
		alg: text.Algorithm, use: text.Use, operations: text.Operations,
	}
	var err error
	switch k.kind {
	case p256:
		err = k.setECDSA(elliptic.P256(), text.X, text.Y)
	case p384:
		err = k.setECDSA(elliptic.P384(), text.X, text.Y)
	case p521:
		err = k.setECDSA(elliptic.P521(), text.X, text.Y)
	case k256:
		err = k.setK256(text.X, text.Y)
	case ed25519Key:
		err = k.setEd25519(text.X)
	default:
		if text.Type != "RSA" {
			return nil, ErrUnsupportedKey
		}
		k.kind = rsaKey
		err = k.setRSA(text.N, text.E)
	}
	if err != nil {
		return nil, err
	}
	k.setThumbprint()
	return k, nil
}

// NewKey returns a P-256 key for ES256 signatures. Its key ID is its
// thumbprint.
func NewKey(public *ecdsa.PublicKey) (*Key, error) {
	point, err := public.Bytes()
	if err != nil || public.Curve != elliptic.P256() {
		return nil, errPoint
	}
	k := &Key{kind: p256, public: public, alg: ES256, use: "sig"}
	k.first, k.second = encode(point[1:33]), encode(point[33:])
	k.setThumbprint()
	k.keyID = k.thumb
	return k, nil
}

func (k *Key) setECDSA(curve elliptic.Curve, x, y string) error {
	point, err := k.setPoint((curve.Params().BitSize+7)/8, x, y)
	if err != nil {
		return err
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return errPoint
	}
	k.public = public
	return nil
}

func (k *Key) setK256(x, y string) error {
	point, err := k.setPoint(32, x, y)
	if err != nil {
		return err
	}
	public, err := atcrypto.ParsePublicUncompressedBytesK256(point)
	if err != nil {
		return errPoint
	}
	k.public = public
	return nil
}

// setPoint takes the coordinates of a point, of n bytes each, and returns its
// uncompressed form. The standard has the zeros in front of a coordinate
// written out; indigo's OAuth client leaves them out, which concerns one of its
// keys in 128. So they may be missing, and the key is the same either way, with
// the same thumbprint.
func (k *Key) setPoint(n int, x, y string) ([]byte, error) {
	point := make([]byte, 1+2*n)
	point[0] = 4
	for i, text := range [...]string{x, y} {
		c, err := decodeBase64(text)
		if err != nil {
			return nil, err
		}
		if len(c) > n {
			return nil, errPoint
		}
		copy(point[1+(i+1)*n-len(c):], c)
	}
	k.first, k.second = encode(point[1:1+n]), encode(point[1+n:])
	return point, nil
}

func (k *Key) setEd25519(x string) error {
	point, err := decodeBase64(x)
	if err != nil {
		return err
	}
	if len(point) != ed25519.PublicKeySize {
		return errPoint
	}
	k.public, k.first = ed25519.PublicKey(point), x
	return nil
}

func (k *Key) setRSA(modulus, exponent string) error {
	n, err := decodeBase64(modulus)
	if err != nil {
		return err
	}
	e, err := decodeBase64(exponent)
	if err != nil {
		return err
	}
	key := rsa.PublicKey{N: new(big.Int).SetBytes(n)}
	if bits := key.N.BitLen(); bits < MinRSABits || bits > MaxRSABits || n[0] == 0 || len(e) > 4 || e[0] == 0 {
		return errModulus
	}
	for _, b := range e {
		key.E = key.E<<8 | int(b)
	}
	if key.E == 1 || key.E&1 == 0 || key.E > 1<<31-1 || key.N.Bit(0) == 0 {
		return errModulus
	}
	k.public, k.first, k.second = &key, modulus, exponent
	return nil
}

// setThumbprint makes the thumbprint (RFC 7638): a hash of the members that make
// the key, in alphabetical order. All of them are plain base64url or constants.
func (k *Key) setThumbprint() {
	var b strings.Builder
	switch k.kind.kty {
	case "EC":
		b.WriteString(`{"crv":"` + k.kind.crv + `","kty":"EC","x":"` + k.first + `","y":"` + k.second + `"}`)
	case "OKP":
		b.WriteString(`{"crv":"` + k.kind.crv + `","kty":"OKP","x":"` + k.first + `"}`)
	case "RSA":
		b.WriteString(`{"e":"` + k.second + `","kty":"RSA","n":"` + k.first + `"}`)
	}
	sum := sha256.Sum256([]byte(b.String()))
	k.thumb = encode(sum[:])
}

// KeyID returns "kid", or "".
func (k *Key) KeyID() string { return k.keyID }

// Thumbprint returns the SHA-256 thumbprint of the key in base64url (RFC 7638).
// It is the same for all forms of one key.
func (k *Key) Thumbprint() string { return k.thumb }

// Fits reports why the key cannot check signatures of an algorithm: it is of
// another type or curve, or meant for another algorithm or use.
func (k *Key) Fits(alg string) error {
	a, ok := algorithmNamed(alg)
	switch {
	case !ok:
		return errAlgorithm
	case a.kind != k.kind:
		return errors.New("jose: type of key does not fit the algorithm")
	case k.alg != "" && k.alg != alg:
		return errors.New("jose: key is for another algorithm")
	case k.use != "" && k.use != "sig",
		len(k.operations) > 0 && !slices.Contains(k.operations, "verify"):
		return errors.New("jose: key is not for checking signatures")
	}
	return nil
}

// MarshalJSON returns the key as a JSON Web Key.
func (k *Key) MarshalJSON() ([]byte, error) {
	text := keyText{
		Type: k.kind.kty, Curve: k.kind.crv,
		KeyID: k.keyID, Algorithm: k.alg, Use: k.use, Operations: k.operations,
	}
	if k.kind == rsaKey {
		text.N, text.E = k.first, k.second
	} else {
		text.X, text.Y = k.first, k.second
	}
	return json.Marshal(text)
}

// encode returns data in base64url without padding.
func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

var errBase64 = errors.New("jose: empty, or not base64url without padding")

// decodeBase64 decodes base64url without padding and without stray bits, so that
// there is one text for some data. The decoder of encoding/base64 skips line
// breaks; here they are errors.
func decodeBase64(text string) ([]byte, error) {
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil, errBase64
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errBase64
	}
	return data, nil
}
