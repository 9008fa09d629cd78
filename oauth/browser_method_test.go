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

// mailCode signs in by a code that is mailed: all that it takes.
type mailCode struct{ people *people }

func (mailCode) ID() string                 { return "mail" }
func (mailCode) Title(locale string) string { return "Mail me a code (" + locale + ")" }

func (mailCode) Begin(context.Context, oauth.SignInAttempt) (*oauth.SignInStep, error) {
	return &oauth.SignInStep{Title: "Your address", Fields: []oauth.StepField{{Name: "address", Kind: "email", Label: "Address"}}}, nil
}

func (m mailCode) Continue(_ context.Context, _ oauth.SignInAttempt, state []byte, values url.Values) (syntax.DID, *oauth.SignInStep, error) {
	m.people.mu.Lock()
	defer m.people.mu.Unlock()
	if did := syntax.DID(state); did != "" {
		return did, nil, m.people.use(m.people.accounts[did], "sign-in", values.Get("mailed"))
	}
	for did, one := range m.people.accounts {
		if one.Email == values.Get("address") {
			m.people.send(one, "sign-in")
			return "", &oauth.SignInStep{
				State: []byte(did), Account: did, Title: "The code", Fields: []oauth.StepField{{Name: "mailed", Kind: "code", Label: "Code"}},
			}, nil
		}
	}
	again, err := m.Begin(context.Background(), oauth.SignInAttempt{})
	again.Problem = "Nobody has this address"
	return "", again, err
}

// elsewhere sends the browser to another site.
type elsewhere struct {
	states *[]oauth.SignInAttempt
}

func (elsewhere) ID() string          { return "other" }
func (elsewhere) Title(string) string { return "Sign in elsewhere" }

func (e elsewhere) Begin(_ context.Context, a oauth.SignInAttempt) (*oauth.SignInStep, error) {
	*e.states = append(*e.states, a)
	return &oauth.SignInStep{State: []byte("kept"), Redirect: "https://id.example.org/login?" + url.Values{"state": {a.State}, "back": {a.Callback}}.Encode()}, nil
}

func (e elsewhere) Continue(_ context.Context, a oauth.SignInAttempt, state []byte, values url.Values) (syntax.DID, *oauth.SignInStep, error) {
	if string(state) != "kept" || values.Get("user") == "" {
		return "", nil, oauth.ErrCodeInvalid
	}
	return syntax.DID(values.Get("user")), nil, nil
}

func newMethodSite(t *testing.T) (*site, *[]oauth.SignInAttempt) {
	t.Helper()
	s := newSite(t)
	attempts := &[]oauth.SignInAttempt{}
	s.cfg.SignInMethods = []oauth.SignInMethod{mailCode{s.people}, elsewhere{attempts}}
	s.restart()
	return s, attempts
}

// Two steps in forms.
func TestSignInMethod(t *testing.T) {
	s, _ := newMethodSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a).signInPage().is(http.StatusOK, "Mail me a code (en)").submit("/method", "method", "mail").is(http.StatusOK, "Your address")
	s.restart()
	p = p.submit("/step", "address", "nobody@example.org").is(http.StatusOK, "Nobody has this address")
	p = p.submit("/step", "address", "alice@mail.example.org").is(http.StatusOK, "The code")
	s.restart()
	p.submit("/step", "mailed", "CODE-00000").is(http.StatusUnauthorized, "/step")
	p = p.submit("/step", "mailed", s.people.lastMail().code).is(http.StatusOK, "/consent")
	p.submit("/consent").code(a)
	p = b.visit("/account").submit("/method", "method", "mail").submit("/step", "address", "alice@mail.example.org")
	p.submit("/step", "mailed", s.people.lastMail().code).is(http.StatusOK, "alice.example.com")
	b.visit("/account").submit("/sign-out", "account", string(alice)).submit("/method", "method", "none such").is(http.StatusBadRequest, "")
}

// A visit to another site. Who comes back must be who was sent.
func TestSignInElsewhere(t *testing.T) {
	s, attempts := newMethodSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a).signInPage().submit("/method", "method", "other").is(http.StatusOK, "")
	to, err := url.Parse(strings.TrimPrefix(p.Header.Get("Refresh"), "0;url="))
	if err != nil || to.Host != "id.example.org" {
		t.Fatalf("the page leads to %q", p.Header.Get("Refresh"))
	}
	attempt := (*attempts)[0]
	back := attempt.Callback + "?" + url.Values{"state": {attempt.State}, "user": {string(alice)}}.Encode()
	s.newBrowser(t).open(back).is(http.StatusBadRequest, "")
	b.open(strings.Replace(back, "/other?", "/mail?", 1)).is(http.StatusBadRequest, "")
	s.restart()
	p = b.open(back).is(http.StatusOK, "/consent")
	b.open(back).is(http.StatusBadRequest, "") // once
	p.submit("/consent").code(a)

	// An account that the app has not asked for.
	b.start(a, "login_hint", "bob.example.com").submit("/method", "method", "other")
	attempt = (*attempts)[1]
	if attempt.LoginHint != "bob.example.com" {
		t.Errorf("the attempt is %+v", attempt)
	}
	b.open(attempt.Callback+"?"+url.Values{"state": {attempt.State}, "user": {string(alice)}}.Encode()).is(http.StatusForbidden, "/sign-in")
}

// Guessing at one account is slowed down, however often it is begun anew.
func TestSignInMethodGuesses(t *testing.T) {
	s, _ := newMethodSite(t)
	a := s.newApp("app.example.org")
	var statuses []int
	for range 8 {
		p := s.newBrowser(t).start(a).signInPage().submit("/method", "method", "mail").submit("/step", "address", "alice@mail.example.org")
		statuses = append(statuses, p.submit("/step", "mailed", "CODE-99999").Status)
	}
	if statuses[0] != http.StatusUnauthorized || statuses[7] != http.StatusTooManyRequests {
		t.Errorf("the answers are %v", statuses)
	}
}
