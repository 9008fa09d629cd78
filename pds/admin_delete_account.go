package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type adminDeleteAccountInput struct {
	DID syntax.DID `json:"did"`
}

func (in *adminDeleteAccountInput) describe() (subject, detail string) { return string(in.DID), "" }

func (s *Server) adminDeleteAccount() xrpc.Method {
	return xrpc.Procedure("com.atproto.admin.deleteAccount", s.adminOnly(),
		audited(s, func(ctx context.Context, in *adminDeleteAccountInput) (*xrpc.None, error) {
			err := s.deleteAccountNow(ctx, in.DID, causeOf(xrpc.CallerFrom(ctx)), nil)
			if isAccountNotFound(err) {
				err = xrpc.InvalidRequest("account not found")
			}
			return nil, err
		}))
}
