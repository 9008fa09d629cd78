package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
)

// managed signs alice in to the account manager.
func (b *browser) managed() *page {
	b.t.Helper()
	return b.visit("/account").signIn("remember", "1").is(http.StatusOK, "alice.example.com")
}

// section goes to a section of alice's account.
func (b *browser) section(name string) *page {
	b.t.Helper()
	return b.visit("/account/" + url.PathEscape(string(alice)) + name)
}

func TestManagerEmail(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	p := b.managed().link("/email")
	p.submit("/email", "email", "nonsense").is(http.StatusBadRequest, "/email")
	if s.people.lastMail().code != "" {
		t.Fatal("a mail was sent for nothing")
	}
	p = p.submit("/email", "email", "New@mail.example.org").is(http.StatusOK, "/email")
	sent := s.people.lastMail()
	if sent.to != "alice@mail.example.org" || p.field("email") != "New@mail.example.org" && p.field("email") != "new@mail.example.org" {
		t.Errorf("the mail is %+v, the field %q", sent, p.field("email"))
	}
	p.submit("/email").is(http.StatusBadRequest, "/email")
	p.submit("/email", "code", "CODE-99999").is(http.StatusBadRequest, "/email")
	p = p.submit("/email", "code", sent.code).is(http.StatusOK, "/email/request")
	p = p.submit("/email/request").is(http.StatusOK, "/email/confirm")
	p.submit("/email/confirm", "code", "CODE-99999").is(http.StatusBadRequest, "/email/confirm")
	if sent = s.people.lastMail(); sent.to != "new@mail.example.org" {
		t.Errorf("the mail is %+v", sent)
	}
	p.submit("/email/confirm", "code", sent.code).is(http.StatusOK, "/email")
	if account, _ := s.people.Account(t.Context(), alice); account.Email != "new@mail.example.org" || !account.EmailConfirmed {
		t.Errorf("the account is %+v", account)
	}
}

func TestManagerHandle(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	b.managed()
	for _, test := range []struct {
		handle, domain string
		status         int
		becomes        string
	}{
		{"bob", ".example.com", http.StatusBadRequest, ""},
		{"two.parts", ".example.com", http.StatusBadRequest, ""},
		{"alice2", ".evil.example.org", http.StatusBadRequest, ""},
		{"", ".example.com", http.StatusBadRequest, ""},
		{"elsewhere.example.org", "", http.StatusBadRequest, ""},
		{"no handle", "", http.StatusBadRequest, ""},
		{"Alice2", ".example.net", http.StatusOK, "alice2.example.net"},
		{"alice.example.org", "", http.StatusOK, "alice.example.org"},
	} {
		p := b.section("/handle")
		field, values := "handle", []string{"handle", test.handle, "domain", test.domain}
		if test.domain == "" {
			field, values = "own_handle", []string{"own_handle", test.handle, "handle", "-", "domain", "-"}
		}
		form := p.fill("/handle", values...)
		if p = b.follow(p.formRequest("/handle", form), p); p.Status != test.status {
			t.Errorf("%+v: status %d", test, p.Status)
		}
		for _, n := range nodes(p.doc, "input") {
			if marked := attr(n, "aria-invalid") == "true"; marked != (test.status != http.StatusOK && attr(n, "name") == field) {
				t.Errorf("%+v: the field %q is marked: %v", test, attr(n, "name"), marked)
			}
		}
		if account, _ := s.people.Account(t.Context(), alice); test.becomes != "" && string(account.Handle) != test.becomes {
			t.Errorf("%+v: the handle is %s", test, account.Handle)
		}
	}
}

