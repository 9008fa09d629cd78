package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

func (s *Server) requestAccountDelete() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.requestAccountDelete", s.access(accessRule{scopes: fullAccess}),
		func(ctx context.Context, _ *xrpc.None) (*xrpc.None, error) {
			a, err := s.accountByIdentifier(ctx, xrpc.CallerFrom(ctx).Account.String())
			if err != nil {
				return nil, err
			}
			if a.Email == "" {
				return nil, xrpc.InvalidRequest("account does not have an email address")
			}
			return &xrpc.None{}, s.sendMailToken(ctx, a.DID, a.Email, mailDeleteAccount)
		}).WithLimits(mailLimits()...)
}
