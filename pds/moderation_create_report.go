package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/pdskit/pdskit/xrpc"
)

const createReportNSID = "com.atproto.moderation.createReport"

// createReportInput is a report, which is passed on as it is.
type createReportInput struct {
	reason string // the type of the reason
	raw    json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (in *createReportInput) UnmarshalJSON(data []byte) error {
	var fields struct {
		ReasonType string `json:"reasonType"`
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	in.reason, in.raw = fields.ReasonType, bytes.Clone(data)
	return nil
}

// isAppeal reports whether a report asks for a decision to be taken back.
func (in *createReportInput) isAppeal() bool {
	return in.reason == "com.atproto.moderation.defs#reasonAppeal" || in.reason == "tools.ozone.report.defs#reasonAppeal"
}

// createReport passes a report on to the service that a header names, else to
// the report service of the configuration. With Config.KeepReports this server
// remembers those for the latter, or takes them itself if there is none. All that an account which is taken
// down may report is its appeal.
func (s *Server) createReport() xrpc.Method {
	check := s.check(accessRule{scopes: standardAccess, takendown: true, oauthAny: true})
	rule := xrpc.Required(func(ctx context.Context, c *xrpc.Caller) error {
		if err := check(ctx, c); err != nil {
			return err
		}
		to, _, err := s.reportSource(ctx)
		if err != nil {
			return err
		}
		return mayCall(c, to.audience(), createReportNSID)
	})
	return xrpc.Procedure(createReportNSID, rule,
		func(ctx context.Context, in *createReportInput) (*json.RawMessage, error) {
			account, err := s.accountOf(ctx, xrpc.CallerFrom(ctx))
			if err != nil {
				return nil, err
			}
			if account.TakedownRef != "" && !in.isAppeal() {
				return nil, xrpc.NewError(http.StatusBadRequest, "AccountTakedown", "An account that has been taken down can only appeal")
			}
			to, here, err := s.reportSource(ctx)
			if err != nil {
				return nil, err
			}
			var report *Report
			if s.cfg.KeepReports && (here || to.did == s.cfg.ReportService.DID) {
				if report, err = s.newReport(in, account.DID); err != nil {
					return nil, err
				}
			}
			if here {
				if err := s.keepReport(ctx, report); err != nil {
					return nil, err
				}
				return report.answer(in)
			}
			if err := s.resolve(ctx, &to); err != nil {
				return nil, err
			}
			if s.isSelf(&to) {
				return nil, xrpc.NotImplemented()
			}
			answer, err := s.callJSON(ctx, to, account, createReportNSID, nil, in.raw)
			if err == nil && report != nil {
				report.To = to.did
				if err := s.keepReport(ctx, report); err != nil {
					s.log.ErrorContext(ctx, "a report that was passed on could not be kept", "error", err)
				}
			}
			return &answer, err
		})
}
