package pds

import (
	"context"
	"encoding/json"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type putRecordInput struct {
	Repo       string          `json:"repo"`
	Collection string          `json:"collection"`
	RKey       string          `json:"rkey"`
	Validate   *bool           `json:"validate"`
	Record     json.RawMessage `json:"record"`
	SwapRecord json.RawMessage `json:"swapRecord"` // absent, null or a CID
	SwapCommit string          `json:"swapCommit"`
}

func (s *Server) putRecord() xrpc.Method {
	return s.putRecordAs("com.atproto.repo.putRecord", s.writeRule())
}

// putRecordAs is putRecord under any name, see [Server.Alias].
func (s *Server) putRecordAs(nsid string, rule xrpc.Rule) xrpc.Method {
	return xrpc.Procedure(nsid, rule,
		func(ctx context.Context, in *putRecordInput) (*writeOutput, error) {
			b, err := s.writeBatch(ctx, in.Repo, in.Validate, in.SwapCommit)
			if err != nil {
				return nil, err
			}
			if err := s.allowScope(ctx, &b, in.Collection, Create, Update); err != nil {
				return nil, err
			}
			if err := s.takeWritePoints(ctx, updatePoints); err != nil {
				return nil, err
			}
			rec, err := parseRecord(in.Record, in.Collection)
			if err != nil {
				return nil, err
			}
			swap, err := swapRecord(in.SwapRecord)
			if err != nil {
				return nil, err
			}
			b.legacy = true
			b.Ops = []Op{{
				Action: Put, Collection: syntax.NSID(in.Collection), RKey: syntax.RecordKey(in.RKey),
				Record: rec, SwapRecord: swap,
			}}
			res, err := s.Apply(ctx, b)
			if err != nil {
				return nil, err
			}
			return res.writeOutput(), nil
		}).WithMaxBody(maxWriteBody)
}
