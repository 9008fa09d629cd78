package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

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
			return nil, s.dropAppPassword(ctx, xrpc.CallerFrom(ctx).Account, in.Name)
		})
}

// dropAppPassword ends an app password and its sessions.
func (s *Server) dropAppPassword(ctx context.Context, did syntax.DID, name string) error {
	defer s.Recheck(did)
	return s.store.Update(ctx, func(tx storage.Tx) error {
		if err := tx.DeleteDoc(docAppPassword, appPasswordKey(did, name)); err != nil {
			return err
		}
		return dropSessions(tx, did, name)
	})
}
