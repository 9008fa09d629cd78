package oauth_test

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// A request_uri works for one client and one browser, until it is authorized or
// over.
func TestAttack10_RequestURIInBrowsers(t *testing.T) {
	s := newSite(t)
	a, other, b := s.newApp("app.example.org"), s.newApp("other.example.org"), s.newBrowser(t)

	uri := a.pushed()
	b.open(a.authorizeURL(uri)).is(http.StatusOK, "app.example.org")
	b.open(other.authorizeURL(uri)).is(http.StatusBadRequest, "")
	b.open(a.authorizeURL(uri)).is(http.StatusBadRequest, "") // it has leaked

	uri = a.pushed()
	b.open(a.authorizeURL(uri)).is(http.StatusOK, "app.example.org")
	b.open(a.authorizeURL(uri)).is(http.StatusOK, "app.example.org")
	s.newBrowser(t).open(a.authorizeURL(uri)).is(http.StatusBadRequest, "")
	b.open(a.authorizeURL(uri)).is(http.StatusBadRequest, "")

	uri = a.pushed()
	p := b.open(a.authorizeURL(uri)).signIn()
	p.submit("/consent").code(a)
	b.open(a.authorizeURL(uri)).is(http.StatusBadRequest, "")
	p.submit("/consent").is(http.StatusBadRequest, "")

	uri = a.pushed()
	s.clock.advance(5*time.Minute - time.Second)
	b.open(a.authorizeURL(uri)).is(http.StatusOK, "app.example.org")
	s.clock.advance(5 * time.Minute)
	b.open(a.authorizeURL(uri)).is(http.StatusBadRequest, "")

	uri = a.pushed()
	for range 10 {
		b.open(a.authorizeURL(uri)).is(http.StatusOK, "app.example.org")
		s.clock.advance(3 * time.Minute)
	}
	b.open(a.authorizeURL(uri)).is(http.StatusBadRequest, "") // 30 minutes in total
}

// Without a pushed request there is nothing but an error page, and what else is
// in the address is not looked at.
func TestAttack11_OnlyPushedRequests(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	good := a.authorizeURL(a.pushed())
	full := url.Values{"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {a.redirect}, "state": {"s"}, "scope": {"atproto"},
		"code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"}}
	for _, address := range []string{
		issuer + "/oauth/authorize",
		issuer + "/oauth/authorize?" + full.Encode(),
		issuer + "/oauth/authorize?client_id=" + url.QueryEscape(a.id),
		issuer + "/oauth/authorize?request_uri=x",
		good + "&scope=atproto",
		good + "&redirect_uri=https://evil.example.org/",
		good + "&state=other",
		good + "&client_id=" + url.QueryEscape(a.id),
		good + "&request_uri=x",
		good + "&x=%zz",
		a.authorizeURL("urn:ietf:params:oauth:request_uri:req-00000000000000000000000000000000"),
		a.authorizeURL("https://app.example.org/request.jwt"),
	} {
		p := b.open(address)
		if p.Status != http.StatusBadRequest || p.Away != nil || p.Header.Get("Location") != "" {
			t.Errorf("%s: status %d", address, p.Status)
		}
		if p.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: the error page sends referrers", address)
		}
	}
	b.open(good).is(http.StatusOK, "app.example.org")
}

// Every answer to the app names the issuer, the successful one and the errors;
// page.answered requires it.
func TestAttack13_IssuerInEveryAnswer(t *testing.T) {
	s := newSite(t)
	a, silent, b := s.newApp("app.example.org"), s.newConfidential("other.example.org"), s.newBrowser(t)
	for _, mode := range []string{"query", "fragment"} {
		b.start(a, "response_mode", mode).submit("/deny").refusedWith(a, "access_denied")
		b.start(silent, "response_mode", mode, "prompt", "none").refusedWith(silent, "login_required")
		b.start(a, "response_mode", mode).signIn().submit("/consent").code(a)
	}
}

// The attacker's request is opened by the victim: the browser that is not the
// one that began it gets nothing, whichever comes first.
func TestAttack14_RequestOfTheAttacker(t *testing.T) {
	s := newSite(t)
	a, attacker, victim := s.newApp("app.example.org"), s.newBrowser(t), s.newBrowser(t)
	uri := a.pushed()
	attacker.open(a.authorizeURL(uri)).is(http.StatusOK, "app.example.org")
	victim.open(a.authorizeURL(uri)).is(http.StatusBadRequest, "")

	// The victim signs in; the attacker, who knows the address of the consent
	// page, has no part in it.
	p := victim.start(a).signIn().is(http.StatusOK, "/consent")
	stolen := attacker.open(p.URL.String())
	stolen.is(http.StatusBadRequest, "")
}

