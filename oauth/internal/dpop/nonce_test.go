package dpop_test

import (
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
