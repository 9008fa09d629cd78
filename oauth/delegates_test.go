package oauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

const group = syntax.DID("did:plc:groupppppppppppppppppppp")

// delegates are people of whom some may act for others.
type delegates struct {
	*people

	mu    sync.Mutex                  // guards following
	roles map[syntax.DID][]syntax.DID // by actor
	lists error                       // why nothing can be listed
	lies  bool                        // nobody may do what is listed
}

var _ oauth.Delegates = (*delegates)(nil)

func (m *delegates) ActsFor(ctx context.Context, actor syntax.DID) (list []oauth.Account, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, did := range m.roles[actor] {
		a, err := m.Account(ctx, did)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, m.lists
}

func (m *delegates) MayAct(_ context.Context, account, actor syntax.DID) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.roles[actor], account) && !m.lies, nil
}

func (m *delegates) set(actor syntax.DID, accounts ...syntax.DID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roles[actor] = accounts
}

// club is a site with a group, of which Alice is a member and Bob is not.
type club struct {
	*site
	members *delegates
}

func newClub(t *testing.T, change ...func(*oauth.Config)) *club {
	t.Helper()
	c := &club{members: &delegates{roles: map[syntax.DID][]syntax.DID{alice: {group}}}}
	c.site = newSite(t, append(change, func(cfg *oauth.Config) {
		c.members.people = cfg.Accounts.(*people)
		cfg.Accounts = c.members
	})...)
	c.people.add(group, "group", "\x00") // which nobody can enter
	return c
}

var groupForm = []string{"account", string(group), "actor", string(alice)}

// pick chooses the group in the account picker.
func (p *page) pick() *page {
	p.t.Helper()
	p.is(http.StatusOK, "@group.example.com as @alice.example.com")
	for _, f := range nodes(p.doc, "form") {
		if form := values(f); form.Get("account") == string(group) && form.Get("actor") == string(alice) {
			return p.b.follow(p.b.request(http.MethodPost, attr(f, "action"), form, "same-origin"), p)
		}
	}
	p.t.Fatalf("no form for the group:\n%s", p.text())
	return nil
}

// watchedUI remembers which accounts the pages have shown.
type watchedUI struct {
	ui.UI
	mu    sync.Mutex // guards following
	shown []ui.Account
}

func (w *watchedUI) Render(rw http.ResponseWriter, r *http.Request, status int, p ui.Page) error {
	w.mu.Lock()
	switch p := p.(type) {
	case *ui.AccountPickerPage:
		for _, d := range p.Delegated {
			w.shown = append(w.shown, d.Account)
		}
	case *ui.ConsentPage:
		w.shown = append(w.shown, p.Account)
	case *ui.ManagerAppsPage:
		w.shown = append(w.shown, p.Manager.Account)
	}
	w.mu.Unlock()
	return w.UI.Render(rw, r, status, p)
}

// A member does not get to know the group's e-mail address.
func TestEmailOfGroup(t *testing.T) {
	w := &watchedUI{UI: defaultUI()}
	c := newClub(t, func(c *oauth.Config) { c.UI = w })
	b := c.newBrowser(t)
	b.start(c.newApp("app.example.org")).signIn("remember", "1").pick().is(http.StatusOK, "/consent")
	b.visit("/account").link("/acting/").is(http.StatusOK, "/apps")
	if len(w.shown) != 3 {
		t.Errorf("the pages show %+v", w.shown)
	}
	for _, a := range w.shown {
		if a.DID != string(group) || a.Email != "" || a.EmailConfirmed {
			t.Errorf("a page shows %+v", a)
		}
	}
}

// forged is the address of another page of the same request with a choice.
func (p *page) forged(name string, account, actor syntax.DID) string {
	query := p.URL.Query()
	query.Set("account", string(account))
	query.Set("actor", string(actor))
	return "/oauth/authorize/" + name + "?" + query.Encode()
}

