package oauth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
)

// broken is a store that fails when it is told to.
type broken struct {
	storage.DocStore
	view, update error
}

func (s *broken) View(ctx context.Context, fn func(storage.Docs) error) error {
	if s.view != nil {
		return s.view
	}
	return s.DocStore.View(ctx, fn)
}

func (s *broken) Update(ctx context.Context, fn func(storage.Docs) error) error {
	if s.update != nil {
		return s.update
	}
	return s.DocStore.Update(ctx, fn)
}

// A failure of the store is never taken for an answer: not for success (CVE-2020-
// 15223 of another server: revocation), not for a token that is bad, and its text
// is not shown.
func TestAttack66_FailuresOfTheStore(t *testing.T) {
	secret := errors.New("disk /var/secret is full")
	store := &broken{}
	var log bytes.Buffer
	e := newEnv(t, func(c *oauth.Config) {
		store.DocStore, c.Store = c.Store, store
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	a := e.newApp("app.example.org")
	got := a.signedIn()
	code := a.authorized()
	for _, failing := range []broken{{update: secret}, {view: secret, update: secret}, {update: storage.ErrConflict}} {
		store.view, store.update = failing.view, failing.update
		answers := []answer{
			a.push("code_challenge", challengeOf(verifier+"2")), a.exchange(code), a.refresh(got.refresh),
			a.post("/oauth/revoke", map[string]string{"token": got.refresh}),
		}
		_, err := a.use(got.access)
		store.view, store.update = nil, nil
		for _, answer := range answers {
			answer.is(500, "server_error")
			if strings.Contains(answer.text("error_description"), "disk") {
				t.Errorf("answer %v", answer.Body)
			}
		}
		if _, ok := errors.AsType[*oauth.Error](err); failing.view != nil && (ok || !errors.Is(err, secret)) {
			t.Errorf("verifying: %v", err)
		}
	}
	if !strings.Contains(log.String(), secret.Error()) {
		t.Errorf("the log says %s", &log)
	}
	for _, token := range []string{got.access, got.refresh, code} {
		if strings.Contains(log.String(), token) {
			t.Error("a token is in the log")
		}
	}
	a.exchange(code).isOK()
	a.post("/oauth/revoke", map[string]string{"token": got.refresh}).isOK()
	a.mustBeDead(got.access)
}

// busy is a table of users that cannot be reached.
type busy struct {
	*users
	err error
}

func (b *busy) Account(ctx context.Context, did syntax.DID) (oauth.Account, error) {
	if b.err != nil {
		return oauth.Account{}, b.err
	}
	return b.users.Account(ctx, did)
}

func TestFailuresOfAccounts(t *testing.T) {
	accounts := &busy{users: newUsers()}
	e := newEnv(t, func(c *oauth.Config) { c.Accounts = accounts })
	a := e.newApp("app.example.org")
	got := a.signedIn()
	code := a.authorized()
	for err, want := range map[error]struct {
		status int
		code   string
	}{
		oauth.ErrBusy:           {503, "temporarily_unavailable"},
		errors.New("no answer"): {500, "server_error"},
	} {
		accounts.err = err
		a.exchange(code).is(want.status, want.code)
		a.refresh(got.refresh).is(want.status, want.code)
	}
	accounts.err = nil
	a.exchange(code).isOK()
	a.refresh(got.refresh).isOK()
}

// Nothing in the store is a secret by which somebody could use a session.
func TestStoreHoldsNoSecrets(t *testing.T) {
	store := newMemory()
	e := newEnv(t, func(c *oauth.Config) { c.Store, c.RefreshGrace = store, true })
	a := e.newConfidential("app.example.org")
	uri := a.pushed()
	code := a.authorized()
	first := tokensOf(a.exchange(code))
	second := tokensOf(a.refresh(first.refresh))
	for _, secret := range []string{
		strings.TrimPrefix(uri, "urn:ietf:params:oauth:request_uri:"), code, first.access, first.refresh, second.access, second.refresh, verifier, string(e.cfg.Secret),
	} {
		for key, doc := range store.docs {
			if strings.Contains(key[1], secret) || bytes.Contains(doc.Value, []byte(secret)) {
				t.Errorf("%s holds %s", key, secret)
			}
		}
	}
}
