package pds

import (
	"context"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

func (s *Server) requestAccountDelete() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.requestAccountDelete", s.access(accessRule{scopes: fullAccess}),
		func(ctx context.Context, _ *xrpc.None) (*xrpc.None, error) {
			a, err := s.accountByIdentifier(ctx, xrpc.CallerFrom(ctx).Account.String())
			if err != nil {
				return nil, err
			}
			return &xrpc.None{}, s.requestDeletion(ctx, &a)
		}).WithLimits(mailLimits()...)
}

// requestDeletion mails the code that deletes an account to its owner.
func (s *Server) requestDeletion(ctx context.Context, a *storage.Account) error {
	return s.sendMailToken(ctx, a, mailDeleteAccount)
}
