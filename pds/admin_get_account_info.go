package pds

import (
	"context"
	"errors"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// maxAccountInfos is how many accounts one call of getAccountInfos describes.
const maxAccountInfos = 500

// accountView is com.atproto.admin.defs#accountView.
type accountView struct {
	DID              syntax.DID `json:"did"`
	Handle           string     `json:"handle"`
	Email            string     `json:"email,omitempty"`
	IndexedAt        string     `json:"indexedAt"`
	InvitedBy        *Invite    `json:"invitedBy,omitempty"`
	Invites          []*Invite  `json:"invites,omitempty"`
	InvitesDisabled  *bool      `json:"invitesDisabled,omitempty"`
	EmailConfirmedAt string     `json:"emailConfirmedAt,omitempty"`
	DeactivatedAt    string     `json:"deactivatedAt,omitempty"`
}

// errNoAccount is the answer of administration methods for an account that is
// not here.
func errNoAccount() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "NotFound", "Account not found")
}

// viewAccount describes an account to the administrator. What it has to do with
// invites is shown where they are asked for.
func (s *Server) viewAccount(tx storage.Docs, a *storage.Account) (v *accountView, err error) {
	v = &accountView{DID: a.DID, Handle: handleOf(a), Email: a.Email, IndexedAt: formatTime(a.CreatedAt)}
	if !a.EmailConfirmedAt.IsZero() {
		v.EmailConfirmedAt = formatTime(a.EmailConfirmedAt)
	}
	if !a.DeactivatedAt.IsZero() {
		v.DeactivatedAt = formatTime(a.DeactivatedAt)
	}
	if !s.cfg.InviteRequired {
		return v, nil
	}
	v.InvitesDisabled = &a.InvitesDisabled
	if v.InvitedBy, err = invitedBy(tx, a.DID); err != nil {
		return nil, err
	}
	v.Invites, err = accountInvites(tx, string(a.DID))
	return v, err
}

// accountInfo describes an account in whatever state it is.
func (s *Server) accountInfo(ctx context.Context, did syntax.DID) (v *accountView, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		a, err := findAccount(tx, string(did))
		if err != nil {
			return err
		}
		v, err = s.viewAccount(tx, &a)
		return err
	})
	return v, err
}

type getAccountInfoParams struct {
	DID syntax.DID `json:"did"`
}

func (s *Server) getAccountInfo() xrpc.Method {
	return xrpc.Query("com.atproto.admin.getAccountInfo", s.moderator(),
		func(ctx context.Context, p *getAccountInfoParams) (*accountView, error) {
			v, err := s.accountInfo(ctx, p.DID)
			if errors.Is(err, storage.ErrNotFound) {
				err = errNoAccount()
			}
			return v, err
		})
}

type getAccountInfosParams struct {
	DIDs []syntax.DID `json:"dids"`
}

type getAccountInfosOutput struct {
	Infos []*accountView `json:"infos"`
}

// getAccountInfos leaves out accounts that are not here.
func (s *Server) getAccountInfos() xrpc.Method {
	return xrpc.Query("com.atproto.admin.getAccountInfos", s.moderator(),
		func(ctx context.Context, p *getAccountInfosParams) (*getAccountInfosOutput, error) {
			if len(p.DIDs) > maxAccountInfos {
				return nil, xrpc.InvalidRequest("At most %d accounts can be asked for at once", maxAccountInfos)
			}
			out := &getAccountInfosOutput{Infos: []*accountView{}}
			for _, did := range p.DIDs {
				v, err := s.accountInfo(ctx, did)
				if errors.Is(err, storage.ErrNotFound) {
					continue
				}
				if err != nil {
					return nil, err
				}
				out.Infos = append(out.Infos, v)
			}
			return out, nil
		})
}
