package pds

import (
	"context"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/xrpc"
)

type deactivateAccountInput struct {
	DeleteAfter string `json:"deleteAfter"`
}

func (s *Server) deactivateAccount() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.deactivateAccount",
		s.access(accessRule{scopes: fullAccess, takendown: true, oauth: scope.Account{Attr: "status", Action: scope.Manage}}),
		func(ctx context.Context, in *deactivateAccountInput) (*xrpc.None, error) {
			var after time.Time
			if in.DeleteAfter != "" {
				t, err := syntax.ParseDatetimeLenient(in.DeleteAfter)
				if err != nil {
					return nil, xrpc.InvalidRequest("Input/deleteAfter must be a datetime").WithCause(err)
				}
				after = t.Time().UTC().Truncate(time.Millisecond)
			}
			c := xrpc.CallerFrom(ctx)
			return &xrpc.None{}, s.deactivate(ctx, c.Account, after, c.Kind == xrpc.KindOAuth, causeOf(c))
		})
}
