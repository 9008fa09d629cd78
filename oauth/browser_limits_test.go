package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

// How long a sign-in lasts: a quarter of an hour on a browser that was not asked
// to remember it.
func TestSignInOnceLasts(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	b.visit("/account").signIn().is(http.StatusOK, "alice.example.com")
	s.clock.advance(15*time.Minute - time.Second)
	b.section("").is(http.StatusOK, "alice.example.com")
	s.clock.advance(time.Second)
	b.section("").is(http.StatusOK, "/sign-in")
}

// A browser on which nobody signs in is forgotten after a day, any other 400
// days after it was seen last.
func TestDevicesLast(t *testing.T) {
	s := newSite(t)
	unused, used := s.newBrowser(t), s.newBrowser(t)
	unused.visit("/account")
	used.managed()
	before := [2]string{unused.cookie("__Host-dev"), used.cookie("__Host-dev")}
	s.clock.advance(24*time.Hour - time.Second)
	unused.visit("/account")
	if unused.cookie("__Host-dev") != before[0] {
		t.Error("the browser was forgotten too early")
	}
	s.clock.advance(24 * time.Hour)
	unused.visit("/account")
	if unused.cookie("__Host-dev") == before[0] {
		t.Error("the browser was not forgotten")
	}
	s.clock.advance(398 * 24 * time.Hour)
	used.visit("/account")
	if used.cookie("__Host-dev") != before[1] {
		t.Error("the browser with a sign-in was forgotten too early")
	}
	s.clock.advance(400 * 24 * time.Hour)
	used.visit("/account")
	if used.cookie("__Host-dev") == before[1] {
		t.Error("the browser with a sign-in was not forgotten")
	}
}

// A browser keeps its session cookie while it says the same of itself, in whatever
// encoding.
func TestDevicesOfAnyName(t *testing.T) {
	for _, agent := range []string{"Test/1.0", "\xff\xfe", strings.Repeat("x", 255) + "é"} {
		b := newSite(t).newBrowser(t)
		b.agent = agent
		b.visit("/account")
		before := b.cookie("__Host-ses")
		if b.visit("/account"); b.cookie("__Host-ses") != before {
			t.Errorf("%q: the session cookie was replaced at the next request", agent)
		}
	}
}

// A browser remembers twenty sign-ins. The next takes the place of the oldest.
func TestAccountsOfADevice(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	for i := range 21 {
		name := fmt.Sprintf("user%02d", i)
		s.people.add(syntax.DID("did:web:"+name+".example.com"), name, "the password of "+name)
		s.clock.advance(time.Second)
		b.visit("/account/sign-in").submit("/sign-in", "identifier", name, "password", "the password of "+name, "remember", "1").is(http.StatusOK, name)
	}
	text := b.visit("/account").text()
	if strings.Contains(text, "user00") || !strings.Contains(text, "user01") || !strings.Contains(text, "user20") {
		t.Errorf("the accounts are:\n%s", text)
	}
}

// A step of a sign-in may take ten minutes.
func TestStepsLast(t *testing.T) {
	s := newSite(t)
	s.cfg.SecondFactor = deviceFactor{map[string]bool{}}
	s.restart()
	for _, test := range []struct {
		after time.Duration
		want  int
	}{{10*time.Minute - time.Second, http.StatusOK}, {10 * time.Minute, http.StatusBadRequest}} {
		b := s.newBrowser(t)
		p := b.visit("/account").signIn().is(http.StatusOK, "/factor")
		s.clock.advance(test.after)
		p.submit("/factor", "code", "good").is(test.want, "")
	}
}

// Sizes: the body of a form, and a password that is checked.
func TestFormSizes(t *testing.T) {
	s := newSite(t)
	s.cfg.Limits.BodyBytes = 4096
	s.restart()
	s.people.change(alice, func(one *person) { one.password = strings.Repeat("p", 512) })
	b := s.newBrowser(t)
	p := b.visit("/account").is(http.StatusOK, "/sign-in")
	p.submit("/sign-in", "identifier", "alice", "password", strings.Repeat("p", 4096)).is(http.StatusRequestEntityTooLarge, "")
	p.submit("/sign-in", "identifier", "alice", "password", strings.Repeat("p", 513)).is(http.StatusUnauthorized, "/sign-in")
	if s.people.checked() != 0 {
		t.Error("a password that is too long was checked")
	}
	p.submit("/sign-in", "identifier", "alice", "password", strings.Repeat("p", 512)).is(http.StatusOK, "alice.example.com")
}

// What a hook refuses does not happen, and what happens it hears of.
func TestHooksOfThePages(t *testing.T) {
	var heard []oauth.EventKind
	var refuse oauth.EventKind
	s := newSite(t, func(c *config) {
		c.Hook = func(_ context.Context, e oauth.Event) error {
			heard = append(heard, e.Kind)
			if e.Kind == refuse {
				return fmt.Errorf("no %s", e.Kind)
			}
			return nil
		}
	})
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	refuse = oauth.EventSignIn
	p := b.start(a).signInPage()
	if p = p.signIn().is(http.StatusForbidden, ""); strings.Contains(p.text(), "no signIn") || s.people.checked() != 0 {
		t.Errorf("%d checks, and the page says:\n%s", s.people.checked(), p.text())
	}
	refuse = oauth.EventSignUp
	b.start(a, "prompt", "create").submit("/sign-up", signUpValues()...).is(http.StatusForbidden, "")
	refuse = oauth.EventConsent
	p = b.start(a).signInPage()
	p.signIn("password", "wrong").is(http.StatusUnauthorized, "/sign-in")
	p = p.signIn()
	p.submit("/consent").is(http.StatusForbidden, "")
	refuse = ""
	p.submit("/consent").code(a)
	want := "[request signIn request signUp request signIn signInFailed signIn signedIn consent consent]"
	if got := fmt.Sprint(heard); got != want {
		t.Errorf("the hook heard\n%s, want\n%s", got, want)
	}
}

// What the account system cannot do at the moment.
func TestBusy(t *testing.T) {
	s := newSite(t)
	s.cfg.Accounts = overloaded{s.people}
	s.restart()
	b := s.newBrowser(t)
	p := b.visit("/account")
	for range 10 { // it is nobody's failure
		p.signIn().is(http.StatusServiceUnavailable, "/sign-in")
	}
}

type overloaded struct{ *people }

func (overloaded) SignIn(context.Context, string, string) (oauth.Account, error) {
	return oauth.Account{}, fmt.Errorf("all hands: %w", oauth.ErrBusy)
}

// Signing in again and again for this once does not end what is remembered.
func TestManySignInsOfOneAccount(t *testing.T) {
	s := newSite(t, func(c *config) { c.Limits.Rates.SignInPerPair.Points = -1 })
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	for range 19 {
		b.start(a, "prompt", "login").signIn().is(http.StatusOK, "/consent")
		s.clock.advance(time.Second)
	}
	b.managed()
	for range 19 {
		s.clock.advance(time.Second)
		b.start(a, "prompt", "login").signIn().is(http.StatusOK, "/consent")
	}
	b.section("").is(http.StatusOK, "alice.example.com")
}
