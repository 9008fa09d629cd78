package pds_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// withPolicy starts a server with a policy.
func withPolicy(t *testing.T, p pds.PolicyFunc, adjust ...func(*pds.Config)) *pdstest.PDS {
	t.Helper()
	return pdstest.New(t, append(adjust, func(c *pds.Config) { c.Policy = p })...)
}

// describe says what a change is.
func describe(w *pds.Write) string {
	var parts []string
	for _, op := range w.Ops {
		s := fmt.Sprintf("%s %s/%s", op.Action, op.Collection, op.RKey)
		if op.Record != nil {
			s += fmt.Sprintf(" %v", op.Record.Value["text"])
		}
		if op.Previous != nil {
			s += fmt.Sprintf(" (was %v by %s)", op.Previous.Value["text"], op.PreviousAuthor)
		}
		parts = append(parts, s)
	}
	if w.Import != nil {
		n := 0
		for range w.Import.Records {
			n++
		}
		parts = append(parts, fmt.Sprintf("import of %d records", n))
	}
	if w.Upload != nil {
		parts = append(parts, fmt.Sprintf("upload of %s, %d bytes", w.Upload.MimeType, w.Upload.Size))
	}
	if w.Status != nil {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("status %s %s", w.Status.Action, w.Status.Handle)))
	}
	return strings.Join(parts, ", ")
}

func TestPolicySeesEveryChange(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	var last *pds.Write
	srv := withPolicy(t, func(_ context.Context, w *pds.Write) error {
		mu.Lock()
		defer mu.Unlock()
		seen, last = append(seen, describe(w)), w
		return nil
	})
	a := srv.CreateAccount("alice")
	step := func(want string, do func() error) {
		t.Helper()
		mu.Lock()
		seen = nil
		mu.Unlock()
		ok(t, do())
		mu.Lock()
		defer mu.Unlock()
		want = strings.ReplaceAll(want, "ALICE", string(a.DID))
		if diff := cmp.Diff([]string{want}, seen); diff != "" {
			t.Error(diff)
		}
	}
	simple := func(nsid string, in map[string]any) func() error {
		return func() error { _, err := write(t, a, nsid, in); return err }
	}
	record := func(text string) map[string]any { return map[string]any{"text": text} }
	step("create "+noteCollection+"/one first", simple(createRecord, map[string]any{"collection": noteCollection, "rkey": "one", "record": record("first")}))
	if last.Caller == nil || last.Caller.Kind != xrpc.KindSession || last.Account != a.DID || last.Actor != a.DID {
		t.Errorf("caller %+v, account %s, actor %s", last.Caller, last.Account, last.Actor)
	}
	step("update "+noteCollection+"/one second (was first by ALICE)", simple(putRecord, map[string]any{"collection": noteCollection, "rkey": "one", "record": record("second")}))
	step("update "+noteCollection+"/one third (was second by ALICE), create "+noteCollection+"/two x, delete "+noteCollection+"/two (was x by ALICE)",
		simple(applyWrites, map[string]any{"writes": []map[string]any{
			{"$type": applyWrites + "#update", "collection": noteCollection, "rkey": "one", "value": record("third")},
			{"$type": applyWrites + "#create", "collection": noteCollection, "rkey": "two", "value": record("x")},
			{"$type": applyWrites + "#delete", "collection": noteCollection, "rkey": "two"},
		}}))
	step("delete "+noteCollection+"/one (was third by ALICE)", simple(deleteRecord, map[string]any{"collection": noteCollection, "rkey": "one"}))
	// What is replaced because it points at the same target is shown, too.
	like := map[string]any{"subject": map[string]any{"uri": "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/1", "cid": rawCID("x")}, "createdAt": "2026-01-02T03:04:05Z"}
	first := mustWrite(t, a, createRecord, map[string]any{"collection": "app.bsky.feed.like", "record": like})
	second := mustWrite(t, a, createRecord, map[string]any{"collection": "app.bsky.feed.like", "record": like})
	if want := fmt.Sprintf("create app.bsky.feed.like/%s <nil>, delete app.bsky.feed.like/%s (was <nil> by %s)", second.rkey(), first.rkey(), a.DID); describe(last) != want {
		t.Errorf("got %q, want %q", describe(last), want)
	}
	step("upload of text/plain, 5 bytes", func() error { _, err := upload(t, a, "text/plain", []byte("hello")); return err })
	step("create "+noteCollection+"/in-process text", func() error {
		rec, err := repo.RecordFromValue(map[string]any{"text": "text"}, noteCollection)
		ok(t, err)
		_, err = srv.Apply(t.Context(), pds.Batch{Account: a.DID, Actor: "did:web:bot.example", Ops: []pds.Op{
			{Action: pds.Create, Collection: noteCollection, RKey: "in-process", Record: rec},
		}})
		return err
	})
	if last.Caller != nil || last.Actor != "did:web:bot.example" {
		t.Errorf("caller %+v, actor %s", last.Caller, last.Actor)
	}
	step("status handle alicia.test", func() error {
		return post(t, srv, "com.atproto.identity.updateHandle", "Bearer "+a.Access, map[string]any{"handle": "alicia.test"}, nil)
	})
	admin := func(in map[string]any) func() error {
		return func() error {
			in["subject"] = repoRef(a)
			return post(t, srv, updateSubjectStatus, adminAuth, in, nil)
		}
	}
	step("status takedown", admin(map[string]any{"takedown": map[string]any{"applied": true}}))
	if last.Caller.Kind != xrpc.KindAdmin || last.Actor != "" {
		t.Errorf("caller %+v, actor %q", last.Caller, last.Actor)
	}
	step("status restore", admin(map[string]any{"takedown": map[string]any{"applied": false}}))
	a.Login()
	step("status deactivate", func() error {
		return post(t, srv, "com.atproto.server.deactivateAccount", "Bearer "+a.Access, map[string]any{}, nil)
	})
	step("status activate", func() error {
		return post(t, srv, "com.atproto.server.activateAccount", "Bearer "+a.Access, nil, nil)
	})
	step("import of 2 records", func() error { return sendCAR(t, a, exportCAR(t, a)) })
	step("status create", func() error {
		_, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "our-group.test"})
		return err
	})
	step("status delete", func() error {
		return post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": a.DID}, nil)
	})
}

