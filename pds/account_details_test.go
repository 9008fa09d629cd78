package pds_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// adminCall sends a request as the administrator.
func adminCall(t *testing.T, srv *pdstest.PDS, method, path, body string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	ok(t, err)
	r.Header.Set("Authorization", adminAuth)
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ok(t, err)
	return resp.StatusCode, string(data)
}

// An operator finds accounts in every state, by DID, handle and e-mail address.
func TestAccountDetails(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob, carol := srv.CreateAccount("alice"), srv.CreateAccount("bob"), srv.CreateAccount("carol")
	ok(t, attach(t, alice, "a", mustUpload(t, alice, "text/plain", "12345").ref()))
	ok(t, srv.TakeDownAccount(t.Context(), bob.DID, "case 1", pds.By{}))
	ok(t, srv.DeactivateAccount(t.Context(), carol.DID, srv.Clock.Now().AddDate(0, 0, 3), pds.By{}))

	export := alice.Export()
	a, err := srv.Account(t.Context(), string(alice.DID))
	ok(t, err)
	for _, id := range []string{string(alice.DID), string(alice.Handle), strings.ToUpper(a.Email)} {
		d, err := srv.AccountDetails(t.Context(), id)
		ok(t, err)
		if d.DID != alice.DID || d.Handle != alice.Handle || d.Status != "active" || !d.HasPassword || d.SigningKey != a.KeyID ||
			d.Rev != export.Commit.Rev || d.Head != export.Root.String() || d.Records != 1 || d.BlobBytes != 5 || !d.DeactivatedAt.IsZero() {
			t.Errorf("%s: %+v", id, d)
		}
	}
	if d, err := srv.AccountDetails(t.Context(), string(bob.Handle)); err != nil || d.Status != "takendown" || d.TakedownRef != "case 1" {
		t.Errorf("bob: %+v, %v", d, err)
	}
	if d, err := srv.AccountDetails(t.Context(), string(carol.Handle)); err != nil || d.Status != "deactivated" || d.DeactivatedAt.IsZero() || d.DeleteAfter.IsZero() {
		t.Errorf("carol: %+v, %v", d, err)
	}
	for _, id := range []string{"", "nobody.test", "nobody@example.com", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "\x00"} {
		if _, err := srv.AccountDetails(t.Context(), id); xrpc.ErrorName(err) != "AccountNotFound" {
			t.Errorf("%q: %v", id, err)
		}
	}

	var seen []string
	for after := (storage.AccountCursor{}); ; {
		page, next, err := srv.ListAccountDetails(t.Context(), after, 2)
		ok(t, err)
		if len(page) == 0 {
			break
		}
		for _, d := range page {
			seen = append(seen, string(d.DID))
		}
		after = next
	}
	if want := []string{string(alice.DID), string(bob.DID), string(carol.DID)}; strings.Join(seen, " ") != strings.Join(want, " ") {
		t.Errorf("listed %q, want %q", seen, want)
	}
}

func TestAccountsRoute(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	read := func(query string) (status int, dids []string, cursor string) {
		t.Helper()
		status, text := adminCall(t, srv, http.MethodGet, "/admin/accounts"+query, "")
		var out struct {
			Accounts []pds.AccountDetails
			Cursor   string
		}
		ok(t, json.Unmarshal([]byte(text), &out))
		for _, d := range out.Accounts {
			dids = append(dids, string(d.DID))
		}
		return status, dids, out.Cursor
	}
	if status, dids, _ := read("?id=" + string(bob.Handle)); status != 200 || len(dids) != 1 || dids[0] != string(bob.DID) {
		t.Errorf("by handle: %d, %q", status, dids)
	}
	status, dids, cursor := read("?limit=1")
	if status != 200 || len(dids) != 1 || dids[0] != string(alice.DID) {
		t.Errorf("first page: %d, %q", status, dids)
	}
	status, dids, cursor = read("?cursor=" + url.QueryEscape(cursor))
	if status != 200 || len(dids) != 1 || dids[0] != string(bob.DID) {
		t.Errorf("second page: %d, %q", status, dids)
	}
	if status, dids, cursor = read("?cursor=" + url.QueryEscape(cursor)); status != 200 || len(dids) != 0 || cursor != "" {
		t.Errorf("last page: %d, %q, %q", status, dids, cursor)
	}
	for query, want := range map[string]int{"?id=nobody.test": 403, "?limit=x": 400, "?cursor=x": 400} {
		if status, _, _ := read(query); status != want {
			t.Errorf("%s: %d", query, status)
		}
	}
	for _, path := range []string{"/admin/accounts", "/admin/seq"} {
		if resp, _ := request(t, srv, "GET", "", path); resp.StatusCode != 401 {
			t.Errorf("%s without a password: %d", path, resp.StatusCode)
		}
	}
}

// Raised numbers of events: consumers that were ahead get what comes next.
func TestRaiseSeq(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	var last struct{ Last int64 }
	_, text := adminCall(t, srv, http.MethodGet, "/admin/seq", "")
	ok(t, json.Unmarshal([]byte(text), &last))
	cursor := last.Last + 1_000_000_000
	for body, want := range map[string]int{
		"":                               400,
		"{}":                             400,
		`{"above":-1}`:                   400,
		`{"above":"x"}`:                  400,
		`{"above":9007199254740991}`:     400,
		`{"above":9007199254740992}`:     400,
		`{"above":1}`:                    200, // nothing is to be done
		strings.Repeat(" ", 2000) + "{}": 400,
	} {
		if status, text := adminCall(t, srv, http.MethodPost, "/admin/seq", body); status != want {
			t.Errorf("%.30s: %d, %s", body, status, text)
		}
	}
	if _, again := adminCall(t, srv, http.MethodGet, "/admin/seq", ""); again != text {
		t.Errorf("the number went from %s to %s", text, again)
	}
	raised, err := srv.RaiseSeq(t.Context(), cursor)
	ok(t, err)
	if raised != cursor {
		t.Errorf("the number was raised to %d, want %d", raised, cursor)
	}
	events, err := srv.Subscribe(t.Context(), cursor) // FutureCursor before
	ok(t, err)
	defer events.Close()
	alice.CreateRecord(postType, newPost("next"))
	if e, err := events.Next(t.Context()); err != nil || e.Seq != cursor+1 || e.Kind != "#commit" {
		t.Errorf("%+v, %v", e, err)
	}
}
