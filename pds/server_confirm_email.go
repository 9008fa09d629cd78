package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

type confirmEmailInput struct {
	Email string `json:"email"`
	Token string `json:"token"`
}

func (s *Server) confirmEmail() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.confirmEmail", s.emailRule(),
		func(ctx context.Context, in *confirmEmailInput) (*xrpc.None, error) {
			if in.Email == "" {
				return nil, errInvalidEmail()
			}
			return nil, s.confirmAddress(ctx, xrpc.CallerFrom(ctx).Account, in.Email, in.Token)
		})
}
