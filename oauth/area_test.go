package oauth_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

const staffTTL = 2 * time.Hour

// newStaff makes a site with an area at /staff, of which the methods are pages.
func newStaff(t *testing.T, s *site) *browser {
	t.Helper()
	rooms := http.NewServeMux()
	serve := func(path, back string) {
		area := func() *oauth.Area { // the server may be another one by now
			a, err := s.srv.NewArea(back)
			if err != nil {
				t.Error(err)
			}
			return a
		}
		answer := func(w http.ResponseWriter, text string, err error) {
			switch {
			case errors.Is(err, oauth.ErrSignedOut):
				http.Error(w, "signed out", http.StatusForbidden)
			case err != nil:
				t.Error(err)
				http.Error(w, err.Error(), http.StatusInternalServerError)
			default:
				fmt.Fprint(w, text)
			}
		}
		did := func(r *http.Request) syntax.DID { return syntax.DID(r.FormValue("did")) }
		rooms.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			list, err := area().Ready(w, r)
			text := "ready:"
			for _, a := range list {
				text += " " + string(a.Handle)
			}
			answer(w, text, err)
		})
		rooms.HandleFunc(path+"/sign-in", func(w http.ResponseWriter, r *http.Request) { area().SignIn(w, r) })
		rooms.HandleFunc(path+"/enter", func(w http.ResponseWriter, r *http.Request) {
			a, err := area().Enter(w, r, did(r), staffTTL)
			answer(w, "entered "+string(a.Handle), err)
		})
		rooms.HandleFunc(path+"/in", func(w http.ResponseWriter, r *http.Request) {
			a, err := area().Entered(w, r, did(r))
			answer(w, "welcome "+string(a.Handle), err)
		})
		rooms.HandleFunc(path+"/leave", func(w http.ResponseWriter, r *http.Request) { answer(w, "left", area().Leave(w, r, did(r))) })
	}
	serve("/staff", "/staff?from=sign-in")
	serve("/other", "/other")
	rooms.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.srv.ServeHTTP(w, r) })
	s.http.Config.Handler = rooms
	return s.newBrowser(t)
}

// room goes to a page of the area about alice.
func (b *browser) room(name string) *page {
	b.t.Helper()
	return b.visit("/staff/" + name + "?did=" + url.QueryEscape(string(alice)))
}

// enter signs alice in and lets her enter.
func (b *browser) enter() {
	b.t.Helper()
	b.visit("/staff/sign-in").signIn().is(http.StatusOK, "ready: alice.example.com")
	b.room("enter").is(http.StatusOK, "entered alice.example.com")
	b.room("in").is(http.StatusOK, "welcome alice.example.com")
}

// Whoever comes from an area is led back to it after signing in, once.
func TestAreaSignIn(t *testing.T) {
	s := newSite(t)
	b := newStaff(t, s)
	b.room("enter").is(http.StatusForbidden, "signed out")
	b.visit("/staff").is(http.StatusOK, "ready:")
	p := b.visit("/staff/sign-in").is(http.StatusOK, "/sign-in")
	p.submit("/sign-in", "identifier", "alice.example.com", "password", "wrong").is(http.StatusUnauthorized, "/sign-in")
	p = p.signIn().is(http.StatusOK, "ready: alice.example.com")
	if p.URL.RequestURI() != "/staff?from=sign-in" {
		t.Errorf("the way back led to %s", p.URL)
	}
	b.room("in").is(http.StatusForbidden, "signed out") // nobody is let in without asking
	b.room("enter").is(http.StatusOK, "entered alice.example.com")
	b.room("in").is(http.StatusOK, "welcome alice.example.com")
	b.visit("/account/sign-in").signIn().is(http.StatusOK, "alice.example.com")
}

// Nobody else chooses where people go after they have signed in.
func TestAreaReturnIsSealed(t *testing.T) {
	s := newSite(t)
	b := newStaff(t, s)
	encode := func(to string) string { return base64.RawURLEncoding.EncodeToString([]byte(to)) }
	b.visit("/staff/sign-in")
	_, seal, _ := strings.Cut(b.cookie("__Host-ret"), ".")
	for _, value := range []string{
		encode("https://evil.example.org/"), encode("https://evil.example.org/") + "." + seal, encode("//evil.example.org") + ".", "!." + seal, "." + seal, seal,
	} {
		b := s.newBrowser(t)
		b.setCookie("__Host-ret", value)
		if p := b.visit("/account/sign-in").signIn().is(http.StatusOK, "alice.example.com"); !strings.HasPrefix(p.URL.Path, "/account/") {
			t.Errorf("%q led to %s", value, p.URL)
		}
		if left := b.cookie("__Host-ret"); left != "" {
			t.Errorf("the cookie is still %q", left)
		}
	}
}

