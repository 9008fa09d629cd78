package pds

import (
	"context"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type getSubjectStatusParams struct {
	DID  string `json:"did"`
	URI  string `json:"uri"`
	Blob string `json:"blob"`
}

type getSubjectStatusOutput struct {
	Subject     *subject    `json:"subject"`
	Takedown    *statusAttr `json:"takedown,omitempty"`
	Deactivated *statusAttr `json:"deactivated,omitempty"`
}

func (s *Server) getSubjectStatus() xrpc.Method {
	return xrpc.Query("com.atproto.admin.getSubjectStatus", s.moderator(),
		func(ctx context.Context, p *getSubjectStatusParams) (out *getSubjectStatusOutput, err error) {
			switch {
			case p.Blob != "" && p.DID == "":
				return nil, xrpc.InvalidRequest("Must provide a did to request blob state")
			case p.Blob != "":
				return s.blobStatus(ctx, p.DID, p.Blob)
			case p.URI != "":
				return s.recordStatus(ctx, p.URI)
			case p.DID != "":
				return s.accountStatus(ctx, p.DID)
			}
			return nil, xrpc.InvalidRequest("No provided subject")
		})
}

func (s *Server) blobStatus(ctx context.Context, didText, blob string) (*getSubjectStatusOutput, error) {
	did, err := subjectDID(didText)
	if err != nil {
		return nil, err
	}
	c, err := parseCID("blob", blob)
	if err != nil {
		return nil, err
	}
	var b storage.Blob
	err = s.store.View(ctx, func(tx storage.Tx) (err error) {
		b, err = subjectBlob(tx, did, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &getSubjectStatusOutput{
		Subject:  &subject{Type: repoBlobRefType, DID: did.String(), CID: c.String()},
		Takedown: takedownAttr(b.TakedownRef),
	}, nil
}

func (s *Server) recordStatus(ctx context.Context, uri string) (*getSubjectStatusOutput, error) {
	did, path, err := recordSubject(uri)
	if err != nil {
		return nil, err
	}
	var rec storage.Record
	err = s.store.View(ctx, func(tx storage.Tx) (err error) {
		rec, err = subjectRecord(tx, did, path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &getSubjectStatusOutput{
		Subject:  &subject{Type: strongRefType, URI: "at://" + did.String() + "/" + path.String(), CID: rec.CID.String()},
		Takedown: takedownAttr(rec.TakedownRef),
	}, nil
}

func (s *Server) accountStatus(ctx context.Context, didText string) (*getSubjectStatusOutput, error) {
	did, err := subjectDID(didText)
	if err != nil {
		return nil, err
	}
	var a storage.Account
	err = s.store.View(ctx, func(tx storage.Tx) (err error) {
		a, err = subjectAccount(tx, did)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &getSubjectStatusOutput{
		Subject:     &subject{Type: repoRefType, DID: did.String()},
		Takedown:    takedownAttr(a.TakedownRef),
		Deactivated: &statusAttr{Applied: !a.DeactivatedAt.IsZero()},
	}, nil
}
