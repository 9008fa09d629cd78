package pds

import (
	"context"
	"errors"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const refreshSessionNSID = "com.atproto.server.refreshSession"

func (s *Server) refreshSession() xrpc.Method {
	return xrpc.Procedure(refreshSessionNSID, s.refreshRule(),
		func(ctx context.Context, _ *xrpc.None) (*sessionOutput, error) {
			claims := credentialOf(xrpc.CallerFrom(ctx)).refresh
			var a storage.Account
			var next, scope string
			err := s.store.Update(ctx, func(tx storage.Tx) (err error) {
				a, err = findAccount(tx, string(claims.Subject))
				switch {
				case errors.Is(err, storage.ErrNotFound):
					return errAccountNotFound()
				case err != nil:
					return err
				case a.TakedownRef != "":
					return errAccountTakedown()
				case claims.outdated(&a):
					return errTokenRevoked()
				}
				next, scope, err = s.nextToken(tx, a.DID, claims.ID)
				return err
			})
			if err != nil {
				return nil, err
			}
			tokens, err := s.signTokens(&a, scope, next)
			if err != nil {
				return nil, err
			}
			return &sessionOutput{tokens.Access, tokens.Refresh, s.sessionInfo(ctx, &a)}, nil
		})
}
