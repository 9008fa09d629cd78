package pds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

func auditLog(t *testing.T, srv *pdstest.PDS) []pds.AuditEntry {
	t.Helper()
	log, err := srv.AuditLog(t.Context(), 0, 0)
	ok(t, err)
	return log
}

// Everything that an administrator or a moderator changes is in the log: who,
// what, to whom, with which result, and no secret.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired = true })
	invite := giveCodes(t, srv, "", 1, 2)[0]
	a, err := joinBy(t, srv, "alice", invite)
	ok(t, err)
	key := reserveKey(t, srv, a.DID)
	did := string(a.DID)
	steps := []struct {
		nsid string
		in   map[string]any
		want pds.AuditEntry // without what is the same for all
	}{
		{"com.atproto.server.createInviteCode", map[string]any{"useCount": 3, "forAccount": did}, pds.AuditEntry{Subject: did, Detail: "a code for 3 uses"}},
		{"com.atproto.admin.disableAccountInvites", map[string]any{"account": did, "note": "too many"}, pds.AuditEntry{Subject: did, Detail: "too many"}},
		{"com.atproto.admin.enableAccountInvites", map[string]any{"account": did}, pds.AuditEntry{Subject: did}},
		{"com.atproto.admin.disableInviteCodes", map[string]any{"accounts": []string{did}, "codes": []string{invite}}, pds.AuditEntry{Subject: did, Detail: "1 codes by name"}},
		{"com.atproto.admin.updateAccountHandle", map[string]any{"did": did, "handle": "alicia.test"}, pds.AuditEntry{Subject: did, Detail: "alicia.test"}},
		{"com.atproto.admin.updateAccountSigningKey", map[string]any{"did": did, "signingKey": key}, pds.AuditEntry{Subject: did, Detail: key}},
		{"com.atproto.admin.updateAccountEmail", map[string]any{"account": did, "email": "alicia@example.com"}, pds.AuditEntry{Subject: did}},
		{"com.atproto.admin.updateAccountPassword", map[string]any{"did": did, "password": "a new password of alicia"}, pds.AuditEntry{Subject: did}},
		{"com.atproto.admin.sendEmail", map[string]any{
			"recipientDid": did, "senderDid": "did:plc:moderator", "subject": "Your post", "content": "it is gone",
		}, pds.AuditEntry{Subject: did, Detail: "did:plc:moderator: Your post"}},
		{updateSubjectStatus, map[string]any{
			"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": did},
			"takedown": map[string]any{"applied": true, "ref": "case 7"}, "deactivated": map[string]any{"applied": true},
		}, pds.AuditEntry{Subject: did, Detail: "deactivated=true takedown=true case 7"}},
		{updateSubjectStatus, map[string]any{
			"subject":  map[string]any{"$type": "com.atproto.repo.strongRef", "uri": "at://" + did + "/a.b.c/x", "cid": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
			"takedown": map[string]any{"applied": false},
		}, pds.AuditEntry{
			Subject: "at://" + did + "/a.b.c/x bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", Detail: "takedown=false", Result: "NotFound",
		}},
		{"com.atproto.admin.deleteAccount", map[string]any{"did": did}, pds.AuditEntry{Subject: did}},
		{"com.atproto.admin.deleteAccount", map[string]any{"did": did}, pds.AuditEntry{Subject: did, Result: "InvalidRequest"}},
	}
	seen := map[string]bool{"com.atproto.server.createInviteCodes": true} // by giveCodes
	for i, step := range steps {
		seen[step.nsid] = true
		h := http.Header{"Authorization": {adminAuth}, "User-Agent": {"audit-test/1"}}
		_, _ = srv.Call(t.Context(), http.MethodPost, step.nsid, nil, h, step.in) // the result is in the log
		want := step.want
		want.Number, want.Actor, want.Client, want.Address, want.Action = int64(i+2), "admin", "audit-test/1", "127.0.0.1", step.nsid
		if want.Result == "" {
			want.Result = "ok"
		}
		got := auditLog(t, srv)[0]
		if age := srv.Clock.Now().Sub(got.Time); age < 0 || age > time.Minute {
			t.Errorf("%s was at %s", step.nsid, got.Time)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreFields(pds.AuditEntry{}, "Time")); d != "" {
			t.Errorf("%s: %s", step.nsid, d)
		}
	}
	if first := auditLog(t, srv)[len(steps)]; first.Detail != "1 codes each, for 2 uses" || first.Number != 1 {
		t.Errorf("the first entry: %+v", first)
	}
	// Refused credentials do nothing and are not logged; reading is not, either.
	wantError(t, post(t, srv, "com.atproto.admin.deleteAccount", "", map[string]any{"did": did}, nil), 401, "")
	_ = accountViews(t, srv)
	if n := len(auditLog(t, srv)); n != len(steps)+1 {
		t.Errorf("%d entries, want %d", n, len(steps)+1)
	}
	// No method that changes something is left out.
	for _, m := range srv.Methods() {
		if strings.HasPrefix(m.NSID(), "com.atproto.admin.") && m.Type() == "procedure" && !seen[m.NSID()] {
			t.Errorf("%s has no step in this test", m.NSID())
		}
	}
	text, err := json.Marshal(auditLog(t, srv))
	ok(t, err)
	for _, secret := range []string{invite, pdstest.AdminPassword, "password of"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func accountViews(t *testing.T, srv *pdstest.PDS) (out struct{ Accounts []accountView }) {
	t.Helper()
	srv.Get(searchNSID, adminAuth, nil, &out)
	return out
}

// A moderation service is named by the issuer of its token.
func TestAuditNamesTheModerationService(t *testing.T) {
	t.Parallel()
	base := pdstest.New(t)
	mod := newOutsider(t, base, "mod.example.com")
	srv := base.Another(func(c *pds.Config) { c.ModService.DID = mod.DID })
	a := srv.CreateAccount("alice")
	ok(t, post(t, srv, updateSubjectStatus, mod.token(t, srv, updateSubjectStatus), map[string]any{
		"subject": repoRef(a), "takedown": map[string]any{"applied": true},
	}, nil))
	if got := auditLog(t, srv); len(got) != 1 || got[0].Actor != string(mod.DID) || got[0].Subject != string(a.DID) {
		t.Errorf("log %+v", got)
	}
}

// The log keeps so many entries, and for so long.
func TestAuditRetention(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.AuditEntries, c.Limits.AuditAge = 3, 24*time.Hour })
	record := func(n int) {
		t.Helper()
		ok(t, srv.Audit(t.Context(), pds.AuditEntry{Actor: "test", Action: fmt.Sprint("step ", n)}, func(context.Context) error { return nil }))
	}
	numbers := func() (out []int64) {
		t.Helper()
		for _, e := range auditLog(t, srv) {
			out = append(out, e.Number)
		}
		return out
	}
	for n := 1; n <= 5; n++ {
		record(n)
	}
	if got := numbers(); !slices.Equal(got, []int64{5, 4, 3}) {
		t.Errorf("entries %v", got)
	}
	srv.Clock.Advance(23 * time.Hour)
	record(6)
	srv.Clock.Advance(2 * time.Hour)
	if got := numbers(); !slices.Equal(got, []int64{6}) {
		t.Errorf("entries %v", got)
	}
	srv.Clock.Advance(24 * time.Hour)
	record(7) // numbers go on when all are gone
	if got := numbers(); !slices.Equal(got, []int64{7}) {
		t.Errorf("entries %v", got)
	}
	for _, name := range []string{"AuditEntries", "AuditAge"} {
		cfg := srv.Config
		if cfg.Limits.AuditEntries = 1; name == "AuditAge" {
			cfg.Limits.AuditAge = -1
		} else {
			cfg.Limits.AuditEntries = -1
		}
		if _, err := pds.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s below zero: %v", name, err)
		}
	}
}

