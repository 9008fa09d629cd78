package oauth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
)

func TestAttack56_AccountsThatCannot(t *testing.T) {
	for status, want := range map[oauth.Status]error{oauth.Deactivated: oauth.ErrDeactivated, oauth.TakenDown: oauth.ErrTakenDown, 99: oauth.ErrTakenDown} {
		t.Run(status.String(), func(t *testing.T) {
			e := newEnv(t)
			a := e.newApp("app.example.org")
			session := a.signedIn()
			code := a.authorized()
			uri := a.pushed("code_challenge", challengeOf(verifier+"2"))
			e.users.setStatus(alice, status)

			if _, _, err := e.srv.Authorize(t.Context(), a.id, uri, alice, alice, []string{"atproto"}); !errors.Is(err, want) {
				t.Errorf("authorize: %v, want %v", err, want)
			}
			if _, _, err := e.srv.Authorize(t.Context(), a.id, uri, bob, alice, []string{"atproto"}); !errors.Is(err, want) {
				t.Errorf("authorize as actor: %v, want %v", err, want)
			}
			a.exchange(code).isInvalidGrant()
			got := a.refresh(session.refresh)
			e.users.setStatus(alice, oauth.Active)
			a.exchange(code).isInvalidGrant() // it is gone
			if status == oauth.Deactivated {
				// Sessions go on: clients have to move accounts that are not active.
				a.mustUse(tokensOf(got).access)
				return
			}
			got.isInvalidGrant()
			a.mustBeDead(session.access)
		})
	}
	t.Run("deleted", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		code := a.authorized()
		delete(e.users.accounts, alice)
		a.exchange(code).isInvalidGrant()
	})
	t.Run("unknown", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		if _, _, err := e.srv.Authorize(t.Context(), a.id, a.pushed(), "did:plc:nobody", "did:plc:nobody", []string{"atproto"}); !errors.Is(err, oauth.ErrTakenDown) {
			t.Errorf("got %v", err)
		}
	})
}

// Ending all sessions of an account reaches what is being made at that moment,
// although the account system is no part of any transaction.
func TestAttack56_EndSessionsWhileSomethingIsMade(t *testing.T) {
	// end ends everything when the account is asked for the n-th time from now,
	// after the account system has said that it is active.
	end := func(e *env) {
		once := false
		e.users.before = func() {
			if once {
				return
			}
			once = true
			if err := e.srv.EndSessions(context.Background(), alice); err != nil {
				t.Error(err)
			}
		}
	}
	t.Run("authorize", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		uri := a.pushed()
		end(e)
		if _, _, err := e.srv.Authorize(t.Context(), a.id, uri, alice, alice, []string{"atproto"}); !errors.Is(err, oauth.ErrEnded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("exchange", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		code := a.authorized()
		end(e)
		a.exchange(code).isInvalidGrant()
		if left, err := e.srv.Sessions(t.Context(), alice); len(left) > 0 || err != nil {
			t.Errorf("sessions %v, %v", left, err)
		}
	})
	t.Run("between authorize and exchange", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		code := a.authorized()
		if err := e.srv.EndSessions(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		a.exchange(code).isInvalidGrant()
	})
	t.Run("refresh", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		got := a.signedIn()
		end(e)
		a.refresh(got.refresh).isInvalidGrant()
		a.mustBeDead(got.access)
	})
	t.Run("who acts for another account", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		_, params, err := e.srv.Authorize(t.Context(), a.id, a.pushed(), bob, alice, []string{"atproto"})
		if err != nil {
			t.Fatal(err)
		}
		got := tokensOf(a.exchange(params.Get("code")))
		if token := a.mustUse(got.access); token.Account != bob || token.Actor != alice {
			t.Errorf("token %+v", token)
		}
		if err := e.srv.EndSessions(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		a.mustBeDead(got.access)
		a.refresh(got.refresh).isInvalidGrant()
	})
	t.Run("others are left alone", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		got := a.signedIn()
		if err := e.srv.EndSessions(t.Context(), bob); err != nil {
			t.Fatal(err)
		}
		a.mustUse(got.access)
		// And new sessions begin as ever.
		if err := e.srv.EndSessions(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		a.mustUse(a.signedIn().access)
	})
}

