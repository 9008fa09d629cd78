package pds

import (
	"context"
	"encoding/json"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type deleteRecordInput struct {
	Repo       string          `json:"repo"`
	Collection string          `json:"collection"`
	RKey       string          `json:"rkey"`
	SwapRecord json.RawMessage `json:"swapRecord"`
	SwapCommit string          `json:"swapCommit"`
}

type deleteRecordOutput struct {
	Commit *commitInfo `json:"commit,omitempty"`
}

func (s *Server) deleteRecord() xrpc.Method {
	return s.deleteRecordAs("com.atproto.repo.deleteRecord", s.writeRule())
}

// deleteRecordAs is deleteRecord under any name, see [Server.Alias].
func (s *Server) deleteRecordAs(nsid string, rule xrpc.Rule) xrpc.Method {
	return xrpc.Procedure(nsid, rule,
		func(ctx context.Context, in *deleteRecordInput) (*deleteRecordOutput, error) {
			b, err := s.writeBatch(ctx, in.Repo, nil, in.SwapCommit)
			if err != nil {
				return nil, err
			}
			if err := s.allowWrites(ctx, &b, Delete, in.Collection); err != nil {
				return nil, err
			}
			swap, err := swapRecord(in.SwapRecord)
			if err != nil {
				return nil, err
			}
			if swap != nil && !swap.Defined() {
				swap = nil // null says nothing here
			}
			b.lenient = true
			b.Ops = []Op{{
				Action: Delete, Collection: syntax.NSID(in.Collection), RKey: syntax.RecordKey(in.RKey), SwapRecord: swap,
			}}
			res, err := s.Apply(ctx, b)
			if err != nil {
				return nil, err
			}
			return &deleteRecordOutput{res.commitInfo()}, nil
		})
}