// A change that is denied leaves nothing behind and is answered by the
// policy's own error.
func TestPolicyDenies(t *testing.T) {
	t.Parallel()
	var deny atomic.Bool
	srv := withPolicy(t, func(_ context.Context, w *pds.Write) error {
		if !deny.Load() {
			return nil
		}
		err := w.State.PutJSON(stateKey("", "denied"), 1)
		readOnly := w.Status != nil && (w.Status.Action == pds.StatusCreate || w.Status.Action == pds.StatusHandle)
		if errors.Is(err, pds.ErrReadOnly) != readOnly || err != nil && !readOnly {
			t.Errorf("writing state at %s: %v", describe(w), err)
		}
		return xrpc.NewError(403, "NotInThisHouse", "No.")
	})
	a := srv.CreateAccount("alice")
	note(t, a, "one", "first")
	car := exportCAR(t, a)
	before, head := lastSeq(t, srv), a.Export().Root
	deny.Store(true)
	for name, do := range map[string]func() error{
		"createRecord": func() error {
			_, err := write(t, a, createRecord, map[string]any{"collection": noteCollection, "record": map[string]any{}})
			return err
		},
		"deleteRecord": func() error {
			_, err := write(t, a, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "one"})
			return err
		},
		"putRecord of the same": func() error {
			_, err := write(t, a, putRecord, map[string]any{"collection": noteCollection, "rkey": "two", "record": map[string]any{"text": "x"}})
			return err
		},
		"uploadBlob": func() error { _, err := upload(t, a, "text/plain", []byte("hello")); return err },
		"importRepo": func() error { return sendCAR(t, a, car) },
		"updateHandle": func() error {
			return post(t, srv, "com.atproto.identity.updateHandle", "Bearer "+a.Access, map[string]any{"handle": "alicia.test"}, nil)
		},
		"deactivateAccount": func() error {
			return post(t, srv, "com.atproto.server.deactivateAccount", "Bearer "+a.Access, map[string]any{}, nil)
		},
		"takedown": func() error {
			return post(t, srv, updateSubjectStatus, adminAuth, map[string]any{"subject": repoRef(a), "takedown": map[string]any{"applied": true}}, nil)
		},
		"createAccount": func() error {
			return post(t, srv, "com.atproto.server.createAccount", "", map[string]any{"handle": "bob.test", "email": "bob@example.com", "password": "secret-secret"}, nil)
		},
		"deleteAccount": func() error {
			return post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": a.DID}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, do(), 403, "NotInThisHouse") })
	}
	if lastSeq(t, srv) != before || a.Export().Root != head || accounts(t, srv) != 1 {
		t.Error("something was left behind")
	}
	if _, found := stored(t, a, rawCID("hello")); found || files(t, srv) != 0 {
		t.Error("a refused upload is there")
	}
	if counter(t, srv, stateKey("", "denied")) != 0 {
		t.Error("the state of a denied change was stored")
	}
	if acct, _ := account(t, srv, a.DID); acct.Handle != a.Handle || !acct.Active() {
		t.Errorf("%+v", acct)
	}
}

