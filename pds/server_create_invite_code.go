package pds

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type createInviteCodeInput struct {
	UseCount   int    `json:"useCount"`
	ForAccount string `json:"forAccount"`
}

func (in *createInviteCodeInput) describe() (subject, detail string) {
	return in.ForAccount, fmt.Sprintf("a code for %d uses", in.UseCount)
}

type createInviteCodeOutput struct {
	Code string `json:"code"`
}

func (s *Server) createInviteCode() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.createInviteCode", s.adminOnly(),
		audited(s, func(ctx context.Context, in *createInviteCodeInput) (*createInviteCodeOutput, error) {
			made, err := s.makeInvites(ctx, []string{in.ForAccount}, 1, in.UseCount)
			if err != nil {
				return nil, err
			}
			return &createInviteCodeOutput{made[0].Codes[0]}, nil
		}))
}

type createInviteCodesInput struct {
	CodeCount   *int     `json:"codeCount"`
	UseCount    int      `json:"useCount"`
	ForAccounts []string `json:"forAccounts"`
}

func (in *createInviteCodesInput) describe() (subject, detail string) {
	return strings.Join(in.ForAccounts, " "), fmt.Sprintf("%d codes each, for %d uses", in.count(), in.UseCount)
}

func (in *createInviteCodesInput) count() int {
	if in.CodeCount != nil {
		return *in.CodeCount
	}
	return 1
}

type accountCodes struct {
	Account string   `json:"account"`
	Codes   []string `json:"codes"`
}

type createInviteCodesOutput struct {
	Codes []accountCodes `json:"codes"`
}

func (s *Server) createInviteCodes() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.createInviteCodes", s.adminOnly(),
		audited(s, func(ctx context.Context, in *createInviteCodesInput) (*createInviteCodesOutput, error) {
			if len(in.ForAccounts) == 0 {
				in.ForAccounts = []string{inviteByAdmin}
			}
			made, err := s.makeInvites(ctx, in.ForAccounts, in.count(), in.UseCount)
			if err != nil {
				return nil, err
			}
			return &createInviteCodesOutput{made}, nil
		}))
}

const (
	// maxNewInvites is how many codes one call makes.
	maxNewInvites = 5000

	// inviteBatch is how many codes one Update stores.
	inviteBatch = 1600 / inviteRows
)

// newInvite is a code that is to be stored.
type newInvite struct{ account, code string }

// makeInvites makes codes for accounts, count for each. An empty account
// stands for the administrator.
func (s *Server) makeInvites(ctx context.Context, accounts []string, count, uses int) ([]accountCodes, error) {
	if count < 0 || uses < 0 || len(accounts) > maxNewInvites || count > maxNewInvites || count*len(accounts) > maxNewInvites {
		return nil, xrpc.InvalidRequest("Between 0 and %d codes can be made at once", maxNewInvites)
	}
	made := make([]accountCodes, 0, len(accounts))
	var all []newInvite
	for _, account := range accounts {
		if account == "" {
			account = inviteByAdmin
		}
		if err := s.checkRoomForInvites(ctx, account, count); err != nil {
			return nil, err
		}
		codes := make([]string, count)
		for i := range codes {
			codes[i] = s.newInviteCode()
			all = append(all, newInvite{account, codes[i]})
		}
		made = append(made, accountCodes{account, codes})
	}
	for batch := range slices.Chunk(all, inviteBatch) {
		err := s.store.Update(ctx, func(tx storage.Tx) error {
			for _, n := range batch {
				err := putInvite(tx, n.code, invite{
					Uses: uses, ForAccount: n.account, CreatedBy: inviteByAdmin, CreatedAt: s.clock.Now(),
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return made, nil
}

// checkRoomForInvites refuses codes for an account that has too many.
func (s *Server) checkRoomForInvites(ctx context.Context, account string, count int) error {
	if account == inviteByAdmin {
		return nil
	}
	if _, err := syntax.ParseDID(account); err != nil {
		return xrpc.InvalidRequest("%q is neither a DID nor %q", account, inviteByAdmin).WithCause(err)
	}
	return s.store.View(ctx, func(tx storage.Tx) error {
		docs, err := accountInviteDocs(tx, account)
		if err == nil && len(docs)+count > maxAccountInvites {
			err = xrpc.InvalidRequest("An account can have %d invite codes, %s has %d", maxAccountInvites, account, len(docs))
		}
		return err
	})
}
