package oauth_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
)

// What somebody sees first, by prompt, by who is signed in, and by the client.
func TestPrompts(t *testing.T) {
	const (
		nobody = 0
		one    = 1
		two    = 2
	)
	for _, test := range []struct {
		name      string
		prompt    string
		hint      string
		signedIn  int
		consented bool
		age       time.Duration
		public    bool
		want      string // a form, "code", or an error for the app
	}{
		{name: "first time", want: "welcome"},
		{name: "hint", hint: "alice.example.com", want: "/sign-in"},
		{name: "one signed in", signedIn: one, want: "/account"},
		{name: "hint, signed in", hint: "alice.example.com", signedIn: two, want: "/consent"},
		{name: "hint, consented", hint: "alice.example.com", signedIn: two, consented: true, want: "code"},
		{name: "DID, consented", hint: string(alice), signedIn: two, consented: true, want: "code"},
		{name: "hint, consented, stale", hint: "alice.example.com", signedIn: one, consented: true, age: 8 * 24 * time.Hour, want: "/sign-in"},
		{name: "hint, consented, public client", hint: "alice.example.com", signedIn: one, consented: true, public: true, want: "/consent"},
		{name: "no hint, consented", signedIn: one, consented: true, want: "/account"},

		{name: "none, nobody", prompt: "none", want: "login_required"},
		{name: "none, two", prompt: "none", signedIn: two, consented: true, want: "account_selection_required"},
		{name: "none, two and a hint", prompt: "none", hint: "alice.example.com", signedIn: two, consented: true, want: "code"},
		{name: "none, another hint", prompt: "none", hint: "bob.example.com", signedIn: one, consented: true, want: "login_required"},
		{name: "none, no consent", prompt: "none", signedIn: one, want: "consent_required"},
		{name: "none, stale", prompt: "none", signedIn: one, consented: true, age: 8 * 24 * time.Hour, want: "login_required"},
		{name: "none, all there", prompt: "none", signedIn: one, consented: true, want: "code"},

		{name: "login", prompt: "login", hint: "alice.example.com", signedIn: one, consented: true, want: "/sign-in"},
		{name: "consent", prompt: "consent", hint: "alice.example.com", signedIn: one, consented: true, want: "/consent"},
		{name: "select, nobody", prompt: "select_account", want: "account_selection_required"},
		{name: "select", prompt: "select_account", signedIn: one, consented: true, want: "/account"},
		{name: "create", prompt: "create", signedIn: one, want: "/sign-up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			b := s.newBrowser(t)
			a := s.newConfidential("app.example.org")
			for i, who := range []string{"alice", "bob"} {
				if i >= test.signedIn {
					break
				}
				password := map[string]string{"alice": alicePassword, "bob": bobPassword}[who]
				p := b.start(s.newApp("other.example.org"), "login_hint", who+".example.com").submit("/sign-in", "password", password, "remember", "1")
				p.is(http.StatusOK, "/consent")
			}
			if test.consented {
				b.start(a, "login_hint", "alice.example.com").submit("/consent").code(a)
			}
			if test.public {
				a.publish(object{"token_endpoint_auth_method": nil, "token_endpoint_auth_signing_alg": nil, "jwks": nil})
				a.publish(object{"token_endpoint_auth_method": "none"})
				a.auth = nil
				s.restart() // which forgets the client
			}
			s.clock.advance(test.age)
			p := b.start(a, "prompt", test.prompt, "login_hint", test.hint)
			switch {
			case test.want == "code":
				p.code(a)
			case test.want == "welcome":
				p.link("/sign-up?").is(http.StatusOK, "/sign-up")
				p.link("/sign-in?").is(http.StatusOK, "/sign-in")
			case strings.HasPrefix(test.want, "/"):
				p.is(http.StatusOK, test.want)
			default:
				p.refusedWith(a, test.want)
			}
		})
	}
}

// max_age asks for the password sooner.
func TestMaxAge(t *testing.T) {
	s := newSite(t)
	a, b := s.newConfidential("app.example.org"), s.newBrowser(t)
	b.start(a).signIn("remember", "1").submit("/consent").code(a)
	s.clock.advance(time.Minute)
	b.start(a, "login_hint", "alice.example.com", "max_age", "3600").code(a)
	p := b.start(a, "login_hint", "alice.example.com", "max_age", "30").is(http.StatusOK, "/sign-in")
	p.submit("/sign-in", "password", alicePassword, "remember", "1").code(a)
	p = b.start(a, "login_hint", "alice.example.com", "max_age", "0").is(http.StatusOK, "/sign-in")
	p.submit("/sign-in", "password", alicePassword).code(a)
}

