package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
)

// library has lexicons.
type library struct {
	mu    sync.Mutex               // guards following
	sets  map[syntax.NSID][]string // collections
	asked int
	wait  chan struct{}
}

func (l *library) PermissionSet(ctx context.Context, nsid syntax.NSID) ([]byte, error) {
	l.mu.Lock()
	l.asked++
	collections, ok := l.sets[nsid]
	wait := l.wait
	l.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if !ok {
		return nil, errors.New("there is no such lexicon")
	}
	var permissions []string
	for _, collection := range collections {
		permissions = append(permissions, fmt.Sprintf(`{"type":"permission","resource":"repo","collection":[%q]}`, collection))
	}
	return fmt.Appendf(nil, `{"lexicon":1,"id":%q,"defs":{"main":{"type":"permission-set","permissions":[%s]}}}`,
		nsid, strings.Join(permissions, ",")), nil
}

func (l *library) set(nsid syntax.NSID, collections ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if collections == nil {
		delete(l.sets, nsid)
		return
	}
	l.sets[nsid] = collections
}

// hang makes the library wait for a channel.
func (l *library) hang(wait chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait = wait
}

func (l *library) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

const basic = syntax.NSID("com.example.authBasic")

func withLibrary(t *testing.T) (*env, *app, *library) {
	t.Helper()
	lib := &library{sets: map[syntax.NSID][]string{basic: {"com.example.note"}}}
	e := newEnv(t, func(c *oauth.Config) { c.Lexicons = lib })
	a := e.newApp("app.example.org")
	a.publish(object{"scope": "atproto include:com.example.authBasic include:com.example.authOther"})
	return e, a, lib
}

func TestPermissionSets(t *testing.T) {
	const requested = "atproto include:com.example.authBasic"
	allows := func(a *app, token, collection string) bool {
		a.t.Helper()
		return a.mustUse(token).Scope.Allows(scope.Repo{Collection: collection, Action: scope.Create})
	}
	t.Run("expansion", func(t *testing.T) {
		e, a, lib := withLibrary(t)
		got := a.signedIn("scope", requested)
		if !allows(a, got.access, "com.example.note") || allows(a, got.access, "com.example.other") {
			t.Error("the set does not mean what it says")
		}
		list, err := e.srv.Sessions(t.Context(), alice)
		if err != nil || list[0].Scope != requested {
			t.Errorf("the session says %+v", list)
		}
		if n := lib.count(); n != 1 {
			t.Errorf("the lexicon was asked for %d times", n)
		}
		// The set grows; an hour later the next refresh sees it.
		lib.set(basic, "com.example.note", "com.example.other", "org.elsewhere.note")
		e.clock.advance(59 * time.Minute)
		answer := a.refresh(got.refresh).isOK()
		if answer.text("scope") != "atproto repo:com.example.note" {
			t.Errorf("scope %q", answer.text("scope"))
		}
		e.clock.advance(time.Minute)
		answer = a.refresh(answer.text("refresh_token")).isOK()
		got = tokensOf(answer)
		if !allows(a, got.access, "com.example.other") || allows(a, got.access, "org.elsewhere.note") {
			t.Errorf("scope %q", answer.text("scope"))
		}
		// It is in the store, not in memory.
		e.restart()
		lib.set(basic)
		if got = a.signedIn("scope", requested); !allows(a, got.access, "com.example.other") {
			t.Error("the set is forgotten")
		}
	})
	t.Run("not found", func(t *testing.T) {
		e, a, lib := withLibrary(t)
		for range 3 {
			a.push("scope", "atproto include:com.example.authOther").is(400, "invalid_scope")
		}
		if n := lib.count(); n != 1 {
			t.Errorf("the lexicon was asked for %d times", n)
		}
		lib.set("com.example.authOther", "com.example.other")
		e.clock.advance(30 * time.Second)
		a.push("scope", "atproto include:com.example.authOther").isOK()
	})
	t.Run("no longer found", func(t *testing.T) {
		e, a, lib := withLibrary(t)
		got := a.signedIn("scope", requested)
		lib.set(basic)
		for range 7 { // public sessions last 14 days
			e.clock.advance(24 * time.Hour)
			got = tokensOf(a.refresh(got.refresh))
		}
		if !allows(a, got.access, "com.example.note") {
			t.Error("a session has lost what it was granted")
		}
		a.push("scope", requested).isOK() // new sessions may begin for 90 days
		e.clock.advance(83*24*time.Hour - time.Second)
		a.push("scope", requested).isOK()
		e.clock.advance(time.Second)
		a.push("scope", requested).is(400, "invalid_scope")
	})
	t.Run("old session, forgotten set", func(t *testing.T) {
		e, _, lib := withLibrary(t)
		a := e.newConfidential("backend.example.org")
		a.publish(object{"scope": requested})
		got := a.signedIn("scope", requested)
		lib.set(basic)
		for range 4 {
			e.clock.advance(80 * 24 * time.Hour)
			got = tokensOf(a.refresh(got.refresh))
		}
		if !allows(a, got.access, "com.example.note") {
			t.Error("a session has lost what it was granted")
		}
	})
	t.Run("not supported", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		a.publish(object{"scope": requested})
		a.push("scope", requested).is(400, "invalid_scope")
	})
	t.Run("too many", func(t *testing.T) {
		e, a, _ := withLibrary(t)
		many := "atproto"
		for i := range 21 {
			many += fmt.Sprintf(" include:com.example.auth%d", i)
		}
		a.publish(object{"scope": many})
		e.clock.advance(10 * time.Minute)
		got := a.push("scope", many).is(400, "invalid_scope")
		if !strings.Contains(got.text("error_description"), "20") {
			t.Errorf("answer %v", got.Body)
		}
	})
}

