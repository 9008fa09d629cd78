package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

func (s *Server) activateAccount() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.activateAccount", s.access(accessRule{scopes: fullAccess}),
		func(ctx context.Context, _ *xrpc.None) (*xrpc.None, error) {
			c := xrpc.CallerFrom(ctx)
			return &xrpc.None{}, s.activate(ctx, c.Account, causeOf(c))
		})
}

// causeOf says who causes what a request does.
func causeOf(c *xrpc.Caller) cause { return cause{c.Actor, c.Client} }