// A new password ends everything but the browser in which it was set.
func TestManagerPassword(t *testing.T) {
	s := newSite(t)
	a, b, other := s.newApp("app.example.org"), s.newBrowser(t), s.newBrowser(t)
	tokens := tokensOf(other.tokens(a, other.start(a).signIn("remember", "1").submit("/consent")))
	p := b.managed().link("/password")
	p.submit("/password", "password", "wrong", "new_password", "another password").is(http.StatusUnauthorized, "/password")
	p.submit("/password", "password", "", "new_password", "another password").is(http.StatusUnauthorized, "/password")
	p.submit("/password", "password", alicePassword, "new_password", "short").is(http.StatusBadRequest, "/password")
	p.submit("/password", "password", alicePassword, "new_password", "password").is(http.StatusBadRequest, "/password")
	refused := p.submit("/password", "password", alicePassword, "new_password", strings.Repeat("y", 257)).is(http.StatusBadRequest, "/password")
	if strings.Contains(refused.Body, alicePassword) || strings.Contains(refused.Body, "yyyy") {
		t.Error("a password is in the page")
	}
	a.mustUse(tokens.access)
	p.submit("/password", "password", alicePassword, "new_password", "another password").is(http.StatusOK, "/password")
	a.mustBeDead(tokens.access)
	a.refresh(tokens.refresh).isInvalidGrant()
	b.section("").is(http.StatusOK, "alice.example.com")
	other.start(a).signInPage().signIn().is(http.StatusUnauthorized, "/sign-in")
}

func TestManagerAppPasswords(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	p := b.managed().link("/app-passwords")
	p.submit("/app-passwords", "name", "").is(http.StatusBadRequest, "/app-passwords")
	made := p.submit("/app-passwords", "name", "phone", "privileged", "1").is(http.StatusOK, "abcd-efgh-ijkl-mnop")
	if again := b.section("/app-passwords"); strings.Contains(again.Body, "abcd-efgh") || !strings.Contains(again.text(), "phone") {
		t.Error("the password is shown again, or its name is not")
	}
	taken := made.submit("/app-passwords", "name", "phone").is(http.StatusBadRequest, "/app-passwords")
	if taken.field("name") != "phone" {
		t.Errorf("the field holds %q", taken.field("name"))
	}
	p = made.submit("/app-passwords/session", "session", "legacy-1")
	if sessions, _ := s.people.LegacySessions(t.Context(), alice); len(sessions) != 0 {
		t.Errorf("the sessions are %v", sessions)
	}
	p.submit("/app-passwords/revoke", "name", "phone").is(http.StatusOK, "/app-passwords")
	if left, _ := s.people.AppPasswords(t.Context(), alice); len(left) != 0 {
		t.Errorf("the app passwords are %v", left)
	}
	s.clock.advance(16 * time.Minute)
	b.section("/app-passwords").submit("/app-passwords", "name", "tv").is(http.StatusUnauthorized, "/app-passwords")
}

func TestManagerApps(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	one, two := s.newConfidential("one.example.org"), s.newConfidential("two.example.org")
	tokens := tokensOf(b.tokens(one, b.start(one).signIn("remember", "1").submit("/consent")))
	b.start(two, "login_hint", "alice.example.com").submit("/consent").code(two) // never exchanged
	s.web.set(two.id, http.HandlerFunc(http.NotFound))
	s.restart()
	p := b.section("/apps").is(http.StatusOK, "one.example.org").is(http.StatusOK, "two.example.org")
	buttons := nodes(p.formTo("/apps"), "button")
	if len(buttons) != 2 {
		t.Fatalf("%d apps are listed:\n%s", len(buttons), p.text())
	}
	p.submit("/apps", "session", "ses-of-somebody-else").is(http.StatusOK, "one.example.org")
	one.mustUse(tokens.access)
	p = p.submit("/apps", "session", attr(buttons[0], "value"))
	one.mustBeDead(tokens.access)
	b.start(one, "login_hint", "alice.example.com").is(http.StatusOK, "/consent")
	p = p.submit("/apps", "session", attr(buttons[1], "value"))
	if text := p.text(); strings.Contains(text, "one.example.org") || strings.Contains(text, "two.example.org") {
		t.Errorf("apps are left:\n%s", text)
	}
}

func TestManagerDevices(t *testing.T) {
	s := newSite(t)
	b, other := s.newBrowser(t), s.newBrowser(t)
	other.agent = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
	other.managed()
	s.clock.advance(time.Minute)
	p := b.managed().link("/devices").is(http.StatusOK, "Firefox")
	var devices []string
	for _, n := range nodes(p.formTo("/devices"), "button") {
		devices = append(devices, attr(n, "value"))
	}
	if len(devices) != 2 {
		t.Fatalf("%d devices are listed", len(devices))
	}
	p = p.submit("/devices", "device", devices[1])
	if strings.Contains(p.text(), "Firefox") {
		t.Error("the device is still listed")
	}
	other.section("").is(http.StatusOK, "/sign-in")
	p.submit("/devices", "device", devices[0]).is(http.StatusOK, "/sign-in")
	b.section("").is(http.StatusOK, "/sign-in")
}

