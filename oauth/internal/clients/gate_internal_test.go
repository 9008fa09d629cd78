package clients

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever gives up leaves the place that it had, and hosts that nobody wants
// are forgotten.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, 1)
		leave, err := g.enter("busy.example.com")
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan error, 1)
		go func() { // has the place at its host and waits for one in total
			_, err := g.enter("other.example.com")
			first <- err
		}()
		time.Sleep(maxWait / 2)
		second := make(chan error, 1)
		go func() { // waits for the place at the host
			leave, err := g.enter("other.example.com")
			if err == nil {
				leave()
			}
			second <- err
		}()
		if err := <-first; !errors.Is(err, errBusy) {
			t.Errorf("the first: %v", err)
		}
		leave()
		if err := <-second; err != nil {
			t.Errorf("the second: %v", err)
		}
		synctest.Wait()
		if len(g.hosts) != 0 || len(g.slots) != 0 {
			t.Errorf("left behind: %d hosts, %d places", len(g.hosts), len(g.slots))
		}
	})
}
