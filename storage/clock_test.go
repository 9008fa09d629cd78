package storage_test

import (
	"testing"
	"time"

	"github.com/pdskit/pdskit/storage"
)

type fakeClock struct {
	wall time.Time
	mono time.Duration
}

func (c *fakeClock) Now() time.Time         { return c.wall }
func (c *fakeClock) Elapsed() time.Duration { return c.mono }

func (c *fakeClock) pass(d time.Duration) { c.wall, c.mono = c.wall.Add(d), c.mono+d }

func TestGuardFollowsExplainedTime(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := &fakeClock{wall: start}
	g := storage.NewGuard(c, start.Add(-storage.MaxStartLead))
	for _, d := range []time.Duration{time.Second, time.Hour, 90 * 24 * time.Hour} {
		c.pass(d)
		if got := g.Now(); !got.Equal(c.wall) || g.Doubt() != nil {
			t.Fatalf("after %v: %v, want %v (%v)", d, got, c.wall, g.Doubt())
		}
	}
	c.wall = c.wall.Add(storage.MaxClockStep)
	if got := g.Now(); !got.Equal(c.wall) {
		t.Fatalf("a correction of %v was not followed", storage.MaxClockStep)
	}
	c.wall = c.wall.Add(-365 * 24 * time.Hour)
	if got := g.Now(); !got.Equal(c.wall) || g.Doubt() != nil {
		t.Fatal("a step back was not followed")
	}
	c.pass(time.Hour)
	c.wall = c.wall.Add(365 * 24 * time.Hour)
	if got := g.Now(); !got.Equal(c.wall) || g.Doubt() != nil {
		t.Fatal("the return from a step back was not followed")
	}
}

func TestGuardRefusesJumps(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := &fakeClock{wall: start}
	g := storage.NewGuard(c, start)
	c.wall = c.wall.Add(storage.MaxClockStep + time.Millisecond)
	if got := g.Now(); !got.Equal(start) || g.Doubt() == nil {
		t.Fatalf("followed a jump to %v", got)
	}
	c.pass(time.Hour)
	if got := g.Now(); !got.Equal(start.Add(time.Hour)) {
		t.Fatalf("explained time is %v", got)
	}
	c.wall = start.Add(2 * time.Hour)
	c.mono = 2 * time.Hour
	if got := g.Now(); !got.Equal(c.wall) || g.Doubt() != nil {
		t.Fatal("doubt did not end with the jump")
	}
	c.wall = c.wall.Add(365 * 24 * time.Hour)
	if g.Doubt() == nil {
		t.Fatal("followed a year")
	}
	g.Accept()
	if got := g.Now(); !got.Equal(c.wall) || g.Doubt() != nil {
		t.Fatal("Accept did not end the doubt")
	}
}

// Several steps ahead do not lead further than one may, however they come.
func TestGuardCountsSmallSteps(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const step, day = storage.MaxClockStep, 24 * time.Hour
	c := &fakeClock{wall: start}
	g := storage.NewGuard(c, start)
	believes := func(when string) {
		t.Helper()
		if got := g.Now(); !got.Equal(c.wall) || g.Doubt() != nil {
			t.Fatalf("%s: %v, want %v (%v)", when, got, c.wall, g.Doubt())
		}
	}
	for range 5 {
		c.wall = c.wall.Add(step / 5)
		believes("a fifth of a step")
		c.wall = c.wall.Add(-step)
		believes("a step back")
		c.wall = c.wall.Add(step)
		believes("its return")
	}
	c.wall = c.wall.Add(time.Second)
	for range 1000 { // asking does not help
		if got, want := g.Now(), start.Add(step+c.mono); !got.Equal(want) || g.Doubt() == nil {
			t.Fatalf("after one second more: %v, want %v", got, want)
		}
		c.pass(time.Microsecond)
	}
	c.pass(2000 * time.Second) // in which the monotonic clock may have lost a second
	believes("a second that is explained")
	for range 365 { // a clock of the worst kind, which is set right every day
		c.wall = c.wall.Add(day / 2000)
		c.pass(day)
		believes("a daily correction")
	}
	c.wall = c.wall.Add(time.Second)
	if g.Doubt() == nil {
		t.Fatal("believed a step of more than the drift")
	}
	g.Accept()
	c.wall = c.wall.Add(step)
	believes("a step after Accept")
}

func TestGuardAtStart(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	highest := start.Add(-storage.MaxStartLead - time.Millisecond)
	g := storage.NewGuard(&fakeClock{wall: start}, highest)
	if got := g.Now(); !got.Equal(highest) || g.Doubt() == nil {
		t.Fatalf("started at %v", got)
	}
	if g := storage.NewGuard(&fakeClock{wall: start}, time.Time{}); g.Doubt() != nil {
		t.Fatal("a new store doubts its clock")
	}
}

func TestGuardLatest(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := &fakeClock{wall: start}
	g := storage.NewGuard(c, time.Time{})
	check := func(when string, want time.Time) {
		t.Helper()
		if got := g.Latest(); !got.Equal(want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("at the start", start)
	c.pass(time.Hour)
	check("an hour later", c.wall)
	c.wall = c.wall.Add(-365 * 24 * time.Hour)
	check("set back", start.Add(time.Hour))
	c.pass(time.Hour)
	check("an hour after that", start.Add(2*time.Hour))
	c.wall = c.wall.Add(2 * 365 * 24 * time.Hour)
	check("in doubt", start.Add(2*time.Hour))
	g.Accept()
	check("accepted", c.wall)
}

func TestSystemClock(t *testing.T) {
	c := storage.SystemClock()
	before := c.Elapsed()
	if after := c.Elapsed(); after < before {
		t.Fatalf("elapsed %v after %v", after, before)
	}
}
