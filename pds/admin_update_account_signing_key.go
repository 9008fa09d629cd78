package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type updateAccountSigningKeyInput struct {
	DID        syntax.DID `json:"did"`
	SigningKey string     `json:"signingKey"` // did:key
}

func (in *updateAccountSigningKeyInput) describe() (subject, detail string) {
	return string(in.DID), in.SigningKey
}

// updateAccountSigningKey gives an account a key that reserveSigningKey has
// made, since the server must have its private half.
func (s *Server) updateAccountSigningKey() xrpc.Method {
	return xrpc.Procedure("com.atproto.admin.updateAccountSigningKey", s.adminOnly(),
		audited(s, func(ctx context.Context, in *updateAccountSigningKeyInput) (*xrpc.None, error) {
			err := s.setSigningKey(ctx, in.DID, in.SigningKey, causeOf(xrpc.CallerFrom(ctx)))
			if isAccountNotFound(err) {
				err = xrpc.InvalidRequest("Account not found")
			}
			return nil, err
		}))
}
