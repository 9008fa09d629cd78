package pds

import (
	"context"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/xrpc"
)

func (s *Server) getSession() xrpc.Method {
	rule := s.access(accessRule{scopes: standardAccess, signupQueued: true, oauthAny: true})
	return xrpc.Query("com.atproto.server.getSession", rule,
		func(ctx context.Context, _ *xrpc.None) (*sessionInfo, error) {
			caller := xrpc.CallerFrom(ctx)
			a, err := s.accountOf(ctx, caller)
			if err != nil {
				return nil, err
			}
			info := s.sessionInfo(ctx, a)
			if requireScope(caller, scope.Account{Attr: "email", Action: scope.Read}) != nil {
				info.Email, info.EmailConfirmed = "", nil
			}
			return &info, nil
		})
}