// A page of the log has at most MaxAuditList entries.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	for range pds.MaxAuditList + 1 {
		ok(t, srv.Audit(t.Context(), pds.AuditEntry{Action: "x"}, func(context.Context) error { return nil }))
	}
	for _, limit := range []int{0, pds.MaxAuditList, pds.MaxAuditList + 1} {
		page, err := srv.AuditLog(t.Context(), 0, limit)
		ok(t, err)
		if len(page) != pds.MaxAuditList || page[len(page)-1].Number != 2 {
			t.Errorf("limit %d: %d entries", limit, len(page))
		}
	}
	page, err := srv.AuditLog(t.Context(), 2, 0)
	ok(t, err)
	if len(page) != 1 || page[0].Number != 1 {
		t.Errorf("the rest: %+v", page)
	}
}

// An entry is there before its action begins, and cut off actions leave theirs.
func TestAuditComesFirst(t *testing.T) {
	t.Parallel()
	var store *faultyStore
	srv := pdstest.New(t, withFaults(t, &store))
	stop := errors.New("stop")
	err := srv.Audit(t.Context(), pds.AuditEntry{Actor: "test", Action: "x", Detail: strings.Repeat("ä", pds.MaxAuditText)}, func(context.Context) error {
		if got := auditLog(t, srv); len(got) != 1 || got[0].Result != "" || got[0].Action != "x" {
			t.Errorf("while the action runs: %+v", got)
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Error(err)
	}
	if got := auditLog(t, srv)[0]; got.Result != "InternalServerError" || got.Detail != strings.Repeat("ä", pds.MaxAuditText/2) {
		t.Errorf("entry %+v", got)
	}
	func() {
		defer func() { _ = recover() }()
		_ = srv.Audit(t.Context(), pds.AuditEntry{Action: "cut off"}, func(context.Context) error { panic("crash") })
	}()
	if got := auditLog(t, srv)[0]; got.Action != "cut off" || got.Result != "" {
		t.Errorf("entry %+v", got)
	}
	// Without its entry nothing is done.
	store.arm("audit", errors.New("disk full"), false)
	err = srv.Audit(t.Context(), pds.AuditEntry{Action: "never"}, func(context.Context) error {
		t.Error("the action ran")
		return nil
	})
	if err == nil {
		t.Error("no error")
	}
}

func TestAuditRoute(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	for i := range 5 {
		err := srv.Audit(t.Context(), pds.AuditEntry{Actor: "test", Action: fmt.Sprint("step ", i)}, func(context.Context) error { return xrpc.Forbidden("") })
		if err == nil {
			t.Error("the error of the action is lost")
		}
	}
	read := func(query, auth string) (status int, numbers []int64) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/admin/audit"+query, nil)
		ok(t, err)
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		ok(t, err)
		var out struct{ Entries []pds.AuditEntry }
		ok(t, json.Unmarshal(data, &out))
		for _, e := range out.Entries {
			if e.Result != "Forbidden" {
				t.Errorf("entry %+v", e)
			}
			numbers = append(numbers, e.Number)
		}
		return resp.StatusCode, numbers
	}
	for _, c := range []struct {
		query, auth string
		status      int
		want        []int64
	}{
		{"", adminAuth, 200, []int64{5, 4, 3, 2, 1}},
		{"?limit=2", adminAuth, 200, []int64{5, 4}},
		{"?before=4&limit=2", adminAuth, 200, []int64{3, 2}},
		{"?before=1", adminAuth, 200, nil},
		{"?limit=0", adminAuth, 400, nil},
		{"?before=x", adminAuth, 400, nil},
		{"?limit=99999999999", adminAuth, 400, nil},
		{"", "", 401, nil},
		{"", "Basic YWRtaW46d3Jvbmc=", 401, nil},
	} {
		if status, got := read(c.query, c.auth); status != c.status || !slices.Equal(got, c.want) {
			t.Errorf("%s: %d %v, want %d %v", c.query, status, got, c.status, c.want)
		}
	}
	// What the administrator does besides the methods is in the log, too.
	if status := acceptClock(t, srv, "wrong"); status != 401 {
		t.Errorf("status %d", status)
	}
	if status := acceptClock(t, srv, pdstest.AdminPassword); status != 200 || auditLog(t, srv)[0].Action != "clock accept" {
		t.Errorf("status %d, log %+v", status, auditLog(t, srv)[0])
	}
}

// The log outlives the process, and entries that race get numbers of their own.
func TestAuditIsDurable(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/pds.db"
	open := func() *sqlite.Store {
		t.Helper()
		store, err := sqlite.Open(file, sqlite.Options{})
		ok(t, err)
		return store
	}
	store := open()
	srv := pdstest.New(t, func(c *pds.Config) { c.Store = store })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := srv.Audit(t.Context(), pds.AuditEntry{Action: "x"}, func(context.Context) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	before := auditLog(t, srv)
	ok(t, store.Close())
	store = open()
	defer store.Close()
	cfg := srv.Config
	cfg.Store = storage.Store(store)
	again, err := pds.New(cfg)
	ok(t, err)
	after, err := again.AuditLog(t.Context(), 0, 0)
	ok(t, err)
	if d := cmp.Diff(before, after); d != "" || len(after) != 20 || after[0].Number != 20 || after[19].Number != 1 {
		t.Errorf("%d entries, %s", len(after), d)
	}
}
