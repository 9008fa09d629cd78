package pds_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

var errDisk = errors.New("secret: disk on fire")

// consistent fails unless tree, index, firehose and blobs of an account agree.
func consistent(t *testing.T, a *pdstest.Account) {
	t.Helper()
	export := a.Export()
	index := map[string]cidOf{}
	var collections struct{ Collections []string }
	a.PDS.Get("com.atproto.repo.describeRepo", "", url.Values{"repo": {string(a.DID)}}, &collections)
	for _, collection := range collections.Collections {
		maps.Copy(index, listAll(t, a, collection))
	}
	if !maps.Equal(export.Records, index) {
		t.Errorf("the tree has %d records, the index %d", len(export.Records), len(index))
	}
	events := allEvents(t, a.PDS)
	if replay := pdstest.Replay(events, a.DID); !maps.Equal(export.Records, replay) {
		t.Errorf("the tree has %d records, the firehose leads to %d", len(export.Records), len(replay))
	}
	last := export.Root
	for _, ev := range events {
		if ev.DID == a.DID && ev.Kind == "#commit" {
			last = ev.Commit
		}
	}
	if last != export.Root {
		t.Errorf("the head is %s, the last commit on the firehose %s", export.Root, last)
	}
}

// Bugs 4, 5 and 11 of the field: whatever fails in the storage, the answer is
// a 500 that tells nothing, and the write is there as a whole or not at all.
func TestWriteFailures(t *testing.T) {
	t.Parallel()
	fail := func(at string) func(*brokenStore) {
		return func(s *brokenStore) {
			s.in = func(step string) error {
				if step == at {
					return errDisk
				}
				return nil
			}
		}
	}
	for name, brk := range map[string]func(*brokenStore){
		"view":                  func(s *brokenStore) { s.view = errDisk },
		"before":                func(s *brokenStore) { s.before = errDisk },
		"apply":                 fail("Apply"),
		"event log":             fail("Append"),
		"not found out of turn": func(s *brokenStore) { s.before = storage.ErrNotFound },
		"always a conflict":     func(s *brokenStore) { s.before = fmt.Errorf("%w: forever", storage.ErrConflict) },
		"closed":                func(s *brokenStore) { s.before = storage.ErrClosed },
		"deadline":              func(s *brokenStore) { s.before = context.DeadlineExceeded },
		"panic": func(s *brokenStore) {
			s.in = func(string) error { panic("secret: out of order") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var store *brokenStore
			srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
			alice := srv.CreateAccount("alice")
			note(t, alice, "b", "before")
			unchanged(t, alice, func() {
				store.set(brk)
				defer store.mend()
				for nsid, in := range eachWrite() {
					_, err := write(t, alice, nsid, in)
					wantError(t, err, 500, "InternalServerError")
					if strings.Contains(err.Error(), "secret") {
						t.Errorf("%s tells too much: %v", nsid, err)
					}
				}
			})
			consistent(t, alice)
			for nsid, in := range eachWrite() {
				if nsid != deleteRecord {
					mustWrite(t, alice, nsid, in)
				}
			}
			consistent(t, alice)
		})
	}
}

// A write for which the disk has no room says so, and changes nothing.
func TestWriteWithoutRoom(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
	alice := srv.CreateAccount("alice")
	note(t, alice, "b", "before")
	unchanged(t, alice, func() {
		store.set(func(s *brokenStore) { s.before = fmt.Errorf("%w: secret", storage.ErrFull) })
		defer store.mend()
		for nsid, in := range eachWrite() {
			_, err := write(t, alice, nsid, in)
			wantError(t, err, 507, "InsufficientStorage")
		}
	})
	note(t, alice, "c", "after")
	consistent(t, alice)
}

// quiet drops the log of failures that a test wants.
func quiet(c *pds.Config) { c.Logger = nil }

// A write whose fate is unknown, because the answer of the database was lost:
// the next writes build on what is really there.
func TestWriteOfUnknownFate(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
	alice := srv.CreateAccount("alice")
	for i := range 5 {
		store.set(func(s *brokenStore) { s.after = errDisk })
		_, err := write(t, alice, createRecord, map[string]any{"collection": noteCollection, "record": map[string]any{"lost": i}})
		wantError(t, err, 500, "InternalServerError")
		store.mend()
		note(t, alice, fmt.Sprint("n", i), "x")
	}
	if n := len(alice.Export().Records); n != 10 {
		t.Errorf("%d records, want the 5 whose answers were lost, too", n)
	}
	consistent(t, alice)
}

