package pds

import (
	"context"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type getRecordParams struct {
	Repo       string `json:"repo"`
	Collection string `json:"collection"`
	RKey       string `json:"rkey"`
	CID        string `json:"cid"`
}

func (s *Server) getRecord() xrpc.Method {
	return xrpc.Query("com.atproto.repo.getRecord", xrpc.Public(),
		func(ctx context.Context, p *getRecordParams) (*recordView, error) {
			uri := fmt.Sprintf("at://%s/%s/%s", p.Repo, p.Collection, p.RKey)
			var rec storage.Record
			var acct storage.Account
			err := s.store.View(ctx, func(tx storage.Tx) (err error) {
				if acct, err = findAccount(tx, p.Repo); err != nil {
					return err
				}
				rec, err = tx.Record(acct.DID, syntax.NSID(p.Collection), syntax.RecordKey(p.RKey))
				return err
			})
			if errors.Is(err, storage.ErrNotFound) {
				return nil, errRecordNotFound(uri)
			}
			if err != nil {
				return nil, err
			}
			if !acct.Active() || rec.TakedownRef != "" || (p.CID != "" && p.CID != rec.CID.String()) {
				return nil, errRecordNotFound(uri)
			}
			v := viewRecord(acct.DID, &rec)
			return &v, nil
		})
}
