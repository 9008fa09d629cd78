package pdstest

import (
	"sync"
	"time"
)

// Clock is the clock of a test server, its store and its PLC directory. It runs
// with the computer's, from where the test moves it. Its methods may be called
// concurrently.
type Clock struct {
	start time.Time

	mu sync.Mutex // guards following 2 fields
	// How far the wall clock and the monotonic clock were moved.
	wall, elapsed time.Duration
}

// NewClock returns a Clock that shows the computer's time.
func NewClock() *Clock { return &Clock{start: time.Now()} }

// Now is the wall clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.wall).Round(0)
}

// Elapsed is the monotonic clock.
func (c *Clock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.start) + c.elapsed
}

// Advance lets time pass: both clocks move on by d. Access tokens end two hours
// after they were made, see Account.Login.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += d
	c.elapsed += d
}

// Jump sets the wall clock forward, or back if d is negative, as a wrong time
// server would. The monotonic clock does not follow.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += d
}