func TestSessions(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Limits.Sessions = 3 })
	a, b := e.newApp("app.example.org"), e.newApp("other.example.org")
	first := a.signedIn()
	e.clock.advance(time.Minute)
	second := b.signedIn()
	e.clock.advance(time.Minute)
	first = tokensOf(a.refresh(first.refresh))
	list, err := e.srv.Sessions(t.Context(), alice)
	if err != nil || len(list) != 2 || list[0].Client != a.id || list[1].Client != b.id || list[0].Scope != "atproto transition:generic" ||
		list[0].Refreshed.Sub(list[0].Created) != 2*time.Minute || list[0].Expires.Sub(list[0].Created) != 14*24*time.Hour {
		t.Fatalf("sessions %+v, %v", list, err)
	}
	if token := a.mustUse(first.access); token.Session != list[0].ID {
		t.Errorf("the token names session %s", token.Session)
	}

	// Nobody ends the sessions of others.
	if err := e.srv.EndSession(t.Context(), bob, list[0].ID); err != nil {
		t.Fatal(err)
	}
	a.mustUse(first.access)

	// Of too many, the one that was not used for longest ends.
	e.clock.advance(time.Minute)
	third := a.signedIn()
	e.clock.advance(time.Minute)
	fourth := a.signedIn()
	b.mustBeDead(second.access)
	for _, alive := range []tokens{first, third, fourth} {
		a.mustUse(alive.access)
	}

	if err := e.srv.EndSession(t.Context(), alice, list[0].ID); err != nil {
		t.Fatal(err)
	}
	a.mustBeDead(first.access)
	a.refresh(first.refresh).isInvalidGrant()
	for _, id := range []string{list[0].ID, "", "ses-", list[0].ID + "0"} {
		if err := e.srv.EndSession(t.Context(), alice, id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := e.srv.Forget(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	a.mustBeDead(third.access)
	if list, err := e.srv.Sessions(t.Context(), alice); err != nil || len(list) > 0 {
		t.Errorf("sessions %v, %v", list, err)
	}
}

func TestHook(t *testing.T) {
	var got []oauth.Event
	refuse := map[oauth.EventKind]error{}
	e := newEnv(t, func(c *oauth.Config) {
		c.Hook = func(_ context.Context, event oauth.Event) error {
			got = append(got, event)
			return refuse[event.Kind]
		}
	})
	a := e.newApp("app.example.org")
	session := a.signedIn()
	session = tokensOf(a.refresh(session.refresh))
	a.post("/oauth/revoke", map[string]string{"token": session.access}).isOK()
	want := []oauth.EventKind{oauth.EventRequest, oauth.EventConsent, oauth.EventCreated, oauth.EventRefresh, oauth.EventEnded}
	if len(got) != len(want) {
		t.Fatalf("events %+v", got)
	}
	for i, event := range got {
		if event.Kind != want[i] || event.Client != a.id || event.Scope != "atproto transition:generic" || i > 0 && event.Account != alice || i > 1 && event.Session != got[2].Session {
			t.Errorf("event %d: %+v", i, event)
		}
	}

	internal := errors.New("secret reason")
	for _, refused := range []struct {
		err  error
		code string
	}{
		{internal, "unauthorized_client"},
		{&oauth.Error{Code: "access_denied", Description: "not today"}, "access_denied"},
	} {
		clear(refuse)
		refuse[oauth.EventRequest] = refused.err
		if got := a.push().is(400, refused.code); refused.err == internal && got.text("error_description") == internal.Error() {
			t.Error("the reason is shown")
		}
		clear(refuse)
		uri := a.pushed()
		refuse[oauth.EventConsent] = refused.err
		if _, _, err := e.srv.Authorize(t.Context(), a.id, uri, alice, alice, []string{"atproto"}); !errors.Is(err, refused.err) {
			t.Errorf("authorize: %v", err)
		}
		clear(refuse)
		code := a.authorized()
		refuse[oauth.EventCreated] = refused.err
		a.exchange(code).is(400, refused.code)
		if list, err := e.srv.Sessions(t.Context(), alice); err != nil || len(list) > 0 {
			t.Errorf("a refused session is there: %v, %v", list, err)
		}
		clear(refuse)
		session := a.signedIn()
		refuse[oauth.EventRefresh] = refused.err
		a.refresh(session.refresh).is(400, refused.code)
		a.mustBeDead(session.access)
		e.clock.advance(25 * time.Hour) // the code_challenge
	}
}
