package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

// What is said about an account that exists, and how long it takes to say, is
// what is said about one that does not.
func TestAttack51_Enumeration(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a).signInPage()
	took := func(work time.Duration) time.Duration { return work + s.slept.took() }
	say := func(p *page, entered string) string {
		return strconv.Itoa(p.Status) + strings.ReplaceAll(p.text(), entered, "X")
	}
	for _, work := range []time.Duration{0, time.Millisecond, 130 * time.Millisecond, 399 * time.Millisecond} {
		s.people.checking = func() { s.clock.advance(work) }
		known := say(p.submit("/sign-in", "identifier", "alice.example.com", "password", "wrong"), "alice.example.com")
		knownTime := took(work)
		s.people.checking = func() { s.clock.advance(work / 2) }
		unknown := say(p.submit("/sign-in", "identifier", "nobody.example.com", "password", "wrong"), "nobody.example.com")
		unknownTime := took(work / 2)
		if known != unknown || knownTime != 400*time.Millisecond || unknownTime != knownTime {
			t.Errorf("sign-in: %q after %v, %q after %v", known, knownTime, unknown, unknownTime)
		}
		if !strings.HasPrefix(known, "401") {
			t.Errorf("sign-in: %q", known)
		}
		s.clock.advance(time.Hour)
		p = b.start(a).signInPage()
	}
	s.people.checking = nil

	reset := p.link("/reset?")
	s.people.resetWasSlow = func() { s.clock.advance(250 * time.Millisecond) }
	known := say(reset.submit("/reset", "email", "alice@mail.example.org"), "alice")
	knownTime := took(250 * time.Millisecond)
	unknown := say(reset.submit("/reset", "email", "nobody@mail.example.org"), "nobody")
	if unknownTime := took(0); known != unknown || knownTime != 400*time.Millisecond || unknownTime != knownTime {
		t.Errorf("reset: %q after %v, %q after %v", known, knownTime, unknown, unknownTime)
	}

	for handle, want := range map[string]string{
		"free.example.com": `{"available":true}`, "alice.example.com": `{"problem":"handle_taken"}`, "admin.example.com": `{"problem":"handle_invalid"}`, "x": `{"problem":"handle_invalid"}`,
	} {
		r := b.request(http.MethodGet, "/oauth/authorize/handle?handle="+handle, nil, "same-origin")
		r.Header.Set("Sec-Fetch-Mode", "cors")
		r.Header.Set("Sec-Fetch-Dest", "empty")
		if got := b.send(r); strings.TrimSpace(got.Body) != want || took(0) != 400*time.Millisecond {
			t.Errorf("handle check of %s: %s", handle, got.Body)
		}
	}
	if got := b.send(b.request(http.MethodGet, "/account/handle?handle=x.example.com", nil, "cross-site")); got.Status != http.StatusForbidden {
		t.Errorf("handle check from another site: status %d", got.Status)
	}

	b.start(a, "prompt", "create").submit("/sign-up", signUpValues("handle", "alice", "domain", ".example.com")...)
	if got := took(0); got != 300*time.Millisecond {
		t.Errorf("sign-up took %v", got)
	}
}

