package pds

import (
	"context"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type getRepoStatusOutput struct {
	DID    syntax.DID `json:"did"`
	Active bool       `json:"active"`
	Status string     `json:"status,omitempty"`
	Rev    syntax.TID `json:"rev,omitempty"` // of active accounts only
}

func (s *Server) getRepoStatus() xrpc.Method {
	return xrpc.Query("com.atproto.sync.getRepoStatus", xrpc.Public(),
		func(ctx context.Context, p *didParams) (*getRepoStatusOutput, error) {
			out := &getRepoStatusOutput{DID: p.DID}
			err := s.store.View(ctx, func(tx storage.Tx) error {
				a, err := tx.Account(p.DID)
				if errors.Is(err, storage.ErrNotFound) || (err == nil && a.Pending) {
					return errRepoNotFound(p.DID)
				}
				if err != nil {
					return err
				}
				out.Status = statusOf(&a)
				if out.Active = out.Status == ""; !out.Active {
					return nil
				}
				head, err := tx.Head(p.DID)
				if errors.Is(err, storage.ErrNotFound) {
					return nil
				}
				out.Rev = head.Rev
				return err
			})
			if err != nil {
				return nil, err
			}
			return out, nil
		})
}
