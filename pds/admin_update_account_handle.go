package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type updateAccountHandleInput struct {
	DID    syntax.DID `json:"did"`
	Handle string     `json:"handle"`
}

func (in *updateAccountHandleInput) describe() (subject, detail string) {
	return string(in.DID), in.Handle
}

func (s *Server) updateAccountHandle() xrpc.Method {
	return xrpc.Procedure("com.atproto.admin.updateAccountHandle", s.adminOnly(),
		audited(s, func(ctx context.Context, in *updateAccountHandleInput) (*xrpc.None, error) {
			err := s.setHandle(ctx, in.DID, in.Handle, true, causeOf(xrpc.CallerFrom(ctx)))
			if isAccountNotFound(err) {
				err = xrpc.InvalidRequest("Account not found")
			}
			return nil, err
		}))
}
