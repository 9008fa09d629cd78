package oauth

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// SecondFactor asks for more than a password. Its methods may be called
// concurrently.
type SecondFactor interface {
	// Begin returns what is to be asked of somebody who has entered the right
	// password on a device, or nil if nothing more is needed.
	Begin(ctx context.Context, did syntax.DID, device string) (*Challenge, error)

	// Verify returns nil if the answer is right. A challenge and an answer are
	// good once.
	Verify(ctx context.Context, c *Challenge, answer string) error
}

// Challenge is what a [SecondFactor] asks.
type Challenge struct {
	Account syntax.DID
	Kind    string // such as "totp"
	Hint    string // shown
	State   []byte // of the factor
}
