package pds

import (
	"context"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type createInviteCodeInput struct {
	UseCount   int    `json:"useCount"`
	ForAccount string `json:"forAccount"`
}

type createInviteCodeOutput struct {
	Code string `json:"code"`
}

func (s *Server) createInviteCode() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.createInviteCode", s.adminOnly(),
		func(ctx context.Context, in *createInviteCodeInput) (*createInviteCodeOutput, error) {
			made, err := s.makeInvites(ctx, []string{in.ForAccount}, 1, in.UseCount)
			if err != nil {
				return nil, err
			}
			return &createInviteCodeOutput{made[0].Codes[0]}, nil
		})
}

type createInviteCodesInput struct {
	CodeCount   *int     `json:"codeCount"`
	UseCount    int      `json:"useCount"`
	ForAccounts []string `json:"forAccounts"`
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
		func(ctx context.Context, in *createInviteCodesInput) (*createInviteCodesOutput, error) {
			count := 1
			if in.CodeCount != nil {
				count = *in.CodeCount
			}
			if len(in.ForAccounts) == 0 {
				in.ForAccounts = []string{inviteByAdmin}
			}
			made, err := s.makeInvites(ctx, in.ForAccounts, count, in.UseCount)
			if err != nil {
				return nil, err
			}
			return &createInviteCodesOutput{made}, nil
		})
}

const (
	// maxNewInvites is how many codes one call makes.
	maxNewInvites = 5000

	// inviteBatch is how many codes one Update stores, in two rows each.
	inviteBatch = 500
)

// makeInvites makes codes for accounts, count for each. An empty account
// stands for the administrator.
func (s *Server) makeInvites(ctx context.Context, accounts []string, count, uses int) ([]accountCodes, error) {
	if count < 0 || uses < 0 || len(accounts) > maxNewInvites || count > maxNewInvites || count*len(accounts) > maxNewInvites {
		return nil, xrpc.InvalidRequest("Between 0 and %d codes can be made at once", maxNewInvites)
	}
	made := make([]accountCodes, 0, len(accounts))
	type newInvite struct{ account, code string }
	var all []newInvite
	for _, account := range accounts {
		if account == "" {
			account = inviteByAdmin
		}
		codes := make([]string, count)
		for i := range codes {
			codes[i] = s.newInviteCode()
			all = append(all, newInvite{account, codes[i]})
		}
		made = append(made, accountCodes{account, codes})
	}
	for len(all) > 0 {
		batch := all[:min(len(all), inviteBatch)]
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
		all = all[len(batch):]
	}
	return made, nil
}
