package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type accountInvitesInput struct {
	Account syntax.DID `json:"account"`
	Note    string     `json:"note"` // for the audit log
}

func (in *accountInvitesInput) describe() (subject, detail string) {
	return string(in.Account), in.Note
}

func (s *Server) disableAccountInvites() xrpc.Method {
	return s.setAccountInvites("com.atproto.admin.disableAccountInvites", true)
}

func (s *Server) enableAccountInvites() xrpc.Method {
	return s.setAccountInvites("com.atproto.admin.enableAccountInvites", false)
}

// setAccountInvites decides whether the codes that an account earns from now on
// work. Those that it has stay as they are.
func (s *Server) setAccountInvites(nsid string, disabled bool) xrpc.Method {
	return xrpc.Procedure(nsid, s.moderator(),
		audited(s, func(ctx context.Context, in *accountInvitesInput) (*xrpc.None, error) {
			err := s.SetInvitesDisabled(ctx, in.Account, disabled)
			if isAccountNotFound(err) {
				err = errNoAccount()
			}
			return nil, err
		}))
}

// SetInvitesDisabled decides whether the invite codes that an account earns from
// now on work.
func (s *Server) SetInvitesDisabled(ctx context.Context, did syntax.DID, disabled bool) error {
	_, err := s.changeAccount(ctx, did, func(_ storage.Tx, a *storage.Account) error {
		a.InvitesDisabled = disabled
		return nil
	}, nil)
	return err
}
