package xrpc

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// DefaultLimiterKeys is the number of windows that a limiter in memory keeps
// by default, at about 200 bytes each.
const DefaultLimiterKeys = 100_000

// NewMemoryLimiter returns a [Limiter] that counts in this process. It keeps
// at most maxKeys windows (0: [DefaultLimiterKeys]) and, when it needs room,
// forgets the one that ends first. A nil clock means time.Now.
func NewMemoryLimiter(clock func() time.Time, maxKeys int) Limiter {
	if clock == nil {
		clock = time.Now
	}
	if maxKeys <= 0 {
		maxKeys = DefaultLimiterKeys
	}
	return &memoryLimiter{clock: clock, maxKeys: maxKeys, windows: make(map[windowKey]*window)}
}

type memoryLimiter struct {
	clock   func() time.Time // fixed at creation
	maxKeys int              // fixed at creation

	mu      sync.Mutex // guards following 2 fields
	windows map[windowKey]*window
	byEnd   windowHeap
}

type windowKey struct {
	bucket, key string
	points      int
	length      time.Duration
}

type window struct {
	key  windowKey
	end  time.Time
	used int
}

// Take implements [Limiter]. It never fails.
func (m *memoryLimiter) Take(_ context.Context, bucket, key string, cost int, l Limit) (LimitState, error) {
	k := windowKey{bucket, key, l.Points, l.Window}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	m.expire(now)
	w, ok := m.windows[k]
	if !ok {
		if len(m.byEnd) >= m.maxKeys {
			m.remove()
		}
		w = &window{key: k, end: now.Add(l.Window)}
		m.windows[k] = w
		heap.Push(&m.byEnd, w)
	}
	state := LimitState{Allowed: cost <= l.Points-w.used, Reset: w.end.Sub(now)}
	if state.Allowed {
		w.used += cost
	}
	state.Remaining = l.Points - w.used
	return state, nil
}

// expire drops windows that have ended.
func (m *memoryLimiter) expire(now time.Time) {
	for len(m.byEnd) > 0 && !now.Before(m.byEnd[0].end) {
		m.remove()
	}
}

// remove drops the window that ends first.
func (m *memoryLimiter) remove() {
	w := heap.Pop(&m.byEnd).(*window)
	delete(m.windows, w.key)
}

type windowHeap []*window

func (h windowHeap) Len() int           { return len(h) }
func (h windowHeap) Less(i, j int) bool { return h[i].end.Before(h[j].end) }
func (h windowHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *windowHeap) Push(x any)        { *h = append(*h, x.(*window)) }

func (h *windowHeap) Pop() any {
	old := *h
	n := len(old) - 1
	w := old[n]
	old[n] = nil
	*h = old[:n]
	return w
}
