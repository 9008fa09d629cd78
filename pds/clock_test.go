package pds_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

const (
	aDay  = 24 * time.Hour
	aYear = 365 * aDay

	// relayLead is how far in the future relays let a rev be.
	relayLead = 5 * time.Minute
)

// timekeeper is an account on a server whose clock is tampered with, and what
// must not be lost.
type timekeeper struct {
	t     *testing.T
	srv   *pdstest.PDS
	clock *pdstest.Clock
	alice *pdstest.Account

	start  time.Time // by the true clock, at Elapsed zero
	rev    syntax.TID
	events []pdstest.Event // all so far
	wrote  int
}

func newTimekeeper(t *testing.T, adjust ...func(*pds.Config)) *timekeeper {
	srv := pdstest.New(t, adjust...)
	k := &timekeeper{t: t, srv: srv, clock: srv.Clock, alice: srv.CreateAccount("alice")}
	k.start = k.clock.Now().Add(-k.clock.Elapsed())
	k.events = srv.Events(4)
	k.rev = k.events[2].Rev
	return k
}

// trueTime is the time of the world outside, which jumps of the server's clock
// do not change.
func (k *timekeeper) trueTime() time.Time { return k.start.Add(k.clock.Elapsed()) }

// goesOn writes a record with a session that it refreshes first, and checks
// that a relay that has followed so far gets it and accepts it.
func (k *timekeeper) goesOn() {
	k.t.Helper()
	var ses struct{ AccessJwt, RefreshJwt string }
	k.srv.Post("com.atproto.server.refreshSession", "Bearer "+k.alice.Refresh, nil, &ses)
	k.alice.Access, k.alice.Refresh = ses.AccessJwt, ses.RefreshJwt
	k.alice.Get("com.atproto.server.getSession", nil, nil)

	last := k.events[len(k.events)-1].Seq
	sub, err := k.srv.Subscribe(k.t.Context(), last)
	if err != nil {
		k.t.Fatal(err)
	}
	defer sub.Close()
	k.wrote++
	k.alice.CreateRecord("com.example.note", map[string]any{"text": fmt.Sprint("note ", k.wrote)})
	ev, err := sub.Next(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	if ev.Kind == "#info" { // the last event lies before the window, as after a day without writes
		if ev, err = sub.Next(k.t.Context()); err != nil {
			k.t.Fatal(err)
		}
	}
	switch lead := ev.Rev.Time().Sub(k.trueTime()); {
	case ev.Kind != "#commit" || ev.Seq <= last:
		k.t.Errorf("after seq %d: %s with seq %d", last, ev.Kind, ev.Seq)
	case ev.Rev <= k.rev:
		k.t.Errorf("rev %s after %s", ev.Rev, k.rev)
	case lead > relayLead:
		k.t.Errorf("rev %s is %v ahead of the true time: relays drop it", ev.Rev, lead)
	}
	k.rev, k.events = ev.Rev, append(k.events, *ev)
	if got := len(k.alice.Export().Records); got != k.wrote {
		k.t.Errorf("%d records, want %d", got, k.wrote)
	}
}

// keepsEvents reads the firehose from its beginning.
func (k *timekeeper) keepsEvents() {
	k.t.Helper()
	for i, ev := range k.srv.Events(len(k.events)) {
		if ev.Seq != k.events[i].Seq || ev.Kind != k.events[i].Kind {
			k.t.Errorf("event %d is %s %d, was %s %d", i, ev.Kind, ev.Seq, k.events[i].Kind, k.events[i].Seq)
		}
	}
}

// doubt returns what _health says of the clock.
func doubt(t *testing.T, srv *pdstest.PDS) string {
	t.Helper()
	data, err := srv.Call(t.Context(), http.MethodGet, "_health", nil, nil, nil)
	var health struct{ Clock string }
	if err == nil {
		err = json.Unmarshal(data, &health)
	}
	if err != nil {
		t.Fatalf("_health: %v", err)
	}
	return health.Clock
}

// acceptClock is POST /admin/clock/accept. It returns the status.
func acceptClock(t *testing.T, srv *pdstest.PDS, password string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/admin/clock/accept", nil)
	if err != nil {
		t.Fatal(err)
	}
	if password != "" {
		r.SetBasicAuth("admin", password)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestClockJumps sets the wall clock forward or back and back again. Whatever
// it shows, sessions, accounts, records and events stay, and relays accept
// what is written meanwhile.
func TestClockJumps(t *testing.T) {
	for _, d := range []time.Duration{
		time.Second, storage.MaxClockStep - time.Second, storage.MaxClockStep + time.Second, time.Hour, aDay, aYear,
		-time.Second, -time.Hour, -aDay, -aYear,
	} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			k := newTimekeeper(t)
			k.goesOn()
			type step struct {
				jump time.Duration
				off  time.Duration // of the true time, afterwards
			}
			steps := []step{{d, d}, {-d, 0}, {d, d}, {-d, 0}}
			if d < 0 || d > storage.MaxClockStep {
				// Two jumps that are plausible each are believed, so that the clock
				// may be off by their sum; others do not add up.
				steps = append(steps, step{d, d}, step{d, 2 * d}, step{-2 * d, 0})
			}
			for _, step := range steps {
				k.clock.Jump(step.jump)
				k.goesOn()
				k.srv.RunTasks(t.Context())
				k.goesOn()
				k.keepsEvents()
				if step.off == 0 && doubt(t, k.srv) != "" {
					t.Errorf("in doubt about the true time: %s", doubt(t, k.srv))
				}
				if step.off > 2*storage.MaxClockStep && doubt(t, k.srv) == "" {
					t.Errorf("no doubt about a clock that is %v ahead", step.off)
				}
				if step.off < 0 && doubt(t, k.srv) != "" {
					t.Errorf("a clock that is behind is in doubt: %s", doubt(t, k.srv))
				}
				// A new session is as good as an old one.
				k.alice.Login()
				k.goesOn()
			}
		})
	}
}

