package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type listBlobsParams struct {
	DID    syntax.DID `json:"did"`
	Since  syntax.TID `json:"since"`
	Limit  int        `json:"limit"`
	Cursor string     `json:"cursor"`
}

type listBlobsOutput struct {
	Cursor string   `json:"cursor,omitempty"`
	CIDs   []string `json:"cids"`
}

// listBlobs lists what the records of a repository refer to, stored or not.
func (s *Server) listBlobs() xrpc.Method {
	return xrpc.Query("com.atproto.sync.listBlobs", s.anyReader(),
		func(ctx context.Context, p *listBlobsParams) (*listBlobsOutput, error) {
			limit, err := syncLimit(p.Limit)
			if err != nil {
				return nil, err
			}
			out := &listBlobsOutput{CIDs: []string{}}
			err = s.store.View(ctx, func(tx storage.Tx) error {
				if _, err := readableAccount(ctx, tx, p.DID); err != nil {
					return err
				}
				refs, err := tx.ListBlobRefs(p.DID, p.Since, p.Cursor, limit)
				if err != nil {
					return err
				}
				for _, c := range refs {
					out.CIDs = append(out.CIDs, c.String())
				}
				if len(refs) == limit {
					out.Cursor = out.CIDs[limit-1]
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			return out, nil
		})
}
