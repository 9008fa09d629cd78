package pds

import (
	"context"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/xrpc"
)

// plcRule is for the methods by which an account changes its identity with the
// server's rotation key. Accounts that are taken down may leave, too.
func (s *Server) plcRule() xrpc.Rule {
	return s.access(accessRule{scopes: fullAccess, takendown: true, oauth: scope.Identity{Attr: "*"}})
}

func (s *Server) requestPlcOperationSignature() xrpc.Method {
	return xrpc.Procedure("com.atproto.identity.requestPlcOperationSignature", s.plcRule(),
		func(ctx context.Context, _ *xrpc.None) (*xrpc.None, error) {
			a, err := s.accountByIdentifier(ctx, xrpc.CallerFrom(ctx).Account.String())
			if err != nil {
				return nil, err
			}
			if err := needsPLC(a.DID); err != nil {
				return nil, err
			}
			return nil, s.sendMailToken(ctx, &a, mailPLCOperation)
		}).WithLimits(mailLimits()...)
}
