package pds_test

import (
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// world answers requests for hosts of its own, and hands others on.
type world struct {
	mu    sync.Mutex // guards following field
	hosts map[string]http.Handler

	others http.RoundTripper
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	host := w.hosts[r.URL.Host]
	w.mu.Unlock()
	if host == nil {
		return w.others.RoundTrip(r)
	}
	in := r.Clone(r.Context())
	in.Host, in.RequestURI, in.RemoteAddr = r.URL.Host, r.URL.RequestURI(), "127.0.0.1:1"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	host.ServeHTTP(rec, in)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

func (w *world) put(host string, h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[host] = h
}

// guestHouse is a house that members from other servers sign in to.
type guestHouse struct {
	*house
	group *pdstest.Account
	home  *pdstest.PDS // the server of other people
	site  *pdstest.PDS // the house by its public address
	world *world       // of the servers
	web   *world       // of browsers
}

const guestHouseURL = "https://groups.example.com"

func newGuestHouse(t *testing.T) *guestHouse {
	t.Helper()
	g := &guestHouse{world: &world{hosts: map[string]http.Handler{}}, web: &world{hosts: map[string]http.Handler{}, others: http.DefaultTransport}}
	g.house, g.group = newOpenHouse(t, nil, func(c *pds.Config) {
		c.PublicURL, c.RemoteMembers = guestHouseURL, true
		g.world.others, c.Transport = c.Transport, g.world
	})
	g.home = g.Another(func(c *pds.Config) { c.OAuth.Transport = g.world })
	for _, w := range []*world{g.world, g.web} {
		w.put("groups.example.com", g.Server)
	}
	site := *g.PDS
	site.URL = guestHouseURL
	g.site = &site
	return g
}

// visitor is a browser with an app, in the world of the house.
func (g *guestHouse) visitor() *person {
	p := newPerson(g.t, g.site, "atproto repo:*")
	p.browser.Transport = g.web
	return p
}

var redirectLink = regexp.MustCompile(`href="(https?://[^"]*request_uri=[^"]*)"`)

// leave goes to the sign-in page, picks the way for accounts elsewhere, and
// returns what follows the handle.
func (g *guestHouse) leave(p *person, handle string) *page {
	g.t.Helper()
	return p.submit(p.submit(p.signInPage(), "/method", url.Values{"method": {"elsewhere"}}), "/step", url.Values{"handle": {handle}})
}

// away follows the page that leads to another server.
func (g *guestHouse) away(p *person, pg *page) *page {
	g.t.Helper()
	link := redirectLink.FindStringSubmatch(pg.text)
	if link == nil {
		g.t.Fatalf("the page leads nowhere: %d %s", pg.status, pg.text)
	}
	return p.do(http.NewRequestWithContext(g.t.Context(), "GET", html.UnescapeString(link[1]), nil))
}

// A member from another server is sent there, comes back, acts for the group,
// and leaves no session behind.
func TestRemoteMember(t *testing.T) {
	t.Parallel()
	g := newGuestHouse(t)
	bob := g.home.CreateAccount("bob")
	g.role(bob.DID, "repo:"+noteCollection)
	p := g.visitor()
	pg := g.away(p, g.leave(p, "@"+strings.ToUpper(string(bob.Handle))))
	if !strings.HasPrefix(pg.base.String(), g.home.URL) || !strings.Contains(strings.ReplaceAll(pg.text, "<wbr>", ""), string(bob.Handle)) {
		t.Fatalf("not at the own server with the own name: %s %s", pg.base, pg.text)
	}
	pg = p.submit(pg, "/sign-in", url.Values{"password": {bob.Password}})
	pg = p.submit(pg, "/consent", nil)
	if text := strings.ReplaceAll(pg.text, "<wbr>", ""); pg.base.Host != "groups.example.com" || !strings.Contains(text, "the-group.test") || !strings.Contains(text, string(bob.Handle)) {
		t.Fatalf("after coming back: %s %s", pg.base, pg.text)
	}
	p.finish(p.submit(pg, "/consent", nil))
	if p.tokens.Sub != string(g.group.DID) {
		t.Fatalf("%+v", p.tokens)
	}
	ok(t, p.write(noteCollection))
	wantError(t, p.write("com.example.other"), 403, "ScopeMissingError")
	if done := strings.Join(g.acts(false), "; "); done != string(bob.DID)+" "+createRecord+" create" {
		t.Errorf("the acts: %s", done)
	}
	sessions, err := g.home.OAuth().Sessions(t.Context(), bob.DID)
	if err != nil || len(sessions) != 0 {
		t.Errorf("sessions are left at home: %+v %v", sessions, err)
	}
	if status, code := p.refresh(); status != 200 {
		t.Errorf("refresh: %d %s", status, code)
	}
	// The next request asks again: nothing was remembered.
	again := newPerson(t, g.site, "atproto repo:*")
	again.browser = p.browser
	if pg := again.signInPage(); strings.Contains(pg.text, "the-group") {
		t.Error("the guest is still signed in")
	}
	g.role(bob.DID)
	wantError(t, p.write(noteCollection), 403, "ActorNotPermitted")
	if status, code := p.refresh(); status != 400 || code != "invalid_grant" {
		t.Errorf("refresh: %d %s", status, code)
	}
}

// enterAsGuest signs somebody in at home, as far as the page that follows.
func (g *guestHouse) enterAsGuest(p *person, a *pdstest.Account) *page {
	g.t.Helper()
	pg := p.submit(g.away(p, g.leave(p, string(a.Handle))), "/sign-in", url.Values{"password": {a.Password}})
	return p.submit(pg, "/consent", nil)
}

// A guest has no account here: no token for it, no page about it.
func TestRemoteMemberIsAGuest(t *testing.T) {
	t.Parallel()
	g := newGuestHouse(t)
	bob := g.home.CreateAccount("bob")
	g.role(bob.DID, "repo:*")
	p := g.visitor()
	pg := g.enterAsGuest(p, bob)
	for name, forged := range map[string]url.Values{
		"as himself":     {"account": {string(bob.DID)}, "actor": {string(bob.DID)}},
		"without a name": {"account": {string(bob.DID)}, "actor": {""}},
	} {
		if got := p.submit(pg, "/consent", forged); got.location != "" || got.status != 403 {
			t.Errorf("%s: %d %s", name, got.status, got.location)
		}
	}
	// In the account manager there are the apps that he has connected, no more.
	manager := p.do(http.NewRequestWithContext(t.Context(), "GET", guestHouseURL+"/account/sign-in", nil))
	manager = p.submit(p.submit(manager, "/method", url.Values{"method": {"elsewhere"}}), "/step", url.Values{"handle": {string(bob.Handle)}})
	manager = g.away(p, manager) // at home he is signed in
	if strings.Contains(manager.text, `name="password"`) {
		manager = p.submit(manager, "/sign-in", url.Values{"password": {bob.Password}})
	}
	manager = p.submit(manager, "/consent", nil)
	if !strings.HasPrefix(manager.base.String(), guestHouseURL+"/account") || !strings.Contains(manager.text, "/acting/") {
		t.Errorf("the manager: %s %s", manager.base, manager.text)
	}
	if got := p.do(http.NewRequestWithContext(t.Context(), "GET", guestHouseURL+"/account/"+string(bob.DID), nil)); got.status != 403 {
		t.Errorf("the manager of no account: %d", got.status)
	}
}

// Who does not come back as who was sent is not signed in.
func TestRemoteMemberRefused(t *testing.T) {
	t.Parallel()
	g := newGuestHouse(t)
	bob, carol, alice := g.home.CreateAccount("bob"), g.home.CreateAccount("carol"), g.CreateAccount("alice")
	g.role(bob.DID, "repo:*")
	wantPage := func(t *testing.T, pg *page, text string) {
		t.Helper()
		if pg.location != "" || !strings.Contains(html.UnescapeString(pg.text), text) {
			t.Errorf("%d %s %s, want %q", pg.status, pg.location, pg.text, text)
		}
	}
	const refused, unknown = "has not confirmed who you are", "have not found the server"

	t.Run("denied at home", func(t *testing.T) {
		p := g.visitor()
		wantPage(t, p.submit(g.away(p, g.leave(p, string(bob.Handle))), "/deny", nil), refused)
	})
	t.Run("no member", func(t *testing.T) {
		wantPage(t, g.enterAsGuest(g.visitor(), carol), "belongs to no group here")
	})
	t.Run("an account of this server", func(t *testing.T) {
		wantPage(t, g.leave(g.visitor(), string(alice.Handle)), "This account is on this server")
		wantPage(t, g.leave(g.visitor(), string(alice.DID)), "This account is on this server")
	})
	t.Run("nobody", func(t *testing.T) {
		for _, name := range []string{"nobody.pds2.test", "did:plc:nobodynobodynobodynobody", "not a handle", "did:web:localhost"} {
			wantPage(t, g.leave(g.visitor(), name), unknown)
		}
	})
	t.Run("another browser, and twice", func(t *testing.T) {
		p, thief := g.visitor(), g.visitor()
		thief.signInPage()
		pg := p.submit(g.away(p, g.leave(p, string(bob.Handle))), "/sign-in", url.Values{"password": {bob.Password}})
		follow := p.browser.CheckRedirect
		p.browser.CheckRedirect = func(r *http.Request, via []*http.Request) error {
			if strings.Contains(r.URL.Path, "/oauth/callback/") {
				return http.ErrUseLastResponse
			}
			return follow(r, via)
		}
		back := p.submit(pg, "/consent", nil).location
		if !strings.HasPrefix(back, guestHouseURL+"/oauth/callback/elsewhere?") {
			t.Fatalf("back to %q", back)
		}
		p.browser.CheckRedirect = follow
		open := func(p *person) *page { return p.do(http.NewRequestWithContext(t.Context(), "GET", back, nil)) }
		if got := open(thief); got.status != 400 {
			t.Errorf("in another browser: %d %s", got.status, got.text)
		}
		if got := open(p); got.status != 200 || !strings.Contains(got.text, "/consent") {
			t.Errorf("in the right one: %d %s", got.status, got.text)
		}
		if got := open(p); got.status != 400 {
			t.Errorf("twice: %d %s", got.status, got.text)
		}
	})
	t.Run("banned meanwhile", func(t *testing.T) {
		p := g.visitor()
		pg := g.enterAsGuest(p, bob)
		g.role(bob.DID)
		defer g.role(bob.DID, "repo:*")
		wantPage(t, p.submit(pg, "/consent", nil), `name="password"`)
	})
}

// fakeHome is an authorization server that lies.
type fakeHome struct {
	url     string
	did     syntax.DID
	meta    map[string]any // in place of what is true
	token   map[string]any
	answer  url.Values
	state   string
	revoked int
	proofs  int
}

func (f *fakeHome) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply := func(status int, values, instead map[string]any) {
		maps.Copy(values, instead)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(values)
	}
	if r.Method == "POST" && r.Header.Get("DPoP") != "" {
		f.proofs++
	}
	switch r.URL.Path {
	case "/.well-known/oauth-protected-resource":
		reply(200, map[string]any{"resource": f.url, "authorization_servers": []string{f.url}}, f.meta)
	case "/.well-known/oauth-authorization-server":
		reply(200, map[string]any{
			"issuer": f.url, "authorization_endpoint": f.url + "/authorize", "pushed_authorization_request_endpoint": f.url + "/par",
			"token_endpoint": f.url + "/token", "revocation_endpoint": f.url + "/revoke", "scopes_supported": []string{"atproto"},
			"authorization_response_iss_parameter_supported": true, "client_id_metadata_document_supported": true,
		}, f.meta)
	case "/par":
		f.state = r.FormValue("state")
		if r.FormValue("client_id") != guestHouseURL+"/oauth/client-metadata.json" || r.FormValue("scope") != "atproto" {
			w.WriteHeader(400)
			return
		}
		reply(201, map[string]any{"request_uri": "urn:x"}, nil)
	case "/authorize":
		back := url.Values{"state": {f.state}, "iss": {f.url}, "code": {"the code"}}
		maps.Copy(back, f.answer)
		http.Redirect(w, r, guestHouseURL+"/oauth/callback/elsewhere?"+back.Encode(), http.StatusSeeOther)
	case "/token":
		if r.FormValue("code") != "the code" || r.FormValue("code_verifier") == "" {
			w.WriteHeader(400)
			return
		}
		reply(200, map[string]any{"access_token": "secret", "token_type": "DPoP", "sub": string(f.did), "scope": "atproto"}, f.token)
	case "/revoke":
		f.revoked++
	}
}

// lies are what a server at an address can say that is not so; someone is another
// member, group the group, another the address of another server.
func lies(self, someone, group, another string) map[string]*fakeHome {
	return map[string]*fakeHome{
		"another sub":            {token: map[string]any{"sub": someone}},
		"the group as sub":       {token: map[string]any{"sub": group}},
		"no sub":                 {token: map[string]any{"sub": ""}},
		"no scope":               {token: map[string]any{"scope": "openid"}},
		"a bearer token":         {token: map[string]any{"token_type": "Bearer"}},
		"another iss":            {answer: url.Values{"iss": {another}}},
		"no iss":                 {answer: url.Values{"iss": {}}},
		"two of them":            {answer: url.Values{"iss": {self, another}}},
		"no code":                {answer: url.Values{"code": {}}},
		"two codes":              {answer: url.Values{"code": {"the code", "x"}}},
		"an error with a code":   {answer: url.Values{"error": {"access_denied"}}},
		"another resource":       {meta: map[string]any{"resource": another}},
		"another issuer":         {meta: map[string]any{"issuer": another}},
		"two issuers":            {meta: map[string]any{"authorization_servers": []string{self, another}}},
		"an issuer with a path":  {meta: map[string]any{"authorization_servers": []string{self + "/x"}}},
		"no iss parameter":       {meta: map[string]any{"authorization_response_iss_parameter_supported": false}},
		"no metadata documents":  {meta: map[string]any{"client_id_metadata_document_supported": false}},
		"no scope atproto":       {meta: map[string]any{"scopes_supported": []string{"openid"}}},
		"no PAR":                 {meta: map[string]any{"pushed_authorization_request_endpoint": ""}},
		"a script as endpoint":   {meta: map[string]any{"authorization_endpoint": "javascript:alert(1)"}},
		"endpoints with a login": {meta: map[string]any{"token_endpoint": "https://a:b@example.org/token"}},
		"metadata of a megabyte": {meta: map[string]any{"x": strings.Repeat("x", 1<<20)}},
		"addresses of 5,000":     {meta: map[string]any{"token_endpoint": self + "/" + strings.Repeat("x", 5000)}},
	}
}

// A server of a member is believed about that member, and about nobody else.
func TestRemoteMemberOfALyingServer(t *testing.T) {
	t.Parallel()
	g := newGuestHouse(t)
	carol := g.home.CreateAccount("carol")
	g.role(carol.DID, "repo:*")
	moveTo := func(t *testing.T, a *pdstest.Account, endpoint string) {
		ok(t, g.home.Config.Registry.Update(t.Context(), a.DID, func(op *identity.Operation) error {
			s := op.Services[identity.ServicePDS]
			s.Endpoint = endpoint
			op.Services[identity.ServicePDS] = s
			return nil
		}))
	}
	// Each case has a member with a server of its own, which f plays for this server
	// and web for browsers.
	try := func(t *testing.T, name string, f *fakeHome, web http.Handler) (*page, *person) {
		t.Helper()
		member := g.home.CreateAccount(name)
		g.role(member.DID, "repo:*")
		f.url, f.did = "https://"+name+".example.org", member.DID
		moveTo(t, member, f.url)
		g.world.put(name+".example.org", f)
		g.web.put(name+".example.org", web)
		p := g.visitor()
		pg := g.leave(p, string(member.DID))
		if redirectLink.MatchString(pg.text) {
			pg = g.away(p, pg)
		}
		return pg, p
	}
	const refused, unknown = "has not confirmed who you are", "have not found the server"
	t.Run("that is honest", func(t *testing.T) {
		t.Parallel()
		f := &fakeHome{}
		if pg, _ := try(t, "honest", f, f); !strings.Contains(pg.text, "/consent") || f.revoked != 1 || f.proofs != 3 {
			t.Errorf("%d revocations, %d proofs, %s", f.revoked, f.proofs, pg.text)
		}
	})
	t.Run("that has lost the account meanwhile", func(t *testing.T) {
		t.Parallel()
		g.world.put("other.example.org", http.NotFoundHandler())
		f := &fakeHome{}
		pg, _ := try(t, "left", f, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			moveTo(t, &pdstest.Account{DID: f.did}, "https://other.example.org")
			f.ServeHTTP(w, r)
		}))
		if !strings.Contains(html.UnescapeString(pg.text), refused) {
			t.Errorf("%d %s", pg.status, pg.text)
		}
	})
	for i, lie := range slices.Sorted(maps.Keys(lies("", "", "", ""))) {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("liar-%d", i)
			f := lies("https://"+name+".example.org", string(carol.DID), string(g.group.DID), g.home.URL)[lie]
			pg, p := try(t, name, f, f)
			text := html.UnescapeString(pg.text)
			if strings.Contains(text, `action="/oauth/authorize/consent"`) || !strings.Contains(text, refused) && !strings.Contains(text, unknown) {
				t.Errorf("%d %s", pg.status, pg.text)
			}
			if pg := p.do(http.NewRequestWithContext(t.Context(), "GET", guestHouseURL+"/account", nil)); strings.Contains(pg.text, "the-group") {
				t.Error("somebody is signed in")
			}
		})
	}
}

func TestRemoteMembersConfig(t *testing.T) {
	t.Parallel()
	g := newGuestHouse(t)
	cfg := g.Config
	cfg.Delegation = pds.DelegationFunc(nil)
	if _, err := pds.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.RemoteMembers") {
		t.Errorf("without a lister: %v", err)
	}
	cfg = g.Config
	cfg.PublicURL = "http://localhost:1"
	if _, err := pds.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.RemoteMembers") {
		t.Errorf("without https: %v", err)
	}
	var doc map[string]any
	resp, err := (&http.Client{Transport: g.web}).Get(guestHouseURL + "/oauth/client-metadata.json")
	ok(t, err)
	defer resp.Body.Close()
	ok(t, json.NewDecoder(resp.Body).Decode(&doc))
	if doc["client_id"] != guestHouseURL+"/oauth/client-metadata.json" || doc["scope"] != "atproto" {
		t.Errorf("%v", doc)
	}
	h := newHouse(t)
	resp, err = http.Get(h.URL + "/oauth/client-metadata.json")
	ok(t, err)
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("a server without remote members: %d", resp.StatusCode)
	}
}