// prompt=login wants the password in this very request.
func TestPromptLogin(t *testing.T) {
	s := newSite(t)
	a, b := s.newConfidential("app.example.org"), s.newBrowser(t)
	b.start(a).signIn("remember", "1").submit("/consent").code(a)
	p := b.start(a, "prompt", "login").is(http.StatusOK, "/sign-in")
	// To pick the account that is signed in is not enough.
	picked := b.visit("/oauth/authorize/accounts?"+p.URL.RawQuery).submit("/account", "account", string(alice))
	picked.is(http.StatusOK, "/sign-in")
	picked.signIn().code(a)
}

// The app asks for one account: no other may be used, and a DID is shown as its
// handle.
func TestLoginHint(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	b.start(a, "login_hint", "bob.example.com").submit("/sign-in", "password", bobPassword, "remember", "1").is(http.StatusOK, "/consent")
	for _, hint := range []string{"alice.example.com", string(alice)} {
		p := b.start(a, "login_hint", hint).is(http.StatusOK, "/sign-in")
		if p.field("identifier") != "alice.example.com" {
			t.Errorf("the identifier is %q", p.field("identifier"))
		}
		// What is entered in its place does not count.
		refused := p.submit("/sign-in", "identifier", "bob.example.com", "password", bobPassword)
		refused.is(http.StatusUnauthorized, "/sign-in")
		p.submit("/sign-in", "password", alicePassword).is(http.StatusOK, "/consent")
		// Nor does an account that is signed in.
		b.visit("/oauth/authorize/consent?"+p.URL.RawQuery+"&account="+string(bob)).is(http.StatusOK, "/sign-in")
	}
}

// A name alone is completed, "@" is dropped, and addresses work.
func TestIdentifiers(t *testing.T) {
	s := newSite(t)
	a := s.newApp("app.example.org")
	for _, identifier := range []string{"alice", "@alice", " Alice.Example.com ", "alice@mail.example.org", string(alice)} {
		b := s.newBrowser(t)
		b.start(a).signIn("identifier", identifier).is(http.StatusOK, "/consent")
	}
}

// Consent is asked for again only if the app asks for more.
func TestConsentIsRemembered(t *testing.T) {
	s := newSite(t)
	a, b := s.newConfidential("app.example.org"), s.newBrowser(t)
	hint := []string{"login_hint", "alice.example.com"}
	b.start(a).signIn("remember", "1").submit("/consent").code(a)
	b.start(a, hint...).code(a)
	more := append([]string{"scope", "atproto transition:generic repo:com.example.note"}, hint...)
	b.start(a, more...).is(http.StatusOK, "/consent").submit("/consent").code(a)
	b.start(a, more...).code(a)
	b.start(a, hint...).code(a)
}

// The e-mail address may be unticked. Then it is not granted, not remembered,
// and asked for again.
func TestOptionalScope(t *testing.T) {
	s := newSite(t)
	a, b := s.newConfidential("app.example.org"), s.newBrowser(t)
	change := []string{"scope", "atproto transition:generic transition:email", "login_hint", "alice.example.com"}
	p := b.start(a, change...).submit("/sign-in", "password", alicePassword, "remember", "1").is(http.StatusOK, "/consent")
	form := p.fill("/consent")
	if got := form["scope"]; len(got) != 2 || got[0] != "atproto transition:generic" || got[1] != "transition:email" {
		t.Fatalf("the form sends the scopes %q", got)
	}
	form["scope"] = form["scope"][:1]
	back := b.follow(p.formRequest("/consent", form), p)
	if got := b.tokens(a, back).text("scope"); got != "atproto transition:generic" {
		t.Errorf("the tokens have the scope %q", got)
	}
	p = b.start(a, change...).is(http.StatusOK, "/consent")
	if got := b.tokens(a, p.submit("/consent")).text("scope"); got != "atproto transition:generic transition:email" {
		t.Errorf("the tokens have the scope %q", got)
	}
	b.start(a, change...).code(a)
}

