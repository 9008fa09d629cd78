package pds_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

const stateKind = "com.example.counter"

func stateKey(owner syntax.DID, key string) pds.DocumentKey {
	return pds.DocumentKey{Kind: stateKind, Owner: owner, Key: key}
}

// count adds one to a counter.
func count(st *pds.State, k pds.DocumentKey) (n int, err error) {
	d, err := st.Get(k)
	if err == nil {
		err = d.JSON(&n)
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return 0, err
	}
	n++
	return n, st.PutJSON(k, n)
}

func counter(t *testing.T, srv *pdstest.PDS, k pds.DocumentKey) (n int) {
	t.Helper()
	ok(t, srv.View(t.Context(), func(st *pds.State) error {
		d, err := st.Get(k)
		if errors.Is(err, storage.ErrNotFound) {
			n = 0
			return nil
		}
		if err != nil {
			return err
		}
		return d.JSON(&n)
	}))
	return n
}

// Of many who change one document all get on.
func TestStateUpdatesAreNotLost(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	const writers, times = 50, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range times {
				if err := srv.Update(t.Context(), func(st *pds.State) error {
					_, err := count(st, stateKey("", "total"))
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := counter(t, srv, stateKey("", "total")); n != writers*times {
		t.Errorf("counter %d after %d updates", n, writers*times)
	}
}

// Who has lost against somebody else is not overtaken a second time, however long
// it takes.
func TestStateUpdateIsNotOvertakenTwice(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	k := stateKey("", "total")
	var others sync.WaitGroup
	overtake := func() (running chan struct{}) {
		running = make(chan struct{})
		var once sync.Once
		others.Go(func() {
			ok(t, srv.Update(t.Context(), func(st *pds.State) error {
				defer once.Do(func() { close(running) })
				_, err := count(st, k)
				return err
			}))
		})
		return running
	}
	runs := 0
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		runs++
		if _, err := count(st, k); err != nil {
			return err
		}
		for range 5 {
			<-overtake()
		}
		if runs == 1 {
			others.Wait()
		}
		return nil
	}))
	others.Wait()
	if n := counter(t, srv, k); runs != 2 || n != 11 {
		t.Errorf("%d runs, counter %d", runs, n)
	}
}

// A function that panics while others wait for it holds nobody up.
func TestStateUpdatePanicsInTurn(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	k := stateKey("", "total")
	add := func() error {
		return srv.Update(t.Context(), func(st *pds.State) error {
			_, err := count(st, k)
			return err
		})
	}
	func() {
		defer func() {
			if got := recover(); got != "the second time" {
				t.Errorf("recovered %v", got)
			}
		}()
		runs := 0
		_ = srv.Update(t.Context(), func(st *pds.State) error {
			if runs++; runs == 2 {
				panic("the second time")
			}
			if _, err := count(st, k); err != nil {
				return err
			}
			return add()
		})
	}()
	ok(t, add())
}

// What a function read, also by a scan, has not changed when its changes are
// applied; else it runs again.
func TestStateConflicts(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	put := func(k pds.DocumentKey, v any) {
		t.Helper()
		ok(t, srv.Update(t.Context(), func(st *pds.State) error { return st.PutJSON(k, v) }))
	}
	put(stateKey("", "a"), 1)
	for name, look := range map[string]struct {
		read   func(*pds.State) error
		change func()
	}{
		"a document that changes": {
			func(st *pds.State) error { _, err := st.Get(stateKey("", "a")); return err },
			func() { put(stateKey("", "a"), 2) },
		},
		"a document that appears": {
			func(st *pds.State) error {
				if _, err := st.Get(stateKey("", "missing")); err != nil && !errors.Is(err, storage.ErrNotFound) {
					return err
				}
				return nil
			},
			func() { put(stateKey("", "missing"), 1) },
		},
		"a scan that would find more": {
			func(st *pds.State) error { _, err := st.Scan(stateKind, "", storage.Scan{From: "s"}); return err },
			func() { put(stateKey("", "s1"), 1) },
		},
	} {
		runs := 0
		ok(t, srv.Update(t.Context(), func(st *pds.State) error {
			runs++
			if err := look.read(st); err != nil {
				return err
			}
			if runs == 1 {
				look.change()
			}
			return st.PutJSON(stateKey("", "out "+name), runs)
		}))
		if runs != 2 || counter(t, srv, stateKey("", "out "+name)) != 2 {
			t.Errorf("%s: %d runs", name, runs)
		}
	}
	// An error is believed only if what led to it still holds.
	runs, mine := 0, errors.New("mine")
	err := srv.Update(t.Context(), func(st *pds.State) error {
		runs++
		if _, err := st.Get(stateKey("", "a")); err != nil {
			return err
		}
		if runs == 1 {
			put(stateKey("", "a"), 3)
			return errors.New("stale")
		}
		return mine
	})
	if err != mine || runs != 2 {
		t.Errorf("%v after %d runs", err, runs)
	}
}

