package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

// However an identifier is written, the account system looks up one account,
// and its failures are counted together.
func TestAttack52_WaysToWriteAnIdentifier(t *testing.T) {
	s := newSite(t)
	var got []int
	for i := range 7 {
		written := []string{"@ ", "@\t", "@  ", " @", "", " ", "@\u00a0"}[i] + "Alice.example.com"
		got = append(got, s.newBrowser(t).visit("/account").signIn("identifier", written, "password", "wrong").Status)
	}
	if want := "[401 401 401 401 401 429 429]"; fmt.Sprint(got) != want {
		t.Errorf("the answers are %v, want %s", got, want)
	}
	if n := s.people.checked(); n != 5 {
		t.Errorf("%d passwords were checked", n)
	}
}

// Handle and DID of an account are counted together. An e-mail address is not: the
// answers would tell whose it is.
func TestAttack52_NamesOfOneAccount(t *testing.T) {
	s := newSite(t)
	guess := func(name string) int {
		return s.newBrowser(t).visit("/account").signIn("identifier", name, "password", "wrong").Status
	}
	var got []int
	for _, name := range []string{"alice.example.com", string(alice), strings.ToUpper(string(alice)), "alice.example.com", string(alice), string(alice), "alice.example.com"} {
		got = append(got, guess(name))
	}
	if want := "[401 401 401 401 401 429 429]"; fmt.Sprint(got) != want {
		t.Errorf("the answers are %v, want %s", got, want)
	}
	if own, other := guess("alice@mail.example.org"), guess("nobody@example.com"); own != other || own != http.StatusUnauthorized {
		t.Errorf("her address is answered by %d, another by %d", own, other)
	}
}

// Whoever has an IPv6 address has those of a /64: each is no new start.
func TestAttack52_AddressesOfOneNetwork(t *testing.T) {
	next := byte(0)
	s := newSite(t, func(c *config) {
		once := oauth.Rate{Points: 1, Window: time.Minute}
		c.Limits.Rates = oauth.Rates{
			SignInPerIP: once, ResetPerIP: once, SignUpPerIP: once, HandleCheckPerIP: once, DevicePerIP: oauth.Rate{Points: 5, Window: time.Minute},
		}
		c.ClientIP = func(*http.Request) netip.Addr {
			next++
			return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: next})
		}
	})
	for _, test := range []struct {
		path, form string
		fields     []string
	}{
		{"/account/sign-in", "/sign-in", []string{"identifier", "alice", "password", "wrong"}},
		{"/account/reset", "/reset", []string{"email", "nobody@example.org"}},
		{"/account/sign-up", "/sign-up", signUpValues("invite", "wrong")},
	} {
		p := s.newBrowser(t).visit(test.path)
		p.submit(test.form, test.fields...)
		if p = p.submit(test.form, test.fields...); p.Status != http.StatusTooManyRequests {
			t.Errorf("%s: status %d", test.form, p.Status)
		}
	}
	b := s.newBrowser(t)
	b.send(b.request(http.MethodGet, "/account/handle?handle=new.example.com", nil, "same-origin"))
	if p := b.send(b.request(http.MethodGet, "/account/handle?handle=new.example.com", nil, "same-origin")); p.Status != http.StatusTooManyRequests {
		t.Errorf("handle check: status %d", p.Status)
	}
	s.newBrowser(t).visit("/account")
	s.newBrowser(t).visit("/account")
	if p := s.newBrowser(t).visit("/account"); p.Status != http.StatusTooManyRequests {
		t.Errorf("new devices: status %d", p.Status)
	}
}

