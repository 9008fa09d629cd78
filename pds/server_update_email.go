package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

type updateEmailInput struct {
	Email string `json:"email"`
	Token string `json:"token"`
}

func (s *Server) updateEmail() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.updateEmail", s.access(accessRule{scopes: fullAccess}),
		func(ctx context.Context, in *updateEmailInput) (*xrpc.None, error) {
			return nil, s.changeAddress(ctx, xrpc.CallerFrom(ctx).Account, in.Email, in.Token)
		})
}
