package pds

import (
	"context"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type deleteAccountInput struct {
	DID      syntax.DID `json:"did"`
	Password string     `json:"password"`
	Token    string     `json:"token"`
}

func (s *Server) deleteAccount() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.deleteAccount", xrpc.Public(),
		func(ctx context.Context, in *deleteAccountInput) (*xrpc.None, error) {
			if passwordLength(in.Password) > maxPassword {
				return nil, xrpc.AuthRequired("Password too long. Consider resetting your password.")
			}
			var a storage.Account
			err := s.store.View(ctx, func(tx storage.Tx) (err error) {
				a, err = findAccount(tx, in.DID.String())
				return err
			})
			if errors.Is(err, storage.ErrNotFound) {
				return nil, xrpc.InvalidRequest("account not found")
			}
			if err != nil {
				return nil, err
			}
			ok, _, err := s.passwords.verify(ctx, a.PasswordHash, in.Password)
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, xrpc.AuthRequired("Invalid did or password")
			}
			return &xrpc.None{}, s.deleteByOwner(ctx, &a, in.Token)
		}).WithLimits(xrpc.Limit{Points: 50, Window: 5 * time.Minute})
}

// deleteByOwner takes the code that was mailed and deletes the account.
func (s *Server) deleteByOwner(ctx context.Context, a *storage.Account, token string) error {
	if err := s.useMailToken(ctx, mailDeleteAccount, a.DID, token, checkMailToken); err != nil {
		return err
	}
	return s.deleteAccountNow(ctx, a.DID, cause{actor: a.DID}, func(tx storage.Tx, now *storage.Account) error {
		if now.PasswordHash != a.PasswordHash {
			return xrpc.AuthRequired("Invalid did or password")
		}
		return s.spendMailToken(tx, mailDeleteAccount, a.DID, token)
	})
}
