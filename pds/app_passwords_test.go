package pds_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

const createAppPasswordNSID = "com.atproto.server.createAppPassword"

// newAppPassword makes an app password.
func newAppPassword(t *testing.T, a *pdstest.Account, name string, privileged bool) string {
	t.Helper()
	var out struct{ Password string }
	ok(t, post(t, a.PDS, createAppPasswordNSID, "Bearer "+a.Access,
		map[string]any{"name": name, "privileged": privileged}, &out))
	return out.Password
}

type appPasswordList struct {
	Passwords []struct {
		Name       string
		Password   string
		CreatedAt  string
		Privileged bool
	}
}

func TestAppPassword(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	plain := newAppPassword(t, alice, "phone", false)
	srv.Clock.Advance(time.Second)
	privileged := newAppPassword(t, alice, "chat", true)
	if !regexp.MustCompile(`^([a-z2-7]{4}-){3}[a-z2-7]{4}$`).MatchString(plain) || plain == privileged {
		t.Errorf("app passwords %q, %q", plain, privileged)
	}
	for _, c := range []struct{ password, scope string }{
		{plain, "com.atproto.appPass"}, {privileged, "com.atproto.appPassPrivileged"}, {alice.Password, "com.atproto.access"},
	} {
		s := login(t, srv, string(alice.Handle), c.password)
		// The scope persists over refreshes.
		for range 3 {
			if got := claimsOf(t, s.AccessJwt)["scope"]; got != c.scope {
				t.Errorf("scope %v, want %s", got, c.scope)
			}
			next, err := refresh(t, srv, s.RefreshJwt)
			ok(t, err)
			s = next
		}
		full := c.scope == "com.atproto.access"
		// A method for full sessions only.
		err := post(t, srv, createAppPasswordNSID, s.access(), map[string]any{"name": "made by " + c.scope}, nil)
		if full {
			ok(t, err)
		} else {
			wantError(t, err, 400, "InvalidToken")
		}
		// Ordinary methods.
		ok(t, post(t, srv, "com.atproto.repo.createRecord", s.access(), map[string]any{
			"repo": alice.DID, "collection": "com.example.note", "record": map[string]any{"text": c.scope},
		}, nil))
		// Tokens for privileged methods elsewhere.
		for _, lxm := range []string{"chat.bsky.convo.listConvos", "com.atproto.server.createAccount", "CHAT.bsky.convo.getLog"} {
			err := get(t, srv, "com.atproto.server.getServiceAuth", s.access(),
				url.Values{"aud": {"did:web:chat.example.com"}, "lxm": {lxm}}, nil)
			if c.scope == "com.atproto.appPass" {
				wantError(t, err, 400, "InvalidRequest")
			} else {
				ok(t, err)
			}
		}
	}
}

func TestAppPasswordsListAndRevoke(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	var list appPasswordList
	alice.Get("com.atproto.server.listAppPasswords", nil, &list)
	if list.Passwords == nil || len(list.Passwords) != 0 {
		t.Errorf("list of none: %+v", list)
	}
	passwords := map[string]string{}
	for _, name := range []string{"first", "second", "with/slash"} {
		passwords[name] = newAppPassword(t, alice, name, name == "second")
		srv.Clock.Advance(time.Second)
	}
	newAppPassword(t, bob, "first", false)
	alice.Get("com.atproto.server.listAppPasswords", nil, &list)
	names := []string{}
	for _, p := range list.Passwords {
		names = append(names, p.Name)
		if p.Password != "" || p.Privileged != (p.Name == "second") || p.CreatedAt == "" {
			t.Errorf("listed %+v", p)
		}
	}
	if got := strings.Join(names, " "); got != "with/slash second first" {
		t.Errorf("order %s", got)
	}

	first, second := login(t, srv, string(alice.DID), passwords["first"]), login(t, srv, string(alice.DID), passwords["second"])
	for range 2 { // it is idempotent
		alice.Post("com.atproto.server.revokeAppPassword", map[string]any{"name": "first"}, nil)
	}
	_, err := refresh(t, srv, first.RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")
	wantError(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+first.AccessJwt, nil, nil), 400, "ExpiredToken")
	newAppPassword(t, alice, "first", false) // another of the name changes nothing
	wantError(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+first.AccessJwt, nil, nil), 400, "ExpiredToken")
	ok(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+second.AccessJwt, nil, nil))
	wantError(t, post(t, srv, createSession, "", map[string]any{
		"identifier": alice.DID, "password": passwords["first"],
	}, nil), 401, "AuthenticationRequired")
	_, err = refresh(t, srv, second.RefreshJwt)
	ok(t, err)
	_, err = refresh(t, srv, alice.Refresh)
	ok(t, err)
}

// A session does not outlive its app password, however that went.
func TestSessionEndsWithAppPassword(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	s := login(t, srv, string(alice.DID), newAppPassword(t, alice, "phone", false))
	ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		return tx.DeleteDoc("app-password", string(alice.DID)+"/phone")
	}))
	_, err := refresh(t, srv, s.RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")
	wantError(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+s.AccessJwt, nil, nil), 400, "ExpiredToken")
}

func TestAppPasswordLimits(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	create := func(name string) error {
		return post(t, srv, createAppPasswordNSID, "Bearer "+alice.Access, map[string]any{"name": name}, nil)
	}
	ok(t, create(strings.Repeat("n", 256)))
	for _, name := range []string{"", strings.Repeat("n", 257), strings.Repeat("n", 256) /* taken */} {
		wantError(t, create(name), 400, "InvalidRequest")
	}
	for i := range 99 {
		ok(t, create(fmt.Sprint("name ", i)))
	}
	wantError(t, create("one more"), 400, "InvalidRequest")
}
