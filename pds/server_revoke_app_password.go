package pds

import (
	"context"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type revokeAppPasswordInput struct {
	Name string `json:"name"`
}

func (s *Server) revokeAppPassword() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.revokeAppPassword", s.access(accessRule{scopes: standardAccess}),
		func(ctx context.Context, in *revokeAppPasswordInput) (*xrpc.None, error) {
			if err := checkAppPasswordName(in.Name); err != nil {
				return nil, err
			}
			did := xrpc.CallerFrom(ctx).Account
			err := s.store.Update(ctx, func(tx storage.Tx) error {
				if err := tx.DeleteDoc(docAppPassword, appPasswordKey(did, in.Name)); err != nil {
					return err
				}
				return dropSessions(tx, did, in.Name)
			})
			return nil, err
		})
}
