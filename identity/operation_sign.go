package identity

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

const (
	plcPrefix   = "did:plc:"
	plcIDLength = 24 // base32 characters of the genesis hash
	sigLength   = 64 // bytes of a compact signature
)

// ErrInvalidSignature says that a signature is malformed or that none of the
// keys that may sign made it.
var ErrInvalidSignature = errors.New("identity: invalid PLC signature")

// UnsignedBytes returns the DAG-CBOR form without the signature: what is signed.
func (o *Operation) UnsignedBytes() ([]byte, error) { return o.encode(false) }

// Bytes returns the DAG-CBOR form with the signature: what CID and DID hash.
func (o *Operation) Bytes() ([]byte, error) {
	if o.Sig == "" {
		return nil, ErrUnsigned
	}
	return o.encode(true)
}

// Sign replaces the signature by one of key.
func (o *Operation) Sign(key atcrypto.PrivateKey) error {
	data, err := o.UnsignedBytes()
	if err != nil {
		return err
	}
	sig, err := key.HashAndSign(data)
	if err != nil {
		return fmt.Errorf("identity: sign PLC operation: %w", err)
	}
	o.Sig = base64.RawURLEncoding.EncodeToString(sig)
	return nil
}

// Verify checks the signature against keys, did:keys in order of power, and
// returns the index of the first that made it. Keys of unknown kinds are passed
// over. Errors match ErrInvalidSignature or ErrUnsigned. Only one spelling of a
// signature is valid: 64 bytes, low S, base64url without padding or line breaks.
func (o *Operation) Verify(keys []string) (int, error) {
	if o.Sig == "" {
		return -1, ErrUnsigned
	}
	// Even in strict mode the decoder skips line breaks.
	if strings.ContainsAny(o.Sig, "\r\n") {
		return -1, fmt.Errorf("%w: line break in base64url", ErrInvalidSignature)
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(o.Sig)
	if err != nil {
		return -1, fmt.Errorf("%w: not base64url", ErrInvalidSignature)
	}
	if len(sig) != sigLength {
		return -1, fmt.Errorf("%w: %d bytes, want %d", ErrInvalidSignature, len(sig), sigLength)
	}
	data, err := o.UnsignedBytes()
	if err != nil {
		return -1, err
	}
	for i, k := range keys {
		pub, err := atcrypto.ParsePublicDIDKey(k)
		if err != nil {
			continue
		}
		if pub.HashAndVerify(data, sig) == nil {
			return i, nil
		}
	}
	return -1, fmt.Errorf("%w: made by none of the %d keys that may sign", ErrInvalidSignature, len(keys))
}

// CID returns the CID of the signed operation, which the next one's prev names.
func (o *Operation) CID() (cid.Cid, error) {
	data, err := o.Bytes()
	if err != nil {
		return cid.Undef, err
	}
	sum := sha256.Sum256(data)
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		return cid.Undef, err
	}
	return cid.NewCidV1(cid.DagCBOR, mh), nil
}

// DID returns the DID that a signed genesis operation creates. For any other
// operation the error matches ErrNotGenesis.
func (o *Operation) DID() (syntax.DID, error) {
	if o.Prev != nil || o.Type == TypeTombstone {
		return "", ErrNotGenesis
	}
	data, err := o.Bytes()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	id := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:plcIDLength]
	return syntax.DID(plcPrefix + id), nil
}

// isPLC reports whether did is a well-formed did:plc: 24 base32 characters.
func isPLC(did syntax.DID) bool {
	id, ok := strings.CutPrefix(string(did), plcPrefix)
	if !ok || len(id) != plcIDLength {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// encode writes canonical DAG-CBOR: map keys by length, then by bytes. The
// order of the fixed fields below is that order.
func (o *Operation) encode(signed bool) ([]byte, error) {
	b := make([]byte, 0, 512)
	head := func(fields int) {
		if signed {
			b = cborHead(b, 5, uint64(fields+1))
			b = cborText(cborText(b, "sig"), o.Sig)
		} else {
			b = cborHead(b, 5, uint64(fields))
		}
		b = cborText(b, "prev")
		if o.Prev == nil {
			b = append(b, 0xf6)
		} else {
			b = cborText(b, *o.Prev)
		}
		b = cborText(cborText(b, "type"), o.Type)
	}
	switch o.Type {
	case TypeOperation:
		head(6)
		b = cborHead(cborText(b, "services"), 5, uint64(len(o.Services)))
		for _, name := range canonicalKeys(o.Services) {
			s := o.Services[name]
			b = cborHead(cborText(b, name), 5, 2)
			b = cborText(cborText(b, "type"), s.Type)
			b = cborText(cborText(b, "endpoint"), s.Endpoint)
		}
		b = cborTexts(cborText(b, "alsoKnownAs"), o.AlsoKnownAs)
		b = cborTexts(cborText(b, "rotationKeys"), o.RotationKeys)
		b = cborHead(cborText(b, "verificationMethods"), 5, uint64(len(o.VerificationMethods)))
		for _, name := range canonicalKeys(o.VerificationMethods) {
			b = cborText(cborText(b, name), o.VerificationMethods[name])
		}
	case TypeTombstone:
		if o.Prev == nil {
			return nil, fmt.Errorf("%w: tombstone without prev", ErrInvalidOperation)
		}
		head(2)
	case TypeLegacyCreate:
		if o.Legacy == nil {
			return nil, fmt.Errorf("%w: legacy create without its fields", ErrInvalidOperation)
		}
		head(6)
		b = cborText(cborText(b, "handle"), o.Legacy.Handle)
		b = cborText(cborText(b, "service"), o.Legacy.Service)
		b = cborText(cborText(b, "signingKey"), o.Legacy.SigningKey)
		b = cborText(cborText(b, "recoveryKey"), o.Legacy.RecoveryKey)
	default:
		return nil, fmt.Errorf("%w: type %q", ErrInvalidOperation, o.Type)
	}
	return b, nil
}

func canonicalKeys[V any](m map[string]V) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
}

func cborTexts(b []byte, list []string) []byte {
	b = cborHead(b, 4, uint64(len(list)))
	for _, s := range list {
		b = cborText(b, s)
	}
	return b
}

func cborText(b []byte, s string) []byte {
	return append(cborHead(b, 3, uint64(len(s))), s...)
}

func cborHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return append(b, major|25, byte(n>>8), byte(n))
	default:
		return append(b, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}
