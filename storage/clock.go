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
// future. While the wall clock leads by more than [MaxClockStep] over what the
// monotonic clock explains (at the start: by more than [MaxStartLead] over the
// highest stored time), Now continues from the last trusted time, and Doubt
// says why. Destructive work waits as long as there is doubt. A clock that
// steps back is followed: what is numbered by time is then the last number
// plus one.
//
// The doubt ends when the wall clock is plausible again, or by Accept.
type Guard struct {
	clock Clock

	mu sync.Mutex // guards following 3 fields
	// The last trusted time, and Elapsed at that moment.
	base   time.Time
	baseAt time.Duration
	doubt  bool
}

// NewGuard returns a Guard over clock. The highest time that was ever stored
// is zero for a new store.
func NewGuard(clock Clock, highest time.Time) *Guard {
	g := &Guard{clock: clock, baseAt: clock.Elapsed(), base: clock.Now()}
	if !highest.IsZero() && g.base.Sub(highest) > MaxStartLead {
		g.base, g.doubt = highest, true
	}
	return g
}

// Now returns the wall clock while it is plausible, else the time that the
// monotonic clock explains.
func (g *Guard) Now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	wall, elapsed := g.clock.Now().Round(0), g.clock.Elapsed()
	explained := g.base.Add(elapsed - g.baseAt)
	if wall.Sub(explained) > MaxClockStep {
		g.doubt = true
		return explained
	}
	g.base, g.baseAt, g.doubt = wall, elapsed, false
	return wall
}

// Elapsed is that of the guarded clock.
func (g *Guard) Elapsed() time.Duration { return g.clock.Elapsed() }

// Doubt returns nil while the wall clock is plausible, else an error that says
// by how much it leads.
func (g *Guard) Doubt() error {
	now := g.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.doubt {
		return nil
	}
	lead := g.clock.Now().Sub(now).Round(time.Second)
	return fmt.Errorf("the clock is %v ahead of what has been stored and of the monotonic clock: correct it, or accept it", lead)
}

// Accept trusts the wall clock as it is now.
func (g *Guard) Accept() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.base, g.baseAt, g.doubt = g.clock.Now().Round(0), g.clock.Elapsed(), false
}

// GuardOf returns the Guard that the store keeps, if it has one: a store that
// numbers events by time does, and its server then uses the same.
func GuardOf(s Store) (*Guard, bool) {
	if g, ok := As[interface{ Guard() *Guard }](s); ok {
		return g.Guard(), true
	}
	return nil, false
}