// A trusted app is shown by its name, any other by its address.
func TestTrust(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		s := newSite(t, func(c *oauth.Config) {
			if trusted {
				c.ClientPolicy = func(context.Context, oauth.ClientInfo) oauth.Trust { return oauth.Trusted }
			}
		})
		a, b := s.newApp("app.example.org"), s.newBrowser(t)
		a.publish(object{"client_name": "Famous App", "logo_uri": "https://logos.example.org/l.png", "policy_uri": "https://app.example.org/privacy"})
		p := b.start(a).signIn().is(http.StatusOK, "app.example.org")
		if got := strings.Contains(p.text(), "Famous App"); got != trusted {
			t.Errorf("trusted %v: the name is shown: %v", trusted, got)
		}
		if got := strings.Contains(p.Body, "https://logos.example.org/l.png"); got != trusted {
			t.Errorf("trusted %v: the logo is shown: %v", trusted, got)
		}
		if got := strings.Contains(p.Header.Get("Content-Security-Policy"), "img-src 'self' data: https://logos.example.org;"); got != trusted {
			t.Errorf("trusted %v: %s", trusted, p.Header.Get("Content-Security-Policy"))
		}
	}
}

// The user says no.
func TestDeny(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	b.start(a).submit("/deny").refusedWith(a, "access_denied")
	p := b.start(a).signIn()
	p.submit("/deny").refusedWith(a, "access_denied")
	b.open(p.URL.String()).is(http.StatusBadRequest, "")
}

// response_mode form_post needs no script either.
func TestFormPost(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a, "response_mode", "form_post").signIn().submit("/consent").is(http.StatusOK, "")
	form := values(p.formTo(a.redirect))
	if form.Get("iss") != issuer || form.Get("state") != "the state" || form.Get("code") == "" || len(form) != 3 {
		t.Fatalf("the form holds %v", form)
	}
	if !strings.Contains(p.Header.Get("Content-Security-Policy"), "form-action 'self' https:") || len(nodes(p.doc, "button")) == 0 {
		t.Error("the form cannot be sent")
	}
	a.exchange(form.Get("code"), "code_verifier", b.verifier).isOK()
}

// A browser that keeps no cookies gets a way back to the app.
func TestNoCookies(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	for _, mode := range []string{"query", "fragment", "form_post"} {
		p := b.start(a, "response_mode", mode).signInPage()
		r := p.formRequest("/sign-in", p.fill("/sign-in", "identifier", "alice", "password", alicePassword))
		b.client.Jar = nil
		p = b.send(r)
		b.client.Jar = b.jar
		if mode == "form_post" {
			form := values(p.formTo(a.redirect))
			if form.Get("error") != "access_denied" || form.Get("error_description") != "ERR_COOKIES_UNSUPPORTED" {
				t.Errorf("the form holds %v", form)
			}
			continue
		}
		p.is(http.StatusBadRequest, "Cookies are needed")
		found := false
		for _, link := range nodes(p.doc, "a") {
			found = found || strings.HasPrefix(attr(link, "href"), a.redirect) && strings.Contains(attr(link, "href"), "error_description=ERR_COOKIES_UNSUPPORTED")
		}
		if !found {
			t.Errorf("%s: no way back to the app:\n%s", mode, p.Body)
		}
	}
}

// The language is that of the app, unless one was picked.
func TestLocales(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a, "ui_locales", "xx de en", "login_hint", "alice.example.com")
	if got := attr(nodes(p.doc, "html")[0], "lang"); got != "de" {
		t.Errorf("the language is %q", got)
	}
	p = p.submit("/locale", "locale", "es").is(http.StatusOK, "/sign-in")
	if got := attr(nodes(p.doc, "html")[0], "lang"); got != "es" {
		t.Errorf("the language is %q", got)
	}
	p = p.submit("/sign-in", "password", alicePassword).is(http.StatusOK, "/consent")
	if got := attr(nodes(p.doc, "html")[0], "lang"); got != "es" {
		t.Errorf("the language is %q", got)
	}
	for _, back := range []string{"https://evil.example.org/", "//evil.example.org/oauth/authorize", "/oauth/authorize/../../xrpc", "/xrpc/x", ""} {
		q := b.send(p.formRequest("/locale", p.fill("/locale", "locale", "de", "return", back)))
		if q.Status != http.StatusBadRequest {
			t.Errorf("%q: status %d, %s", back, q.Status, q.Header.Get("Location"))
		}
	}
}
