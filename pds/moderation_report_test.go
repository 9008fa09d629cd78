package pds_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

const createReportNSID = "com.atproto.moderation.createReport"

// reportAnswer is what a service that takes reports answers.
const reportAnswer = `{"id":7,"reasonType":"com.atproto.moderation.defs#reasonSpam","reportedBy":"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa",` +
	`"subject":{"$type":"com.atproto.admin.defs#repoRef","did":"did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"},"createdAt":"2026-01-02T03:04:05.000Z"}`

func aReport(reason string) map[string]any {
	return map[string]any{
		"reasonType": reason, "reason": "look at this",
		"subject": map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"},
		"modTool": map[string]any{"name": "test", "meta": map[string]any{"x": 1}},
	}
}

func withReports(f *fakeService) func(*pds.Config) {
	return func(cfg *pds.Config) {
		withSockets(cfg)
		cfg.ReportService = pds.Service{URL: f.URL, DID: "did:web:reports.example.com"}
	}
}

const (
	reasonSpam   = "com.atproto.moderation.defs#reasonSpam"
	reasonAppeal = "com.atproto.moderation.defs#reasonAppeal"
)

func TestReportIsPassedOn(t *testing.T) {
	t.Parallel()
	reports := newService(t, answering(200, "application/json", reportAnswer))
	other := newService(t, answering(200, "application/json", reportAnswer))
	srv := pdstest.New(t, withReports(reports))
	a := srv.CreateAccount("alice")
	report := func(header string, in any) error {
		h := http.Header{"Authorization": {"Bearer " + a.Access}}
		if header != "" {
			h.Set("Atproto-Proxy", header)
		}
		_, err := srv.Call(t.Context(), http.MethodPost, createReportNSID, nil, h, in)
		return err
	}
	other.publish(t, srv, map[string]string{"atproto_labeler": other.URL})
	for _, c := range []struct {
		header string
		to     *fakeService
		aud    string
	}{
		{"", reports, "did:web:reports.example.com"},
		{string(other.DID) + "#atproto_labeler", other, string(other.DID)},
	} {
		ok(t, report(c.header, aReport(reasonSpam)))
		got := c.to.last(t)
		token := checkToken(t, a, got)
		if token.Issuer != a.DID || token.Audience != c.aud || token.Method != createReportNSID ||
			time.Unix(token.Expires, 0).Sub(srv.Clock.Now()) > time.Minute {
			t.Errorf("token %+v", token)
		}
		var sent, want any
		ok(t, json.Unmarshal([]byte(got.body), &sent))
		text, err := json.Marshal(aReport(reasonSpam))
		ok(t, err)
		ok(t, json.Unmarshal(text, &want))
		if a, b := mustJSON(t, sent), mustJSON(t, want); a != b {
			t.Errorf("sent %s, want %s", a, b)
		}
		if got.URL.Path != "/xrpc/"+createReportNSID || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s", got.URL, got.Header)
		}
	}
	wantError(t, report("did:web:nobody.example.org#atproto_labeler", aReport(reasonSpam)), 400, "InvalidRequest")
	wantError(t, report("#atproto_labeler", aReport(reasonSpam)), 400, "InvalidRequest")
	wantError(t, report("", map[string]any{"reasonType": reasonSpam}), 400, "InvalidRequest") // no subject
	wantError(t, report("", map[string]any{"subject": aReport("")["subject"]}), 400, "InvalidRequest")
	// A report by a deactivated account.
	a.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	ok(t, report("", aReport(reasonSpam)))
	if reports.count() != 2 || other.count() != 1 {
		t.Errorf("%d and %d requests", reports.count(), other.count())
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	ok(t, err)
	return string(text)
}

// Appeal allowed, everything else refused.
func TestReportOfATakendownAccount(t *testing.T) {
	t.Parallel()
	reports := newService(t, answering(200, "application/json", reportAnswer))
	srv := pdstest.New(t, withReports(reports))
	a := srv.CreateAccount("alice")
	takeDown(t, srv, string(a.DID), true)
	var narrow struct{ AccessJwt string }
	ok(t, post(t, srv, createSession, "", map[string]any{"identifier": a.DID, "password": a.Password, "allowTakendown": true}, &narrow))
	report := func(reason string) error {
		return post(t, srv, createReportNSID, "Bearer "+narrow.AccessJwt, aReport(reason), nil)
	}
	wantError(t, report(reasonSpam), 400, "AccountTakedown")
	if reports.count() != 0 {
		t.Error("the report went out")
	}
	ok(t, report(reasonAppeal))
	ok(t, report("tools.ozone.report.defs#reasonAppeal"))
	wantError(t, post(t, srv, "com.atproto.repo.createRecord", "Bearer "+narrow.AccessJwt, map[string]any{
		"repo": a.DID, "collection": "app.bsky.feed.post", "record": aPost("x"),
	}, nil), 400, "InvalidToken")
}

func TestReportFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		answer http.HandlerFunc
		status int
		name   string
	}{
		{"refusal", answering(400, "application/json", `{"error":"NoThanks","message":"x"}`), 400, "NoThanks"},
		{"failure", answering(500, "application/json", `{}`), 502, "UpstreamFailure"},
		{"no JSON", answering(200, "text/html", `<p>hello</p>`), 502, "UpstreamFailure"},
	} {
		reports := newService(t, c.answer)
		srv := pdstest.New(t, withReports(reports))
		a := srv.CreateAccount("alice")
		wantError(t, post(t, srv, createReportNSID, "Bearer "+a.Access, aReport(reasonSpam), nil), c.status, c.name)
	}
	srv := pdstest.New(t) // no report service
	a := srv.CreateAccount("alice")
	wantError(t, post(t, srv, createReportNSID, "Bearer "+a.Access, aReport(reasonSpam), nil), 400, "InvalidRequest")
}
