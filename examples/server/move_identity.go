package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
)

// maxRounds is how often what was written meanwhile is copied before the
// identity moves.
const maxRounds = 5

// moveIdentity makes the identity name this server.
func (m *mover) moveIdentity(ctx context.Context) error {
	if m.Moved {
		return nil
	}
	want := new(credentials)
	if err := m.here.get(ctx, "com.atproto.identity.getRecommendedDidCredentials", nil, want); err != nil {
		return err
	}
	did := syntax.DID(m.DID)
	if did.Method() != "plc" {
		m.say("   The document of %s is yours to change. It must name\n     %s as the service #%s\n     %s as the key #%s",
			did, want.Services[identity.ServicePDS].Endpoint, identity.ServicePDS, want.VerificationMethods[identity.KeyAtproto], identity.KeyAtproto)
		_, err := m.ask("Press Enter when it does")
		m.Moved = err == nil
		return err
	}
	now, err := m.plc.State(ctx, did)
	if err != nil {
		return err
	}
	if now.Services[identity.ServicePDS] == want.Services[identity.ServicePDS] &&
		now.VerificationMethods[identity.KeyAtproto] == want.VerificationMethods[identity.KeyAtproto] {
		m.Moved = true // an earlier attempt did it
		return nil
	}
	if m.Operation == nil {
		if err := m.signOperation(ctx, want, now); err != nil {
			return err
		}
	}
	err = m.here.post(ctx, "com.atproto.identity.submitPlcOperation", map[string]any{"operation": m.Operation}, nil)
	if isAnswer(err) {
		m.Operation, m.CodeAsked = nil, false // it will not be taken the next time, either
	}
	m.Moved = err == nil
	return err
}

// credentials are what an identity holds.
type credentials struct {
	AlsoKnownAs         []string                    `json:"alsoKnownAs,omitempty"`
	RotationKeys        []string                    `json:"rotationKeys"`
	VerificationMethods map[string]string           `json:"verificationMethods"`
	Services            map[string]identity.Service `json:"services"`
	Token               string                      `json:"token,omitempty"`
}

// codeTries is how many codes the operator may enter before the move stops.
const codeTries = 3

// signOperation has the old server sign the operation that moves the identity.
func (m *mover) signOperation(ctx context.Context, want *credentials, now *identity.State) error {
	own, err := m.ownKeys(ctx, want, now)
	if err != nil {
		return err
	}
	want.RotationKeys = append(own, want.RotationKeys...)
	for try := 1; ; try++ {
		if want.Token, err = m.askCode(ctx); err != nil {
			return err
		}
		if err := m.catchUp(ctx); err != nil {
			return err
		}
		var signed struct{ Operation json.RawMessage }
		err := m.there.post(ctx, "com.atproto.identity.signPlcOperation", want, &signed)
		if err == nil {
			m.Operation = signed.Operation
			return m.save()
		}
		if !isAnswer(err, "InvalidToken", "ExpiredToken") {
			return err
		}
		// One that was mistyped is still good; one that was used is not.
		m.CodeAsked = try == 1 && !isAnswer(err, "ExpiredToken")
		if try == codeTries {
			return err
		}
		m.say("   %v", err)
	}
}

// ownKeys returns the rotation keys that are the user's own, neither server's.
// They are kept, above those of this server.
func (m *mover) ownKeys(ctx context.Context, want *credentials, now *identity.State) ([]string, error) {
	var old credentials
	err := m.there.get(ctx, "com.atproto.identity.getRecommendedDidCredentials", nil, &old)
	if isAnswer(err) {
		// So it is for an account that was taken down. The old server's keys
		// must not stay, and cannot be told from others.
		m.say("   rotation keys that do not stay: %s", strings.Join(now.RotationKeys, ", "))
		return nil, nil
	}
	return slices.DeleteFunc(slices.Clone(now.RotationKeys), func(k string) bool {
		return slices.Contains(old.RotationKeys, k) || slices.Contains(want.RotationKeys, k)
	}), err
}

// askCode returns the code that the old server has mailed.
func (m *mover) askCode(ctx context.Context) (code string, err error) {
	for code == "" {
		if !m.CodeAsked {
			if err := m.there.post(ctx, "com.atproto.identity.requestPlcOperationSignature", nil, nil); err != nil {
				return "", err
			}
			m.CodeAsked = true
			if err := m.save(); err != nil {
				return "", err
			}
		}
		code, err = m.ask(fmt.Sprintf("Code that %s has mailed to the account's address (empty: mail another)", m.From))
		if err != nil {
			return "", err
		}
		m.CodeAsked = code != ""
	}
	return code, nil
}

// catchUp copies what was written since the copy began.
func (m *mover) catchUp(ctx context.Context) error {
	for range maxRounds {
		before := m.Rev
		if err := m.copyRepo(ctx); err != nil {
			return err
		}
		if m.Rev == before {
			break
		}
		if err := m.copyBlobs(ctx); err != nil {
			return err
		}
	}
	return nil
}
