package xrpc

import (
	"context"
	"time"

	"github.com/pdskit/pdskit/internal/windows"
)

// DefaultLimiterKeys is the number of windows that a limiter in memory keeps
// by default, at about 200 bytes each.
const DefaultLimiterKeys = windows.DefaultKeys

// NewMemoryLimiter returns a [Limiter] that counts in this process. It keeps
// at most maxKeys windows (0: [DefaultLimiterKeys]) and, when it needs room,
// forgets the one that ends first. A nil clock means time.Now.
func NewMemoryLimiter(clock func() time.Time, maxKeys int) Limiter {
	return memoryLimiter{windows.New(clock, maxKeys)}
}

type memoryLimiter struct{ counter *windows.Counter }

// Take implements [Limiter]. It never fails.
func (m memoryLimiter) Take(_ context.Context, bucket, key string, cost int, l Limit) (LimitState, error) {
	return LimitState(m.counter.Take(bucket, key, cost, l.Points, l.Window)), nil
}
