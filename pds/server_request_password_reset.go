package pds

import (
	"context"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

type requestPasswordResetInput struct {
	Email string `json:"email"`
}

func (s *Server) requestPasswordReset() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.requestPasswordReset", xrpc.Public(),
		func(ctx context.Context, in *requestPasswordResetInput) (*xrpc.None, error) {
			return nil, s.requestReset(ctx, in.Email)
		}).WithLimits(limitByIP(15, time.Hour), limitByIP(50, day))
}
