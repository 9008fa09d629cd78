package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"math/big"

	// The hash functions of the algorithms.
	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

// ES256 is the algorithm that every atproto client and server has: ECDSA over
// P-256 with SHA-256 (RFC 7518 section 3.4).
const ES256 = "ES256"

var (
	errAlgorithm = errors.New("jose: algorithm is not allowed")
	errSignature = errors.New("jose: signature does not match")
)

// An algorithm says which keys a signature algorithm takes, and how they check.
type algorithm struct {
	kind keyKind
	hash crypto.Hash // 0 if the check hashes for itself
	pss  bool
}

// algorithmNamed returns a signature algorithm by its registered name. "EdDSA"
// is the older name of Ed25519 (RFC 9864).
func algorithmNamed(name string) (algorithm, bool) {
	switch name {
	case ES256:
		return algorithm{kind: p256, hash: crypto.SHA256}, true
	case "ES384":
		return algorithm{kind: p384, hash: crypto.SHA384}, true
	case "ES512":
		return algorithm{kind: p521, hash: crypto.SHA512}, true
	case "ES256K":
		return algorithm{kind: k256}, true
	case "EdDSA", "Ed25519":
		return algorithm{kind: ed25519Key}, true
	case "RS256":
		return algorithm{kind: rsaKey, hash: crypto.SHA256}, true
	case "RS384":
		return algorithm{kind: rsaKey, hash: crypto.SHA384}, true
	case "RS512":
		return algorithm{kind: rsaKey, hash: crypto.SHA512}, true
	case "PS256":
		return algorithm{kind: rsaKey, hash: crypto.SHA256, pss: true}, true
	case "PS384":
		return algorithm{kind: rsaKey, hash: crypto.SHA384, pss: true}, true
	case "PS512":
		return algorithm{kind: rsaKey, hash: crypto.SHA512, pss: true}, true
	}
	return algorithm{}, false
}

// verify checks a signature by a key of the algorithm's kind.
func (a algorithm) verify(public any, input, signature []byte) bool {
	digest := input
	if a.hash != 0 {
		h := a.hash.New()
		h.Write(input)
		digest = h.Sum(nil)
	}
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		// Both halves have the length of the curve. S may be in the upper half
		// of its range: WebCrypto makes such signatures.
		n := coordinateBytes(key)
		if len(signature) != 2*n {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:n]), new(big.Int).SetBytes(signature[n:])
		return ecdsa.Verify(key, digest, r, s)
	case *atcrypto.PublicKeyK256:
		return key.HashAndVerifyLenient(input, signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, input, signature)
	case *rsa.PublicKey:
		if a.pss {
			options := rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.VerifyPSS(key, a.hash, digest, signature, &options) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, digest, signature) == nil
	}
	return false
}

func coordinateBytes(key *ecdsa.PublicKey) int { return (key.Curve.Params().BitSize + 7) / 8 }
