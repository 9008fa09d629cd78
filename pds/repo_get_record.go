package pds

import (
	"context"
	"encoding/json"
	"errors"

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

const getRecordNSID = "com.atproto.repo.getRecord"

// getRecordOutput is a record that is stored here, or what the app view knows.
type getRecordOutput struct {
	recordView
	passed json.RawMessage
}

// AppendJSON implements [xrpc.JSONAppender].
func (o *getRecordOutput) AppendJSON(dst []byte) ([]byte, error) {
	if o.passed != nil {
		return append(dst, o.passed...), nil
	}
	return o.recordView.AppendJSON(dst)
}

func (s *Server) getRecord() xrpc.Method {
	return xrpc.Query(getRecordNSID, xrpc.Public(),
		func(ctx context.Context, p *getRecordParams) (*getRecordOutput, error) {
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
				if acct.DID == "" && s.cfg.AppView.URL != "" {
					return s.foreignRecord(ctx)
				}
				return nil, errRecordNotFound("at://" + p.Repo + "/" + p.Collection + "/" + p.RKey)
			}
			if err != nil {
				return nil, err
			}
			if !acct.Active() || rec.TakedownRef != "" || (p.CID != "" && p.CID != rec.CID.String()) {
				return nil, errRecordNotFound("at://" + p.Repo + "/" + p.Collection + "/" + p.RKey)
			}
			return &getRecordOutput{recordView: viewRecord(acct.DID, &rec)}, nil
		})
}

// foreignRecord asks the app view for a record of a repository that is not
// here, in nobody's name.
func (s *Server) foreignRecord(ctx context.Context) (*getRecordOutput, error) {
	to := upstream{s.cfg.AppView.DID, appViewService, s.cfg.AppView.URL}
	text, err := s.callJSON(ctx, to, nil, getRecordNSID, xrpc.RequestFrom(ctx).URL.Query(), nil)
	if err == nil && text == nil {
		err = errUpstreamUnreachable(errors.New("an empty answer"))
	}
	return &getRecordOutput{passed: text}, err
}
