package pds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type disableInviteCodesInput struct {
	Codes    []string `json:"codes"`
	Accounts []string `json:"accounts"`
}

// describe counts the codes and does not name them: whoever knows one that was
// not disabled in the end can sign up with it.
func (in *disableInviteCodesInput) describe() (subject, detail string) {
	return strings.Join(in.Accounts, " "), fmt.Sprintf("%d codes by name", len(in.Codes))
}

func (s *Server) disableInviteCodes() xrpc.Method {
	return xrpc.Procedure("com.atproto.admin.disableInviteCodes", s.moderator(),
		audited(s, func(ctx context.Context, in *disableInviteCodesInput) (*xrpc.None, error) {
			if slices.Contains(in.Accounts, inviteByAdmin) {
				return nil, xrpc.InvalidRequest("cannot disable admin invite codes")
			}
			codes := in.Codes
			for _, account := range in.Accounts {
				err := s.store.View(ctx, func(tx storage.Tx) error {
					docs, err := accountInviteDocs(tx, account)
					for _, d := range docs {
						codes = append(codes, accountInviteCode(d))
					}
					return err
				})
				if err != nil {
					return nil, err
				}
			}
			return nil, s.DisableInvites(ctx, codes)
		}))
}

// DisableInvites disables invite codes; ones that do not exist are passed over.
func (s *Server) DisableInvites(ctx context.Context, codes []string) error {
	for batch := range slices.Chunk(codes, inviteBatch) {
		err := s.store.Update(ctx, func(tx storage.Tx) error { return disableInvites(tx, batch) })
		if err != nil {
			return err
		}
	}
	return nil
}

// disableInvites disables codes; ones that do not exist are passed over.
func disableInvites(tx storage.Docs, codes []string) error {
	for _, code := range codes {
		d, inv, err := getInvite(tx, code)
		if errors.Is(err, storage.ErrNotFound) || err == nil && inv.Disabled {
			continue
		}
		if err != nil {
			return err
		}
		inv.Disabled = true
		if err := replaceInvite(tx, d, inv); err != nil {
			return err
		}
	}
	return nil
}
