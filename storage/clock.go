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
	// monotonic clock explains. It leaves room for ordinary corrections.
	MaxClockStep = 5 * time.Minute

	// GenerationTTL is how long an unpublished [Generation] may wait.
	GenerationTTL = 24 * time.Hour
)

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
// future. While the wall clock leads by more than [MaxClockStep] over the
// highest time that was ever trusted plus what has passed since by the
// monotonic clock (at the start: by more than [MaxStartLead] over the highest
// stored time), Now continues from there, and Doubt says why. Destructive work
// waits as long as there is doubt. A clock that steps back is followed, and
// may return: what is numbered by time is meanwhile the last number plus one.
//
// The doubt ends when the wall clock is plausible again, or by Accept.
type Guard struct {
	clock Clock

	mu sync.Mutex // guards following field
	// zero is the wall clock's time at Elapsed zero, the latest that was
	// trusted.
	zero time.Time
}

// NewGuard returns a Guard over clock. The highest time that was ever stored
// is zero for a new store.
func NewGuard(clock Clock, highest time.Time) *Guard {
	g := &Guard{clock: clock, zero: clock.Now().Round(0).Add(-clock.Elapsed())}
	if !highest.IsZero() {
		if stored := highest.Round(0).Add(-clock.Elapsed()); g.zero.Sub(stored) > MaxStartLead {
			g.zero = stored
		}
	}
	return g
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
	explained := g.zero.Add(elapsed)
	lead = wall.Sub(explained)
	switch {
	case lead > MaxClockStep:
		return explained, lead
	case lead > 0:
		g.zero = wall.Add(-elapsed)
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
	g.zero = g.clock.Now().Round(0).Add(-g.clock.Elapsed())
}

// GuardOf returns the Guard that the store keeps, if it has one: a store that
// numbers events by time does, and its server then uses the same.
func GuardOf(s Store) (*Guard, bool) {
	if g, ok := As[interface{ Guard() *Guard }](s); ok {
		return g.Guard(), true
	}
	return nil, false
}
