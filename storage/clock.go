package storage

import (
	"fmt"
	"sync"
	"time"
)

// Limits of time, see [Guard].
const (
	// MaxStartLead is how far the wall clock may be ahead of the highest
	// stored time when a store opens.
	MaxStartLead = 30 * 24 * time.Hour

	// MaxClockStep is how far the wall clock may run ahead of what the
	// monotonic clock explains, in one step or in many. It leaves room for
	// ordinary corrections.
	MaxClockStep = 5 * time.Minute

	// GenerationTTL is how long an unpublished [Generation] may wait.
	GenerationTTL = 24 * time.Hour
)

// clockDrift is how long the monotonic clock may take to fall behind by one unit
// of time: 500 parts in a million, which is what NTP takes for the worst of
// clocks. Corrections of that size, 43 seconds a day, are ordinary.
const clockDrift = 2000

// Clock tells the time. A store gets one when it is opened and a server gets
// one in its configuration; tests give both the same. Its methods may be
// called concurrently.
type Clock interface {
	// Now is the wall clock, which may jump.
	Now() time.Time

	// Elapsed is the time since some fixed moment by a clock that never jumps
	// and, where the system has one, counts while it is suspended.
	Elapsed() time.Duration
}

// SystemClock is the computer's clock.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// Guard is a Clock that does not follow a wall clock into an unexplained
// future. While the wall clock leads by more than [MaxClockStep] over what the
// monotonic clock explains (at the start: by more than [MaxStartLead] over the
// highest stored time), Now continues from the highest time that was trusted, and
// Doubt says why. It does not matter whether the lead came at once or in many
// steps; what a monotonic clock may be slow by, 43 seconds a day, does not count.
// Destructive work waits as long as there is doubt. A clock that steps back is
// followed, and may return: what is numbered by time is meanwhile the last number
// plus one.
//
// The doubt ends when the wall clock is plausible again, or by Accept.
type Guard struct {
	clock Clock

	mu sync.Mutex // guards following 3 fields
	// zero is the wall clock's time at Elapsed zero, the latest that was
	// trusted.
	zero time.Time
	// explained is zero without the steps ahead since the start. It follows
	// zero as fast as the monotonic clock may be slow; at is when it was moved.
	explained time.Time
	at        time.Duration
}

// NewGuard returns a Guard over clock. The highest time that was ever stored
// is zero for a new store.
func NewGuard(clock Clock, highest time.Time) *Guard {
	g := &Guard{clock: clock}
	g.trust(clock.Now())
	if !highest.IsZero() && g.zero.Sub(highest.Add(-g.at)) > MaxStartLead {
		g.trust(highest)
	}
	return g
}

// trust takes a time for that of now. The caller holds mu.
func (g *Guard) trust(now time.Time) {
	g.at = g.clock.Elapsed()
	g.zero = now.Round(0).Add(-g.at)
	g.explained = g.zero
}

// Now returns the wall clock while it is plausible, else the time that the
// monotonic clock explains.
func (g *Guard) Now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, _ := g.now()
	return now
}

// Latest is Now, or, after the wall clock has stepped back, the time that the
// highest trusted one would be by now. What must not end early when the clock
// returns is given its time by Latest.
func (g *Guard) Latest() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now()
	return g.zero.Add(g.clock.Elapsed())
}

// now returns the trusted time and by how much the wall clock leads, if it is
// not trusted. The caller holds mu.
func (g *Guard) now() (now time.Time, lead time.Duration) {
	wall, elapsed := g.clock.Now().Round(0), g.clock.Elapsed()
	drift := (elapsed - g.at) / clockDrift
	g.at += drift * clockDrift
	if g.explained = g.explained.Add(drift); g.explained.After(g.zero) {
		g.explained = g.zero
	}
	switch zero := wall.Add(-elapsed); {
	case zero.Sub(g.explained) > MaxClockStep:
		return g.zero.Add(elapsed), zero.Sub(g.zero)
	case zero.After(g.zero):
		g.zero = zero
	}
	return wall, 0
}

// Elapsed is that of the guarded clock.
func (g *Guard) Elapsed() time.Duration { return g.clock.Elapsed() }

// Doubt returns nil while the wall clock is plausible, else an error that says
// by how much it leads.
func (g *Guard) Doubt() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, lead := g.now()
	if lead == 0 {
		return nil
	}
	return fmt.Errorf("the clock is %v ahead of what has been stored and of the monotonic clock: correct it, or accept it",
		lead.Round(time.Second))
}

// Accept trusts the wall clock as it is now.
func (g *Guard) Accept() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trust(g.clock.Now())
}

// GuardOf returns the Guard that the store keeps, if it has one: a store that
// numbers events by time does, and its server then uses the same.
func GuardOf(s Store) (*Guard, bool) {
	if g, ok := As[interface{ Guard() *Guard }](s); ok {
		return g.Guard(), true
	}
	return nil, false
}
