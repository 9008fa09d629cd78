package oauth_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

// signUpValues fill the sign-up page.
func signUpValues(change ...string) []string {
	return append([]string{"handle", "carol", "domain", ".example.net", "email", "Carol@Mail.example.org", "password", "long enough", "invite", "welcome"}, change...)
}

// A new account, made on the way to an app.
func TestSignUp(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a, "prompt", "create").submit("/sign-up", signUpValues()...).is(http.StatusOK, "/consent")
	got := b.tokens(a, p.submit("/consent"))
	account, err := s.people.Account(t.Context(), syntax.DID(got.text("sub")))
	if err != nil || account.Handle != "carol.example.net" || account.Email != "carol@mail.example.org" {
		t.Errorf("the account is %+v, %v", account, err)
	}
}

// What is wrong with a new account is said beside the field. Everything that was
// entered is still there, but for the password.
func TestSignUpProblems(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a, "prompt", "create")
	for _, test := range []struct {
		field, value string
	}{
		{"handle", ""}, {"handle", "has.dot"}, {"handle", "-bad-"}, {"handle", "admin"}, {"handle", "ünïcode"},
		{"domain", ".evil.example.org"},
		{"email", ""}, {"email", "nobody"}, {"email", "a b@example.org"}, {"email", "alice@mail.example.org"}, {"email", strings.Repeat("x", 250) + "@example.org"},
		{"invite", ""}, {"invite", "wrong"},
		{"password", ""}, {"password", "1234567"}, {"password", strings.Repeat("x", 257)}, {"password", "password"},
	} {
		refused := p.submit("/sign-up", signUpValues(test.field, test.value)...).is(http.StatusBadRequest, "/sign-up")
		invalid := ""
		for _, n := range nodes(refused.doc, "input", "select") {
			if attr(n, "aria-invalid") == "true" {
				invalid = attr(n, "name")
			}
		}
		if want := strings.Replace(test.field, "domain", "handle", 1); invalid != want {
			t.Errorf("%s %q: the field %q is marked", test.field, test.value, invalid)
		}
		if refused.field("password") != "" || strings.Contains(refused.Body, "long enough") {
			t.Errorf("%s %q: the password is in the page", test.field, test.value)
		}
		if test.field != "handle" && refused.field("handle") != "carol" || test.field != "email" && refused.field("email") != "Carol@Mail.example.org" {
			t.Errorf("%s %q: what was entered is gone", test.field, test.value)
		}
	}
	p.submit("/sign-up", signUpValues("handle", "alice", "domain", ".example.com")...).is(http.StatusBadRequest, "/sign-up")
	edge := p.submit("/sign-up", signUpValues("password", strings.Repeat("x", 256))...)
	edge.is(http.StatusOK, "/consent")
}

// asking asks for more at sign-up.
type asking struct{ *people }

func (asking) SignUpFields(_ context.Context, locale string) ([]oauth.StepField, error) {
	return []oauth.StepField{{Name: "sum", Label: "What is 1+1 (" + locale + ")?", Required: true}}, nil
}

func (asking) SignUpTerms(string) (terms, policy string) { return "https://example.com/terms", "" }

func (a asking) SignUp(ctx context.Context, n oauth.NewAccount) (oauth.Account, error) {
	if n.Answers["sum"] != "2" {
		return oauth.Account{}, oauth.ErrCodeInvalid
	}
	return a.people.SignUp(ctx, n)
}

// Further questions, and terms to agree to.
func TestSignUpQuestions(t *testing.T) {
	s := newSite(t)
	s.cfg.Accounts = asking{s.people}
	s.restart()
	p := s.newBrowser(t).start(s.newApp("app.example.org"), "prompt", "create").is(http.StatusOK, "What is 1+1 (en)?")
	p.submit("/sign-up", signUpValues("sum", "2")...).is(http.StatusBadRequest, "/sign-up")
	p.submit("/sign-up", signUpValues("terms", "1")...).is(http.StatusBadRequest, "/sign-up")
	refused := p.submit("/sign-up", signUpValues("terms", "1", "sum", "3")...).is(http.StatusBadRequest, "/sign-up")
	if refused.field("sum") != "3" {
		t.Errorf("the field holds %q", refused.field("sum"))
	}
	p.submit("/sign-up", signUpValues("terms", "1", "sum", "2")...).is(http.StatusOK, "/consent")
}