// A form without cookies makes the server fetch nothing by an address that is
// made up, and does not lead where the app is no more.
func TestAttack43_NoFetchWithoutARequest(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	form := url.Values{"client_id": {"https://victim.example.org/client.json"}, "request": {"urn:ietf:params:oauth:request_uri:req-" + strings.Repeat("0", 32)}}
	if p := b.send(b.request(http.MethodPost, "/oauth/authorize/sign-in", form, "same-origin")); p.Status != http.StatusBadRequest {
		t.Errorf("status %d", p.Status)
	}
	if s.web.count("https://victim.example.org/client.json") > 0 {
		t.Error("the address was fetched")
	}
	a := s.newApp("app.example.org")
	form = url.Values{"client_id": {a.id}, "request": {a.pushed()}}
	a.publish(object{"redirect_uris": []string{"https://app.example.org/elsewhere"}})
	s.clock.advance(4 * time.Minute)
	s.restart() // forgets what it knows of the client
	if p := b.send(b.request(http.MethodPost, "/oauth/authorize/sign-in", form, "same-origin")); strings.Contains(p.Body, a.redirect) {
		t.Error("the page leads to an address that is registered no more")
	}
}

// The account manager wants the password again after a week, even where the
// sign-in was made for it.
func TestManagerSignInGrowsOld(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	b.managed()
	s.clock.advance(7*24*time.Hour - time.Second)
	b.section("/devices").is(http.StatusOK, "/devices")
	s.clock.advance(time.Second)
	p := b.section("/devices").is(http.StatusOK, "/sign-in")
	p.signIn().is(http.StatusOK, "alice.example.com")
	b.section("/devices").is(http.StatusOK, "/devices")
}

// takenAddress is an account system that looks at a new address before the code.
type takenAddress struct{ *people }

func (a takenAddress) ChangeEmail(ctx context.Context, did syntax.DID, email, code string) error {
	if email == "bob@mail.example.org" {
		return oauth.ErrEmailTaken
	}
	return a.people.ChangeEmail(ctx, did, email, code)
}

// An attempt that fails for another reason does not make up for wrong codes.
func TestAttack52_CodesBetweenOtherFailures(t *testing.T) {
	s := newSite(t)
	s.cfg.Accounts = takenAddress{s.people}
	s.restart()
	b := s.newBrowser(t)
	p := b.managed().link("/email").submit("/email", "email", "new@mail.example.org").is(http.StatusOK, "/email")
	var got []int
	for i := range 8 {
		email := "new@mail.example.org"
		if i == 3 {
			email = "bob@mail.example.org"
		}
		got = append(got, p.submit("/email", "email", email, "code", "CODE-99999").Status)
	}
	if want := "[400 400 400 400 400 400 429 429]"; fmt.Sprint(got) != want {
		t.Errorf("the answers are %v, want %s", got, want)
	}
}

// politeCode names a wrong code as a problem of the same step.
type politeCode struct{ mailCode }

func (m politeCode) Continue(ctx context.Context, a oauth.SignInAttempt, state []byte, values url.Values) (syntax.DID, *oauth.SignInStep, error) {
	did, next, err := m.mailCode.Continue(ctx, a, state, values)
	if err != nil {
		return "", &oauth.SignInStep{
			State: state, Account: syntax.DID(state), Title: "The code", Problem: "Wrong", Fields: []oauth.StepField{{Name: "mailed", Kind: "code", Label: "Code"}},
		}, nil
	}
	return did, next, nil
}

// A method that shows its step again says that the answer was wrong: it is
// counted as one, for the step and for the account.
func TestAttack52_StepsShownAgain(t *testing.T) {
	s := newSite(t)
	s.cfg.SignInMethods = []oauth.SignInMethod{politeCode{mailCode{s.people}}}
	s.restart()
	begin := func() *page {
		return s.newBrowser(t).visit("/account").submit("/method", "method", "mail").submit("/step", "address", "alice@mail.example.org")
	}
	p := begin()
	for range oauth.MaxFactorTries {
		p = p.submit("/step", "mailed", "CODE-99999").is(http.StatusOK, "Wrong")
		s.clock.advance(time.Minute)
	}
	p.submit("/step", "mailed", s.people.lastMail().code).is(http.StatusBadRequest, "")
	begin().submit("/step", "mailed", "CODE-99999")
	if p := begin().submit("/step", "mailed", s.people.lastMail().code); p.Status != http.StatusTooManyRequests {
		t.Errorf("status %d", p.Status)
	}
}
