package pds

import (
	"context"
	"encoding/json"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type createRecordInput struct {
	Repo       string          `json:"repo"`
	Collection string          `json:"collection"`
	RKey       string          `json:"rkey"`
	Validate   *bool           `json:"validate"`
	Record     json.RawMessage `json:"record"`
	SwapCommit string          `json:"swapCommit"`
}

func (s *Server) createRecord() xrpc.Method {
	return s.createRecordAs("com.atproto.repo.createRecord", s.writeRule())
}

// createRecordAs is createRecord under any name, see [Server.Alias].
func (s *Server) createRecordAs(nsid string, rule xrpc.Rule) xrpc.Method {
	return xrpc.Procedure(nsid, rule,
		func(ctx context.Context, in *createRecordInput) (*writeOutput, error) {
			b, err := s.writeBatch(ctx, in.Repo, in.Validate, in.SwapCommit)
			if err != nil {
				return nil, err
			}
			if err := s.allowWrites(ctx, &b, Create, in.Collection); err != nil {
				return nil, err
			}
			rec, err := parseRecord(in.Record, in.Collection)
			if err != nil {
				return nil, err
			}
			b.dedupe = b.Validate != ValidateNone
			b.Ops = []Op{{
				Action: Create, Collection: syntax.NSID(in.Collection), RKey: syntax.RecordKey(in.RKey), Record: rec,
			}}
			res, err := s.Apply(ctx, b)
			if err != nil {
				return nil, err
			}
			return res.writeOutput(), nil
		}).WithMaxBody(maxWriteBody)
}
