package pds_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// sentCodes is a second factor: a code that is sent to those who have enrolled,
// another one each time. Its methods may be called concurrently.
type sentCodes struct {
	mu       sync.Mutex // guards following 3 fields
	enrolled map[syntax.DID]bool
	last     string // that was sent
	failure  error
}

func (f *sentCodes) Begin(_ context.Context, a oauth.FactorAttempt) (*oauth.Challenge, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.enrolled[a.Account.DID] {
		return nil, nil
	}
	n := 0
	_, _ = fmt.Sscan(f.last, &n)
	f.last = fmt.Sprintf("%06d", n+1)
	return &oauth.Challenge{Account: a.Account.DID, Kind: "sent", State: []byte(f.last)}, nil
}

func (f *sentCodes) Verify(_ context.Context, c *oauth.Challenge, answer string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.failure != nil:
		return f.failure
	case answer != string(c.State):
		return oauth.ErrCodeInvalid
	}
	return nil
}

func (f *sentCodes) set(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

func (f *sentCodes) code() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// TestSessionNeedsSecondFactor: the password of an account with a second factor
// is not enough for createSession either.
func TestSessionNeedsSecondFactor(t *testing.T) {
	t.Parallel()
	factor := &sentCodes{enrolled: map[syntax.DID]bool{}}
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.OAuth.SecondFactor = factor })
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	var app struct{ Password string }
	alice.Post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}, &app)
	factor.set(func() { factor.enrolled[alice.DID] = true })
	signIn := func(a *pdstest.Account, password, token string) error {
		in := map[string]any{"identifier": a.Handle, "password": password}
		if token != "" {
			in["authFactorToken"] = token
		}
		return post(t, srv, createSession, "", in, nil)
	}
	needed := func(a *pdstest.Account) {
		t.Helper()
		wantError(t, signIn(a, a.Password, ""), http.StatusUnauthorized, "AuthFactorTokenRequired")
	}

	needed(alice)
	sessions := len(sessionDocs(t, srv, alice.DID))
	wantError(t, signIn(alice, alice.Password, "999999"), http.StatusBadRequest, "InvalidToken")
	wantError(t, signIn(alice, "wrong", factor.code()), http.StatusUnauthorized, "AuthenticationRequired")
	if n := len(sessionDocs(t, srv, alice.DID)); n != sessions {
		t.Errorf("%d sessions, %d before", n, sessions)
	}
	code := factor.code()
	ok(t, signIn(alice, alice.Password, " "+code+" "))
	wantError(t, signIn(alice, alice.Password, code), http.StatusBadRequest, "InvalidToken") // it was used
	ok(t, signIn(alice, app.Password, ""))
	ok(t, signIn(bob, bob.Password, ""))
	ok(t, signIn(bob, bob.Password, "123456")) // nobody asked for it

	// Somebody asks again, and gets a code that replaces the one before.
	needed(alice)
	old := factor.code()
	needed(alice)
	wantError(t, signIn(alice, alice.Password, old), http.StatusBadRequest, "InvalidToken")
	srv.Clock.Advance(9 * time.Minute)
	ok(t, signIn(alice, alice.Password, factor.code()))
	needed(alice)
	old = factor.code()
	srv.Clock.Advance(11 * time.Minute)
	wantError(t, signIn(alice, alice.Password, old), http.StatusBadRequest, "InvalidToken")

	// A factor that fails is nobody's wrong answer.
	factor.set(func() { factor.failure = errors.New("out of order") })
	for range 10 {
		needed(alice)
		wantError(t, signIn(alice, alice.Password, factor.code()), http.StatusInternalServerError, "InternalServerError")
	}
	factor.set(func() { factor.failure = nil })
	ok(t, signIn(alice, alice.Password, factor.code()))
}

// TestSecondFactorIsNotGuessed: wrong answers are counted for the account,
// however often somebody who knows the password begins anew.
func TestSecondFactorIsNotGuessed(t *testing.T) {
	t.Parallel()
	factor := &sentCodes{enrolled: map[syntax.DID]bool{}}
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.OAuth.SecondFactor = factor })
	alice := srv.CreateAccount("alice")
	factor.set(func() { factor.enrolled[alice.DID] = true })
	answer := func(token string) error {
		return post(t, srv, createSession, "", map[string]any{"identifier": alice.DID, "password": alice.Password, "authFactorToken": token}, nil)
	}
	guesses := 0
	for range 20 {
		wantError(t, answer(""), http.StatusUnauthorized, "AuthFactorTokenRequired")
		var refused *pdstest.Error
		if err := answer("no"); !errors.As(err, &refused) {
			t.Fatalf("a wrong code: %v", err)
		}
		if refused.Status == http.StatusTooManyRequests {
			break
		}
		guesses++
	}
	if guesses != 5 {
		t.Errorf("%d guesses at once", guesses)
	}
	wantError(t, answer(factor.code()), http.StatusTooManyRequests, "RateLimitExceeded") // not even the right one
	srv.Clock.Advance(time.Minute)
	ok(t, answer(factor.code()))
}
