package pds

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type listRecordsParams struct {
	Repo       string `json:"repo"`
	Collection string `json:"collection"`
	Limit      int    `json:"limit"`
	Cursor     string `json:"cursor"`
	Reverse    bool   `json:"reverse"`
}

// Limits of listRecords by its lexicon.
const (
	defaultListRecords = 50
	maxListRecords     = 100
)

type listRecordsOutput struct {
	cursor  string
	records []recordView
}

// AppendJSON writes {records, cursor?}.
func (o *listRecordsOutput) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"records":[`...)
	for i := range o.records {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = o.records[i].AppendJSON(dst); err != nil {
			return dst, err
		}
	}
	dst = append(dst, ']')
	if o.cursor != "" {
		cursor, err := json.Marshal(o.cursor)
		if err != nil {
			return dst, err
		}
		dst = append(append(dst, `,"cursor":`...), cursor...)
	}
	return append(dst, '}'), nil
}

func (s *Server) listRecords() xrpc.Method {
	return xrpc.Query("com.atproto.repo.listRecords", xrpc.Public(),
		func(ctx context.Context, p *listRecordsParams) (*listRecordsOutput, error) {
			if p.Limit == 0 {
				p.Limit = defaultListRecords
			}
			if p.Limit < 1 || p.Limit > maxListRecords {
				return nil, xrpc.InvalidRequest("Params/limit must be from 1 to 100")
			}
			out := &listRecordsOutput{records: make([]recordView, 0, p.Limit)}
			err := s.store.View(ctx, func(tx storage.Tx) error {
				acct, err := findAccount(tx, p.Repo)
				if errors.Is(err, storage.ErrNotFound) || (err == nil && !acct.Active()) {
					return xrpc.InvalidRequest("Could not find repo: " + p.Repo)
				}
				if err != nil {
					return err
				}
				return out.fill(tx, acct.DID, p)
			})
			if err != nil {
				return nil, err
			}
			return out, nil
		})
}

// fill collects a page. Records that are taken down are passed over, so that a
// page shorter than the limit is the last one.
func (o *listRecordsOutput) fill(tx storage.Repos, did syntax.DID, p *listRecordsParams) error {
	// The protocol's default order is descending.
	page := storage.Range{After: p.Cursor, Reverse: !p.Reverse, Limit: p.Limit}
	for {
		recs, err := tx.ListRecords(did, syntax.NSID(p.Collection), page)
		if err != nil {
			return err
		}
		for i := range recs {
			page.After = string(recs[i].RKey)
			if recs[i].TakedownRef != "" {
				continue
			}
			o.records = append(o.records, viewRecord(did, &recs[i]))
			if len(o.records) == p.Limit {
				o.cursor = page.After
				return nil
			}
		}
		if len(recs) < page.Limit {
			return nil
		}
	}
}