// Login CSRF and session fixation: a browser cannot be given a session by
// somebody else's form or cookies.
func TestAttack14_SessionFixation(t *testing.T) {
	s := newSite(t)
	a, attacker, victim := s.newApp("app.example.org"), s.newBrowser(t), s.newBrowser(t)
	p := attacker.start(a).signInPage()
	form := p.fill("/sign-in", "identifier", "bob", "password", bobPassword)
	victim.visit("/account")
	q := victim.send(victim.request(http.MethodPost, "/oauth/authorize/sign-in", form, "same-origin"))
	if q.Status != http.StatusForbidden && q.Status != http.StatusBadRequest {
		t.Errorf("the attacker's form: status %d", q.Status)
	}
	if victim.visit("/account").hasForm("/sign-out") {
		t.Error("the victim is signed in")
	}
	// Cookies that the server never gave out are not taken over.
	planted := s.newBrowser(t)
	planted.setCookie("__Host-dev", "dev-"+strings.Repeat("0", 32))
	planted.setCookie("__Host-ses", "ses-"+strings.Repeat("0", 32))
	planted.visit("/account").signIn()
	if planted.cookie("__Host-dev") == "dev-"+strings.Repeat("0", 32) || planted.cookie("__Host-ses") == "ses-"+strings.Repeat("0", 32) {
		t.Error("the browser still has the planted cookies")
	}
}

// The consent form names an account that is not signed in here.
func TestAttack15_ConsentForAnotherAccount(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	other := s.newBrowser(t)
	other.start(a).signIn("identifier", "bob", "password", bobPassword, "remember", "1").is(http.StatusOK, "/consent")
	p := b.start(a).signIn().is(http.StatusOK, "/consent")
	for _, did := range []string{string(bob), "did:plc:nobodyyyyyyyyyyyyyyyyyyy", "", "../" + string(alice)} {
		p.submit("/consent", "account", did).is(http.StatusOK, "/sign-in")
	}
	b.start(a).signInPage()
	p.submit("/consent").code(a)
}

// The consent form asks for more than the app did, or for less than it needs.
func TestAttack15_ScopesOfTheForm(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a, "scope", "atproto repo:com.example.note").signIn()
	more := p.submit("/consent", "scope", "atproto repo:com.example.note transition:generic identity:* repo:*")
	if got := b.tokens(a, more).text("scope"); got != "atproto repo:com.example.note" {
		t.Errorf("the tokens have the scope %q", got)
	}
	b.start(a).signIn().submit("/consent", "scope", "transition:generic").refusedWith(a, "access_denied")
	b.start(a).signIn().submit("/consent", "scope", "-").refusedWith(a, "access_denied")
}

// Errors never lead to an address that was not registered, nor to a client that
// is no more.
func TestAttack16_NoRedirectOnErrors(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	uri := a.pushed()
	s.web.set(a.id, http.HandlerFunc(http.NotFound))
	s.restart()
	p := b.open(a.authorizeURL(uri))
	if p.Status < 400 || p.Away != nil || strings.Contains(p.Body, a.redirect) {
		t.Errorf("a dead client: status %d", p.Status)
	}
	// An address that is registered no more.
	a = s.newApp("other.example.org")
	uri = a.pushed()
	old := a.redirect
	a.publish(object{"redirect_uris": []string{"https://other.example.org/new"}})
	s.restart()
	p = b.open(a.authorizeURL(uri)).is(http.StatusBadRequest, "")
	if strings.Contains(p.Body, old) {
		t.Errorf("the page leads to %s", old)
	}
}

// What the app puts into state stays text, in the form and in the address.
func TestAttack18_StateInForms(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	for _, state := range []string{
		`"><script>alert(1)</script>`, `' onfocus=alert(1) autofocus='`, "a\r\nSet-Cookie: x=y", "</form><form action=https://evil.example.org>", "&code=evil", "#code=evil",
	} {
		p := b.start(a, "response_mode", "form_post", "state", state).submit("/deny").is(http.StatusOK, "")
		form := values(p.formTo(a.redirect))
		if got := strings.ReplaceAll(form.Get("state"), "\r\n", "\n"); got != strings.ReplaceAll(state, "\r\n", "\n") || len(form) != 4 || len(nodes(p.doc, "form")) > 2 {
			t.Errorf("%q: the form holds %q", state, form)
		}
		requireNoScript(t, p)
		for _, mode := range []string{"query", "fragment"} {
			p = b.start(a, "response_mode", mode, "state", state).submit("/deny")
			raw := p.Away.RawQuery
			if mode == "fragment" {
				raw = p.Away.EscapedFragment()
			}
			got, err := url.ParseQuery(raw)
			if err != nil || got.Get("state") != state || got.Has("code") || p.Header.Get("Set-Cookie") != "" && strings.Contains(p.Header.Get("Set-Cookie"), "x=y") {
				t.Errorf("%q: the answer is %q", state, raw)
			}
		}
	}
}