// Guesses of a password are slowed down for the account, wherever they come
// from, also when they come all at once; the right one is not looked at either.
func TestAttack52_PasswordGuesses(t *testing.T) {
	s := newSite(t)
	a := s.newApp("app.example.org")
	owner := s.newBrowser(t)
	owner.start(a).signIn("remember", "1").is(http.StatusOK, "/consent")
	checked := s.people.checked()

	var wg sync.WaitGroup
	for range 20 {
		p := s.newBrowser(t).start(a).signInPage()
		r := p.formRequest("/sign-in", p.fill("/sign-in", "identifier", "alice", "password", "wrong"))
		wg.Go(func() {
			if resp, err := p.b.client.Do(r); err != nil {
				t.Error(err)
			} else {
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	if got := s.people.checked() - checked; got != 5 {
		t.Errorf("%d passwords were checked", got)
	}
	p := s.newBrowser(t).start(a).signIn().is(http.StatusTooManyRequests, "/sign-in")
	if p.Header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After: %s", p.Header.Get("Retry-After"))
	}
	// The owner is not locked out.
	owner.start(a).signInPageOfOther().signIn().is(http.StatusOK, "/consent")

	// Each further failure doubles the wait, up to a quarter of an hour.
	for _, wait := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
		wait *= time.Second
		b := s.newBrowser(t)
		s.clock.advance(wait - time.Millisecond)
		b.start(a).signIn("password", "wrong").is(http.StatusTooManyRequests, "/sign-in")
		s.clock.advance(time.Millisecond)
		b.start(a).signIn("password", "wrong").is(http.StatusUnauthorized, "/sign-in")
		s.restart() // which forgets the rates, and not this
	}
	s.clock.advance(15 * time.Minute)
	s.newBrowser(t).start(a).signIn().is(http.StatusOK, "/consent")
	s.newBrowser(t).start(a).signIn("password", "wrong").is(http.StatusUnauthorized, "/sign-in")
}

// signInPageOfOther goes from the account picker to the sign-in page.
func (p *page) signInPageOfOther() *page { return p.link("/sign-in?") }

// The rates of sign-in: by name and address, and by address.
func TestAttack52_Rates(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	try := func(identifier string) int {
		return b.start(a).signInPage().submit("/sign-in", "identifier", identifier, "password", "x").Status
	}
	s.cfg.Limits.Rates.SignInPerPair = oauth.Rate{Points: 3, Window: 5 * time.Minute}
	s.cfg.Limits.Rates.SignInPerIP = oauth.Rate{Points: 8, Window: 5 * time.Minute}
	s.restart()
	var got []int
	for _, name := range []string{"a", "a", "a", "a", "b", "b", "c", "d", "e", "f"} {
		got = append(got, try(name+".example.com"))
	}
	if want := "[401 401 401 429 401 401 401 401 429 429]"; fmt.Sprint(got) != want {
		t.Errorf("the answers are %v", got)
	}
	s.clock.advance(5 * time.Minute)
	if got := try("g.example.com"); got != http.StatusUnauthorized {
		t.Errorf("after the window: %d", got)
	}

	s.cfg.Limits.Rates.ResetPerIP = oauth.Rate{Points: 2, Window: time.Hour}
	s.cfg.Limits.Rates.SignUpPerIP = oauth.Rate{Points: 2, Window: time.Minute}
	s.cfg.Limits.Rates.HandleCheckPerIP = oauth.Rate{Points: 2, Window: time.Minute}
	s.cfg.Limits.Rates.DevicePerIP = oauth.Rate{Points: 2, Window: time.Minute}
	s.restart()
	reset, signUp := b.visit("/account/reset"), b.visit("/account/sign-up")
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		if p := reset.submit("/reset", "email", "x@example.org"); p.Status != want {
			t.Errorf("reset %d: %d", i, p.Status)
		}
		if p := b.send(b.request(http.MethodGet, "/account/handle?handle=x.example.com", nil, "same-origin")); p.Status != want {
			t.Errorf("handle check %d: %d", i, p.Status)
		}
		if p := s.newBrowser(t).visit("/account/sign-in"); p.Status != want {
			t.Errorf("browser %d: %d", i, p.Status)
		}
		if want == http.StatusOK {
			want = http.StatusBadRequest
		}
		if p := signUp.submit("/sign-up", signUpValues("invite", "wrong")...); p.Status != want || want == http.StatusTooManyRequests && p.Header.Get("Retry-After") != "60" {
			t.Errorf("sign-up %d: %d", i, p.Status)
		}
	}
}

// Guesses of a second factor: five for a challenge, and not many more however
// often the password is entered anew.
func TestAttack52_FactorGuesses(t *testing.T) {
	s := newFactorSite(t)
	a := s.newApp("app.example.org")
	secret, _ := s.enrolled(s.newBrowser(t))
	s.clock.advance(time.Minute)
	var got []int
	for range 2 {
		p := s.newBrowser(t).start(a).signIn().is(http.StatusOK, "/factor")
		for range 3 {
			got = append(got, p.submit("/factor", "code", "000000").Status)
		}
	}
	if want := "[401 401 401 401 401 429]"; fmt.Sprint(got) != want {
		t.Errorf("the answers are %v", got)
	}
	// One challenge alone.
	s.clock.advance(time.Hour)
	p := s.newBrowser(t).start(a).signIn()
	got = nil
	for range 7 {
		s.clock.advance(time.Minute)
		got = append(got, p.submit("/factor", "code", "000000").Status)
		p.b.visit(p.URL.String()) // keeps the request open
	}
	if got[0] != http.StatusUnauthorized || got[6] == http.StatusUnauthorized {
		t.Errorf("the answers are %v", got)
	}
	s.clock.advance(24 * time.Hour)
	p = s.newBrowser(t).start(a).signIn()
	p.submit("/factor", "code", s.otp(secret)).is(http.StatusOK, "/consent")
}

// Guesses of a mailed code in the account manager.
func TestAttack52_MailedCodeGuesses(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	s.people.change(alice, func(one *person) { one.EmailConfirmed = false })
	b.managed()
	p := b.section("/email").submit("/email/request")
	var got []int
	for range 6 {
		got = append(got, p.submit("/email/confirm", "code", "CODE-99999").Status)
	}
	if want := "[400 400 400 400 400 429]"; fmt.Sprint(got) != want {
		t.Errorf("the answers are %v", got)
	}
	p.submit("/email/confirm", "code", s.people.lastMail().code).is(http.StatusTooManyRequests, "")
	s.clock.advance(2 * time.Second)
	p.submit("/email/confirm", "code", s.people.lastMail().code).is(http.StatusOK, "")
}

// A code of an authenticator app is good once, and none before it is good after
// it.
func TestAttack53_CodeReuse(t *testing.T) {
	s := newFactorSite(t)
	a := s.newApp("app.example.org")
	secret, _ := s.enrolled(s.newBrowser(t))
	// The code of the enrolment.
	s.newBrowser(t).start(a).signIn().submit("/factor", "code", s.otp(secret)).is(http.StatusUnauthorized, "/factor")
	s.clock.advance(30 * time.Second)
	older := s.otp(secret)
	s.clock.advance(30 * time.Second)
	code := s.otp(secret)
	var requests []*http.Request
	var browsers []*browser
	for range 4 {
		p := s.newBrowser(t).start(a).signIn().is(http.StatusOK, "/factor")
		requests = append(requests, p.formRequest("/factor", p.fill("/factor", "code", code)))
		browsers = append(browsers, p.b)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for i, r := range requests {
		wg.Go(func() {
			resp, err := browsers[i].client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			if resp.StatusCode == http.StatusSeeOther {
				in++
			}
		})
	}
	wg.Wait()
	if in != 1 {
		t.Errorf("%d browsers got in with one code", in)
	}
	// Its clock may be half a minute off, but not to go back.
	s.clock.advance(10 * time.Second)
	s.newBrowser(t).start(a).signIn().submit("/factor", "code", older).is(http.StatusUnauthorized, "/factor")
	s.clock.advance(24 * time.Hour)
	p := s.newBrowser(t).start(a).signIn()
	p.submit("/factor", "code", code).is(http.StatusUnauthorized, "/factor")
	p.submit("/factor", "code", s.otp(secret)).is(http.StatusOK, "/consent")
}

// A code to reset the password is for the account that it was sent to, once, and
// not after the address has changed.
func TestAttack54_ResetCodes(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	send := func() (*page, string) {
		p := b.visit("/account/reset").submit("/reset", "email", "bob@mail.example.org")
		return p, s.people.lastMail().code
	}
	p, code := send()
	p.submit("/reset-password", "code", code, "new_password", "another password").is(http.StatusOK, "/sign-in")
	if a, err := s.people.SignIn(t.Context(), "alice.example.com", alicePassword); err != nil {
		t.Errorf("alice: %v, %v", a, err)
	}
	p.submit("/reset-password", "code", code, "new_password", "one more password").is(http.StatusBadRequest, "/reset-password")
	p, code = send()
	if err := s.people.ChangeEmail(t.Context(), bob, "new@mail.example.org", ""); err == nil {
		t.Fatal("the address was changed without a code")
	}
	s.people.change(bob, func(one *person) { one.EmailConfirmed = false })
	if err := s.people.ChangeEmail(t.Context(), bob, "new@mail.example.org", ""); err != nil {
		t.Fatal(err)
	}
	p.submit("/reset-password", "code", code, "new_password", "one more password").is(http.StatusBadRequest, "/reset-password")
}

// A reset that happens while an old password is being checked wins.
func TestAttack54_ResetDuringSignIn(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a).signInPage()
	s.people.checking = func() {
		s.clock.advance(time.Millisecond)
		if err := s.srv.EndSessions(t.Context(), alice); err != nil {
			t.Error(err)
		}
	}
	p = p.signIn()
	s.people.checking = nil
	p.is(http.StatusOK, "/sign-in")
	if b.visit("/account").hasForm("/sign-out") {
		t.Error("the old password has signed in")
	}
	p.signIn().is(http.StatusOK, "/consent")
}

// A password made for one app is wrong in our forms, like any other wrong one.
func TestAttack55_AppPassword(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	password, err := s.people.CreateAppPassword(t.Context(), alice, "phone", true)
	if err != nil {
		t.Fatal(err)
	}
	p := b.start(a).signInPage()
	wrong := p.signIn("password", "wrong").is(http.StatusUnauthorized, "/sign-in").text()
	if got := p.signIn("password", password).is(http.StatusUnauthorized, "/sign-in").text(); got != wrong {
		t.Errorf("the page says %q", got)
	}
	b.managed()
	s.clock.advance(time.Hour)
	b.section("/email").submit("/email", "email", "x@mail.example.org", "password", password).is(http.StatusUnauthorized, "/email")
}

// An account that is taken down or deactivated, between any two steps.
func TestAttack56_StatusAtEachStep(t *testing.T) {
	for _, status := range []oauth.Status{oauth.TakenDown, oauth.Deactivated} {
		t.Run(status.String(), func(t *testing.T) {
			s := newSite(t)
			a, b := s.newConfidential("app.example.org"), s.newBrowser(t)
			set := func(status oauth.Status) {
				s.people.change(alice, func(one *person) { one.Status = status })
			}
			refused := func(p *page) {
				t.Helper()
				if p.Away != nil {
					t.Errorf("the browser went to %s", p.Away)
				} else if status == oauth.Deactivated {
					p.is(http.StatusOK, "/reactivate")
				} else if p.Status != http.StatusForbidden && !p.hasForm("/sign-in") && !strings.Contains(p.text(), "Create account") {
					t.Errorf("%s: status %d\n%s", p.URL, p.Status, p.text())
				}
			}
			p := b.start(a).signInPage()
			set(status)
			refused(p.signIn("remember", "1"))
			set(oauth.Active)
			p = b.start(a).signInPage().signIn("remember", "1").is(http.StatusOK, "/consent")
			set(status)
			refused(b.visit(p.URL.String()))
			refused(p.submit("/consent"))
			set(oauth.Active)
			p.submit("/consent").code(a)
			set(status)
			refused(b.start(a, "login_hint", "alice.example.com"))
			b.start(a, "login_hint", "alice.example.com", "prompt", "none").refusedWith(a, "login_required")
			set(oauth.Active)
			p = b.start(a)
			set(status)
			refused(p.submit("/account", "account", string(alice)))
			home := b.section("")
			if want := http.StatusForbidden; status == oauth.TakenDown && home.Status != want {
				t.Errorf("the account manager: status %d", home.Status)
			}
			set(oauth.Active)
			if err := s.srv.EndSessions(t.Context(), alice); err != nil {
				t.Fatal(err)
			}
			b.section("").is(http.StatusOK, "/sign-in")
		})
	}
}

// Only who is signed in to an account ends its sign-ins elsewhere.
func TestAttack57_DeviceSignOutByOthers(t *testing.T) {
	s := newSite(t)
	mine, theirs := s.newBrowser(t), s.newBrowser(t)
	mine.managed()
	device := attr(nodes(mine.section("/devices").formTo("/devices"), "button")[0], "value")
	theirs.visit("/account").signIn("identifier", "bob", "password", bobPassword, "remember", "1")
	p := theirs.visit("/account/" + url.PathEscape(string(bob)) + "/devices")
	form := p.fill("/devices", "device", device)
	theirs.follow(p.formRequest("/devices", form), p)
	r := theirs.request(http.MethodPost, "/account/"+url.PathEscape(string(alice))+"/devices", form, "same-origin")
	theirs.follow(r, p).is(http.StatusOK, "/sign-in")
	mine.section("").is(http.StatusOK, "alice.example.com")
}

// The pages are at the address of the server alone.
func TestAttack59_PagesOnOtherHosts(t *testing.T) {
	s := newSite(t)
	a := s.newApp("app.example.org")
	uri := a.pushed()
	for _, path := range []string{"/account", "/account/sign-in", strings.TrimPrefix(a.authorizeURL(uri), issuer), "/.well-known/change-password", "/oauth/assets/style.css"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://alice.pds.example.com"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.do(r); got.Status != http.StatusNotFound {
			t.Errorf("%s: status %d", path, got.Status)
		}
	}
}

