package pds

import (
	"context"
	"time"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/xrpc"
)

type updateHandleInput struct {
	Handle string `json:"handle"`
}

func (s *Server) updateHandle() xrpc.Method {
	return xrpc.Procedure("com.atproto.identity.updateHandle",
		s.access(accessRule{scopes: standardAccess, oauth: scope.Identity{Attr: "handle"}}),
		func(ctx context.Context, in *updateHandleInput) (*xrpc.None, error) {
			c := xrpc.CallerFrom(ctx)
			return nil, s.setHandle(ctx, c.Account, in.Handle, false, causeOf(c))
		}).WithLimits(handleLimits()...)
}

// handleLimits bound the changes of an account's handle.
func handleLimits() []xrpc.Limit {
	return []xrpc.Limit{limitByAccount(10, 5*time.Minute), limitByAccount(50, day)}
}

// refreshIdentityLimits bound the fetches that one account causes.
func refreshIdentityLimits() []xrpc.Limit {
	return []xrpc.Limit{{Points: 60, Window: 5 * time.Minute, Key: xrpc.ByAccount}}
}
