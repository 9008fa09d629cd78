package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync/atomic"
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
	current  atomic.Pointer[nonces]
}

// nonces are those that are accepted at a time: the previous, the current and the
// next.
type nonces struct {
	counter int64 // of the current one
	texts   [3]string
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
func (n *Nonces) Next(now time.Time) string { return n.at(now).texts[2] }

// Check reports whether a nonce is one of those that are accepted now: the
// previous, the current and the next.
func (n *Nonces) Check(nonce string, now time.Time) bool {
	for _, text := range n.at(now).texts {
		if hmac.Equal([]byte(nonce), []byte(text)) {
			return true
		}
	}
	return false
}

// at returns the nonces of a time. They are made once for each rotation, as long
// as times come in order.
func (n *Nonces) at(now time.Time) *nonces {
	counter := now.UnixNano() / int64(n.rotation)
	if c := n.current.Load(); c != nil && c.counter == counter {
		return c
	}
	made := &nonces{counter: counter}
	for i := range made.texts {
		mac := hmac.New(sha256.New, n.secret[:])
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(counter+int64(i)-1)))
		made.texts[i] = base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	n.current.Store(made)
	return made
}
