package pds

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type createAccountInput struct {
	Email       string          `json:"email"`
	Handle      string          `json:"handle"`
	DID         syntax.DID      `json:"did"`
	InviteCode  string          `json:"inviteCode"`
	Password    string          `json:"password"`
	RecoveryKey string          `json:"recoveryKey"`
	PLCOp       json.RawMessage `json:"plcOp"`
}

type createAccountOutput struct {
	AccessJwt  string          `json:"accessJwt"`
	RefreshJwt string          `json:"refreshJwt"`
	Handle     string          `json:"handle"`
	DID        syntax.DID      `json:"did"`
	DidDoc     json.RawMessage `json:"didDoc,omitempty"`
}

func (s *Server) createAccount() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.createAccount", s.optionalService(),
		func(ctx context.Context, in *createAccountInput) (*createAccountOutput, error) {
			if err := s.checkSignUp(ctx, in); err != nil {
				return nil, err
			}
			c, err := s.newCreation(ctx, NewAccount{
				Handle: in.Handle, DID: in.DID, Email: in.Email, Password: in.Password,
				InviteCode: in.InviteCode, RecoveryKey: in.RecoveryKey,
			})
			if err != nil {
				return nil, err
			}
			var tokens sessionTokens
			c.also = func(tx storage.Tx, a *storage.Account) (err error) {
				if err := s.spendServiceToken(tx, xrpc.CallerFrom(ctx)); err != nil {
					return err
				}
				tokens, err = s.newSession(tx, a, nil)
				return err
			}
			if err := s.create(ctx, c); err != nil {
				return nil, err
			}
			s.noteSignUp(ctx, c.account.DID, requestDevice(ctx))
			return &createAccountOutput{
				AccessJwt: tokens.Access, RefreshJwt: tokens.Refresh,
				Handle: handleOf(&c.account), DID: c.account.DID, DidDoc: s.newDocument(ctx, c),
			}, nil
		}).WithLimits(xrpc.Limit{Points: 100, Window: 5 * time.Minute})
}

// checkSignUp checks what a sign-up by the method needs besides what
// CreateAccount checks, in the order of the reference server.
func (s *Server) checkSignUp(ctx context.Context, in *createAccountInput) error {
	switch {
	case len(in.PLCOp) > 0 && string(in.PLCOp) != "null":
		return xrpc.InvalidRequest(`Unsupported input: "plcOp"`)
	case passwordLength(in.Password) > maxNewPassword:
		return xrpc.InvalidRequest("Password too long. Maximum length is %d characters.", maxNewPassword)
	case s.cfg.InviteRequired && in.InviteCode == "":
		return errInvalidInvite("No invite code provided")
	case in.Email == "":
		return xrpc.InvalidRequest("Email is required")
	}
	if _, err := checkEmail(in.Email); err != nil {
		return err
	}
	if in.Password == "" {
		return xrpc.InvalidRequest("Password is required")
	}
	if in.DID == "" {
		return nil
	}
	if caller := xrpc.CallerFrom(ctx); caller == nil || caller.Kind != xrpc.KindService || caller.Account != in.DID {
		return xrpc.AuthRequired("Missing auth to create account with did: %s", in.DID)
	}
	return nil
}

// newDocument returns the DID document of a new account for the answer. A
// brought one is read from the network; if that fails the answer goes without.
func (s *Server) newDocument(ctx context.Context, c *creation) json.RawMessage {
	doc, err := s.documentOf(ctx, c)
	if err != nil {
		s.log.DebugContext(ctx, "no DID document for a new account", "did", c.account.DID, "error", err)
		return nil
	}
	return doc
}

func (s *Server) documentOf(ctx context.Context, c *creation) (json.RawMessage, error) {
	if c.op == nil {
		ctx, cancel := context.WithTimeout(ctx, sessionDocumentTime)
		defer cancel()
		return s.cfg.Directory.ResolveDIDRaw(ctx, c.account.DID)
	}
	state := identity.State{
		DID: c.account.DID, VerificationMethods: c.op.VerificationMethods, RotationKeys: c.op.RotationKeys,
		AlsoKnownAs: c.op.AlsoKnownAs, Services: c.op.Services,
	}
	doc, err := state.Document()
	if err != nil {
		return nil, fmt.Errorf("document of %s: %w", c.account.DID, err)
	}
	return doc, nil
}
