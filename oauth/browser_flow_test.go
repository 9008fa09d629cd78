package oauth_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The way of everybody, without scripts: welcome, sign-in, consent, back to the
// app; then the tokens.
func TestBrowserFlow(t *testing.T) {
	for _, mode := range []string{"query", "fragment"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t)
			a, b := s.newApp("app.example.org"), s.newBrowser(t)
			p := b.start(a, "response_mode", mode).is(http.StatusOK, "app.example.org")
			p = p.signIn().is(http.StatusOK, "/consent")
			if !strings.Contains(p.text(), "alice.example.com") {
				t.Error("the consent page does not name the account")
			}
			got := b.tokens(a, p.submit("/consent"))
			if got.text("scope") != "atproto transition:generic" || got.text("sub") != string(alice) {
				t.Errorf("the tokens are %v", got.Body)
			}
		})
	}
}

// Nothing is remembered without "remember me": the next request asks again.
func TestRemember(t *testing.T) {
	s := newSite(t)
	a := s.newApp("app.example.org")
	b := s.newBrowser(t)
	b.start(a).signIn().submit("/consent").code(a)
	b.start(a).link("/sign-in?").is(http.StatusOK, "/sign-in")
	if b.visit("/account").hasForm("/sign-out") {
		t.Error("the account manager is open without a sign-in of its own")
	}

	b = s.newBrowser(t)
	b.start(a).signIn("remember", "1").submit("/consent").code(a)
	p := b.start(a).is(http.StatusOK, "/oauth/authorize/account")
	p = p.submit("/account", "account", string(alice)).is(http.StatusOK, "/consent")
	p.submit("/consent").code(a)

	// After a week, the password is asked for again.
	s.clock.advance(7*24*time.Hour - time.Minute)
	b.start(a).submit("/account", "account", string(alice)).is(http.StatusOK, "/consent")
	s.clock.advance(2 * time.Minute)
	p = b.start(a).submit("/account", "account", string(alice)).is(http.StatusOK, "/sign-in")
	if p.field("identifier") != "alice.example.com" {
		t.Errorf("the identifier is %q", p.field("identifier"))
	}
	p.signIn().is(http.StatusOK, "/consent")
}

// With the two methods of Accounts and no more, the first page is that for the
// password, and nothing lies behind it.
func TestSmallestAccounts(t *testing.T) {
	s := newSite(t, func(c *config) { c.Accounts = newUsers() })
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	back := func(p *page) bool { return strings.Contains(p.text(), "Back") }
	p := b.start(a).is(http.StatusOK, "/sign-in")
	if back(p) {
		t.Error("the first page leads back to itself")
	}
	pair := []string{"identifier", "alice.example.com", "password", "password of alice.example.com"}
	p = p.submit("/sign-in", append(pair, "remember", "1")...).is(http.StatusOK, "/consent")
	b.tokens(a, p.submit("/consent"))
	if p = b.start(a).is(http.StatusOK, "/oauth/authorize/account").signInPage(); !back(p) {
		t.Error("no way back to the accounts that are signed in")
	}
}