// A forgotten password, on the way to an app: the code comes by mail, the old
// password and all sign-ins end.
func TestPasswordReset(t *testing.T) {
	s := newSite(t)
	a, other, b := s.newApp("app.example.org"), s.newBrowser(t), s.newBrowser(t)
	other.start(a).signIn("remember", "1").is(http.StatusOK, "/consent")
	p := b.start(a).signInPage().link("/reset?").is(http.StatusOK, "/reset")
	p = p.submit("/reset", "email", "Alice@mail.example.org").is(http.StatusOK, "/reset-password")
	sent := s.people.lastMail()
	if sent.to != "alice@mail.example.org" || sent.purpose != "reset" {
		t.Fatalf("the mail is %+v", sent)
	}
	weak := p.submit("/reset-password", "code", sent.code, "new_password", "short").is(http.StatusBadRequest, "/reset-password")
	if weak.field("code") != sent.code || strings.Contains(weak.Body, `value="short"`) {
		t.Error("the page does not hold what it should")
	}
	p.submit("/reset-password", "code", "CODE-99999", "new_password", "another password").is(http.StatusBadRequest, "/reset-password")
	p = p.submit("/reset-password", "code", sent.code, "new_password", "another password").is(http.StatusOK, "/sign-in")
	p.signIn().is(http.StatusUnauthorized, "/sign-in")
	p.signIn("password", "another password").is(http.StatusOK, "/consent").submit("/consent").code(a)
	other.start(a).signInPage().is(http.StatusOK, "/sign-in")
}

// A deactivated account is asked to come back before anything is granted.
func TestReactivation(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	s.people.change(alice, func(one *person) { one.Status = oauth.Deactivated })
	p := b.start(a).signIn().is(http.StatusOK, "/reactivate")
	b.visit("/oauth/authorize/consent?"+p.URL.RawQuery).is(http.StatusOK, "/reactivate")
	p = p.submit("/reactivate").is(http.StatusOK, "/consent")
	p.submit("/consent").code(a)
	if account, _ := s.people.Account(t.Context(), alice); account.Status != oauth.Active {
		t.Errorf("the account is %s", account.Status)
	}
}

// A table of users that can do no more than it must. Pages that need more are
// not there.
func TestForeignUserTable(t *testing.T) {
	s := newSite(t)
	s.cfg.Accounts = s.users
	s.restart()
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a).is(http.StatusOK, "/sign-in")
	for _, missing := range []string{"/reset", "/sign-up"} {
		for _, link := range nodes(p.doc, "a") {
			if strings.Contains(attr(link, "href"), missing) {
				t.Errorf("the page has a link to %s", missing)
			}
		}
		if q := b.visit("/oauth/authorize" + missing + "?" + p.URL.RawQuery); q.Status != http.StatusNotFound {
			t.Errorf("%s: status %d", missing, q.Status)
		}
	}
	p = p.submit("/sign-in", "identifier", "alice.example.com", "password", "password of alice.example.com", "remember", "1")
	p.is(http.StatusOK, "/consent").submit("/consent").code(a)
	home := b.visit("/account/" + url.PathEscape(string(alice)))
	for _, section := range []string{"/email", "/handle", "/password", "/factors", "/app-passwords", "/export", "/deactivate", "/delete"} {
		for _, link := range nodes(home.doc, "a") {
			if strings.HasSuffix(attr(link, "href"), section) {
				t.Errorf("the account manager has a link to %s", section)
			}
		}
		if q := b.visit("/account/" + url.PathEscape(string(alice)) + section); q.Status != http.StatusNotFound {
			t.Errorf("%s: status %d", section, q.Status)
		}
	}
	home.link("/apps").is(http.StatusOK, "app.example.org")
	home.link("/devices").is(http.StatusOK, "/devices")
	s.users.setStatus(alice, oauth.Deactivated)
	b.start(a, "login_hint", "alice.example.com").is(http.StatusForbidden, "")
	if r := b.send(b.request(http.MethodGet, "/.well-known/change-password", nil, "none")); r.Header.Get("Location") != "/account" {
		t.Errorf("passwords are changed at %q", r.Header.Get("Location"))
	}
}

// The address that password managers know.
func TestChangePasswordAddress(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	b.visit("/.well-known/change-password").is(http.StatusOK, "/account/reset-password")
}

// Whatever happens to the server in the middle, each form of a flow works.
func TestRestartInTheMiddle(t *testing.T) {
	s := newSite(t)
	a, b := s.newConfidential("app.example.org"), s.newBrowser(t)
	a.nonce = ""
	again := func(p *page) *page { s.restart(); return p }
	p := again(b.start(a))
	p = again(p.link("/sign-up?"))
	p = again(p.submit("/sign-up", signUpValues("invite", "wrong")...))
	p = again(p.link("/sign-in?"))
	p = again(p.link("/reset?"))
	p = again(p.submit("/reset", "email", "alice@mail.example.org"))
	p = again(p.submit("/reset-password", "code", s.people.lastMail().code, "new_password", "another password"))
	s.people.change(alice, func(one *person) { one.Status = oauth.Deactivated })
	p = again(p.signIn("password", "another password", "remember", "1")).is(http.StatusOK, "/reactivate")
	p = again(p.submit("/reactivate")).is(http.StatusOK, "/consent")
	p = again(p.submit("/consent"))
	b.tokens(a, p)
	again(nil)
	b.start(a, "login_hint", "alice.example.com").code(a)
	again(nil)
	b.visit("/account").is(http.StatusOK, "alice.example.com")
}
