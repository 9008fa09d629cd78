package adminui_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds"
)

func TestEveryPage(t *testing.T) {
	v := pages(t, func(c *pds.Config) { c.KeepReports = true })
	alice := v.srv.CreateAccount("alice")
	alice.CreateRecord("com.example.note", map[string]any{"$type": "com.example.note", "text": "hi"})
	alice.Post("com.atproto.moderation.createReport", map[string]any{
		"reasonType": "com.atproto.moderation.defs#reasonSpam", "reason": "look at this",
		"subject": map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": alice.DID},
	}, nil)
	v.signIn()
	for path, texts := range map[string][]string{
		"":                              {"Storage", "Accounts", "1 commit of 1 record"},
		"accounts":                      {alice.Handle.String(), alice.Email, "active"},
		"accounts/" + string(alice.DID): {string(alice.DID), alice.Email, "Take down account", "not confirmed"},
		"accounts/" + string(alice.DID) + "/delete": {"To be sure, enter " + alice.Handle.String()},
		"invites":     {"There is no invite code."},
		"jobs":        {"Jobs"},
		"jobs?dead=1": {"No job was given up."},
		"reports":     {"look at this", "kept here", "Spam"},
		"events":      {"commit", "create com.example.note/", string(alice.DID)},
		"audit":       {"Nothing was changed yet."},
	} {
		a := v.get(path)
		texts = append(texts, `aria-current="page"`, "Sign out", "<h1>")
		if strings.HasPrefix(path, "accounts/") {
			texts = texts[:len(texts)-3]
		}
		a.shows(t, http.StatusOK, texts...)
		if csp := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; script-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, csp)
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: headers %v", path, a.header)
		}
		if strings.Contains(a.body, " style=") || strings.Contains(a.body, " onclick=") {
			t.Errorf("%s has inline styles or scripts", path)
		}
	}
	for _, path := range []string{"nothing", "accounts/nobody", "accounts/did:web:nobody.example.com", "accounts?q=nobody.test"} {
		if a := v.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: status %d", path, a.status)
		}
	}
	for _, path := range []string{"accounts?after=x", "reports?before=x", "audit?before=-1"} {
		v.get(path).shows(t, http.StatusBadRequest, "Not done")
	}
	for _, q := range []string{alice.Handle.String(), "@" + alice.Handle.String(), string(alice.DID), " " + alice.Email} {
		a := v.get("accounts?q=" + url.QueryEscape(q))
		if a.shows(t, http.StatusOK, "Take down account"); !strings.HasSuffix(a.url.Path, "/accounts/"+string(alice.DID)) {
			t.Errorf("%q led to %s", q, a.url)
		}
	}
	css := v.get("assets/style.css")
	css.shows(t, http.StatusOK, "The administration pages", "The look of the pages")
	if !strings.Contains(v.get("").body, "/admin/ui/assets/style.") {
		t.Error("the pages refer to a style sheet elsewhere")
	}
}

func TestAccountActions(t *testing.T) {
	v := pages(t, func(c *pds.Config) { c.InviteRequired = false })
	alice := v.srv.CreateAccount("alice")
	v.signIn()
	at := "accounts/" + string(alice.DID)
	details := func() pds.AccountDetails {
		t.Helper()
		d, err := v.srv.AccountDetails(t.Context(), string(alice.DID))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}

	v.send(at+"/takedown", "reference", "case 7").shows(t, http.StatusOK, "The account is taken down.", "case 7", "Restore account")
	if d := details(); d.TakedownRef != "case 7" {
		t.Errorf("the account is %+v", d)
	}
	v.audited("take down", string(alice.DID))
	v.send(at+"/restore").shows(t, http.StatusOK, "The takedown has ended.", "Take down account")
	if d := details(); d.Status != "active" {
		t.Errorf("the account is %s", d.Status)
	}
	v.audited("restore", string(alice.DID))
	if strings.Contains(v.get(at).body, "The takedown has ended.") {
		t.Error("a notice is shown twice")
	}

	v.send(at+"/invites", "disabled", "true").shows(t, http.StatusOK, "Let it invite others")
	v.audited("disable invites", string(alice.DID))
	if !details().InvitesDisabled {
		t.Error("the account can invite others")
	}
	v.send(at+"/invites", "disabled", "false").shows(t, http.StatusOK, "Let it invite nobody")
	v.audited("enable invites", string(alice.DID))

	v.send(at+"/reset").shows(t, http.StatusOK, "is on its way")
	v.audited("mail a password reset", string(alice.DID))
	v.srv.RunJobs()
	if v.srv.Mail.Code(alice.Email) == "" {
		t.Error("no mail with a code")
	}

	v.send(at+"/takedown", "reference", strings.Repeat("x", 201)).shows(t, http.StatusBadRequest, "at most 200")
	v.send(at+"/delete", "confirm", "alice").shows(t, http.StatusBadRequest, "This is not the name of the account.")
	if d := details(); d.Status != "active" {
		t.Errorf("the account is %s", d.Status)
	}
	v.send(at+"/delete", "confirm", alice.Handle.String()).shows(t, http.StatusOK, "The account is deleted.", "There is no account.")
	v.audited("delete", string(alice.DID))
	if _, err := v.srv.AccountDetails(t.Context(), string(alice.DID)); err == nil {
		t.Error("the account is still there")
	}
	v.send(at+"/restore").shows(t, http.StatusNotFound, "There is no such account here.")
}

