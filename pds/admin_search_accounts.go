package pds

import (
	"context"
	"errors"
	"strings"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	defaultAccountList = 50
	maxAccountList     = 100
)

type searchAccountsParams struct {
	Email  string `json:"email"`
	Cursor string `json:"cursor"`
	Limit  int    `json:"limit"`
}

type searchAccountsOutput struct {
	Cursor   string         `json:"cursor,omitempty"`
	Accounts []*accountView `json:"accounts"`
}

// searchAccounts finds the account with an e-mail address, or lists all in the
// order of their creation.
func (s *Server) searchAccounts() xrpc.Method {
	return xrpc.Query("com.atproto.admin.searchAccounts", s.moderator(),
		func(ctx context.Context, p *searchAccountsParams) (*searchAccountsOutput, error) {
			limit, err := listLimit(p.Limit, defaultAccountList, maxAccountList)
			if err != nil {
				return nil, err
			}
			after, err := parseAccountCursor(p.Cursor)
			if err != nil {
				return nil, err
			}
			out := &searchAccountsOutput{Accounts: []*accountView{}}
			return out, s.store.View(ctx, func(tx storage.Tx) error {
				found, err := findByEmail(tx, p.Email)
				if p.Email == "" {
					found, err = tx.ListAccounts(after, limit)
				}
				if err != nil {
					return err
				}
				for i := range found {
					if found[i].Pending {
						continue
					}
					v, err := s.viewAccount(tx, &found[i])
					if err != nil {
						return err
					}
					out.Accounts = append(out.Accounts, v)
				}
				if len(found) == limit && p.Email == "" {
					out.Cursor = formatAccountCursor(found[limit-1].Cursor())
				}
				return nil
			})
		})
}

// findByEmail returns the account with an address, if there is one.
func findByEmail(tx storage.Accounts, email string) ([]storage.Account, error) {
	a, err := tx.AccountByEmail(strings.ToLower(email))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return []storage.Account{a}, err
}
