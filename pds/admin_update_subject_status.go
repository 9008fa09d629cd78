package pds

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// maxTakedownRef is the length of the longest reference of a takedown, in
// bytes.
const maxTakedownRef = 2048

type updateSubjectStatusInput struct {
	Subject     json.RawMessage `json:"subject"`
	Takedown    *statusAttr     `json:"takedown"`
	Deactivated *statusAttr     `json:"deactivated"`
}

type updateSubjectStatusOutput struct {
	Subject  json.RawMessage `json:"subject"`
	Takedown *statusAttr     `json:"takedown,omitempty"`
}

// describe names the subject and what is to become of it.
func (in *updateSubjectStatusInput) describe() (subject, detail string) {
	if sub, err := parseSubject(in.Subject); err == nil {
		subject = strings.TrimSpace(sub.DID + sub.URI + " " + sub.CID)
	}
	if in.Takedown != nil {
		detail = strings.TrimSpace(fmt.Sprintf("takedown=%t %s", in.Takedown.Applied, in.Takedown.Ref))
	}
	if in.Deactivated != nil {
		detail = strings.TrimSpace(fmt.Sprintf("deactivated=%t %s", in.Deactivated.Applied, detail))
	}
	return subject, detail
}

func (s *Server) updateSubjectStatus() xrpc.Method {
	return xrpc.Procedure("com.atproto.admin.updateSubjectStatus", s.moderator(),
		audited(s, func(ctx context.Context, in *updateSubjectStatusInput) (*updateSubjectStatusOutput, error) {
			if in.Takedown != nil && in.Takedown.Applied && in.Deactivated != nil && !in.Deactivated.Applied {
				return nil, xrpc.InvalidRequest("Cannot activate and takedown an account at the same time")
			}
			if in.Takedown != nil && len(in.Takedown.Ref) > maxTakedownRef {
				return nil, xrpc.InvalidRequest("Input/takedown/ref must not be longer than %d bytes", maxTakedownRef)
			}
			sub, err := parseSubject(in.Subject)
			if err != nil {
				return nil, err
			}
			by := causeOf(xrpc.CallerFrom(ctx))
			switch sub.Type {
			case repoRefType:
				err = s.moderateAccount(ctx, sub, in.Takedown, in.Deactivated, by)
			case strongRefType:
				err = s.moderateRecord(ctx, sub, in.Takedown)
			case repoBlobRefType:
				err = s.moderateBlob(ctx, sub, in.Takedown)
			}
			if isAccountNotFound(err) {
				err = errSubjectNotFound()
			}
			if err != nil {
				return nil, err
			}
			return &updateSubjectStatusOutput{Subject: in.Subject, Takedown: in.Takedown}, nil
		}))
}

// takedownRef is the reference that is stored for a takedown: that of the
// moderator, by default the time; empty for a restore.
func (s *Server) takedownRef(t *statusAttr) string {
	switch {
	case !t.Applied:
		return ""
	case t.Ref != "":
		return t.Ref
	}
	return formatTime(s.clock.Now())
}

// moderateAccount takes an account down or restores it, then deactivates or
// activates it. Without either it only tells the network the status again.
func (s *Server) moderateAccount(ctx context.Context, sub *subject, takedown, deactivated *statusAttr, by cause) error {
	did, err := subjectDID(sub.DID)
	if err != nil {
		return err
	}
	if takedown == nil && deactivated == nil {
		_, err := s.changeAccount(ctx, did, func(storage.Tx, *storage.Account) error { return nil }, announceStatus(by))
		return err
	}
	if takedown != nil {
		if err := s.takeDown(ctx, did, s.takedownRef(takedown), by); err != nil {
			return err
		}
	}
	switch {
	case deactivated == nil:
		return nil
	case deactivated.Applied:
		return s.deactivate(ctx, did, time.Time{}, false, by)
	}
	return s.activate(ctx, did, by)
}

// moderateRecord hides a record here or shows it again. It stays in the tree.
func (s *Server) moderateRecord(ctx context.Context, sub *subject, takedown *statusAttr) error {
	did, path, err := recordSubject(sub.URI)
	if err != nil || takedown == nil {
		return err
	}
	ref := s.takedownRef(takedown)
	return s.store.Update(ctx, func(tx storage.Tx) error {
		if _, err := subjectRecord(tx, did, path); err != nil {
			return err
		}
		return tx.SetRecordTakedown(did, path.Collection, path.RKey, ref)
	})
}

// moderateBlob makes a blob unavailable, for records, too, or available again.
func (s *Server) moderateBlob(ctx context.Context, sub *subject, takedown *statusAttr) error {
	did, err := subjectDID(sub.DID)
	if err != nil {
		return err
	}
	c, err := parseCID("subject/cid", sub.CID)
	if err != nil || takedown == nil {
		return err
	}
	ref := s.takedownRef(takedown)
	return s.store.Update(ctx, func(tx storage.Tx) error {
		b, err := subjectBlob(tx, did, c)
		if err != nil {
			return err
		}
		b.TakedownRef = ref
		return tx.PutBlob(b)
	})
}
