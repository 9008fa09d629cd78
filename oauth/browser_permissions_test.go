package oauth_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/ui"
)

// watched is a UI that keeps the page that it rendered last.
type watched struct {
	ui.UI
	last ui.Page
}

func (u *watched) Render(w http.ResponseWriter, r *http.Request, status int, p ui.Page) error {
	u.last = p
	return u.UI.Render(w, r, status, p)
}

// The cards of the consent page, by scope. What can cost the account is marked.
func TestPermissions(t *testing.T) {
	watch := &watched{UI: defaultUI()}
	s := newSite(t, func(c *config) {
		c.UI = watch
		c.Lexicons = lexicons{"com.example.set": permissionSet("com.example.set", "Notes")}
	})
	identify := ui.Permission{Code: ui.PermissionIdentify}
	for scope, want := range map[string][]ui.Permission{
		"transition:generic":                           {{Code: ui.PermissionGeneric}},
		"transition:generic transition:chat.bsky":      {{Code: ui.PermissionGeneric}, {Code: ui.PermissionChat}},
		"identity:*":                                   {{Code: ui.PermissionIdentityFull, Warning: true}},
		"identity:handle":                              {{Code: ui.PermissionHandle, Warning: true}},
		"account:repo?action=manage":                   {{Code: ui.PermissionRepoImport, Warning: true}},
		"account:status?action=manage":                 {{Code: ui.PermissionStatusManage, Warning: true}},
		"account:status":                               {{Code: ui.PermissionAccount, Args: ui.Args{"attr": "status", "action": "read"}}},
		"account:email":                                {{Code: ui.PermissionEmailRead, Optional: true, Checked: true, Scope: "account:email"}},
		"account:email?action=manage transition:email": {{Code: ui.PermissionEmailManage, Optional: true, Checked: true, Scope: "account:email?action=manage transition:email"}},
		"repo:*?action=create":                         {{Code: ui.PermissionRepoAll, Repos: []ui.RepoRow{{Collection: "*", Create: true}}}},
		"repo:com.example.note blob:image/*": {
			{Code: ui.PermissionRepo, Repos: []ui.RepoRow{{Collection: "com.example.note", Create: true, Update: true, Delete: true}}},
			{Code: ui.PermissionBlob, Blobs: []string{"image/*"}},
		},
		"rpc:com.example.get?aud=*": {{Code: ui.PermissionRPC, RPCs: []ui.RPCRow{{Audience: "*", Methods: []string{"com.example.get"}}}}},
		"include:com.example.set": {{
			Code: ui.PermissionPermissionSet, Set: "com.example.set", Title: "Notes", Detail: "Notes",
			Repos: []ui.RepoRow{{Collection: "com.example.note", Create: true, Update: true, Delete: true}},
		}},
	} {
		a, b := s.newApp("app.example.org"), s.newBrowser(t)
		a.publish(object{"scope": "atproto " + scope})
		s.restart()
		p := b.start(a, "scope", "atproto "+scope).signIn().is(http.StatusOK, "/consent")
		page := watch.last.(*ui.ConsentPage)
		if diff := cmp.Diff(append([]ui.Permission{identify}, want...), page.Permissions); diff != "" {
			t.Errorf("%s:\n%s", scope, diff)
		}
		if page.RawScope != "atproto "+scope || page.Account.DID != string(alice) || page.Actor != nil {
			t.Errorf("%s: the page is %+v", scope, page)
		}
		// All of it is granted when nothing is unticked.
		form := p.fill("/consent")
		if got := strings.Join(form["scope"], " "); len(strings.Fields(got)) != 1+len(strings.Fields(scope)) {
			t.Errorf("%s: the form sends %q", scope, got)
		}
	}
}

// A form without what it needs.
func TestSignInNeedsBoth(t *testing.T) {
	s := newSite(t)
	p := s.newBrowser(t).visit("/account")
	p.submit("/sign-in", "identifier", " ", "password", "x").is(http.StatusBadRequest, "/sign-in")
	refused := p.submit("/sign-in", "identifier", "alice", "password", "", "remember", "1").is(http.StatusBadRequest, "/sign-in")
	if refused.field("identifier") != "alice" || refused.fill("/sign-in").Get("remember") != "1" {
		t.Errorf("the form holds %v", refused.fill("/sign-in"))
	}
	if s.people.checked() != 0 {
		t.Error("a password was checked")
	}
}

// Without cookies, in the account manager.
func TestNoCookiesInManager(t *testing.T) {
	s := newSite(t)
	b := s.newBrowser(t)
	p := b.visit("/account")
	r := p.formRequest("/sign-in", p.fill("/sign-in", "identifier", "alice", "password", alicePassword))
	b.client.Jar = nil
	b.send(r).is(http.StatusBadRequest, "Cookies are needed")
}

// A language tag has 35 characters at most.
func TestLocaleTags(t *testing.T) {
	s := newSite(t)
	p := s.newBrowser(t).visit("/account")
	for tag, want := range map[string]int{
		strings.Repeat("a", 35): http.StatusOK, strings.Repeat("a", 36): http.StatusBadRequest, "": http.StatusBadRequest, "de;x": http.StatusBadRequest,
	} {
		p.submit("/locale", "locale", tag).is(want, "")
	}
}

// Padding is real time, and ends with the request.
func TestPadding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		oauth.SleepFor(t.Context(), 400*time.Millisecond)
		if got := time.Since(start); got != 400*time.Millisecond {
			t.Errorf("slept %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		oauth.SleepFor(ctx, time.Hour)
		if got := time.Since(start); got != 400*time.Millisecond {
			t.Errorf("slept %v", got)
		}
	})
}