// Writers that go on while commits fail now and then: what was acknowledged is
// there, what was refused is not.
func TestWritesWhileCommitsFail(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
	alice := srv.CreateAccount("alice")
	var mu sync.Mutex
	steps := 0
	store.set(func(s *brokenStore) {
		s.in = func(step string) error {
			mu.Lock()
			defer mu.Unlock()
			if steps++; steps%7 == 0 {
				return errDisk
			}
			return nil
		}
	})
	acked, refused := map[string]bool{}, map[string]bool{}
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			for i := range scaled(50) {
				rkey := fmt.Sprintf("k%d-%d", k, i)
				_, err := callJSON(t.Context(), alice, createRecord, map[string]any{
					"repo": alice.DID, "collection": noteCollection, "rkey": rkey, "record": map[string]any{"k": k, "i": i},
				})
				var e *pdstest.Error
				if err != nil && (!errors.As(err, &e) || e.Status != 500) {
					t.Errorf("%s: %v", rkey, err)
				}
				mu.Lock()
				acked[rkey], refused[rkey] = err == nil, err != nil
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	store.mend()
	consistent(t, alice)
	failed := 0
	tree := alice.Export().Records
	for rkey := range acked {
		_, there := tree[noteCollection+"/"+rkey]
		if there != acked[rkey] {
			t.Errorf("%s: acknowledged %v, there %v", rkey, acked[rkey], there)
		}
		if refused[rkey] {
			failed++
		}
	}
	if failed == 0 || failed == len(refused) {
		t.Errorf("%d of %d failed", failed, len(refused))
	}
}

// A write that changes nothing is answered only when what it found is stored:
// here, the put before it that is still on its way, and then fails.
func TestNoOpWaitsForWhatItSaw(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		fail bool
	}{{"stored", false}, {"failed", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var store *brokenStore
			srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
			alice := srv.CreateAccount("alice")
			note(t, alice, "a", "old")
			in := func() map[string]any {
				return map[string]any{
					"repo": alice.DID, "collection": noteCollection, "rkey": "a", "record": map[string]any{"text": "new"},
				}
			}
			reached, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			store.set(func(s *brokenStore) {
				first := true
				s.in = func(step string) error {
					if step != "Apply" || !first {
						return nil
					}
					first = false
					once.Do(func() { close(reached) })
					<-release
					if tt.fail {
						return errDisk
					}
					return nil
				}
			})
			results := make(chan map[string]any, 2)
			put := func() {
				out, err := callJSON(t.Context(), alice, putRecord, in())
				if err != nil {
					out = nil
				}
				results <- out
			}
			go put()
			<-reached
			before := lastSeqUnblocked(t, store)
			go put()
			select {
			case out := <-results:
				t.Errorf("answered before anything was stored: %v", out)
			case <-waitABit(t):
			}
			close(release)
			commits, failures := 0, 0
			for range 2 {
				switch out := <-results; {
				case out == nil:
					failures++
				case out["commit"] != nil:
					commits++
				}
			}
			if want := map[bool]int{true: 1}[tt.fail]; commits != 1 || failures != want {
				t.Errorf("%d commits and %d failures", commits, failures)
			}
			if after := lastSeqUnblocked(t, store); after <= before {
				t.Error("no event")
			}
			if v, err := read(t, alice, noteCollection+"/a"); err != nil || v["text"] != "new" {
				t.Errorf("%v %v", v, err)
			}
			consistent(t, alice)
		})
	}
}

// Bug 22 of the field: a panic in the work of a write is that write's 500.
func TestWritePanicIsContained(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
	alice := srv.CreateAccount("alice")
	rec, err := repo.RecordFromValue(map[string]any{"text": "x"}, noteCollection)
	ok(t, err)
	batch := pds.Batch{Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{{Action: pds.Create, Collection: noteCollection, Record: rec}}}
	store.set(func(s *brokenStore) { s.in = func(string) error { panic("boom") } })
	var refused *xrpc.Error
	if _, err := srv.Apply(t.Context(), batch); err == nil || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	store.mend()
	_, err = srv.Apply(t.Context(), batch)
	ok(t, err)
	consistent(t, alice)
}