// TestTimePasses lets time go by as it does: nothing is in doubt, sessions end
// when they should and not before.
func TestTimePasses(t *testing.T) {
	k := newTimekeeper(t)
	for _, d := range []time.Duration{time.Hour, aDay, 80 * aDay} {
		k.clock.Advance(d)
		k.goesOn()
		if text := doubt(t, k.srv); text != "" {
			t.Errorf("after %v: %s", d, text)
		}
	}
	k.clock.Advance(aYear)
	_, err := k.srv.Call(t.Context(), http.MethodPost, "com.atproto.server.refreshSession", nil,
		http.Header{"Authorization": {"Bearer " + k.alice.Refresh}}, nil)
	if answer := (*pdstest.Error)(nil); !errors.As(err, &answer) || answer.Name != "ExpiredToken" {
		t.Errorf("a session that was not used for a year: %v", err)
	}
	k.alice.Login()
	k.goesOn()
	if text := doubt(t, k.srv); text != "" {
		t.Error(text)
	}
}

// TestClockBackAfterRevocation signs in after the clock was set back behind the
// moment at which older tokens were revoked.
func TestClockBackAfterRevocation(t *testing.T) {
	k := newTimekeeper(t)
	admin := "Basic YWRtaW46dGVzdC1hZG1pbg=="
	for _, applied := range []bool{true, false} {
		k.srv.Post("com.atproto.admin.updateSubjectStatus", admin, map[string]any{
			"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": k.alice.DID},
			"takedown": map[string]any{"applied": applied},
		}, nil)
	}
	old := k.alice.Access
	k.clock.Jump(-aYear)
	k.alice.Login()
	k.alice.CreateRecord("com.example.note", map[string]any{"text": "back"})
	_, err := k.srv.Call(t.Context(), http.MethodGet, "com.atproto.server.getSession", nil, http.Header{"Authorization": {"Bearer " + old}}, nil)
	if err == nil {
		t.Error("a token that was revoked works again")
	}
}