// A member signs in and chooses the group; the consent page and the tokens say
// who acts for whom.
func TestActingForGroup(t *testing.T) {
	c := newClub(t, func(c *oauth.Config) { c.ClientPolicy = trustAll })
	a, b := c.newConfidential("app.example.org"), c.newBrowser(t)
	p := b.start(a).signIn("remember", "1").pick().is(http.StatusOK, "/consent")
	if text := p.text(); !strings.Contains(text, "@group.example.com") || !strings.Contains(text, "You are signed in as @alice.example.com and act for this account.") ||
		strings.Contains(text, "group@mail") {
		t.Errorf("the consent page says %s", text)
	}
	got := b.tokens(a, p.submit("/consent"))
	if got.text("sub") != string(group) {
		t.Errorf("sub: %s", got.text("sub"))
	}
	if token := a.mustUse(got.text("access_token")); token.Account != group || token.Actor != alice {
		t.Errorf("the token says %+v", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(got.text("access_token"), ".")[1])
	var claims struct {
		Sub string
		Act struct{ Sub string }
	}
	if err := errors.Join(err, json.Unmarshal(payload, &claims)); err != nil || claims.Sub != string(group) || claims.Act.Sub != string(alice) {
		t.Errorf("the token holds %s, %v", payload, err)
	}
	a.mustUse(tokensOf(a.refresh(got.text("refresh_token"))).access)

	// The consent was for the group, by Alice.
	b.start(a, "login_hint", "group.example.com").code(a)
	b.start(a, "login_hint", "alice.example.com").is(http.StatusOK, "/consent")
	c.members.set(bob, group)
	other := c.newBrowser(t)
	p = other.start(a, "login_hint", string(group)).submit("/sign-in", "identifier", "bob", "password", bobPassword)
	p.is(http.StatusOK, "act for this account").is(http.StatusOK, "@bob.example.com")
}

// Who may act for nobody is asked nothing, also if nobody can say so.
func TestNobodyToActFor(t *testing.T) {
	c := newClub(t)
	a := c.newApp("app.example.org")
	c.newBrowser(t).start(a).signIn("identifier", "bob", "password", bobPassword).is(http.StatusOK, "/consent")
	for _, status := range []oauth.Status{oauth.Deactivated, oauth.TakenDown} {
		c.people.change(group, func(one *person) { one.Status = status })
		c.newBrowser(t).start(a).signIn().is(http.StatusOK, "/consent")
	}
	c.people.change(group, func(one *person) { one.Status = oauth.Active })
	c.people.change(alice, func(one *person) { one.Status = oauth.Deactivated })
	c.newBrowser(t).start(a).signIn().is(http.StatusOK, "/reactivate").submit("/reactivate").is(http.StatusOK, "/consent")
	c.members.lists = errors.New("out of order")
	c.newBrowser(t).start(a).signIn().is(http.StatusOK, "/consent")
	c.newBrowser(t).start(a, "login_hint", "group.example.com").signIn().is(http.StatusForbidden, "/sign-in")

	// What is listed is not what counts.
	c.members.lists, c.members.lies = nil, true
	b := c.newBrowser(t)
	b.start(a).signIn("remember", "1").pick().is(http.StatusForbidden, "Access denied")
	b.start(a, "login_hint", "group.example.com").is(http.StatusForbidden, "Access denied")
}

// The app asks for the group: a member can do that, signed in before or not, and
// no one else.
func TestHintOfGroup(t *testing.T) {
	c := newClub(t)
	a := c.newApp("app.example.org")
	for _, hint := range []string{"group.example.com", string(group)} {
		p := c.newBrowser(t).start(a, "login_hint", hint).is(http.StatusOK, "/sign-in")
		if p.field("identifier") != "group.example.com" {
			t.Errorf("the identifier is %q", p.field("identifier"))
		}
		refused := p.submit("/sign-in", "identifier", "bob", "password", bobPassword).is(http.StatusForbidden, "/sign-in")
		if refused.field("identifier") != "bob" {
			t.Errorf("the identifier is %q", refused.field("identifier"))
		}
		p.b.visit("/account").is(http.StatusOK, "/sign-in") // Bob is not signed in
		b := c.newBrowser(t)
		p = b.start(a, "login_hint", hint).submit("/sign-in", "identifier", "alice", "password", alicePassword, "remember", "1")
		b.tokens(a, p.is(http.StatusOK, "act for this account").submit("/consent"))
		p = b.start(a, "login_hint", hint).is(http.StatusOK, "act for this account")
		// The own account is not what the app has asked for.
		p.submit("/consent", "account", string(alice), "actor", "-").is(http.StatusOK, "/sign-in")
	}
	// Nor is the group, if it has asked for the own account.
	b := c.newBrowser(t)
	p := b.start(a, "login_hint", "alice.example.com").submit("/sign-in", "password", alicePassword).is(http.StatusOK, "/consent")
	if strings.Contains(p.text(), "group") {
		t.Errorf("the page says %s", p.text())
	}
	b.visit(p.forged("consent", group, alice)).is(http.StatusOK, "/sign-in")
	p.submit("/consent", groupForm...).is(http.StatusOK, "/sign-in")
}

// Without a word an app gets the group only if it asks for it.
func TestSilentlyForGroup(t *testing.T) {
	c := newClub(t, func(c *oauth.Config) { c.ClientPolicy = trustAll })
	a, b := c.newConfidential("app.example.org"), c.newBrowser(t)
	b.start(a, "login_hint", "alice.example.com").submit("/sign-in", "password", alicePassword, "remember", "1").submit("/consent").code(a)
	got := b.tokens(a, b.start(a, "prompt", "none"))
	if got.text("sub") != string(alice) {
		t.Errorf("sub: %s", got.text("sub"))
	}
	b.start(a, "prompt", "none", "login_hint", string(group)).refusedWith(a, "consent_required")
	b.start(a, "login_hint", string(group)).submit("/consent").code(a)
	got = b.tokens(a, b.start(a, "prompt", "none", "login_hint", string(group)))
	if got.text("sub") != string(group) {
		t.Errorf("sub: %s", got.text("sub"))
	}
	c.members.set(alice)
	b.start(a, "prompt", "none", "login_hint", string(group)).refusedWith(a, "login_required")
}

// The password is asked for again where it is for the own account.
func TestStaleActor(t *testing.T) {
	c := newClub(t)
	a, b := c.newApp("app.example.org"), c.newBrowser(t)
	b.start(a).signIn("remember", "1").pick().submit("/consent").code(a)
	b.start(a, "prompt", "login").signIn("remember", "1").pick().is(http.StatusOK, "/consent")
	c.clock.advance(8 * 24 * time.Hour)
	p := b.start(a).is(http.StatusOK, "Password needed").pick().is(http.StatusOK, "/sign-in")
	if p.field("identifier") != "alice.example.com" {
		t.Errorf("the identifier is %q", p.field("identifier"))
	}
	p.signIn().pick().submit("/consent").code(a)
}

func TestDelegatedAreBounded(t *testing.T) {
	c := newClub(t)
	var many []syntax.DID
	for i := range oauth.MaxDelegated + 1 {
		did := syntax.DID(fmt.Sprintf("did:plc:many%020d", i))
		c.people.add(did, fmt.Sprintf("many%d", i), "\x00")
		many = append(many, did)
	}
	c.members.set(alice, many...)
	text := c.newBrowser(t).start(c.newApp("app.example.org")).signIn().text()
	if got := strings.Count(text, "as @alice.example.com"); got != oauth.MaxDelegated {
		t.Errorf("%d accounts are offered", got)
	}
}

// No form or address makes somebody act for an account that this one may not act
// for, or as somebody else.
func TestAttack15_ActingByForgedForms(t *testing.T) {
	const nobody = "did:plc:nobodyyyyyyyyyyyyyyyyyyy"
	c := newClub(t)
	a, b := c.newApp("app.example.org"), c.newBrowser(t)
	c.newBrowser(t).start(a).signIn("remember", "1").pick() // Alice is signed in elsewhere
	p := b.start(a).signIn("identifier", "bob", "password", bobPassword, "remember", "1").is(http.StatusOK, "/consent")
	for _, test := range []struct {
		account, actor syntax.DID
		status         int
		want           string
	}{
		{group, bob, http.StatusForbidden, "Access denied"},
		{alice, bob, http.StatusForbidden, "Access denied"},
		{nobody, bob, http.StatusForbidden, "Access denied"},
		{group, alice, http.StatusOK, "/sign-in"},
		{group, group, http.StatusOK, "/sign-in"},
		{group, "", http.StatusOK, "/sign-in"},
		{bob, alice, http.StatusOK, "/sign-in"},
		{bob, group, http.StatusOK, "/sign-in"},
		{"", bob, http.StatusForbidden, "Access denied"},
		{group, bob + "/manager", http.StatusOK, "/sign-in"},
	} {
		p.submit("/consent", "account", string(test.account), "actor", string(test.actor)).is(test.status, test.want)
		for _, name := range []string{"consent", "reactivate"} {
			b.visit(p.forged(name, test.account, test.actor)).is(test.status, test.want)
		}
		form := p.fill("/consent", "account", string(test.account), "actor", string(test.actor))
		b.follow(b.request(http.MethodPost, "/oauth/authorize/account", form, "same-origin"), p).is(test.status, test.want)
	}
	p.submit("/consent").code(a)

	// Where nobody acts for anybody, neither does Alice.
	s := newSite(t)
	s.people.add(group, "group", "\x00")
	a, b = s.newApp("app.example.org"), s.newBrowser(t)
	b.start(a).signIn().is(http.StatusOK, "/consent").submit("/consent", groupForm...).is(http.StatusForbidden, "Access denied")
}

// A role that ends is gone at the next step.
func TestAttack15_ActingAfterDemotion(t *testing.T) {
	c := newClub(t)
	a, b := c.newApp("app.example.org"), c.newBrowser(t)
	picker := b.start(a).signIn("remember", "1")
	p := picker.pick().is(http.StatusOK, "/consent")
	c.members.set(alice)
	p.submit("/consent").is(http.StatusForbidden, "Access denied")
	picker.pick().is(http.StatusForbidden, "Access denied")
	c.members.set(alice, group)
	code := p.submit("/consent").code(a)
	c.members.set(alice)
	a.exchange(code, "code_verifier", b.verifier).isInvalidGrant()
	c.members.set(alice, group)
	a.exchange(code, "code_verifier", b.verifier).isInvalidGrant() // it is gone

	for _, did := range []syntax.DID{alice, group} {
		p := b.start(a).pick().is(http.StatusOK, "/consent")
		c.people.change(did, func(one *person) { one.Status = oauth.Deactivated })
		p.submit("/consent").is(http.StatusForbidden, "Access denied")
		c.people.change(did, func(one *person) { one.Status = oauth.Active })
	}
}

// A refresh asks again whether the actor may act, and looks at both accounts.
func TestAttack35_RefreshOfActors(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(u *users)
		goesOn  bool
	}{
		"nothing":           {func(*users) {}, true},
		"demotion":          {func(u *users) { u.mayAct = func() (bool, error) { return false, nil } }, false},
		"actor taken down":  {func(u *users) { u.setStatus(alice, oauth.TakenDown) }, false},
		"actor gone":        {func(u *users) { delete(u.accounts, alice) }, false},
		"group taken down":  {func(u *users) { u.setStatus(bob, oauth.TakenDown) }, false},
		"group gone":        {func(u *users) { delete(u.accounts, bob) }, false},
		"group deactivated": {func(u *users) { u.setStatus(bob, oauth.Deactivated) }, true},
		"group deactivated and actor taken down": {func(u *users) {
			u.setStatus(bob, oauth.Deactivated)
			u.setStatus(alice, oauth.TakenDown)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			a := e.newApp("app.example.org")
			_, params, err := e.srv.Authorize(t.Context(), a.id, a.pushed(), bob, alice, []string{"atproto"})
			if err != nil {
				t.Fatal(err)
			}
			got := tokensOf(a.exchange(params.Get("code")))
			test.happens(e.users)
			if refreshed := a.refresh(got.refresh); test.goesOn {
				a.mustUse(tokensOf(refreshed).access)
				return
			} else {
				refreshed.isInvalidGrant()
			}
			a.mustBeDead(got.access)
		})
	}
	t.Run("nobody can say", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		_, params, err := e.srv.Authorize(t.Context(), a.id, a.pushed(), bob, alice, []string{"atproto"})
		if err != nil {
			t.Fatal(err)
		}
		got := tokensOf(a.exchange(params.Get("code")))
		e.users.mayAct = func() (bool, error) { return false, errors.New("out of order") }
		a.refresh(got.refresh).is(500, "server_error")
		e.users.mayAct = nil
		a.mustUse(tokensOf(a.refresh(got.refresh)).access)
	})
}

