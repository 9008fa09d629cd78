package oauth

import (
	"context"
	"time"

	"github.com/pdskit/pdskit/internal/windows"
)

// A Limiter counts requests. Take spends a point of the bucket's key if there is
// one left in the window of rate, and returns zero; else it returns how long the
// window still lasts. It must be safe for concurrent use. On an error the
// request passes, and the error is logged.
type Limiter interface {
	Take(ctx context.Context, bucket, key string, rate Rate) (wait time.Duration, err error)
}

// NewMemoryLimiter returns a [Limiter] that counts in this process. It keeps at
// most maxKeys windows (0: 100,000) and, when it needs room,
// forgets the one that ends first. A nil clock means time.Now.
func NewMemoryLimiter(clock func() time.Time, maxKeys int) Limiter {
	return memoryLimiter{windows.New(clock, maxKeys)}
}

type memoryLimiter struct{ counter *windows.Counter }

// Take implements [Limiter]. It never fails.
func (m memoryLimiter) Take(_ context.Context, bucket, key string, rate Rate) (time.Duration, error) {
	state := m.counter.Take(bucket, key, 1, rate.Points, rate.Window)
	if state.Allowed {
		return 0, nil
	}
	return max(state.Reset, time.Millisecond), nil
}
