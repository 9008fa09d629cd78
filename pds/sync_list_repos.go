package pds

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Limits of lists of com.atproto.sync by their lexicons.
const (
	defaultSyncList = 500
	maxSyncList     = 1000
)

type listReposParams struct {
	Limit  int    `json:"limit"`
	Cursor string `json:"cursor"`
}

type listReposOutput struct {
	Cursor string       `json:"cursor,omitempty"`
	Repos  []listedRepo `json:"repos"`
}

type listedRepo struct {
	DID    syntax.DID `json:"did"`
	Head   string     `json:"head"`
	Rev    syntax.TID `json:"rev"`
	Active bool       `json:"active"`
	Status string     `json:"status,omitempty"`
}

// listRepos lists the repositories of complete accounts, whatever their
// status, in order of creation.
func (s *Server) listRepos() xrpc.Method {
	return xrpc.Query("com.atproto.sync.listRepos", xrpc.Public(),
		func(ctx context.Context, p *listReposParams) (*listReposOutput, error) {
			limit, err := syncLimit(p.Limit)
			if err != nil {
				return nil, err
			}
			after, err := parseAccountCursor(p.Cursor)
			if err != nil {
				return nil, err
			}
			out := &listReposOutput{Repos: make([]listedRepo, 0, limit)}
			err = s.store.View(ctx, func(tx storage.Tx) error {
				accounts, err := tx.ListAccounts(after, limit)
				if err != nil {
					return err
				}
				for i := range accounts {
					if err := out.add(tx, &accounts[i]); err != nil {
						return err
					}
				}
				if len(accounts) == limit {
					out.Cursor = formatAccountCursor(accounts[limit-1].Cursor())
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			return out, nil
		})
}

// add appends an account's repository, if it has one.
func (o *listReposOutput) add(tx storage.Repos, a *storage.Account) error {
	if a.Pending {
		return nil
	}
	head, err := tx.Head(a.DID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	status := statusOf(a)
	o.Repos = append(o.Repos, listedRepo{a.DID, head.CID.String(), head.Rev, status == "", status})
	return nil
}

// syncLimit checks the limit of a list of this namespace.
func syncLimit(n int) (int, error) { return listLimit(n, defaultSyncList, maxSyncList) }

// listLimit checks the limit of a list; zero stands for the default.
func listLimit(n, byDefault, most int) (int, error) {
	if n == 0 {
		return byDefault, nil
	}
	if n < 1 || n > most {
		return 0, xrpc.InvalidRequest("limit must be from 1 to %d", most)
	}
	return n, nil
}

// cursorSeparator stands between the time and the DID of a listRepos cursor.
const cursorSeparator = "::"

func formatAccountCursor(c storage.AccountCursor) string {
	return strconv.FormatInt(c.CreatedAt, 10) + cursorSeparator + string(c.DID)
}

// parseAccountCursor reads "<milliseconds>::<did>". The empty cursor is the
// beginning.
func parseAccountCursor(text string) (storage.AccountCursor, error) {
	if text == "" {
		return storage.AccountCursor{}, nil
	}
	bad := func() (storage.AccountCursor, error) {
		return storage.AccountCursor{}, xrpc.InvalidRequest("Malformed cursor")
	}
	ms, did, ok := strings.Cut(text, cursorSeparator)
	if !ok {
		return bad()
	}
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return bad()
	}
	parsed, err := syntax.ParseDID(did)
	if err != nil {
		return bad()
	}
	return storage.AccountCursor{CreatedAt: n, DID: parsed}, nil
}