// In the account manager a member sees the apps that this member has connected to
// the group, and nothing else of it.
func TestManagerOfGroup(t *testing.T) {
	c := newClub(t, func(c *oauth.Config) { c.ClientPolicy = trustAll })
	c.members.set(bob, group)
	one, two := c.newConfidential("one.example.org"), c.newConfidential("two.example.org")
	b, other := c.newBrowser(t), c.newBrowser(t)
	p := other.start(two, "login_hint", string(group)).submit("/sign-in", "identifier", "bob", "password", bobPassword, "remember", "1")
	theirs := other.tokens(two, p.submit("/consent"))
	b.start(one).signIn("remember", "1").pick().submit("/consent").code(one) // a consent without a session
	mine := b.tokens(one, b.start(one, "login_hint", string(group)))

	base := "/account/" + url.PathEscape(string(group))
	apps := base + "/acting/" + url.PathEscape(string(alice)) + "/apps"
	p = b.visit("/account").is(http.StatusOK, "@group.example.com as @alice.example.com").link(apps).is(http.StatusOK, "one.example.org")
	if strings.Contains(p.text(), "two.example.org") || strings.Contains(p.text(), "group@mail") || strings.Contains(p.Body, "/email") || p.hasForm("/sign-out") {
		t.Errorf("the page is %s", p.text())
	}
	sessions, err := c.srv.Sessions(t.Context(), group)
	if err != nil || len(sessions) != 2 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}
	for _, s := range sessions {
		if s.Actor == bob {
			p.submit("/apps", "session", s.ID).is(http.StatusOK, "one.example.org")
		}
	}
	two.mustUse(theirs.text("access_token"))
	p = p.submit("/apps", "session", attr(nodes(p.formTo("/apps"), "button")[0], "value")).is(http.StatusOK, "No app has access")
	one.mustBeDead(mine.text("access_token"))
	b.start(one, "login_hint", string(group)).is(http.StatusOK, "/consent") // it is forgotten

	for _, section := range []string{"", "/apps", "/devices", "/email", "/handle", "/password", "/app-passwords", "/export", "/export/repo", "/deactivate", "/delete"} {
		b.visit(base+section).is(http.StatusOK, "/sign-in")
		b.visit(base+section+"?actor="+url.QueryEscape(string(alice))).is(http.StatusOK, "/sign-in")
		if section != "/apps" && b.visit(strings.TrimSuffix(apps, "/apps")+section).Status != http.StatusNotFound {
			t.Errorf("%s is there", section)
		}
		if section != "" && !strings.HasPrefix(section, "/export") {
			form := p.fill("/apps", append(groupForm, "password", alicePassword, "confirm", "1")...)
			b.follow(b.request(http.MethodPost, base+section, form, "same-origin"), p).is(http.StatusOK, "/sign-in")
		}
	}
	b.visit("/account/"+url.PathEscape(string(alice))+"/acting/"+url.PathEscape(string(alice))+"/apps").is(http.StatusNotFound, "")
	b.visit(base+"/acting/"+url.PathEscape(string(bob))+"/apps").is(http.StatusOK, "/sign-in")
	c.members.set(alice)
	b.visit(apps).is(http.StatusForbidden, "Access denied")
	p.submit("/apps", "session", "x").is(http.StatusForbidden, "Access denied")
	if text := b.visit("/account").text(); strings.Contains(text, "group") {
		t.Errorf("the accounts are %s", text)
	}
}

// An account takes along what it has consented to for others, and what others
// have for it.
func TestForgetActors(t *testing.T) {
	for _, forgotten := range []syntax.DID{alice, group} {
		c := newClub(t, func(c *oauth.Config) { c.ClientPolicy = trustAll })
		a, b := c.newConfidential("app.example.org"), c.newBrowser(t)
		b.start(a).signIn().pick().submit("/consent").code(a)
		count := func() (n int) {
			for _, kind := range []string{"oauth-consent", "oauth-actor-consent"} {
				err := c.store.View(t.Context(), func(docs storage.Docs) error {
					found, err := docs.ScanDocs(kind, storage.Scan{To: "~", Limit: 10})
					n += len(found)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			return n
		}
		if n := count(); n != 2 {
			t.Errorf("%d documents", n)
		}
		if err := c.srv.Forget(t.Context(), forgotten); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != 0 {
			t.Errorf("%d documents are left of %s", n, forgotten)
		}
	}
}