// A library that hangs costs a new session ten seconds, an old one three.
func TestSlowLexicons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lib := &library{sets: map[syntax.NSID][]string{basic: {"com.example.note"}}, wait: make(chan struct{})}
		store := newMemory()
		e := newEnv(t, func(c *oauth.Config) { c.Lexicons, c.Store = lib, store })
		a := e.newApp("app.example.org")
		a.publish(object{"scope": "atproto include:com.example.authBasic"})
		timed := func(fn func()) time.Duration {
			start := time.Now()
			fn()
			return time.Since(start)
		}
		const requested = "atproto include:com.example.authBasic"
		if d := timed(func() { a.push("scope", requested).is(400, "invalid_scope") }); d != 10*time.Second {
			t.Errorf("waited %v", d)
		}
		synctest.Wait()
		lib.hang(nil)
		e.clock.advance(time.Minute)
		got := a.signedIn("scope", requested)
		forever := make(chan struct{})
		lib.hang(forever)
		e.clock.advance(2 * time.Hour)
		if d := timed(func() { a.refresh(got.refresh).isOK() }); d != 3*time.Second {
			t.Errorf("waited %v", d)
		}
		close(forever)
		synctest.Wait()
	})
}

// Whoever names permission sets of his own fills neither the store nor the
// network: an address may name so many new ones, and those that nobody grants
// are kept for a day.
func TestAttack43_FloodOfPermissionSets(t *testing.T) {
	e, _, lib := withLibrary(t)
	a := e.newApp("many.example.org")
	var names []string
	for i := range 12 {
		nsid := syntax.NSID(fmt.Sprintf("com.example.auth%d", i))
		lib.set(nsid, "com.example.note")
		names = append(names, "include:"+string(nsid))
	}
	a.publish(object{"scope": "atproto " + strings.Join(names, " ")})
	e.cfg.Limits.Rates.NewSetPerIP = oauth.Rate{Points: 10, Window: time.Minute}
	e.restart()
	a.push("scope", "atproto "+strings.Join(names[:6], " ")).isOK()
	a.push("scope", "atproto "+strings.Join(names[:6], " ")).isOK() // known ones cost nothing
	a.push("scope", "atproto "+strings.Join(names[6:], " ")).is(429, "temporarily_unavailable")
	if n := lib.count(); n != 10 {
		t.Errorf("%d lexicons were asked for", n)
	}
	a.signedIn("scope", "atproto "+names[0])
	stored := func() (keys []string) {
		t.Helper()
		err := e.cfg.Store.View(t.Context(), func(docs storage.Docs) error {
			found, err := docs.ScanDocs("oauth-permission-set", storage.Scan{Limit: 100})
			for _, d := range found {
				keys = append(keys, d.Key)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	if n := len(stored()); n != 10 {
		t.Errorf("%d sets are stored", n)
	}
	e.clock.advance(25 * time.Hour)
	if got := stored(); len(got) != 1 || got[0] != "com.example.auth0" {
		t.Errorf("after a day there are %v", got)
	}
	// Found anew, the one that was granted stays.
	a.push("scope", "atproto "+names[0]).isOK()
	e.clock.advance(170 * 24 * time.Hour)
	if got := stored(); len(got) != 1 {
		t.Errorf("after half a year there are %v", got)
	}
}