// requireNoScript fails if the page holds anything that could run.
func requireNoScript(t *testing.T, p *page) {
	t.Helper()
	for n := range p.doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" && (!strings.HasPrefix(attr(n, "src"), "/oauth/assets/") || n.FirstChild != nil) || n.Data == "style" || n.Data == "iframe" {
			t.Errorf("%s: the page has <%s %v>", p.URL, n.Data, n.Attr)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				t.Errorf("%s: the page has %s=%q", p.URL, a.Key, a.Val)
			}
		}
	}
}

// everyPost is a form of each kind, ready to be sent: by name, a page with the
// form, and the values.
func everyPost(t *testing.T, s *site, a *app, b *browser) []*http.Request {
	t.Helper()
	var list []*http.Request
	add := func(p *page, action string, pairs ...string) {
		list = append(list, p.formRequest(action, p.fill(action, pairs...)))
	}
	p := b.start(a).signInPage()
	add(p, "/sign-in", "identifier", "alice", "password", alicePassword)
	add(p, "/locale", "locale", "de")
	add(p, "/deny")
	add(p.link("/sign-up?"), "/sign-up", signUpValues()...)
	add(p.link("/reset?"), "/reset", "email", "alice@mail.example.org")
	add(p.link("/reset?").link("/reset-password"), "/reset-password", "code", "x", "new_password", "long enough")
	p = p.signIn("remember", "1").is(http.StatusOK, "/consent")
	add(p, "/consent")
	add(p.link("/accounts?"), "/account", "account", string(alice))
	add(b.visit("/account"), "/sign-out", "account", string(alice))
	if _, err := s.people.CreateAppPassword(t.Context(), alice, "phone", false); err != nil {
		t.Fatal(err)
	}
	for _, form := range [][]string{
		{"/email", "/email", "email", "x@mail.example.org"},
		{"/handle", "/handle", "handle", "x"},
		{"/password", "/password", "password", alicePassword, "new_password", "long enough"},
		{"/factors", "/factors/enrol"},
		{"/apps", "/apps", "session", "x"},
		{"/app-passwords", "/app-passwords", "name", "x"},
		{"/app-passwords", "/app-passwords/revoke", "name", "x"},
		{"/devices", "/devices", "device", "x"},
		{"/deactivate", "/deactivate", "confirm", "1"},
		{"/delete", "/delete/request"},
	} {
		add(b.section(form[0]), form[1], form[2:]...)
	}
	return list
}

