// Package windows counts requests in windows of time, in memory.
package windows

import (
	"container/heap"
	"sync"
	"time"
)

// DefaultKeys is the number of windows that a [Counter] keeps by default, at
// about 200 bytes each.
const DefaultKeys = 100_000

// A Counter counts. It may be used concurrently.
type Counter struct {
	clock   func() time.Time // fixed at creation
	maxKeys int              // fixed at creation

	mu      sync.Mutex // guards following 2 fields
	windows map[key]*window
	byEnd   byEnd
}

// State is what a [Counter] says.
type State struct {
	Allowed   bool
	Remaining int           // points left, after those that were spent
	Reset     time.Duration // until the window ends
}

type key struct {
	bucket, key string
	points      int
	length      time.Duration
}

type window struct {
	key  key
	end  time.Time
	used int
}

// New returns a Counter that keeps at most maxKeys windows (0: [DefaultKeys])
// and, when it needs room, forgets the one that ends first. A nil clock means
// time.Now.
func New(clock func() time.Time, maxKeys int) *Counter {
	if clock == nil {
		clock = time.Now
	}
	if maxKeys <= 0 {
		maxKeys = DefaultKeys
	}
	return &Counter{clock: clock, maxKeys: maxKeys, windows: make(map[key]*window)}
}

// Take spends cost of the points that a bucket's key has in a window of this
// length, if they are there, and nothing otherwise. Counts of different buckets,
// points or lengths are apart.
func (c *Counter) Take(bucket, of string, cost, points int, length time.Duration) State {
	k := key{bucket, of, points, length}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	c.expire(now)
	w, ok := c.windows[k]
	if !ok {
		if len(c.byEnd) >= c.maxKeys {
			c.remove()
		}
		w = &window{key: k, end: now.Add(length)}
		c.windows[k] = w
		heap.Push(&c.byEnd, w)
	}
	state := State{Allowed: cost <= points-w.used, Reset: w.end.Sub(now)}
	if state.Allowed {
		w.used += cost
	}
	state.Remaining = points - w.used
	return state
}

// expire drops windows that have ended.
func (c *Counter) expire(now time.Time) {
	for len(c.byEnd) > 0 && !now.Before(c.byEnd[0].end) {
		c.remove()
	}
}

// remove drops the window that ends first.
func (c *Counter) remove() {
	w := heap.Pop(&c.byEnd).(*window)
	delete(c.windows, w.key)
}

type byEnd []*window

func (h byEnd) Len() int           { return len(h) }
func (h byEnd) Less(i, j int) bool { return h[i].end.Before(h[j].end) }
func (h byEnd) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byEnd) Push(x any)        { *h = append(*h, x.(*window)) }

func (h *byEnd) Pop() any {
	old := *h
	n := len(old) - 1
	w := old[n]
	old[n] = nil
	*h = old[:n]
	return w
}
