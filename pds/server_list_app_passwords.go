package pds

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type listAppPasswordsOutput struct {
	Passwords []appPasswordView `json:"passwords"`
}

func (s *Server) listAppPasswords() xrpc.Method {
	return xrpc.Query("com.atproto.server.listAppPasswords", s.access(accessRule{scopes: standardAccess}),
		func(ctx context.Context, _ *xrpc.None) (*listAppPasswordsOutput, error) {
			var list []appPassword
			err := s.store.View(ctx, func(tx storage.Tx) (err error) {
				list, err = listAppPasswords(tx, xrpc.CallerFrom(ctx).Account)
				return err
			})
			if err != nil {
				return nil, err
			}
			slices.SortFunc(list, func(a, b appPassword) int { // newest first
				return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.name, b.name))
			})
			out := &listAppPasswordsOutput{Passwords: make([]appPasswordView, len(list))}
			for i, app := range list {
				out.Passwords[i] = appPasswordView{
					Name: app.name, CreatedAt: formatTime(app.CreatedAt), Privileged: app.Privileged,
				}
			}
			return out, nil
		})
}