// TestDestructiveWorkWaitsForTheClock has something due for every destructive
// task, a year from now.
func TestDestructiveWorkWaitsForTheClock(t *testing.T) {
	k := newTimekeeper(t)
	k.goesOn()
	bob := k.srv.CreateAccount("bob")
	k.events = k.srv.Events(len(k.events) + 4)
	bob.Post("com.atproto.server.deactivateAccount", map[string]any{
		"deleteAfter": k.clock.Now().Add(aDay).UTC().Format(time.RFC3339),
	}, nil)
	k.events = k.srv.Events(len(k.events) + 1)
	var up struct {
		Blob json.RawMessage `json:"blob"`
	}
	data, err := k.srv.Call(t.Context(), http.MethodPost, "com.atproto.repo.uploadBlob", nil,
		http.Header{"Authorization": {"Bearer " + k.alice.Access}, "Content-Type": {"text/plain"}}, []byte("not referenced"))
	if err == nil {
		err = json.Unmarshal(data, &up)
	}
	if err != nil {
		t.Fatal(err)
	}
	orphan := "orphan/key"
	if _, err := k.srv.Config.Blobs.Put(t.Context(), orphan, bytes.NewReader([]byte("orphan"))); err != nil {
		t.Fatal(err)
	}
	hasBob := func() bool {
		_, err := k.srv.Call(t.Context(), http.MethodGet, "com.atproto.sync.getRepoStatus", url.Values{"did": {string(bob.DID)}}, nil, nil)
		return err == nil
	}
	keys := func() (n int) {
		t.Helper()
		files, err := k.srv.Config.Blobs.List(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	hasAll := func(when string) {
		t.Helper()
		k.srv.RunTasks(t.Context())
		if !hasBob() {
			t.Errorf("%s: the account was deleted", when)
		}
		if n := keys(); n != 2 {
			t.Errorf("%s: %d blobs are left of 2", when, n)
		}
		k.keepsEvents()
	}
	hasAll("before")

	k.clock.Jump(aYear)
	if doubt(t, k.srv) == "" {
		t.Error("_health does not mention the clock")
	}
	hasAll("in doubt")
	k.clock.Advance(time.Hour) // the doubt does not wear off
	hasAll("in doubt for an hour")

	k.clock.Jump(-aYear)
	hasAll("when the jump was undone")
	if text := doubt(t, k.srv); text != "" {
		t.Error(text)
	}

	k.clock.Jump(aYear)
	hasAll("in doubt again")
	if status := acceptClock(t, k.srv, ""); status != http.StatusUnauthorized {
		t.Errorf("anybody may accept the clock: %d", status)
	}
	if status := acceptClock(t, k.srv, "wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong password accepts the clock: %d", status)
	}
	hasAll("nobody accepted it")
	if status := acceptClock(t, k.srv, pdstest.AdminPassword); status != http.StatusOK {
		t.Fatalf("accepting the clock: %d", status)
	}
	if text := doubt(t, k.srv); text != "" {
		t.Error(text)
	}
	k.srv.RunTasks(t.Context())
	k.srv.RunTasks(t.Context()) // what one task releases another deletes
	if hasBob() {
		t.Error("the account was not deleted when the clock was accepted")
	}
	if n := keys(); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
	err = k.srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		events, err := tx.ListEvents(0, 100, 1<<20)
		// Only the deletion is news.
		if err == nil && len(events) != 1 {
			t.Errorf("%d events are left, want 1", len(events))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	k.alice.Login()
	k.alice.CreateRecord("com.example.note", map[string]any{"text": "in a year"})
}

// TestClockAtTheStart starts a new server on an existing database, at other
// times than it was left.
func TestClockAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pds.db")
	const service = "did:web:pds.example.com"
	type state struct {
		alice *pdstest.Account
		cfg   pds.Config
		rev   syntax.TID
		seq   int64
	}
	// open starts a server on a database; registry and directory are those
	// of the first.
	open := func(t *testing.T, file string, lead time.Duration, old *state) *pdstest.PDS {
		t.Helper()
		clock := pdstest.NewClock()
		clock.Jump(lead)
		store, err := sqlite.Open(file, sqlite.Options{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		return pdstest.New(t, func(c *pds.Config) {
			c.Store, c.ServiceDID = store, service
			if old != nil {
				c.Registry, c.Directory = old.cfg.Registry, old.cfg.Directory
			}
		})
	}
	var left state
	t.Run("first", func(t *testing.T) {
		srv := open(t, file, 0, nil)
		left.alice, left.cfg = srv.CreateAccount("alice"), srv.Config
		left.alice.CreateRecord("com.example.note", map[string]any{"text": "before"})
		last := srv.Events(5)[4]
		left.rev, left.seq = last.Rev, last.Seq
	})
	if t.Failed() {
		return
	}
	image, err := os.ReadFile(file) // closed, so its log is empty
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		lead    time.Duration
		doubted bool
	}{
		{0, false}, {time.Hour, false}, {storage.MaxStartLead - time.Hour, false},
		{storage.MaxStartLead + time.Hour, true}, {aYear, true}, {-time.Hour, false}, {-aYear, false},
	} {
		t.Run(c.lead.String(), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pds.db")
			if err := os.WriteFile(file, image, 0o600); err != nil {
				t.Fatal(err)
			}
			srv := open(t, file, c.lead, &left)
			alice := *left.alice
			alice.PDS = srv
			srv.RunTasks(t.Context())
			if text := doubt(t, srv); (text != "") != c.doubted {
				t.Errorf("doubt: %q", text)
			}
			var ses struct{ AccessJwt, RefreshJwt string }
			srv.Post("com.atproto.server.refreshSession", "Bearer "+alice.Refresh, nil, &ses)
			alice.Access = ses.AccessJwt
			alice.CreateRecord("com.example.note", map[string]any{"text": "after"})
			sub, err := srv.Subscribe(t.Context(), left.seq)
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			ev, err := sub.Next(t.Context())
			if err == nil && ev.Kind == "#info" {
				ev, err = sub.Next(t.Context())
			}
			if err != nil || ev.Kind != "#commit" || ev.Rev <= left.rev || ev.Since != left.rev {
				t.Fatalf("after seq %d and rev %s: %+v, %v", left.seq, left.rev, ev, err)
			}
			if lead := time.Until(ev.Rev.Time()); c.doubted && lead > relayLead {
				t.Errorf("in doubt, and yet a rev that is %v ahead", lead)
			}
			if !c.doubted {
				return
			}
			if status := acceptClock(t, srv, pdstest.AdminPassword); status != http.StatusOK {
				t.Fatalf("accepting the clock: %d", status)
			}
			if text := doubt(t, srv); text != "" {
				t.Error(text)
			}
		})
	}
}
