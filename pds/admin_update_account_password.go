package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type updateAccountPasswordInput struct {
	DID      syntax.DID `json:"did"`
	Password string     `json:"password"`
}

func (in *updateAccountPasswordInput) describe() (subject, detail string) { return string(in.DID), "" }

func (s *Server) updateAccountPassword() xrpc.Method {
	return xrpc.Procedure("com.atproto.admin.updateAccountPassword", s.adminOnly(),
		audited(s, func(ctx context.Context, in *updateAccountPasswordInput) (*xrpc.None, error) {
			// Codes that were mailed before are void: an administrator sets a
			// password when somebody else may have them.
			err := s.setPassword(ctx, in.DID, in.Password, func(tx storage.Tx) error { return s.dropMail(tx, in.DID) })
			if isAccountNotFound(err) {
				err = xrpc.InvalidRequest("Account does not exist: %s", in.DID)
			}
			return nil, err
		}))
}