func TestStateScanSeesItsOwnChanges(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		for _, k := range []string{"b", "d", "f"} {
			if err := st.PutJSON(stateKey(a.DID, k), k); err != nil {
				return err
			}
		}
		return errors.Join(st.PutJSON(stateKey("", "c"), "global"), st.Put(pds.Document{
			DocumentKey: pds.DocumentKey{Kind: "com.example.other", Owner: a.DID, Key: "c"},
		}))
	}))
	keys := func(st *pds.State, s storage.Scan) string {
		t.Helper()
		docs, err := st.Scan(stateKind, a.DID, s)
		ok(t, err)
		var out []string
		for _, d := range docs {
			if d.Owner != a.DID || d.Kind != stateKind {
				t.Errorf("%+v", d.DocumentKey)
			}
			out = append(out, d.Key)
		}
		return strings.Join(out, " ")
	}
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		ok(t, st.Delete(stateKey(a.DID, "d")))
		ok(t, st.PutJSON(stateKey(a.DID, "a"), 1))
		ok(t, st.PutJSON(stateKey(a.DID, "f"), 2))
		for _, c := range []struct {
			scan storage.Scan
			want string
		}{
			{storage.Scan{}, "a b f"},
			{storage.Scan{Reverse: true}, "f b a"},
			{storage.Scan{Limit: 2}, "a b"},
			{storage.Scan{From: "b", To: "f"}, "b"},
			{storage.Scan{From: "c"}, "f"},
		} {
			if got := keys(st, c.scan); got != c.want {
				t.Errorf("%+v: %q, want %q", c.scan, got, c.want)
			}
		}
		return nil
	}))
	ok(t, srv.View(t.Context(), func(st *pds.State) error {
		if got := keys(st, storage.Scan{}); got != "a b f" {
			t.Errorf("stored: %q", got)
		}
		if err := st.PutJSON(stateKey("", "x"), 1); !errors.Is(err, pds.ErrReadOnly) {
			t.Errorf("a write in a View: %v", err)
		}
		return nil
	}))
}

func TestStateLimits(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	update := func(fn func(*pds.State) error) error { return srv.Update(t.Context(), fn) }
	for name, c := range map[string]struct {
		within, beyond func(*pds.State) error
		want           error
	}{
		"bytes of a document": {
			func(st *pds.State) error {
				return st.Put(pds.Document{DocumentKey: stateKey("", "big"), Value: make([]byte, pds.MaxDocumentBytes)})
			},
			func(st *pds.State) error {
				return st.Put(pds.Document{DocumentKey: stateKey("", "big"), Value: make([]byte, pds.MaxDocumentBytes+1)})
			},
			pds.ErrStateLimit,
		},
		"documents changed": {puts(pds.MaxStateWrites, 1), puts(pds.MaxStateWrites+1, 1), pds.ErrStateLimit},
		"bytes changed":     {puts(16, 65536), puts(17, 65536), pds.ErrStateLimit},
		"documents read":    {gets(pds.MaxStateReads), gets(pds.MaxStateReads + 1), pds.ErrStateLimit},
		"bytes of a key": {
			func(st *pds.State) error { return st.PutJSON(stateKey("", strings.Repeat("k", pds.MaxDocumentKey)), 1) },
			func(st *pds.State) error {
				return st.PutJSON(stateKey("", strings.Repeat("k", pds.MaxDocumentKey+1)), 1)
			},
			pds.ErrDocumentKey,
		},
		"a kind without a dot": {
			func(st *pds.State) error { return st.PutJSON(pds.DocumentKey{Kind: "a.b", Key: "k"}, 1) },
			func(st *pds.State) error { return st.PutJSON(pds.DocumentKey{Kind: "session", Key: "k"}, 1) },
			pds.ErrDocumentKey,
		},
	} {
		if err := update(c.within); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := update(c.beyond); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		// Nor is anything applied if the function does not look.
		if c.want == pds.ErrStateLimit && name != "bytes of a document" {
			if err := update(func(st *pds.State) error { _ = c.beyond(st); return st.PutJSON(stateKey("", "ignored"), 1) }); err == nil {
				t.Errorf("%s: an error that was ignored had no effect", name)
			}
		}
	}
	if n := counter(t, srv, stateKey("", "ignored")); n != 0 {
		t.Error("changes beyond a bound were applied")
	}
	var kept *pds.State
	ok(t, update(func(st *pds.State) error { kept = st; return nil }))
	if _, err := kept.Get(stateKey("", "big")); !errors.Is(err, pds.ErrStateClosed) {
		t.Errorf("a State that is over: %v", err)
	}
}

