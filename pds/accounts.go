package pds

import (
	"context"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// What programs do with accounts, besides [Server.CreateAccount]. Errors that a
// client would see are of type *[xrpc.Error]; AccountNotFound is the one for an
// account that is not there. by says on whose behalf it is done; its Actor may
// be empty for work of the operator.

// By says who changes an account.
type By struct {
	Actor  syntax.DID
	Client string
}

// Account returns an account by its DID or handle, in whatever state it is.
func (s *Server) Account(ctx context.Context, identifier string) (storage.Account, error) {
	return s.accountByIdentifier(ctx, identifier)
}

// DeactivateAccount hides an account and what it has, until it is activated
// again. It ends the account's app passwords and OAuth sessions. deleteAfter, if
// not zero, is when the account is deleted.
func (s *Server) DeactivateAccount(ctx context.Context, did syntax.DID, deleteAfter time.Time, by By) error {
	return s.deactivate(ctx, did, deleteAfter, true, by.cause())
}

// ActivateAccount makes an account active that is deactivated, if its identity
// names this server.
func (s *Server) ActivateAccount(ctx context.Context, did syntax.DID, by By) error {
	return s.activate(ctx, did, by.cause())
}

// TakeDownAccount takes an account down under a reference, such as the number of
// a case, and ends its sessions.
func (s *Server) TakeDownAccount(ctx context.Context, did syntax.DID, ref string, by By) error {
	if ref == "" {
		ref = formatTime(s.clock.Now())
	}
	return s.takeDown(ctx, did, ref, by.cause())
}

// RestoreAccount ends a takedown.
func (s *Server) RestoreAccount(ctx context.Context, did syntax.DID, by By) error {
	return s.takeDown(ctx, did, "", by.cause())
}

// UpdateHandle gives an account another handle: below one of the server's
// domains, or any that names the account.
func (s *Server) UpdateHandle(ctx context.Context, did syntax.DID, handle syntax.Handle, by By) error {
	return s.setHandle(ctx, did, handle.String(), false, by.cause())
}

// DeleteAccount deletes an account for good, with everything that belongs to it.
func (s *Server) DeleteAccount(ctx context.Context, did syntax.DID, by By) error {
	return s.deleteAccountNow(ctx, did, by.cause(), nil)
}

func (b By) cause() cause { return cause{b.Actor, b.Client} }
