package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// How often nonces change.
const (
	DefaultRotation = time.Minute
	MinRotation     = time.Second
	MaxRotation     = 100 * time.Second // a nonce lives up to three times as long, five minutes at most
)

// Nonces makes and knows the nonces of a server (RFC 9449 section 8): a code of
// the current time, so that no list of them is kept. Servers that share the
// secret accept each other's. It may be used by any number of goroutines.
type Nonces struct {
	secret   [32]byte
	rotation time.Duration
}

// NewNonces returns nonces that change every rotation: from [MinRotation] to
// [MaxRotation], or 0 for [DefaultRotation].
func NewNonces(secret [32]byte, rotation time.Duration) (*Nonces, error) {
	if rotation == 0 {
		rotation = DefaultRotation
	}
	if rotation < MinRotation || rotation > MaxRotation {
		return nil, fmt.Errorf("dpop: rotation of nonces must be %v to %v", MinRotation, MaxRotation)
	}
	return &Nonces{secret: secret, rotation: rotation}, nil
}

// Next returns the nonce to hand out. It is accepted for two to three times the
// rotation.
func (n *Nonces) Next(now time.Time) string { return n.at(n.counter(now) + 1) }

// Check reports whether a nonce is one of those that are accepted now: the
// previous, the current and the next.
func (n *Nonces) Check(nonce string, now time.Time) bool {
	c := n.counter(now)
	for _, c := range [...]int64{c + 1, c, c - 1} { // the likely one first
		if hmac.Equal([]byte(nonce), []byte(n.at(c))) {
			return true
		}
	}
	return false
}

func (n *Nonces) counter(now time.Time) int64 { return now.UnixNano() / int64(n.rotation) }

func (n *Nonces) at(counter int64) string {
	mac := hmac.New(sha256.New, n.secret[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(counter)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