func TestManagerDeactivate(t *testing.T) {
	s := newSite(t)
	a, b := s.newConfidential("app.example.org"), s.newBrowser(t)
	p := b.managed()
	tokens := tokensOf(b.tokens(a, b.start(a, "login_hint", "alice.example.com").submit("/consent")))
	p = p.link("/deactivate")
	p.submit("/deactivate").is(http.StatusBadRequest, "/deactivate")
	p = p.submit("/deactivate", "confirm", "1").is(http.StatusOK, "/reactivate")
	a.mustBeDead(tokens.access)
	if account, _ := s.people.Account(t.Context(), alice); account.Status != oauth.Deactivated {
		t.Errorf("the account is %s", account.Status)
	}
	s.clock.advance(time.Hour)
	p.submit("/reactivate").is(http.StatusOK, "alice.example.com")
	if account, _ := s.people.Account(t.Context(), alice); account.Status != oauth.Active {
		t.Errorf("the account is %s", account.Status)
	}
	b.start(a, "login_hint", "alice.example.com").is(http.StatusOK, "/consent")
}

func TestManagerDelete(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.managed()
	tokens := tokensOf(b.tokens(a, b.start(a, "login_hint", "alice.example.com").submit("/consent")))
	p = p.link("/delete").submit("/delete/request").is(http.StatusOK, "/delete")
	code := s.people.lastMail().code
	all := []string{"code", code, "password", alicePassword, "confirm", "1"}
	with := func(change ...string) []string { return append(append([]string{}, all...), change...) }
	p.submit("/delete", with("password", "wrong")...).is(http.StatusUnauthorized, "/delete")
	p.submit("/delete", with("code", "CODE-99999")...).is(http.StatusBadRequest, "/delete")
	p.submit("/delete", with("confirm", "-")...).is(http.StatusBadRequest, "/delete")
	p.submit("/delete", with("code", "")...).is(http.StatusBadRequest, "/delete")
	if _, err := s.people.Account(t.Context(), alice); err != nil {
		t.Fatal("the account is gone too early")
	}
	p.submit("/delete", all...).is(http.StatusOK, "/sign-in")
	if _, err := s.people.Account(t.Context(), alice); err == nil {
		t.Error("the account is still there")
	}
	a.mustBeDead(tokens.access)
	b.section("").is(http.StatusOK, "/sign-in")
}

func TestManagerExport(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	p := b.managed().link("/export")
	p.link("/export/repo").is(http.StatusOK, "the repo")
	r := b.send(b.request(http.MethodGet, "/account/"+string(alice)+"/export/repo", nil, "same-origin"))
	if r.Header.Get("Content-Disposition") != "attachment; filename=repo.car" || r.Header.Get("Content-Type") != "application/vnd.ipld.car" || r.Body != "the repo" {
		t.Errorf("the file is %v %q", r.Header, r.Body)
	}
	if r := b.send(b.request(http.MethodGet, "/account/"+string(alice)+"/export/repo", nil, "cross-site")); r.Status != http.StatusForbidden {
		t.Errorf("from another site: status %d", r.Status)
	}
	b.section("/export/passwords").is(http.StatusNotFound, "")
	s.newBrowser(t).section("/export/repo").is(http.StatusOK, "/sign-in")
	other := s.newBrowser(t)
	other.visit("/account").signIn("identifier", "bob", "password", bobPassword)
	other.section("/export/repo").is(http.StatusOK, "/sign-in")
}

// Several accounts beside each other.
func TestManagerAccounts(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	b.managed()
	b.visit("/account").link("/account/sign-in").signIn("identifier", "bob", "password", bobPassword, "remember", "1").is(http.StatusOK, "bob.example.com")
	p := b.visit("/account").is(http.StatusOK, "alice.example.com").is(http.StatusOK, "bob.example.com")
	p = p.submit("/sign-out", "account", string(alice)).is(http.StatusOK, "bob.example.com")
	if strings.Contains(p.text(), "alice.example.com") {
		t.Error("alice is still signed in")
	}
	p.submit("/sign-out", "account", "did:plc:bobbbbbbbbbbbbbbbbbbbbbb").is(http.StatusOK, "/sign-in")
}