// A quota for each account, kept in the policy's own documents, is exact under
// any concurrency.
func TestPolicyQuota(t *testing.T) {
	t.Parallel()
	const quota = 10
	srv := withPolicy(t, func(_ context.Context, w *pds.Write) error {
		for range w.Ops {
			mine, err := count(w.State, stateKey(w.Account, "notes"))
			if err != nil {
				return err
			}
			if mine > quota {
				return xrpc.NewError(400, "QuotaExceeded", "Enough")
			}
			if _, err := count(w.State, stateKey("", "all")); err != nil {
				return err
			}
		}
		return nil
	})
	var wg sync.WaitGroup
	people := []*pdstest.Account{srv.CreateAccount("alice"), srv.CreateAccount("bob"), srv.CreateAccount("carol")}
	var done, refused, busy atomic.Int64
	for _, a := range people {
		for i := range 4 {
			wg.Go(func() {
				for j := range 4 {
					_, err := write(t, a, createRecord, map[string]any{"collection": noteCollection, "record": map[string]any{"i": i*10 + j}})
					var e *pdstest.Error
					switch {
					case err == nil:
						done.Add(1)
					case errors.As(err, &e) && e.Name == "QuotaExceeded":
						refused.Add(1)
					default: // too many conflicts over the document that all share
						busy.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	total := 0
	for _, a := range people {
		n := len(listAll(t, a, noteCollection))
		if got := counter(t, srv, stateKey(a.DID, "notes")); got != n || n > quota {
			t.Errorf("%s has %d notes and a counter of %d", a.Handle, n, got)
		}
		total += n
	}
	if all := counter(t, srv, stateKey("", "all")); all != total || int64(total) != done.Load() {
		t.Errorf("%d notes, %d acknowledged, counter %d", total, done.Load(), all)
	}
	if busy.Load() > 0 {
		t.Logf("%d writes gave up because of conflicts", busy.Load())
	}
}

// The policy's changes and the commit are stored together or not at all.
func TestPolicyStateFallsWithItsCommit(t *testing.T) {
	t.Parallel()
	srv := withPolicy(t, func(_ context.Context, w *pds.Write) error {
		if len(w.Ops) == 0 {
			return nil
		}
		if _, err := count(w.State, stateKey("", "writes")); err != nil {
			return err
		}
		if w.Ops[0].RKey == "bad" { // a document of nobody cannot be stored
			return w.State.PutJSON(stateKey("did:plc:nobody", "x"), 1)
		}
		return nil
	})
	a := srv.CreateAccount("alice")
	note(t, a, "good", "x")
	head := a.Export().Root
	_, err := write(t, a, putRecord, map[string]any{"collection": noteCollection, "rkey": "bad", "record": map[string]any{}})
	wantError(t, err, 500, "InternalServerError")
	if n := counter(t, srv, stateKey("", "writes")); n != 1 || a.Export().Root != head {
		t.Errorf("counter %d", n)
	}
	note(t, a, "good", "y")
	if n := counter(t, srv, stateKey("", "writes")); n != 2 {
		t.Errorf("counter %d", n)
	}
}

// What a policy adds is part of the same commit and event.
func TestPolicyAddsWrites(t *testing.T) {
	t.Parallel()
	srv := withPolicy(t, func(_ context.Context, w *pds.Write) error {
		for _, op := range w.Ops {
			if op.Collection != noteCollection || op.Action != pds.Create {
				continue
			}
			rec, err := repo.RecordFromValue(map[string]any{"subject": string(op.URI(w.Account))}, "com.example.receipt")
			if err != nil {
				return err
			}
			if err := w.Add(pds.Op{Action: pds.Create, Collection: "com.example.receipt", RKey: op.RKey, Record: rec}); err != nil {
				return err
			}
		}
		if w.Upload != nil && w.Add(pds.Op{}) == nil {
			return errors.New("a write was added to an upload")
		}
		return nil
	})
	a := srv.CreateAccount("alice")
	seq := lastSeq(t, srv)
	out := mustWrite(t, a, createRecord, map[string]any{"collection": noteCollection, "rkey": "one", "record": map[string]any{"text": "x"}})
	if got, err := read(t, a, "com.example.receipt/one"); err != nil || got["subject"] != out.URI {
		t.Errorf("%v %v", got, err)
	}
	if lastSeq(t, srv) == seq || len(eventsAfter(t, srv, seq)) != 1 {
		t.Errorf("events %v", eventsAfter(t, srv, seq))
	}
	mustUpload(t, a, "text/plain", "hello")
	// A receipt that is there already makes the whole commit fail.
	mustWrite(t, a, putRecord, map[string]any{"collection": "com.example.receipt", "rkey": "two", "record": map[string]any{}})
	head := a.Export().Root
	_, err := write(t, a, createRecord, map[string]any{"collection": noteCollection, "rkey": "two", "record": map[string]any{}})
	wantError(t, err, 400, "InvalidRequest")
	if a.Export().Root != head {
		t.Error("half of a commit was stored")
	}
}

// A policy that panics, blocks or errs harms only calls on its own account, for
// at most its time limit.
func TestPolicyThatMisbehaves(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var kept atomic.Pointer[pds.State]
	srv := withPolicy(t, func(ctx context.Context, w *pds.Write) error {
		if len(w.Ops) == 0 {
			return nil
		}
		switch w.Ops[0].RKey {
		case "panic":
			panic("policy")
		case "error":
			return errors.New("secret detail")
		case "block":
			kept.Store(w.State)
			<-release
			return w.State.PutJSON(stateKey("", "too-late"), 1)
		}
		return nil
	}, func(c *pds.Config) { c.Limits.PolicyTime = time.Second })
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	put := func(who *pdstest.Account, rkey string) error {
		_, err := write(t, who, putRecord, map[string]any{"collection": noteCollection, "rkey": rkey, "record": map[string]any{"text": rkey}})
		return err
	}
	for _, rkey := range []string{"panic", "error"} {
		err := put(a, rkey)
		wantError(t, err, 500, "InternalServerError")
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "policy") {
			t.Errorf("the answer gives detail: %v", err)
		}
		ok(t, put(a, "fine"))
	}
	blocked := make(chan error, 1)
	begin := time.Now()
	go func() { blocked <- put(a, "block") }()
	for kept.Load() == nil {
		ok(t, put(b, fmt.Sprint("b", time.Since(begin).Microseconds())))
	}
	wantError(t, <-blocked, 503, "PolicyTimeout")
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("denied after %v", took)
	}
	// While it has not returned it is not asked again about the account.
	wantError(t, put(a, "more"), 503, "PolicyTimeout")
	ok(t, put(b, "unharmed"))
	if _, err := kept.Load().Get(stateKey("", "x")); !errors.Is(err, pds.ErrStateClosed) {
		t.Errorf("its state: %v", err)
	}
	close(release)
	deadline := time.Now().Add(30 * time.Second)
	for err := put(a, "again"); err != nil; err = put(a, "again") {
		if time.Now().After(deadline) {
			t.Fatalf("the account does not recover: %v", err)
		}
	}
	if counter(t, srv, stateKey("", "too-late")) != 0 || slices.Contains(recordKeys(t, a), "block") {
		t.Error("a denied change was stored")
	}
}

// Once a write is answered its account is free again: one that follows at once
// is never told that the policy is still busy.
func TestPolicyIsDoneWhenItsWriteIs(t *testing.T) {
	t.Parallel()
	srv := withPolicy(t, func(context.Context, *pds.Write) error { return nil })
	a := srv.CreateAccount("alice")
	for i := range 300 {
		_, err := write(t, a, putRecord, map[string]any{"collection": noteCollection, "rkey": "one", "record": map[string]any{"text": fmt.Sprint(i)}})
		ok(t, err)
	}
}

func exportCAR(t *testing.T, a *pdstest.Account) []byte {
	t.Helper()
	car, err := a.PDS.Call(t.Context(), "GET", "com.atproto.sync.getRepo", url.Values{"did": {string(a.DID)}}, nil, nil)
	ok(t, err)
	return car
}

func recordKeys(t *testing.T, a *pdstest.Account) (keys []string) {
	t.Helper()
	for path := range listAll(t, a, noteCollection) {
		keys = append(keys, path[strings.LastIndexByte(path, '/')+1:])
	}
	return keys
}

// An error that rests on a document which has changed since is not believed.
func TestPolicyDecidesOnCurrentState(t *testing.T) {
	t.Parallel()
	var srv *pdstest.PDS
	var asked atomic.Int64
	srv = withPolicy(t, func(ctx context.Context, w *pds.Write) error {
		if len(w.Ops) == 0 {
			return nil
		}
		_, err := w.State.Get(stateKey("", "open"))
		if asked.Add(1) == 1 { // somebody else opens the door meanwhile
			err := srv.Config.Store.Update(ctx, func(tx storage.Tx) error {
				_, err := tx.PutDoc(storage.Doc{Kind: stateKind, Key: "/open", Value: []byte("1")})
				return err
			})
			if err != nil {
				return err
			}
		}
		if errors.Is(err, storage.ErrNotFound) {
			return xrpc.Forbidden("closed")
		}
		return err
	})
	a := srv.CreateAccount("alice")
	note(t, a, "one", "x")
	if asked.Load() != 2 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// A policy that ends its goroutine has not agreed.
func TestPolicyThatDoesNotReturn(t *testing.T) {
	t.Parallel()
	srv := withPolicy(t, func(_ context.Context, w *pds.Write) error {
		if len(w.Ops) > 0 {
			runtime.Goexit() // as t.Fatal does
		}
		return nil
	})
	a := srv.CreateAccount("alice")
	_, err := write(t, a, createRecord, map[string]any{"collection": noteCollection, "record": map[string]any{}})
	wantError(t, err, 500, "InternalServerError")
	if n := len(listAll(t, a, noteCollection)); n != 0 {
		t.Errorf("%d records", n)
	}
}
