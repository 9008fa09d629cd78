package dpop_test

import (
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
)

// TestNonceLifetime follows a nonce from each second of a rotation.
func TestNonceLifetime(t *testing.T) {
	for _, rotation := range []time.Duration{0, dpop.MinRotation, dpop.MaxRotation} {
		n, err := dpop.NewNonces([32]byte{1}, rotation)
		if err != nil {
			t.Fatal(err)
		}
		if rotation == 0 {
			rotation = dpop.DefaultRotation
		}
		start := time.Unix(0, 0).Add(1_000_000 * rotation)
		for _, into := range []time.Duration{0, rotation / 3, rotation - 1} {
			nonce := n.Next(start.Add(into))
			if len(nonce) != 43 {
				t.Errorf("nonce %s", nonce)
			}
			for at, want := range map[time.Duration]bool{
				0: true, into: true, rotation: true, 3*rotation - 1: true, 3 * rotation: false, -1: false, time.Hour: false,
			} {
				if got := n.Check(nonce, start.Add(at)); got != want {
					t.Errorf("rotation %v: handed out after %v, checked after %v: %v", rotation, into, at, got)
				}
			}
		}
		if n.Next(start) == n.Next(start.Add(rotation)) || n.Next(start) != n.Next(start.Add(rotation-1)) {
			t.Errorf("rotation %v: nonces do not follow it", rotation)
		}
		same, err := dpop.NewNonces([32]byte{1}, rotation)
		if err != nil || !same.Check(n.Next(start), start) {
			t.Errorf("another process with the same secret: %v", err)
		}
	}
	for _, rotation := range []time.Duration{-1, 1, dpop.MinRotation - 1, dpop.MaxRotation + 1} {
		if _, err := dpop.NewNonces([32]byte{1}, rotation); err == nil {
			t.Errorf("rotation %v passed", rotation)
		}
	}
	if 3*dpop.MaxRotation > 5*time.Minute {
		t.Error("a nonce may live longer than five minutes")
	}
}

// Nonces are remembered for a rotation; times that do not come in order, from
// several goroutines, get theirs all the same.
func TestNoncesOutOfOrder(t *testing.T) {
	n, err := dpop.NewNonces([32]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1_800_000_000, 0)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 100 {
				at := start.Add(time.Duration((i+1)*j%7) * dpop.DefaultRotation)
				fresh, err := dpop.NewNonces([32]byte{1}, 0)
				if err != nil || n.Next(at) != fresh.Next(at) || !n.Check(fresh.Next(at), at) || n.Check(fresh.Next(at.Add(5*dpop.DefaultRotation)), at) {
					t.Errorf("at %v: %v", at, err)
				}
			}
		})
	}
	wg.Wait()
}
