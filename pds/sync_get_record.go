package pds

import (
	"bytes"
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type syncGetRecordParams struct {
	DID        syntax.DID       `json:"did"`
	Collection syntax.NSID      `json:"collection"`
	RKey       syntax.RecordKey `json:"rkey"`
}

// syncGetRecord answers with a CAR that proves a record, or that there is
// none: the signed commit, the nodes from the root to its place, and the
// record.
func (s *Server) syncGetRecord() xrpc.Method {
	return xrpc.QueryBody("com.atproto.sync.getRecord", s.activeReader(),
		func(ctx context.Context, p *syncGetRecordParams) (*xrpc.Body, error) {
			path := storage.RecordPath{Collection: p.Collection, RKey: p.RKey}.String()
			if err := repo.CheckPath(path); err != nil {
				return nil, xrpc.InvalidRequest("%v", err).WithCause(err)
			}
			var car []byte
			err := s.store.View(ctx, func(tx storage.Tx) error {
				head, err := readableHead(ctx, tx, p.DID)
				if err != nil {
					return err
				}
				car, err = proofCAR(tx, p.DID, head, path)
				return err
			})
			if err != nil {
				return nil, err
			}
			return &xrpc.Body{ContentType: carType, Length: int64(len(car)), Reader: bytes.NewReader(car)}, nil
		})
}

// proofCAR returns the proof of what is, or is not, at a path.
func proofCAR(tx storage.Repos, did syntax.DID, head storage.Head, path string) ([]byte, error) {
	tree := repo.LoadTree(head.Data, func(c cid.Cid) ([]byte, error) { return tx.Block(did, c) })
	nodes, value, err := tree.Proof(path)
	if err != nil {
		return nil, err
	}
	blocks := make([]repo.Block, 0, len(nodes)+2)
	blocks = append(blocks, repo.Block{CID: head.CID, Data: head.Commit})
	blocks = append(blocks, nodes...)
	if value.Defined() {
		data, err := tx.Block(did, value)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, repo.Block{CID: value, Data: data})
	}
	return repo.EncodeCAR(head.CID, blocks), nil
}