// No form works from another site, whatever it looks like, nor without the token
// that only our pages have.
func TestAttack44_CSRF(t *testing.T) {
	s := newFactorSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	requests := everyPost(t, s, a, b)
	before, _ := s.people.Account(t.Context(), alice)
	mails := s.people.lastMail()
	for _, r := range requests {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		for name, forge := range map[string]func(http.Header, url.Values){
			"no Origin":          func(h http.Header, _ url.Values) { h.Del("Origin") },
			"null Origin":        func(h http.Header, _ url.Values) { h.Set("Origin", "null") },
			"another Origin":     func(h http.Header, _ url.Values) { h.Set("Origin", "https://evil.example.org") },
			"http Origin":        func(h http.Header, _ url.Values) { h.Set("Origin", "http://pds.example.com") },
			"two Origins":        func(h http.Header, _ url.Values) { h.Add("Origin", issuer) },
			"cross-site":         func(h http.Header, _ url.Values) { h.Set("Sec-Fetch-Site", "cross-site") },
			"same-site":          func(h http.Header, _ url.Values) { h.Set("Sec-Fetch-Site", "same-site") },
			"none":               func(h http.Header, _ url.Values) { h.Set("Sec-Fetch-Site", "none") },
			"fetch":              func(h http.Header, _ url.Values) { h.Set("Sec-Fetch-Mode", "cors") },
			"frame":              func(h http.Header, _ url.Values) { h.Set("Sec-Fetch-Dest", "iframe") },
			"no token":           func(_ http.Header, v url.Values) { v.Del("csrf") },
			"wrong token":        func(_ http.Header, v url.Values) { v.Set("csrf", v.Get("csrf")[1:]+v.Get("csrf")[:1]) },
			"empty token":        func(_ http.Header, v url.Values) { v.Set("csrf", "") },
			"token of elsewhere": func(_ http.Header, v url.Values) { v.Set("csrf", b.start(a).field("csrf")) },
		} {
			values, err := url.ParseQuery(string(body))
			if err != nil {
				t.Fatal(err)
			}
			forged := b.request(http.MethodPost, r.URL.String(), nil, "same-origin")
			forge(forged.Header, values)
			forged.Body, forged.ContentLength = io.NopCloser(strings.NewReader(values.Encode())), int64(len(values.Encode()))
			if p := b.send(forged); p.Status != http.StatusForbidden {
				t.Errorf("%s, %s: status %d", r.URL.Path, name, p.Status)
			}
		}
		for _, media := range []string{"text/plain", "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded; charset=utf-16", ""} {
			forged := b.request(http.MethodPost, r.URL.String(), nil, "same-origin")
			forged.Header.Set("Content-Type", media)
			forged.Body, forged.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
			if p := b.send(forged); p.Status != http.StatusUnsupportedMediaType {
				t.Errorf("%s, %q: status %d", r.URL.Path, media, p.Status)
			}
		}
		if get := b.send(b.request(http.MethodGet, r.URL.String(), nil, "cross-site")); get.Status == http.StatusSeeOther && !strings.Contains(get.Header.Get("Location"), "sign-in") {
			t.Errorf("%s by GET: status %d", r.URL.Path, get.Status)
		}
	}
	if after, _ := s.people.Account(t.Context(), alice); after != before || s.people.lastMail() != mails {
		t.Errorf("something has changed: %+v, %+v", after, s.people.lastMail())
	}
}

// A form that was refused for its token comes back with what was entered, and
// with a good token.
func TestAttack44_StaleFormComesBack(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a).signInPage()
	refused := p.submit("/sign-in", "csrf", "stale", "identifier", "alice", "password", alicePassword).is(http.StatusForbidden, "/sign-in")
	if refused.field("identifier") != "alice" || refused.field("password") != "" || s.people.checked() != 0 {
		t.Errorf("the identifier is %q, %d checks", refused.field("identifier"), s.people.checked())
	}
	refused.signIn().is(http.StatusOK, "/consent")
	// A page of before the session cookie was replaced still works.
	old := b.start(a).signInPage()
	s.clock.advance(4 * time.Minute)
	p = b.visit(old.URL.String())
	s.clock.advance(4 * time.Minute)
	b.visit("/account")
	p.signIn().is(http.StatusOK, "/consent")
}

// No page can be put into a frame, and a doubled click makes one code.
func TestAttack45_FramesAndDoubleClicks(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a)
	if !strings.Contains(p.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || p.Header.Get("X-Frame-Options") != "DENY" {
		t.Error("the page may be framed")
	}
	for _, dest := range []string{"iframe", "frame", "object", "embed", "image", "script", "empty"} {
		r := b.request(http.MethodGet, p.URL.String(), nil, "cross-site")
		r.Header.Set("Sec-Fetch-Dest", dest)
		if q := b.send(r); q.Status != http.StatusForbidden {
			t.Errorf("as %s: status %d", dest, q.Status)
		}
	}
	head := b.request(http.MethodHead, p.URL.String(), nil, "none")
	ahead := b.request(http.MethodGet, p.URL.String(), nil, "cross-site")
	ahead.Header.Set("Sec-Purpose", "prefetch;prerender")
	for _, r := range []*http.Request{head, ahead} {
		if q := b.send(r); q.Status != http.StatusForbidden {
			t.Errorf("%s %v: status %d", r.Method, r.Header, q.Status)
		}
	}
	p = p.signIn()
	form := p.fill("/consent")
	first, second := p.formRequest("/consent", form), p.formRequest("/consent", form)
	codes := 0
	for _, r := range []*http.Request{first, second} {
		if strings.Contains(b.send(r).Header.Get("Location"), "code=") {
			codes++
		}
	}
	if codes != 1 {
		t.Errorf("%d codes", codes)
	}
}

