package adminui_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adminui"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// staff is who is an administrator: at most one account.
type staff struct {
	did  atomic.Value // of syntax.DID
	fail atomic.Bool
}

var errStaff = errors.New("the list cannot be read")

func (s *staff) isAdmin(_ context.Context, did syntax.DID) (bool, error) {
	if s.fail.Load() {
		return false, errStaff
	}
	return s.did.Load() == did, nil
}

// staffed starts a server with pages for alice, who is an administrator.
func staffed(t *testing.T, adjust ...func(*pds.Config)) (v *visitor, alice *pdstest.Account, list *staff) {
	t.Helper()
	list = new(staff)
	v = pagesWith(t, adminui.Options{IsAdmin: list.isAdmin}, adjust...)
	alice = v.srv.CreateAccount("alice")
	list.did.Store(alice.DID)
	return v, alice, list
}

// proves signs an account in to the account manager, coming from the pages, and
// returns where that leads.
func (v *visitor) proves(a *pdstest.Account) *answer {
	v.t.Helper()
	form := v.get("sign-in/account")
	form.shows(v.t, http.StatusOK, "Sign in")
	return v.post("/account/sign-in", url.Values{
		"csrf": {csrfField.FindStringSubmatch(form.body)[1]}, "identifier": {string(a.Handle)}, "password": {a.Password},
	})
}

// enters lets an account in that has proved itself.
func (v *visitor) enters(a *pdstest.Account, adjust ...func(*http.Request)) *answer {
	v.t.Helper()
	return v.post("sign-in", url.Values{"account": {string(a.DID)}}, adjust...)
}

func (v *visitor) signedOut() bool { return strings.HasSuffix(v.get("accounts").url.Path, "/sign-in") }

func TestAdministratorsAccount(t *testing.T) {
	v, alice, _ := staffed(t)
	bob := v.srv.CreateAccount("bob")
	v.get("").shows(t, http.StatusOK, "Sign in with your account", "Administrator&#39;s password")
	a := v.proves(alice)
	a.shows(t, http.StatusOK, "Continue as <bdi>"+alice.Handle.String(), "Sign in with another account")
	if !strings.HasPrefix(a.url.Path, adminui.DefaultPath) || !v.signedOut() {
		t.Errorf("signing in led to %s", a.url)
	}
	v.enters(alice).shows(t, http.StatusOK, "Overview", alice.Handle.String())
	at := "accounts/" + string(bob.DID)
	v.send(at+"/takedown", "reference", "case 7").shows(t, http.StatusOK, "The account is taken down.")
	v.auditedBy(string(alice.DID), "take down", string(bob.DID))
	events, err := v.srv.RecentEvents(t.Context(), 1)
	if err != nil || len(events) != 1 || events[0].Actor != alice.DID {
		t.Errorf("%+v, %v", events, err)
	}
	v.get("audit").shows(t, http.StatusOK, string(alice.DID))

	// The password is another administrator, in another browser or in this one.
	v.signIn()
	v.send(at+"/restore").shows(t, http.StatusOK, "The takedown has ended.")
	v.audited("restore", string(bob.DID))

	v.enters(alice).shows(t, http.StatusOK, "Overview")
	jar := v.client.Jar
	v.send("sign-out").shows(t, http.StatusOK, "Continue as")
	if v.client.Jar = jar; !v.signedOut() {
		t.Error("signed in after signing out")
	}
}