// What an account has stored leaves by a download, never as a page, so that it
// cannot run here.
func TestAttack64_StoredContent(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	s.cfg.Accounts = htmlExport{s.people}
	s.restart()
	b.managed()
	h := b.section("/export/repo").Header
	if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the header is %v", h)
	}
}

// htmlExport exports what a browser would run.
type htmlExport struct{ *people }

func (htmlExport) Exports(context.Context, syntax.DID) ([]oauth.Export, error) {
	return []oauth.Export{{Code: "repo", FileName: "a\"; x=.html", MediaType: "text/html"}}, nil
}

// What was agreed to is remembered, and nothing else; for clients that anybody
// can be, nothing at all.
func TestAttack65_ConsentOfLoopbackClients(t *testing.T) {
	s := newSite(t, func(c *config) { c.ClientPolicy = trustAll })
	b := s.newBrowser(t)
	a := s.newApp("x.example.org")
	a.id, a.redirect = "http://localhost?"+url.Values{"redirect_uri": {"http://127.0.0.1/cb"}, "scope": {"atproto"}}.Encode(), "http://127.0.0.1:8080/cb"
	b.start(a, "scope", "atproto").signIn("remember", "1").submit("/consent").code(a)
	for range 2 {
		b.start(a, "scope", "atproto", "login_hint", "alice.example.com").is(http.StatusOK, "/consent").submit("/consent").code(a)
	}
	a.push("scope", "atproto", "prompt", "none").is(http.StatusBadRequest, "invalid_request")
	if text := b.section("/apps").text(); strings.Contains(text, "127.0.0.1") {
		t.Errorf("a consent is listed:\n%s", text)
	}
}

// The wait says nothing about whether the account exists.
func TestAttack52_WaitForUnknownNames(t *testing.T) {
	s := newSite(t)
	a := s.newApp("app.example.org")
	var got []string
	for _, name := range []string{"alice.example.com", "nobody.example.com"} {
		b := s.newBrowser(t)
		text := ""
		for range 6 {
			p := b.start(a).signInPage().submit("/sign-in", "identifier", name, "password", "wrong")
			text += fmt.Sprint(p.Status, " ", p.Header.Get("Retry-After"), " ")
		}
		got = append(got, text)
	}
	if got[0] != got[1] || !strings.Contains(got[0], "429 2") {
		t.Errorf("the answers are %q", got)
	}
}