// Apply refuses what no client could send.
func TestApplyRefusesBadBatches(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	rec, err := repo.RecordFromValue(map[string]any{"text": "x"}, noteCollection)
	ok(t, err)
	good := pds.Op{Action: pds.Create, Collection: noteCollection, Record: rec}
	unchanged(t, alice, func() {
		for name, b := range map[string]pds.Batch{
			"no account":   {Actor: alice.DID, Ops: []pds.Op{good}},
			"no actor":     {Account: alice.DID, Ops: []pds.Op{good}},
			"no action":    {Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{{Collection: noteCollection, RKey: "a", Record: rec}}},
			"no record":    {Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{{Action: pds.Create, Collection: noteCollection}}},
			"no key":       {Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{{Action: pds.Put, Collection: noteCollection, Record: rec}}},
			"wrong type":   {Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{{Action: pds.Create, Collection: "com.example.other", Record: rec}}},
			"no such user": {Account: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Actor: alice.DID, Ops: []pds.Op{good}},
		} {
			if _, err := srv.Apply(t.Context(), b); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := srv.Apply(ctx, pds.Batch{Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{good}}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// Everything that reads from a store that fails is a 500, too.
func TestReadFailures(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
	alice := srv.CreateAccount("alice")
	note(t, alice, "a", "x")
	store.set(func(s *brokenStore) { s.view = errDisk })
	defer store.mend()
	did := url.Values{"repo": {string(alice.DID)}, "collection": {noteCollection}, "rkey": {"a"}}
	for _, nsid := range []string{
		"com.atproto.repo.getRecord", "com.atproto.repo.listRecords", "com.atproto.repo.describeRepo", "com.atproto.repo.listMissingBlobs",
	} {
		err := get(t, srv, nsid, "Bearer "+alice.Access, did, nil)
		wantError(t, err, 500, "InternalServerError")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s tells too much: %v", nsid, err)
		}
	}
	_, err := upload(t, alice, "text/plain", []byte("x"))
	wantError(t, err, 500, "InternalServerError")
}

// An upload whose metadata cannot be stored leaves no bytes, unless its fate
// is unknown.
func TestUploadFailures(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
	alice := srv.CreateAccount("alice")
	store.set(func(s *brokenStore) { s.before = errDisk })
	_, err := upload(t, alice, "text/plain", []byte("x"))
	wantError(t, err, 500, "InternalServerError")
	if n := files(t, srv); n != 0 {
		t.Errorf("%d files", n)
	}
	store.set(func(s *brokenStore) { s.in = func(string) error { return storage.ErrFull } })
	_, err = upload(t, alice, "text/plain", []byte("x"))
	wantError(t, err, 507, "InsufficientStorage")
	if n := files(t, srv); n != 0 {
		t.Errorf("%d files", n)
	}
	store.set(func(s *brokenStore) { s.after = errDisk })
	_, err = upload(t, alice, "text/plain", []byte("x"))
	wantError(t, err, 500, "InternalServerError")
	store.mend()
	up := mustUpload(t, alice, "text/plain", "x")
	ok(t, attach(t, alice, "a", up.ref()))
	if _, body := fetch(t, alice, up.Ref.Link); string(body) != "x" {
		t.Errorf("%q", body)
	}
	if n := files(t, srv); n != 1 {
		t.Errorf("%d files", n)
	}
}

// reentrantKeys writes to the account whose key it is asked for.
type reentrantKeys struct {
	pds.Keys
	open func(ctx context.Context)
}

func (k *reentrantKeys) Open(ctx context.Context, ref []byte) (atcrypto.PrivateKey, error) {
	if k.open != nil {
		k.open(ctx)
	}
	return k.Keys.Open(ctx, ref)
}

// block makes Open call fn first.
func (k *reentrantKeys) block(fn func()) { k.open = func(context.Context) { fn() } }

// Calling Apply from inside work on the same account fails instead of waiting
// for itself.
func TestApplyInsideApply(t *testing.T) {
	t.Parallel()
	var keys *reentrantKeys
	srv := pdstest.New(t, func(c *pds.Config) {
		keys = &reentrantKeys{Keys: c.Keys}
		c.Keys = keys
	})
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	note(t, bob, "warm", "x") // bob's key is open from now on
	batch := func(a *pdstest.Account) pds.Batch {
		rec, err := repo.RecordFromValue(map[string]any{"text": "x"}, noteCollection)
		ok(t, err)
		return pds.Batch{Account: a.DID, Actor: a.DID, Ops: []pds.Op{{Action: pds.Create, Collection: noteCollection, Record: rec}}}
	}
	var same, other error
	calls := 0
	keys.open = func(ctx context.Context) {
		if calls++; calls > 1 {
			return
		}
		_, same = srv.Apply(ctx, batch(alice))
		_, other = srv.Apply(ctx, batch(bob))
	}
	_, err := srv.Apply(t.Context(), batch(alice))
	ok(t, err)
	if calls == 0 {
		t.Skip("the key was open already")
	}
	if same == nil {
		t.Error("a write inside a write of the same account")
	}
	if other != nil {
		t.Errorf("a write to another account: %v", other)
	}
	if a, b := len(alice.Export().Records), len(bob.Export().Records); a != 1 || b != 2 {
		t.Errorf("%d and %d records", a, b)
	}
}

// Blobs change their state with the commit, or not at all.
func TestWriteFailuresOfBlobs(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "some text")
	failAt := func(at string) {
		store.set(func(s *brokenStore) {
			s.in = func(step string) error { return map[string]error{at: errDisk}[step] }
		})
	}
	for _, step := range []string{"PutBlob", "Append"} {
		failAt(step)
		wantError(t, attach(t, alice, "a", up.ref()), 500, "InternalServerError")
		store.mend()
		if got := state(t, alice, up.Ref.Link); got != "temporary" {
			t.Errorf("%s failed, the blob is %s", step, got)
		}
		if _, err := read(t, alice, noteCollection+"/a"); err == nil {
			t.Errorf("%s failed, the record is there", step)
		}
	}
	ok(t, attach(t, alice, "a", up.ref()))
	for _, step := range []string{"DeleteBlob", "Append"} {
		failAt(step)
		_, err := write(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
		wantError(t, err, 500, "InternalServerError")
		store.mend()
		if _, body := fetch(t, alice, up.Ref.Link); string(body) != "some text" {
			t.Errorf("%s failed, the blob is %q", step, body)
		}
		if _, err := read(t, alice, noteCollection+"/a"); err != nil {
			t.Errorf("%s failed: %v", step, err)
		}
	}
	consistent(t, alice)
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	if got := state(t, alice, up.Ref.Link); got != "gone" {
		t.Errorf("the blob is %s", got)
	}
}