// Texts from outside are shown as text.
func TestAttack46_XSS(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	s := newSite(t, func(c *config) {
		c.ClientPolicy = trustAll
		c.Lexicons = lexicons{"com.evil.set": permissionSet("com.evil.set", evil)}
	})
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	a.publish(object{"client_name": evil, "scope": allScope + " include:com.evil.set"})
	s.people.change(alice, func(one *person) { one.Email = evil + "@mail.example.org" })
	p := b.start(a, "state", evil, "scope", "atproto include:com.evil.set")
	requireNoScript(t, p)
	p = p.signInPage()
	requireNoScript(t, p.submit("/sign-in", "identifier", evil, "password", evil))
	requireNoScript(t, p.link("/reset?").submit("/reset", "email", evil))
	requireNoScript(t, p.link("/sign-up?").submit("/sign-up", "handle", evil, "email", evil, "invite", evil, "domain", evil))
	requireNoScript(t, b.visit(p.URL.String()+"&identifier="+url.QueryEscape(evil)+"&account="+url.QueryEscape(evil)+"&notice="+url.QueryEscape(evil)))
	p = p.signIn("remember", "1").is(http.StatusOK, "com.evil.set")
	requireNoScript(t, p)
	b.agent = evil
	requireNoScript(t, b.section(""))
	requireNoScript(t, b.section("/devices"))
	requireNoScript(t, b.section("/email"))
	requireNoScript(t, b.section("/app-passwords").submit("/app-passwords", "name", evil))
	requireNoScript(t, b.open(issuer+"/oauth/authorize?client_id="+url.QueryEscape(evil)+"&request_uri="+url.QueryEscape(evil)))
}

// allPages visits pages of all kinds.
func allPages(b *browser, a *app) []*page {
	first := b.start(a)
	signIn := first.signInPage()
	list := []*page{
		first, signIn, signIn.link("/sign-up?"), signIn.link("/reset?"), signIn.submit("/sign-in", "identifier", "x", "password", "x"),
		b.open(issuer + "/oauth/authorize"),
	}
	list = append(list, signIn.signIn("remember", "1"))
	for _, section := range []string{"", "/email", "/handle", "/password", "/apps", "/app-passwords", "/devices", "/export", "/deactivate", "/delete"} {
		list = append(list, b.section(section))
	}
	return append(list, b.visit("/account"))
}

// Addresses hold the request_uri, and pages what concerns nobody else: neither
// leaves by referrers or caches.
func TestAttack47_48_ReferrersAndCaches(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	for _, p := range allPages(b, a) {
		policy := p.Header.Get("Referrer-Policy")
		if policy != "same-origin" && policy != "no-referrer" || policy == "no-referrer" && len(nodes(p.doc, "form")) > 0 {
			t.Errorf("%s: Referrer-Policy %q", p.URL, policy)
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "credentialless",
			"Strict-Transport-Security": "max-age=63072000", "X-Robots-Tag": "noindex", "Access-Control-Allow-Origin": "",
		} {
			if got := p.Header.Get(name); got != want {
				t.Errorf("%s: %s %q", p.URL, name, got)
			}
		}
		csp := p.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: %s", p.URL, csp)
		}
		if p.Header.Get("Permissions-Policy") == "" {
			t.Errorf("%s: no Permissions-Policy", p.URL)
		}
		requireNoScript(t, p)
	}
	back := b.start(a, "login_hint", "alice.example.com").submit("/consent")
	if back.Header.Get("Referrer-Policy") != "no-referrer" || back.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the redirect with the code has the header %v", back.Header)
	}
}

// After it was used, going back to a form and sending it again does nothing.
func TestAttack48_BackButton(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	consent := b.start(a).signIn("remember", "1")
	consent.submit("/consent").code(a)
	consent.submit("/consent").is(http.StatusBadRequest, "")
	home := b.section("/email")
	b.visit("/account").submit("/sign-out", "account", string(alice))
	home.submit("/email", "email", "evil@mail.example.org").is(http.StatusOK, "/sign-in")
	if account, _ := s.people.Account(t.Context(), alice); account.Email != "alice@mail.example.org" {
		t.Errorf("the address is %s", account.Email)
	}
}

