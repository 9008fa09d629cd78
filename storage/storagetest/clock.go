package storagetest

import (
	"sync"
	"time"
)

// Clock is a [storage.Clock] that moves only when it is told to. Its methods
// may be called concurrently.
type Clock struct {
	mu   sync.Mutex // guards following 2 fields
	wall time.Time
	mono time.Duration
}

// NewClock returns a Clock that stands at some moment.
func NewClock() *Clock {
	return &Clock{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// Now implements [storage.Clock].
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// Elapsed implements [storage.Clock].
func (c *Clock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono
}

// Pass lets time pass.
func (c *Clock) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(d), c.mono+d
}

// Step moves the wall clock, forward or back, as when somebody sets it.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}
