package pds

import (
	"context"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const deleteSessionNSID = "com.atproto.server.deleteSession"

// deleteSession ends the session of a refresh token, whichever of its tokens
// that is. A session that has ended already is no error.
func (s *Server) deleteSession() xrpc.Method {
	return xrpc.Procedure(deleteSessionNSID, s.refreshRule(),
		func(ctx context.Context, _ *xrpc.None) (*xrpc.None, error) {
			caller := xrpc.CallerFrom(ctx)
			defer s.Recheck(caller.Account)
			key, _ := sessionID(credentialOf(caller).refresh.ID)
			return nil, s.store.Update(ctx, func(tx storage.Tx) error {
				return tx.DeleteDoc(docSession, key)
			})
		})
}