// An app that nobody vouches for shows under its address alone, whatever it
// calls itself.
func TestAttack49_BrandsOfUntrustedClients(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("xn--bluesk-dya.example.org"), s.newBrowser(t)
	a.publish(object{"client_name": "Blu\u202eesky Official", "client_uri": "https://xn--bluesk-dya.example.org/", "logo_uri": "https://xn--bluesk-dya.example.org/logo.png", "tos_uri": "https://xn--bluesk-dya.example.org/tos"})
	p := b.start(a)
	for _, p := range []*page{p, p.signInPage(), p.signIn()} {
		if strings.Contains(p.text(), "Official") || strings.Contains(p.Body, "logo.png") || strings.Contains(p.Body, "/tos") {
			t.Errorf("%s: the page shows what the app says of itself", p.URL)
		}
		if !strings.Contains(p.text(), "xn--bluesk-dya.example.org") {
			t.Errorf("%s: the page does not show the app's host", p.URL)
		}
	}
	loopback := s.newApp("x.example.org")
	loopback.id, loopback.redirect = "http://localhost?redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb&scope=atproto", "http://127.0.0.1:8080/cb"
	if p := b.start(loopback, "scope", "atproto").signIn(); strings.Contains(p.text(), "Development client") && !strings.Contains(p.text(), "localhost") {
		t.Errorf("the page says:\n%s", p.text())
	}
}

// The cookies have every restriction that there is, and the session changes with
// time, place and who is signed in.
func TestAttack50_Cookies(t *testing.T) {
	s := newSite(t)
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a)
	for _, line := range p.Header.Values("Set-Cookie") {
		name, rest, _ := strings.Cut(line, "=")
		if name != "__Host-dev" && name != "__Host-ses" || !strings.HasSuffix(rest, "; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Lax") || len(strings.SplitN(rest, ";", 2)[0]) != 36 {
			t.Errorf("Set-Cookie: %s", line)
		}
	}
	changes := func(what string, want bool, do func()) {
		t.Helper()
		device, session := b.cookie("__Host-dev"), b.cookie("__Host-ses")
		do()
		if got := b.cookie("__Host-ses") != session; got != want {
			t.Errorf("%s: the session changes: %v", what, got)
		}
		if b.cookie("__Host-dev") != device {
			t.Errorf("%s: the device changes", what)
		}
	}
	changes("a page", false, func() { b.visit("/account") })
	changes("sign-in", true, func() { p = b.start(a).signIn("remember", "1") })
	changes("just before 5 minutes", false, func() { s.clock.advance(5*time.Minute - time.Second); b.visit("/account") })
	changes("5 minutes", true, func() { s.clock.advance(time.Second); b.visit("/account") })
	changes("another browser version", true, func() { b.agent = "Test/2.0"; b.visit("/account") })
	changes("deny", true, func() { b.start(a).submit("/deny").refusedWith(a, "access_denied") })
	changes("sign-up", true, func() { b.start(a, "prompt", "create").submit("/sign-up", signUpValues()...) })
	changes("sign-out", true, func() { b.visit("/account").submit("/sign-out", "account", string(alice)) })
}

// Whoever comes with a session cookie that was replaced has a copy, or was copied
// from. The device is forgotten then, with its sign-ins.
func TestAttack50_CopiedCookies(t *testing.T) {
	for _, first := range []string{"owner", "thief"} {
		t.Run(first, func(t *testing.T) {
			s := newSite(t)
			owner := s.newBrowser(t)
			owner.managed()
			thief := owner.copyOf()
			ahead, behind := owner, thief
			if first == "thief" {
				ahead, behind = thief, owner
			}
			s.clock.advance(6 * time.Minute)
			ahead.section("").is(http.StatusOK, "alice.example.com")
			s.clock.advance(4 * time.Second)
			behind.section("").is(http.StatusOK, "alice.example.com") // it could have been on its way
			s.clock.advance(time.Second)
			behind.section("").is(http.StatusOK, "/sign-in")
			ahead.section("").is(http.StatusOK, "/sign-in")
		})
	}
	s := newSite(t)
	b := s.newBrowser(t)
	b.managed()
	b.setCookie("__Host-ses", "ses-"+strings.Repeat("1", 32))
	b.section("").is(http.StatusOK, "/sign-in")
}

// Plain http in development: cookies without prefix, and no HSTS.
func TestCookiesInDevelopment(t *testing.T) {
	s := newSite(t, func(c *config) { c.DevMode, c.Issuer, c.Resource = true, "http://localhost:2583", "" })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:2583/account/sign-in", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := s.do(r)
	names := []string{}
	for _, line := range answer.Header.Values("Set-Cookie") {
		name, rest, _ := strings.Cut(line, "=")
		names = append(names, name)
		if strings.Contains(rest, "Secure") {
			t.Errorf("Set-Cookie: %s", line)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"dev", "ses"}) || answer.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("the header is %v", answer.Header)
	}
}
