package oauth_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// Nothing that is good is lost by a restart, and nothing that is used comes back:
// the database is closed and opened again between any two steps.
func TestRestartBetweenSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oauth.db")
	e := newEnv(t)
	var store *sqlite.Store
	reopen := func() {
		t.Helper()
		if store != nil {
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if store, err = sqlite.Open(path, sqlite.Options{Clock: e.clock}); err != nil {
			t.Fatal(err)
		}
		e.cfg.Store = storage.DocsOf(store)
		e.restart()
	}
	reopen()
	defer func() { store.Close() }()

	a := e.newConfidential("app.example.org")
	uri := a.pushed()
	reopen()
	if err := e.srv.Open(t.Context(), a.id, uri, oauth.TestDevice); err != nil {
		t.Fatal(err)
	}
	reopen()
	_, params, err := e.srv.Authorize(t.Context(), a.id, uri, alice, alice, []string{"atproto", "transition:generic"})
	if err != nil {
		t.Fatal(err)
	}
	code := params.Get("code")
	reopen()
	if err := e.srv.Open(t.Context(), a.id, uri, oauth.TestDevice); err == nil {
		t.Error("an authorized request is open again")
	}
	first := tokensOf(a.exchange(code))
	reopen()
	a.mustUse(first.access) // the same key signs
	second := tokensOf(a.refresh(first.refresh))
	reopen()
	a.mustBeDead(first.access)
	a.mustUse(second.access)
	third := tokensOf(a.refresh(second.refresh))
	a.post("/oauth/revoke", map[string]string{"token": third.access}).isOK()
	reopen()
	a.mustBeDead(third.access)
	a.refresh(third.refresh).isInvalidGrant()
	a.push().is(400, "invalid_request") // the challenge is burnt

	// A replay of a code and of a refresh token is known as such.
	session := a.signedIn()
	next := tokensOf(a.refresh(session.refresh))
	reopen()
	a.refresh(session.refresh).isInvalidGrant()
	a.mustBeDead(next.access)
	if err := e.srv.EndSessions(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	reopen()
	a.mustUse(a.signedIn().access)
}

// Another Secret ends all sessions, and no more than that.
func TestChangeOfSecret(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	got := a.signedIn()
	e.cfg.Secret = []byte(strings.Repeat("t", 32))
	e.restart()
	a.refresh(got.refresh).isInvalidGrant()
	next := a.signedIn()
	a.mustUse(next.access)
	a.mustUse(tokensOf(a.refresh(next.refresh)).access)
}

// What has expired is removed by the store, and nothing else is.
func TestExpiredDocumentsGo(t *testing.T) {
	e := newEnv(t)
	store, err := sqlite.OpenMemory(sqlite.Options{Clock: e.clock})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	e.cfg.Store = storage.DocsOf(store)
	e.restart()
	count := func(kind string) (n int) {
		t.Helper()
		for {
			if more, err := store.Maintain(t.Context(), storage.Budget{}); err != nil {
				t.Fatal(err)
			} else if !more {
				break
			}
		}
		if err := store.View(t.Context(), func(tx storage.Tx) error {
			found, err := tx.ScanDocs(kind, storage.Scan{Limit: 1000})
			n = len(found)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	a := e.newConfidential("app.example.org")
	a.pushed()
	a.signedIn()
	for kind, want := range map[string]int{"oauth-request": 1, "oauth-code": 1, "oauth-session": 1, "oauth-key": 1} {
		if n := count(kind); n != want {
			t.Errorf("%d documents %s, want %d", n, kind, want)
		}
	}
	e.clock.advance(8 * time.Minute)
	if n := count("oauth-request"); n != 0 {
		t.Errorf("%d old requests", n)
	}
	e.clock.advance(25 * time.Hour)
	if n := count("oauth-once"); n != 0 {
		t.Errorf("%d old documents of things that happen once", n)
	}
	e.clock.advance(91 * 24 * time.Hour)
	for kind, want := range map[string]int{"oauth-session": 0, "oauth-key": 1, "oauth-code": 1} {
		if n := count(kind); n != want {
			t.Errorf("%d documents %s, want %d", n, kind, want)
		}
	}
	e.clock.advance(640 * 24 * time.Hour)
	if n := count("oauth-code"); n != 0 {
		t.Errorf("%d old codes", n)
	}
}
