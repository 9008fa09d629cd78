package pds

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// maxOpenInvites is how many unused codes an account can have earned.
const maxOpenInvites = 5

// docInviteTurn is the kind of the documents by which calls that make an
// account's earned codes notice each other; their key is the DID.
const docInviteTurn = "invite-turn"

type getAccountInviteCodesParams struct {
	IncludeUsed     bool `json:"includeUsed"`
	CreateAvailable bool `json:"createAvailable"`
}

type inviteCodesOutput struct {
	Cursor string    `json:"cursor,omitempty"`
	Codes  []*Invite `json:"codes"`
}

func (s *Server) getAccountInviteCodes() xrpc.Method {
	return xrpc.Query("com.atproto.server.getAccountInviteCodes", s.access(accessRule{scopes: fullAccess}),
		func(ctx context.Context, p *getAccountInviteCodesParams) (*inviteCodesOutput, error) {
			a, err := s.accountByIdentifier(ctx, xrpc.CallerFrom(ctx).Account.String())
			if err != nil {
				return nil, err
			}
			if p.CreateAvailable && s.cfg.InviteRequired && s.cfg.InviteInterval > 0 {
				if err := s.earnInvites(ctx, &a); err != nil {
					return nil, err
				}
			}
			var codes []*Invite
			err = s.store.View(ctx, func(tx storage.Tx) error {
				codes, err = accountInvites(tx, string(a.DID))
				return err
			})
			if err != nil {
				return nil, err
			}
			codes = slices.DeleteFunc(codes, func(v *Invite) bool {
				return v.Disabled || !p.IncludeUsed && !v.open
			})
			return &inviteCodesOutput{Codes: codes}, nil
		})
}

// earnInvites makes the codes that an account has earned and not taken yet.
// Codes that were given to it do not count.
func (s *Server) earnInvites(ctx context.Context, a *storage.Account) error {
	now := s.clock.Now()
	var count int
	var turn storage.Doc
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		turn, err = tx.GetDoc(docInviteTurn, string(a.DID))
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		count, err = s.earnedInvites(tx, a, now)
		return err
	})
	if err != nil || count <= 0 {
		return err
	}
	codes := make([]string, count)
	for i := range codes {
		codes[i] = s.newInviteCode()
	}
	return s.store.Update(ctx, func(tx storage.Tx) error {
		d := storage.Doc{Kind: docInviteTurn, Key: string(a.DID), Owner: a.DID, Version: turn.Version}
		_, err := tx.PutDoc(d)
		if errors.Is(err, storage.ErrConflict) {
			return xrpc.NewError(http.StatusBadRequest, "DuplicateCreate", "attempted to create additional codes in another request")
		}
		if err != nil {
			return err
		}
		for _, code := range codes {
			err := putInvite(tx, code, invite{
				Uses: 1, Disabled: a.InvitesDisabled, ForAccount: string(a.DID), CreatedBy: string(a.DID), CreatedAt: now,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// earnedInvites counts the codes that an account may make.
func (s *Server) earnedInvites(tx storage.Docs, a *storage.Account, now time.Time) (int, error) {
	docs, err := accountInviteDocs(tx, string(a.DID))
	if err != nil {
		return 0, err
	}
	since := a.CreatedAt
	if since.Before(s.cfg.InviteEpoch) {
		since = s.cfg.InviteEpoch
	}
	open, made := 0, 0
	for _, d := range docs {
		if string(d.Value) == inviteByAdmin {
			continue
		}
		_, inv, err := getInvite(tx, accountInviteCode(d))
		if err != nil {
			return 0, err
		}
		if !inv.Disabled && inv.Used < inv.Uses {
			open++
		}
		if inv.CreatedAt.After(s.cfg.InviteEpoch) {
			made++
		}
	}
	earned := int(now.Sub(since) / s.cfg.InviteInterval)
	return min(maxOpenInvites-open, earned-made, maxAccountInvites-len(docs)), nil
}
