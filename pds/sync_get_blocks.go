package pds

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type getBlocksParams struct {
	DID  syntax.DID `json:"did"`
	CIDs []string   `json:"cids"`
}

// getBlocks answers with a CAR without root that holds each of the blocks
// once, in the order asked for. Nothing is sent unless all of them are there.
func (s *Server) getBlocks() xrpc.Method {
	return xrpc.QueryBody("com.atproto.sync.getBlocks", s.activeReader(),
		func(ctx context.Context, p *getBlocksParams) (*xrpc.Body, error) {
			cids := make([]cid.Cid, 0, len(p.CIDs))
			seen := make(map[cid.Cid]bool, len(p.CIDs))
			for _, text := range p.CIDs {
				c, err := cid.Decode(text)
				if err != nil {
					return nil, xrpc.InvalidRequest("Malformed CID: %s", text).WithCause(err)
				}
				if !seen[c] {
					seen[c] = true
					cids = append(cids, c)
				}
			}
			sp, err := s.exports.open(xrpc.ClientKey(ctx))
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, sp.close)
			err = s.store.View(ctx, func(tx storage.Tx) error { return blocksTo(ctx, tx, sp, p.DID, cids) })
			sp.finish(err)
			if err != nil {
				sp.close()
				return nil, err
			}
			return &xrpc.Body{ContentType: carType, Length: -1, Write: sp.drain}, nil
		})
}

// blocksTo writes blocks of a repository as a CAR without root.
func blocksTo(ctx context.Context, tx storage.Tx, w io.Writer, did syntax.DID, cids []cid.Cid) error {
	if _, err := readableHead(ctx, tx, did); err != nil {
		return err
	}
	car, err := repo.NewCARWriter(w)
	if err != nil {
		return err
	}
	for _, c := range cids {
		data, err := tx.Block(did, c)
		if errors.Is(err, storage.ErrNotFound) {
			return xrpc.NewError(http.StatusBadRequest, "BlockNotFound", "Could not find block: "+c.String())
		}
		if err != nil {
			return err
		}
		if err := car.WriteBlock(repo.Block{CID: c, Data: data}); err != nil {
			return err
		}
	}
	return nil
}
