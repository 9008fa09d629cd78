package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Report is a report that an account of this server has made, see
// [Config.KeepReports].
type Report struct {
	Number     int64      `json:"number"` // rises by one with each report
	Time       time.Time  `json:"time"`
	By         syntax.DID `json:"by"`
	ReasonType string     `json:"reasonType"`
	Reason     string     `json:"reason,omitempty"` // cut to MaxAuditText bytes

	// Account is whom the report is about, if that is named by a DID, and URI
	// which of its records, if it is about one; Blob is the CID of a blob.
	Account syntax.DID `json:"account,omitempty"`
	URI     string     `json:"uri,omitempty"`
	Blob    string     `json:"blob,omitempty"`

	// To is the service that was sent the report; empty: it is here alone.
	To syntax.DID `json:"to,omitempty"`
}

// docReport is the kind of the documents that hold reports, by number, and under
// numberedLast the last number. A report leaves with the account that made it.
const docReport = "report"

// reportSource returns the service that a report goes to, or here if it is kept
// by this server alone.
func (s *Server) reportSource(ctx context.Context) (to upstream, here bool, err error) {
	to, err = s.upstreamOf(xrpc.RequestFrom(ctx), createReportNSID)
	if err == nil || !s.cfg.KeepReports {
		return to, false, err
	}
	if _, configured := s.defaultUpstream(createReportNSID); configured {
		return to, false, err
	}
	if header := xrpc.RequestFrom(ctx).Header.Values(proxyHeader); len(header) > 0 && !s.namesSelf(xrpc.RequestFrom(ctx)) {
		return to, false, err
	}
	return upstream{did: s.cfg.ServiceDID, service: labelerService}, true, nil
}

// newReport reads what a report says.
func (s *Server) newReport(in *createReportInput, by syntax.DID) (*Report, error) {
	var fields struct {
		Reason  string `json:"reason"`
		Subject struct {
			DID string `json:"did"`
			URI string `json:"uri"`
			CID string `json:"cid"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(in.raw, &fields); err != nil {
		return nil, err
	}
	r := &Report{
		Time: s.clock.Now().UTC().Truncate(time.Millisecond), By: by, ReasonType: cutText(in.reason), Reason: cutText(fields.Reason),
		URI: cutText(fields.Subject.URI),
	}
	if r.URI == "" {
		r.Blob = cutText(fields.Subject.CID)
	}
	account := fields.Subject.DID
	if u, err := syntax.ParseATURI(fields.Subject.URI); err == nil && account == "" {
		account = u.Authority().String()
	}
	if did, err := syntax.ParseDID(account); err == nil {
		r.Account = did
	}
	return r, nil
}

// keepReport stores a report, in place of the oldest one if there are enough.
func (s *Server) keepReport(ctx context.Context, r *Report) error {
	return s.store.Update(ctx, func(tx storage.Tx) (err error) {
		if r.Number, err = nextNumber(tx, docReport, s.cfg.Limits.Reports); err != nil {
			return err
		}
		value, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = tx.PutDoc(storage.Doc{
			Kind: docReport, Key: numberedKey(r.Number), Owner: r.By, Value: value, Expires: s.clock.Latest().Add(s.cfg.Limits.ReportAge),
		})
		return err
	})
}

// answer is what a client gets whose report this server has taken.
func (r *Report) answer(in *createReportInput) (*json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(in.raw, &fields); err != nil {
		return nil, err
	}
	out, err := json.Marshal(map[string]any{
		"id": r.Number, "reasonType": r.ReasonType, "reason": r.Reason, "subject": fields["subject"],
		"reportedBy": r.By, "createdAt": formatTime(r.Time),
	})
	return (*json.RawMessage)(&out), err
}

// ReportsKept tells whether reports are kept, and which service takes them; ""
// = none.
func (s *Server) ReportsKept() (kept bool, service syntax.DID) {
	return s.cfg.KeepReports, s.cfg.ReportService.DID
}

// Reports returns up to limit of the reports that are kept, and 1,000, with
// numbers below before, newest first. Zero stands for the newest one, and for
// the highest limit.
func (s *Server) Reports(ctx context.Context, before int64, limit int) ([]Report, error) {
	var list []Report
	err := s.store.View(ctx, func(tx storage.Tx) error {
		list = []Report{}
		docs, err := scanNumbered(tx, docReport, before, limit)
		for _, d := range docs {
			var r Report
			if err := json.Unmarshal(d.Value, &r); err != nil {
				return fmt.Errorf("report %s: %w", d.Key, err)
			}
			list = append(list, r)
		}
		return err
	})
	return list, err
}

// ForgetReport removes a report that has been dealt with. The error for one that
// is not here is NotFound, of type *[xrpc.Error].
func (s *Server) ForgetReport(ctx context.Context, number int64) error {
	return s.store.Update(ctx, func(tx storage.Tx) error {
		if _, err := tx.GetDoc(docReport, numberedKey(number)); err != nil {
			if errors.Is(err, storage.ErrNotFound) {
				err = xrpc.NewError(http.StatusNotFound, "NotFound", "No such report")
			}
			return err
		}
		return tx.DeleteDoc(docReport, numberedKey(number))
	})
}
