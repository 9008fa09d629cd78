package pds_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc"
)

func keepReports(c *pds.Config) { c.KeepReports = true }

func reportsOf(t *testing.T, srv *pdstest.PDS) []pds.Report {
	t.Helper()
	list, err := srv.Reports(t.Context(), 0, 0)
	ok(t, err)
	return list
}

// TestReportsAreKept keeps what goes to the report service, and nothing of what
// goes to another one.
func TestReportsAreKept(t *testing.T) {
	t.Parallel()
	reports := newService(t, answering(200, "application/json", reportAnswer))
	other := newService(t, answering(200, "application/json", reportAnswer))
	srv := pdstest.New(t, withReports(reports), keepReports)
	other.publish(t, srv, map[string]string{"atproto_labeler": other.URL})
	a := srv.CreateAccount("alice")
	ok(t, post(t, srv, createReportNSID, "Bearer "+a.Access, aReport(reasonSpam), nil))
	h := http.Header{"Authorization": {"Bearer " + a.Access}, "Atproto-Proxy": {string(other.DID) + "#atproto_labeler"}}
	_, err := srv.Call(t.Context(), http.MethodPost, createReportNSID, nil, h, aReport(reasonSpam))
	ok(t, err)
	list := reportsOf(t, srv)
	if reports.count() != 1 || other.count() != 1 || len(list) != 1 {
		t.Fatalf("%d and %d reports went out, %+v are kept", reports.count(), other.count(), list)
	}
	got := list[0]
	if got.Number != 1 || got.By != a.DID || got.ReasonType != reasonSpam || got.Reason != "look at this" ||
		got.Account != "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb" || got.To != "did:web:reports.example.com" || got.Time.IsZero() {
		t.Errorf("kept %+v", got)
	}
	if kept, service := srv.ReportsKept(); !kept || service != "did:web:reports.example.com" {
		t.Errorf("%v %s", kept, service)
	}
}

// TestReportsWithoutService takes reports itself, within its limits.
func TestReportsWithoutService(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, keepReports, func(c *pds.Config) { c.Limits.Reports, c.Limits.ReportAge = 2, 24*time.Hour })
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	var answer struct {
		ID         int64
		ReasonType string
		ReportedBy string
		Subject    struct{ DID string }
	}
	for range 2 {
		ok(t, post(t, srv, createReportNSID, "Bearer "+a.Access, aReport(reasonSpam), &answer))
	}
	if answer.ID != 2 || answer.ReasonType != reasonSpam || answer.ReportedBy != string(a.DID) || answer.Subject.DID != "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb" {
		t.Errorf("answer %+v", answer)
	}
	ok(t, post(t, srv, createReportNSID, "Bearer "+b.Access, aReport(reasonAppeal), nil))
	if list := reportsOf(t, srv); len(list) != 2 || list[0].Number != 3 || list[1].Number != 2 || list[0].To != "" {
		t.Errorf("kept %+v", list)
	}
	h := http.Header{"Authorization": {"Bearer " + a.Access}, "Atproto-Proxy": {"did:web:nobody.example.org#atproto_labeler"}}
	_, err := srv.Call(t.Context(), http.MethodPost, createReportNSID, nil, h, aReport(reasonSpam))
	wantError(t, err, 400, "InvalidRequest") // it is for somebody else
	wantError(t, post(t, srv, createReportNSID, "", aReport(reasonSpam), nil), 401, "AuthMissing")

	ok(t, srv.DeleteAccount(t.Context(), b.DID, pds.By{}))
	srv.RunTasks(t.Context())
	if list := reportsOf(t, srv); len(list) != 1 || list[0].By != a.DID {
		t.Errorf("a report stays behind its account: %+v", list)
	}
	if name := xrpc.ErrorName(srv.ForgetReport(t.Context(), 7)); name != "NotFound" {
		t.Errorf("a report that is not there: %s", name)
	}
	srv.Clock.Advance(24 * time.Hour)
	if list := reportsOf(t, srv); len(list) != 0 {
		t.Errorf("old reports are kept: %+v", list)
	}
}
