package windows_test

import (
	"testing"
	"time"

	"github.com/pdskit/pdskit/internal/windows"
)

func TestCounter(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := windows.New(func() time.Time { return now }, 2)
	take := func(bucket, key string, cost int, allowed bool, remaining int, reset time.Duration) {
		t.Helper()
		want := windows.State{Allowed: allowed, Remaining: remaining, Reset: reset}
		if got := c.Take(bucket, key, cost, 3, time.Minute); got != want {
			t.Errorf("%s %s: got %+v, want %+v", bucket, key, got, want)
		}
	}
	take("a", "x", 2, true, 1, time.Minute)
	now = now.Add(20 * time.Second)
	take("a", "x", 2, false, 1, 40*time.Second) // nothing is spent
	take("a", "x", 1, true, 0, 40*time.Second)
	take("a", "x", 1, false, 0, 40*time.Second)
	take("b", "x", 1, true, 2, time.Minute) // another bucket
	now = now.Add(40*time.Second - time.Nanosecond)
	take("a", "x", 1, false, 0, time.Nanosecond)
	now = now.Add(time.Nanosecond)
	take("a", "x", 3, true, 0, time.Minute)

	// A third key takes the place of the window that ends first.
	take("b", "y", 1, true, 2, time.Minute)
	take("a", "x", 1, false, 0, time.Minute)
	take("b", "x", 1, true, 2, time.Minute)
}