func TestInvites(t *testing.T) {
	v := pages(t, func(c *pds.Config) { c.InviteRequired = true })
	v.signIn()
	v.send("invites", "codes", "2", "uses", "3").shows(t, http.StatusOK, "New codes", "used 0 of 3")
	v.audited("create invites", "")
	list, _, err := v.srv.Invites(t.Context(), "", 10)
	if err != nil || len(list) != 2 || list[0].Available != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	v.send("invites/disable", "code", list[0].Code).shows(t, http.StatusOK, "The code works no more.", "disabled")
	v.audited("disable an invite", "")
	for _, bad := range []string{"", "0", "101", "x"} {
		v.send("invites", "codes", bad, "uses", "1").shows(t, http.StatusBadRequest, "between 1 and 100")
	}
	v.send("invites", "codes", "1", "uses", "1001").shows(t, http.StatusBadRequest, "between 1 and 1000")
}

var (
	errTest  = errors.New("out of order")
	nextLink = regexp.MustCompile(`class="button" href="([^"]+)">More`)
)

func TestJobs(t *testing.T) {
	v := pages(t)
	tries := 0
	v.srv.HandleJobs(pds.JobHandler{Kind: "test.job", Attempts: 1, Run: func(context.Context, pds.Job) error {
		if tries++; tries == 1 {
			return errTest
		}
		return nil
	}})
	if err := v.srv.Schedule(t.Context(), pds.Job{Kind: "test.job", Name: "<b>one</b>"}); err != nil {
		t.Fatal(err)
	}
	v.srv.RunJobs()
	v.signIn()
	v.get("").shows(t, http.StatusOK, "1 job was given up")
	v.get("jobs?dead=1").shows(t, http.StatusOK, "test.job", "&lt;b&gt;one&lt;/b&gt;", "out of order", "Try again")
	v.send("jobs/retry", "kind", "test.job", "name", "<b>one</b>").shows(t, http.StatusOK, "The job is tried again.")
	v.audited("retry a job", "test.job/<b>one</b>")
	v.srv.RunJobs()
	if tries != 2 {
		t.Errorf("%d runs", tries)
	}
	v.send("jobs/retry", "kind", "test.job", "name", "<b>one</b>").shows(t, http.StatusNotFound, "No such job")
}

func TestReportsAreClosed(t *testing.T) {
	const hostile = `<script>alert(1)</script><img src=x onerror=alert(2)>`
	v := pages(t, func(c *pds.Config) { c.KeepReports = true })
	alice := v.srv.CreateAccount("alice")
	alice.Post("com.atproto.moderation.createReport", map[string]any{
		"reasonType": "com.atproto.moderation.defs#reasonOther", "reason": hostile,
		"subject": map[string]any{"$type": "com.atproto.repo.strongRef", "uri": "at://did:web:x.example.com/app.bsky.feed.post/a", "cid": "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"},
	}, nil)
	v.signIn()
	a := v.get("reports")
	a.shows(t, http.StatusOK, "&lt;script&gt;alert(1)", "at://did:web:x.example.com/app.bsky.feed.post/a")
	if strings.Contains(a.body, "<script>alert") || strings.Contains(a.body, "<img src=x") {
		t.Errorf("markup of a report is on the page: %s", a.body)
	}
	v.send("reports/close", "number", "1").shows(t, http.StatusOK, "The report is closed.", "There is no report.")
	v.audited("close a report", "report 1")
	v.send("reports/close", "number", "1").shows(t, http.StatusNotFound)
	v.send("reports/close", "number", "x").shows(t, http.StatusBadRequest)
}

// TestHostileText shows what others choose: handles, references, programs.
func TestHostileText(t *testing.T) {
	v := pages(t)
	alice := v.srv.CreateAccount("alice")
	v.signIn()
	const hostile = `"><script>alert(1)</script>`
	v.send("accounts/"+string(alice.DID)+"/takedown", "reference", hostile)
	r := func(r *http.Request) { r.Header.Set("User-Agent", hostile) }
	m := csrfField.FindStringSubmatch(v.get("").body)
	v.post("accounts/"+string(alice.DID)+"/restore", url.Values{"csrf": {m[1]}}, r)
	v.send("accounts/"+string(alice.DID)+"/takedown", "reference", hostile)
	for _, path := range []string{"audit", "accounts/" + string(alice.DID), "accounts?q=" + url.QueryEscape(hostile)} {
		if a := v.get(path); strings.Contains(a.body, "<script>alert") || !strings.Contains(a.body, "&lt;script&gt;") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

// TestPaging walks through more accounts than a page has.
func TestPaging(t *testing.T) {
	v := pages(t)
	const accounts = 52
	for i := range accounts {
		name := "user" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		v.srv.CreateAccount(name)
	}
	v.signIn()
	first := v.get("accounts")
	first.shows(t, http.StatusOK, "More")
	next := nextLink.FindStringSubmatch(first.body)
	if next == nil {
		t.Fatal("no next page")
	}
	second := v.get(strings.TrimPrefix(strings.ReplaceAll(next[1], "&#43;", "+"), "/admin/ui/"))
	if n := strings.Count(first.body+second.body, "@example.com"); n != accounts {
		t.Errorf("%d accounts on two pages, want %d", n, accounts)
	}
}
