package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

type requestEmailUpdateOutput struct {
	TokenRequired bool `json:"tokenRequired"`
}

func (s *Server) requestEmailUpdate() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.requestEmailUpdate", s.access(accessRule{scopes: fullAccess}),
		func(ctx context.Context, _ *xrpc.None) (*requestEmailUpdateOutput, error) {
			sent, err := s.requestAddressChange(ctx, xrpc.CallerFrom(ctx).Account)
			return &requestEmailUpdateOutput{sent}, err
		}).WithLimits(mailLimits()...)
}
