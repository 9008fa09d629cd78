package pds

import (
	"context"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/xrpc"
)

// emailRule is for the methods that confirm the e-mail address.
func (s *Server) emailRule() xrpc.Rule {
	return s.access(accessRule{scopes: standardAccess, oauth: scope.Account{Attr: "email", Action: scope.Manage}})
}

func (s *Server) requestEmailConfirmation() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.requestEmailConfirmation", s.emailRule(),
		func(ctx context.Context, _ *xrpc.None) (*xrpc.None, error) {
			return nil, s.requestCode(ctx, xrpc.CallerFrom(ctx).Account, mailConfirmEmail)
		}).WithLimits(mailLimits()...)
}