func puts(n, size int) func(*pds.State) error {
	return func(st *pds.State) error {
		for i := range n {
			err := st.Put(pds.Document{DocumentKey: stateKey("", fmt.Sprint(i)), Value: make([]byte, size)})
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func gets(n int) func(*pds.State) error {
	return func(st *pds.State) error {
		for i := range n {
			if _, err := st.Get(stateKey("", fmt.Sprint("none", i))); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
		return nil
	}
}

// Documents leave with their owner, and expire.
func TestStateOwnersAndExpiry(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		return errors.Join(
			st.PutJSON(stateKey(a.DID, "mine"), 1),
			st.PutJSON(stateKey("", "everybody's"), 1),
			st.Put(pds.Document{DocumentKey: stateKey("", "short"), Value: []byte("1"), Expires: srv.Clock.Now().Add(time.Minute)}),
		)
	}))
	err := srv.Update(t.Context(), func(st *pds.State) error { return st.PutJSON(stateKey("did:plc:nobody", "x"), 1) })
	if !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a document of nobody: %v", err)
	}
	srv.Clock.Advance(time.Minute)
	if counter(t, srv, stateKey("", "short")) != 0 {
		t.Error("an expired document is there")
	}
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": a.DID}, nil))
	if counter(t, srv, stateKey(a.DID, "mine")) != 0 || counter(t, srv, stateKey("", "everybody's")) != 1 {
		t.Error("not exactly the owner's documents have gone")
	}
}

func TestStateUpdateIsCancelled(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := srv.Update(ctx, func(st *pds.State) error {
		cancel()
		return st.PutJSON(stateKey("", "late"), 1)
	})
	if !errors.Is(err, context.Canceled) || counter(t, srv, stateKey("", "late")) != 0 {
		t.Error(err)
	}
}

// Jobs are scheduled and cancelled together with the other changes.
func TestStateJobs(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	var ran []string
	srv.HandleJobs(pds.JobHandler{Kind: "com.example.remind", Parallel: 1, Run: func(_ context.Context, j pds.Job) error {
		ran = append(ran, j.Name)
		return nil
	}})
	failed := errors.New("no")
	err := srv.Update(t.Context(), func(st *pds.State) error {
		ok(t, st.Schedule(pds.Job{Kind: "com.example.remind", Name: "never"}))
		return failed
	})
	if err != failed {
		t.Fatal(err)
	}
	due := srv.Clock.Now().Add(time.Hour)
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		for _, name := range []string{"a", "b"} {
			if err := st.Schedule(pds.Job{Kind: "com.example.remind", Name: name, Due: due}); err != nil {
				return err
			}
		}
		return nil
	}))
	ok(t, srv.Update(t.Context(), func(st *pds.State) error { return st.CancelJob("com.example.remind", "a") }))
	srv.Clock.Advance(2 * time.Hour)
	if _, err := srv.RunDueJobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Join(ran, " ") != "b" {
		t.Errorf("ran %q", ran)
	}
	err = srv.Update(t.Context(), func(st *pds.State) error { return st.Schedule(pds.Job{Kind: "mail"}) })
	if err == nil {
		t.Error("a job of the server's own kind was taken")
	}
}

// Documents as values, and the clock by which they end.
func TestStateJSON(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	key := pds.DocumentKey{Kind: "com.example.count", Key: "x"}
	read := func() (n int, found bool) {
		t.Helper()
		n = -1
		ok(t, srv.View(t.Context(), func(st *pds.State) (err error) {
			found, err = st.GetJSON(key, &n)
			return err
		}))
		return n, found
	}
	if n, found := read(); found || n != -1 {
		t.Errorf("there is none: %d %v", n, found)
	}
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		if now := st.Now(); now.Sub(srv.Clock.Now()).Abs() > time.Second || now.Sub(srv.Server.Now()).Abs() > time.Second {
			t.Errorf("the time is %s", now)
		}
		return st.PutJSONUntil(key, 7, st.Now().Add(time.Minute))
	}))
	if n, found := read(); !found || n != 7 {
		t.Errorf("%d %v", n, found)
	}
	srv.Clock.Advance(time.Minute)
	if n, found := read(); found {
		t.Errorf("after its end: %d", n)
	}
	ok(t, srv.Update(t.Context(), func(st *pds.State) error { return st.PutJSON(key, "text") }))
	err := srv.View(t.Context(), func(st *pds.State) error {
		var n int
		_, err := st.GetJSON(key, &n)
		return err
	})
	if err == nil {
		t.Error("a text was read as a number")
	}
	if err := srv.Update(t.Context(), func(st *pds.State) error { return st.PutJSON(key, func() {}) }); err == nil {
		t.Error("a function was stored")
	}
}
