package oauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Prefixes of random values, by which one kind cannot be taken for another.
const (
	prefixRequest = "req-"
	prefixCode    = "cod-"
	prefixRefresh = "ref-"
	prefixToken   = "tok-"
	prefixSession = "ses-"
	prefixDevice  = "dev-"
)

// Sizes of random values, in bytes.
const (
	sizeID     = 16
	sizeSecret = 32
)

// Labels of the keys that are derived from Config.Secret.
const (
	labelRefresh = "oauth refresh tokens"
	labelGrace   = "oauth refresh grace"
	labelNonce   = "oauth dpop nonces"
	labelKey     = "oauth signing key"
	labelCSRF    = "oauth csrf tokens"
)

// derive returns a key of its own for each label, by HKDF-SHA-256 without salt
// (RFC 5869), of which one block is enough.
func derive(secret []byte, label string) [32]byte {
	mac := func(key, data []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(data)
		return h.Sum(nil)
	}
	extracted := mac(make([]byte, sha256.Size), secret)
	return [32]byte(mac(extracted, []byte("pdskit "+label+"\x01")))
}

// randomID returns a prefix and that many random bytes in hexadecimal.
func randomID(prefix string, size int) string {
	buf := make([]byte, size)
	rand.Read(buf) // never fails
	return prefix + hex.EncodeToString(buf)
}

// isRandomID reports whether s could have come from randomID.
func isRandomID(s, prefix string, size int) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) != 2*size {
		return false
	}
	for i := range len(rest) {
		if c := rest[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// hash returns the SHA-256 of a secret in hexadecimal, as which it is stored.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
