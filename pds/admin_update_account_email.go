package pds

import (
	"context"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type updateAccountEmailInput struct {
	Account string `json:"account"`
	Email   string `json:"email"`
}

func (in *updateAccountEmailInput) describe() (subject, detail string) { return in.Account, "" }

func (s *Server) updateAccountEmail() xrpc.Method {
	return xrpc.Procedure("com.atproto.admin.updateAccountEmail", s.adminOnly(),
		audited(s, func(ctx context.Context, in *updateAccountEmailInput) (*xrpc.None, error) {
			email, err := normalizeEmail(in.Email)
			if err != nil {
				return nil, err
			}
			a, err := s.accountByIdentifier(ctx, in.Account)
			if err == nil {
				err = s.setAddress(ctx, a.DID, email, func(storage.Tx, *storage.Account) error { return nil })
			}
			if isAccountNotFound(err) {
				err = xrpc.InvalidRequest("Account does not exist: %s", in.Account)
			}
			return nil, err
		}))
}
