package pds

import (
	"context"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

type resetPasswordInput struct {
	Token    string `json:"token"`
	Password string `json:"password"`
}

func (s *Server) resetPassword() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.resetPassword", xrpc.Public(),
		func(ctx context.Context, in *resetPasswordInput) (*xrpc.None, error) {
			_, err := s.resetByCode(ctx, in.Token, in.Password)
			return nil, err
		}).WithLimits(limitByIP(50, 5*time.Minute))
}