// Who is not an administrator, or has not signed in here and lately, stays
// outside.
func TestAccountsThatStayOutside(t *testing.T) {
	v, alice, list := staffed(t)
	bob := v.srv.CreateAccount("bob")
	outside := func(what string, a *answer, status int) {
		t.Helper()
		if a.status != status || strings.Contains(a.body, "Overview") || !v.signedOut() {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	outside("nobody has signed in", v.enters(alice), http.StatusForbidden)
	v.proves(bob).shows(t, http.StatusOK, bob.Handle.String()+" is not an administrator&#39;s account.", "Sign in with your account")
	if a := v.get("sign-in"); strings.Contains(a.body, bob.Handle.String()) {
		t.Error("an account is named on a page that nobody has come back to")
	}
	outside("another account", v.enters(bob), http.StatusForbidden)
	outside("another account has signed in", v.enters(alice), http.StatusForbidden)
	outside("no DID", v.post("sign-in", url.Values{"account": {"alice.test"}}), http.StatusForbidden)

	v.proves(alice)
	for what, adjust := range map[string]func(*http.Request){ // none of them changes anything
		"another site": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example.com") },
		"no origin":    func(r *http.Request) { r.Header.Del("Origin") },
		"cross-site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		outside(what, v.enters(alice, adjust), http.StatusForbidden)
	}
	list.fail.Store(true)
	outside("a list that cannot be read", v.enters(alice), http.StatusInternalServerError)
	list.fail.Store(false)
	v.srv.Clock.Advance(15 * time.Minute)
	outside("after a quarter of an hour", v.enters(alice), http.StatusForbidden)

	v.forget()
	v.now = v.now.Add(15 * time.Minute)
	v.proves(alice)
	for range 10 {
		v.enters(bob)
	}
	outside("too many attempts", v.enters(alice), http.StatusTooManyRequests)
}

// A session ends at once with what it rests on.
func TestAdministratorsSessionEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(ctx context.Context, v *visitor, alice *pdstest.Account, list *staff) error
	}{
		{"another list", func(_ context.Context, _ *visitor, _ *pdstest.Account, list *staff) error {
			list.did.Store(syntax.DID("did:web:somebody.example.com"))
			return nil
		}},
		{"a takedown", func(ctx context.Context, v *visitor, alice *pdstest.Account, _ *staff) error {
			return v.srv.TakeDownAccount(ctx, alice.DID, "case 8", pds.By{})
		}},
		{"deactivation", func(ctx context.Context, v *visitor, alice *pdstest.Account, _ *staff) error {
			return v.srv.DeactivateAccount(ctx, alice.DID, time.Time{}, pds.By{})
		}},
		{"deletion", func(ctx context.Context, v *visitor, alice *pdstest.Account, _ *staff) error {
			return v.srv.DeleteAccount(ctx, alice.DID, pds.By{})
		}},
		{"a new password", func(_ context.Context, v *visitor, alice *pdstest.Account, _ *staff) error {
			v.srv.Post("com.atproto.admin.updateAccountPassword", basicAdmin(), map[string]any{"did": alice.DID, "password": "another password"}, nil)
			return nil
		}},
		{"an own takedown", func(_ context.Context, v *visitor, alice *pdstest.Account, _ *staff) error {
			v.send("accounts/" + string(alice.DID) + "/takedown")
			return nil
		}},
		{"half an hour without a request", func(_ context.Context, v *visitor, _ *pdstest.Account, _ *staff) error {
			v.now = v.now.Add(adminui.DefaultIdleTime)
			return nil
		}},
		{"twelve hours", func(_ context.Context, v *visitor, _ *pdstest.Account, _ *staff) error {
			v.srv.Clock.Advance(adminui.DefaultMaxTime)
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, alice, list := staffed(t)
			bob := v.srv.CreateAccount("bob")
			v.proves(alice)
			v.enters(alice).shows(t, http.StatusOK, "Overview")
			token := csrfField.FindStringSubmatch(v.get("").body)[1]
			if err := c.end(t.Context(), v, alice, list); err != nil {
				t.Fatal(err)
			}
			v.post("accounts/"+string(bob.DID)+"/takedown", url.Values{"csrf": {token}})
			if d, err := v.srv.AccountDetails(t.Context(), string(bob.DID)); err != nil || d.Status != "active" {
				t.Errorf("a form was taken afterwards: %+v, %v", d, err)
			}
			if !v.signedOut() {
				t.Error("the session goes on")
			}
		})
	}
}

// A list that cannot be read ends no session, and lets nobody do anything.
func TestListOfAdministratorsFails(t *testing.T) {
	v, alice, list := staffed(t)
	v.proves(alice)
	v.enters(alice)
	list.fail.Store(true)
	a := v.get("accounts")
	if a.shows(t, http.StatusInternalServerError, "Something went wrong"); strings.Contains(a.body, alice.Email) {
		t.Error("accounts are shown")
	}
	list.fail.Store(false)
	v.get("accounts").shows(t, http.StatusOK, alice.Email)
}

func TestAdministratorsWithoutPassword(t *testing.T) {
	v, alice, _ := staffed(t, func(c *pds.Config) { c.AdminPassword = "" })
	a := v.get("")
	if a.shows(t, http.StatusOK, "Sign in with your account"); strings.Contains(a.body, `type="password"`) {
		t.Error("a password is asked for that there is not")
	}
	v.post("sign-in", url.Values{"password": {""}}).shows(t, http.StatusForbidden)
	v.proves(alice)
	v.enters(alice).shows(t, http.StatusOK, "Overview")
}

// The pages are all that an administrator's account has.
func TestAdministratorsTokens(t *testing.T) {
	v, alice, _ := staffed(t)
	v.proves(alice)
	v.enters(alice)
	params := url.Values{"did": {string(alice.DID)}}
	var app struct{ Password string }
	alice.Post("com.atproto.server.createAppPassword", map[string]any{"name": "an app"}, &app)
	var session struct{ AccessJwt string }
	v.srv.Post("com.atproto.server.createSession", "", map[string]any{"identifier": alice.DID, "password": app.Password}, &session)
	for _, token := range []string{alice.Access, session.AccessJwt} {
		_, err := v.srv.Call(t.Context(), http.MethodGet, "com.atproto.admin.getAccountInfo", params, http.Header{"Authorization": {"Bearer " + token}}, nil)
		if err == nil || !strings.Contains(err.Error(), "401") && !strings.Contains(err.Error(), "403") {
			t.Errorf("an administration method: %v", err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.srv.URL+"/xrpc/com.atproto.admin.getAccountInfo?"+params.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := v.do(r); a.status != http.StatusUnauthorized { // with the cookies
		t.Errorf("an administration method with the cookies of the pages: %d", a.status)
	}
}

func TestAdministratorsNeedOAuth(t *testing.T) {
	srv := pdstest.New(t, func(c *pds.Config) { c.WithoutOAuth = true })
	_, err := adminui.New(srv.Server, adminui.Options{IsAdmin: new(staff).isAdmin})
	if err == nil || !strings.Contains(err.Error(), "Options.IsAdmin") {
		t.Errorf("%v", err)
	}
}

func basicAdmin() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+pdstest.AdminPassword))
}
