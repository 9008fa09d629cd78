package dpop

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// ReplayWindow is how long a proof has to be remembered: longer than it can be
// accepted, by [MaxAge] and [MaxAhead] together.
const ReplayWindow = 5 * time.Minute

// DefaultReplayCapacity is the number of proofs that a [ReplayCache] remembers
// unless told otherwise. It takes some 60 MB.
const DefaultReplayCapacity = 1_000_000

// Errors of [ReplayCache.Once].
var (
	ErrReplayed = errors.New("dpop: proof was used before")
	ErrFull     = errors.New("dpop: too many proofs in too short a time")
)

// ReplayCache remembers in memory which proofs were used in the last
// [ReplayWindow]. It never forgets one sooner: when it is full, there are no
// more proofs, which a server answers with status 503. Its memory ends with the
// process, and so must the secret of the nonces. It may be used by any number of
// goroutines.
type ReplayCache struct {
	capacity int

	mu   sync.Mutex // guards following
	seen map[[16]byte]struct{}
	fifo []usedProof // from head on in the order of their use
	head int
}

type usedProof struct {
	key     [16]byte
	expires int64 // Unix time in nanoseconds
}

// NewReplayCache returns an empty cache for so many proofs, or
// [DefaultReplayCapacity] if capacity is 0.
func NewReplayCache(capacity int) *ReplayCache {
	if capacity == 0 {
		capacity = DefaultReplayCapacity
	}
	return &ReplayCache{capacity: capacity, seen: map[[16]byte]struct{}{}}
}

// Once notes the use of a proof, which is [ErrReplayed] if it was used before and
// [ErrFull] if there is no room. The clock may step back, which only makes the
// cache remember longer.
func (c *ReplayCache) Once(jkt, jti string, now time.Time) error {
	sum := sha256.Sum256([]byte(jkt + "\x00" + jti))
	key := [16]byte(sum[:])
	at := now.UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.head < len(c.fifo) && c.fifo[c.head].expires <= at {
		delete(c.seen, c.fifo[c.head].key)
		c.head++
	}
	if c.head > len(c.fifo)/2 {
		c.fifo = c.fifo[:copy(c.fifo, c.fifo[c.head:])]
		c.head = 0
	}
	if _, ok := c.seen[key]; ok {
		return ErrReplayed
	}
	if len(c.seen) >= c.capacity {
		return ErrFull
	}
	c.seen[key] = struct{}{}
	c.fifo = append(c.fifo, usedProof{key, at + int64(ReplayWindow)})
	return nil
}