// Who has not shown all of what the account asks for, and lately, does not get
// in.
func TestAreaRefuses(t *testing.T) {
	s := newFactorSite(t)
	b := newStaff(t, s)
	secret, _ := s.enrolled(b)
	refused := func(b *browser, why string) {
		t.Helper()
		if p := b.room("enter"); p.Status != http.StatusForbidden {
			t.Errorf("%s: %d %s", why, p.Status, p.text())
		}
		b.room("in").is(http.StatusForbidden, "signed out")
	}

	s.clock.advance(15*time.Minute - time.Second)
	b.visit("/staff").is(http.StatusOK, "ready: alice.example.com")
	s.clock.advance(time.Second)
	if text := b.visit("/staff").text(); text != "ready:" {
		t.Errorf("after a quarter of an hour: %s", text)
	}
	refused(b, "a sign-in of a quarter of an hour ago")

	second := s.newBrowser(t)
	p := second.visit("/staff/sign-in").signIn().is(http.StatusOK, "/factor")
	refused(second, "the password alone")
	p = p.submit("/factor", "code", s.otp(secret)).is(http.StatusOK, "ready: alice.example.com")
	if p.URL.Path != "/staff" {
		t.Errorf("after the second factor: %s", p.URL)
	}
	refused(s.newBrowser(t), "another browser")
	second.visit("/staff/enter?did="+string(bob)).is(http.StatusForbidden, "signed out")

	a := s.newApp("app.example.org")
	app := s.newBrowser(t)
	s.clock.advance(time.Minute) // for another code
	app.start(a).signIn().submit("/factor", "code", s.otp(secret)).is(http.StatusOK, "/consent")
	refused(app, "a sign-in to an app")

	for _, status := range []oauth.Status{oauth.Deactivated, oauth.TakenDown, oauth.Guest} {
		s.people.change(alice, func(p *person) { p.Status = status })
		refused(second, status.String())
	}
	s.people.change(alice, func(p *person) { p.Status = oauth.Active })
	second.room("enter").is(http.StatusOK, "entered")
	second.visit("/other/in?did="+string(alice)).is(http.StatusForbidden, "signed out")

	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://alice.example.com/staff/in?did="+string(alice), nil)
	r.AddCookie(&http.Cookie{Name: "__Host-dev", Value: second.cookie("__Host-dev")})
	r.AddCookie(&http.Cookie{Name: "__Host-ses", Value: second.cookie("__Host-ses")})
	w := httptest.NewRecorder()
	if s.http.Config.Handler.ServeHTTP(w, r); w.Code != http.StatusForbidden {
		t.Errorf("on another host: %d %s", w.Code, w.Body)
	}
	second.room("in").is(http.StatusOK, "welcome")
}

// An entry ends at once with what it rests on.
func TestAreaEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(s *site, b *browser)
	}{
		{"time", func(s *site, _ *browser) { s.clock.advance(staffTTL) }},
		{"leaving", func(_ *site, b *browser) { b.room("leave").is(http.StatusOK, "left") }},
		{"signing out", func(_ *site, b *browser) {
			b.visit("/account").submit("/sign-out", "account", string(alice)).is(http.StatusOK, "/sign-in")
		}},
		{"a new password", func(_ *site, b *browser) {
			b.section("/password").submit("/password", "password", alicePassword, "new_password", "another password").is(http.StatusOK, "/password")
		}},
		{"the end of all sessions", func(s *site, b *browser) {
			if err := s.srv.EndSessions(b.t.Context(), alice); err != nil {
				b.t.Error(err)
			}
		}},
		{"deactivation", func(s *site, _ *browser) { s.people.change(alice, func(p *person) { p.Status = oauth.Deactivated }) }},
		{"a takedown", func(s *site, _ *browser) { s.people.change(alice, func(p *person) { p.Status = oauth.TakenDown }) }},
		{"deletion", func(s *site, _ *browser) {
			s.people.mu.Lock()
			defer s.people.mu.Unlock()
			delete(s.people.accounts, alice)
		}},
		{"a copy of the cookies", func(s *site, b *browser) {
			thief := b.copyOf()
			s.clock.advance(10 * time.Minute)
			thief.room("in").is(http.StatusOK, "welcome") // for the moment
			s.clock.advance(time.Minute)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			b := newStaff(t, s)
			b.enter()
			s.restart()
			s.clock.advance(10 * time.Minute)
			b.room("in").is(http.StatusOK, "welcome alice.example.com") // also in another process
			c.end(s, b)
			if p := b.room("in"); p.Status != http.StatusForbidden {
				t.Errorf("%d %s", p.Status, p.text())
			}
		})
	}
}

// Signing out of a browser from another one ends the entry there.
func TestAreaEndsFromElsewhere(t *testing.T) {
	s := newSite(t)
	b := newStaff(t, s)
	b.visit("/staff/sign-in").signIn("remember", "1").is(http.StatusOK, "ready: alice.example.com")
	b.room("enter").is(http.StatusOK, "entered")
	other := s.newBrowser(t)
	p := other.visit("/account").signIn().link("/devices")
	p.submit("/devices", "device", attr(nodes(p.formTo("/devices"), "button")[0], "value")).is(http.StatusOK, "")
	b.room("in").is(http.StatusForbidden, "signed out")
}

func TestNewArea(t *testing.T) {
	s := newSite(t)
	for _, back := range []string{"", "staff", "//evil.example.org/", "https://evil.example.org/", "/\\evil", "/a#b", "/" + strings.Repeat("x", oauth.MaxParameterBytes)} {
		if _, err := s.srv.NewArea(back); err == nil || !strings.Contains(err.Error(), "no path") {
			t.Errorf("%.40q: %v", back, err)
		}
	}
}
