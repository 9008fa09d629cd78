package pds

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type applyWritesInput struct {
	Repo       string `json:"repo"`
	Validate   *bool  `json:"validate"`
	SwapCommit string `json:"swapCommit"`
	Writes     []struct {
		Type       string          `json:"$type"`
		Collection string          `json:"collection"`
		RKey       string          `json:"rkey"`
		Value      json.RawMessage `json:"value"`
	} `json:"writes"`
}

type applyWritesOutput struct {
	Commit  *commitInfo         `json:"commit,omitempty"`
	Results []applyWritesResult `json:"results"`
}

type applyWritesResult struct {
	Type             string `json:"$type"`
	URI              string `json:"uri,omitempty"`
	CID              string `json:"cid,omitempty"`
	ValidationStatus string `json:"validationStatus,omitempty"`
}

const applyWritesNSID = "com.atproto.repo.applyWrites"

func (s *Server) applyWrites() xrpc.Method {
	return s.applyWritesAs(applyWritesNSID, s.writeRule())
}

// applyWritesAs is applyWrites under any name, see [Server.Alias]. The types of
// the writes and of their results keep the names that they have there.
func (s *Server) applyWritesAs(nsid string, rule xrpc.Rule) xrpc.Method {
	return xrpc.Procedure(nsid, rule,
		func(ctx context.Context, in *applyWritesInput) (*applyWritesOutput, error) {
			b, err := s.writeBatch(ctx, in.Repo, in.Validate, in.SwapCommit)
			if err != nil {
				return nil, err
			}
			if len(in.Writes) > s.cfg.Limits.Writes {
				return nil, xrpc.InvalidRequest("Too many writes. Max: %d", s.cfg.Limits.Writes)
			}
			allow, err := s.writeScopes(ctx, &b)
			if err != nil {
				return nil, err
			}
			points := 0
			for i, wr := range in.Writes {
				op := Op{Collection: syntax.NSID(wr.Collection), RKey: syntax.RecordKey(wr.RKey)}
				switch wr.Type {
				case applyWritesNSID + "#create":
					op.Action = Create
				case applyWritesNSID + "#update":
					op.Action = Update
				case applyWritesNSID + "#delete":
					op.Action = Delete
				default:
					return nil, xrpc.InvalidRequest("Input/writes/%d has the unknown $type %q", i, wr.Type)
				}
				if err := allow(wr.Collection, op.Action); err != nil {
					return nil, err
				}
				points += pointsOf(op.Action)
				if op.Action != Delete {
					if op.Record, err = parseRecord(wr.Value, wr.Collection); err != nil {
						return nil, err
					}
				}
				b.Ops = append(b.Ops, op)
			}
			if err := s.takeWritePoints(ctx, points); err != nil {
				return nil, err
			}
			res, err := s.Apply(ctx, b)
			if err != nil {
				return nil, err
			}
			return res.applyWritesOutput(), nil
		}).WithMaxBody(maxWriteBody)
}

func (r *Result) applyWritesOutput() *applyWritesOutput {
	out := &applyWritesOutput{Commit: r.commitInfo(), Results: make([]applyWritesResult, len(r.Ops))}
	for i, op := range r.Ops {
		out.Results[i] = applyWritesResult{Type: fmt.Sprintf("%s#%sResult", applyWritesNSID, op.Action)}
		if op.Action != Delete {
			out.Results[i].URI, out.Results[i].CID = string(op.URI), op.CID.String()
			out.Results[i].ValidationStatus = op.Validation
		}
	}
	return out
}
