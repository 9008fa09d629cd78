package pds

import (
	"context"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type listMissingBlobsParams struct {
	Limit  int    `json:"limit"`
	Cursor string `json:"cursor"`
}

type listMissingBlobsOutput struct {
	Cursor string        `json:"cursor,omitempty"`
	Blobs  []missingBlob `json:"blobs"`
}

type missingBlob struct {
	CID       string `json:"cid"`
	RecordURI string `json:"recordUri"`
}

// Limits of the lists of blobs by their lexicons.
const (
	defaultListBlobs = 500
	maxListBlobs     = 1000
)

func (s *Server) listMissingBlobs() xrpc.Method {
	return xrpc.Query("com.atproto.repo.listMissingBlobs", s.access(accessRule{scopes: standardAccess, oauthAny: true}),
		func(ctx context.Context, p *listMissingBlobsParams) (*listMissingBlobsOutput, error) {
			if p.Limit == 0 {
				p.Limit = defaultListBlobs
			}
			if p.Limit < 1 || p.Limit > maxListBlobs {
				return nil, xrpc.InvalidRequest("Params/limit must be from 1 to 1000")
			}
			out := &listMissingBlobsOutput{Blobs: []missingBlob{}}
			did := xrpc.CallerFrom(ctx).Account
			err := s.store.View(ctx, func(tx storage.Tx) error {
				refs, err := tx.ListMissingBlobs(did, p.Cursor, p.Limit)
				for _, r := range refs {
					out.Blobs = append(out.Blobs, missingBlob{r.CID.String(), r.URI})
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			if len(out.Blobs) == p.Limit {
				out.Cursor = out.Blobs[p.Limit-1].CID
			}
			return out, nil
		})
}
