package pds_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
)

const signingKeyNSID = "com.atproto.admin.updateAccountSigningKey"

// reserveKey makes a signing key for an account, or for whoever it may be.
func reserveKey(t *testing.T, srv *pdstest.PDS, did syntax.DID) string {
	t.Helper()
	in := map[string]any{}
	if did != "" {
		in["did"] = did
	}
	var out struct{ SigningKey string }
	srv.Post("com.atproto.server.reserveSigningKey", "", in, &out)
	return out.SigningKey
}

func setSigningKey(t *testing.T, srv *pdstest.PDS, did syntax.DID, key string) error {
	t.Helper()
	return post(t, srv, signingKeyNSID, adminAuth, map[string]any{"did": did, "signingKey": key}, nil)
}

// wantKey fails unless account and identity have the key, and the repository
// verifies with it.
func wantKey(t *testing.T, a *pdstest.Account, key string) {
	t.Helper()
	stored, _ := account(t, a.PDS, a.DID)
	state, err := a.PDS.PLC.Client().State(t.Context(), a.DID)
	ok(t, err)
	if stored.KeyID != key || state.VerificationMethods["atproto"] != key {
		t.Errorf("key %s, in the identity %s, want %s", stored.KeyID, state.VerificationMethods["atproto"], key)
	}
	a.Export()
}

func TestSigningKeyChange(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	uri, _ := a.CreateRecord("app.bsky.feed.post", aPost("before"))
	labeler := labelKey(t)
	addLabeler(t, srv, a.DID, labeler)
	before := a.Export()

	key := reserveKey(t, srv, a.DID)
	seq := lastSeq(t, srv)
	ok(t, setSigningKey(t, srv, a.DID, key))
	wantKey(t, a, key)
	if d := cmp.Diff([]string{"#identity", "#sync"}, eventsAfter(t, srv, seq)); d != "" {
		t.Error(d)
	}
	after := a.Export()
	if after.Commit.Data != before.Commit.Data || after.Commit.Rev <= before.Commit.Rev {
		t.Errorf("commit %+v after %+v", after.Commit, before.Commit)
	}
	events := allEvents(t, srv)
	block, err := repo.NewCARReader(bytes.NewReader(events[len(events)-1].Blocks), repo.CARLimits{})
	ok(t, err)
	if block.Roots()[0] != after.Root {
		t.Errorf("#sync has %s, the head is %s", block.Roots()[0], after.Root)
	}
	if state, err := srv.PLC.Client().State(t.Context(), a.DID); err != nil || state.VerificationMethods["atproto_label"] != labeler {
		t.Errorf("the labeler's key is %v, %v", state, err)
	}
	// The account goes on with the new key.
	a.CreateRecord("app.bsky.feed.post", aPost("after"))
	if got := a.Export(); len(got.Records) != 2 {
		t.Errorf("records %v, the first is %s", got.Records, uri)
	}
	events = allEvents(t, srv)
	if last := events[len(events)-1]; last.Since != after.Commit.Rev || last.PrevData != after.Commit.Data {
		t.Errorf("#commit follows %s, %s", last.Since, last.PrevData)
	}

	// The same again makes no operation, but tells the network.
	n := operations(t, srv, a.DID)
	seq = lastSeq(t, srv)
	ok(t, setSigningKey(t, srv, a.DID, key))
	if d := cmp.Diff([]string{"#identity"}, eventsAfter(t, srv, seq)); d != "" || operations(t, srv, a.DID) != n {
		t.Error(d, operations(t, srv, a.DID))
	}

	// A key that was reserved for nobody in particular; an inactive account.
	a.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	key = reserveKey(t, srv, "")
	seq = lastSeq(t, srv)
	ok(t, setSigningKey(t, srv, a.DID, key))
	if d := cmp.Diff([]string{"#identity"}, eventsAfter(t, srv, seq)); d != "" {
		t.Error(d)
	}
	a.Post("com.atproto.server.activateAccount", nil, nil)
	wantKey(t, a, key)
}

func TestSigningKeyChangeRefused(t *testing.T) {
	t.Parallel()
	var reg *faultyRegistry
	srv := pdstest.New(t, withRegistry(&reg))
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	old, _ := account(t, srv, a.DID)
	wantError(t, setSigningKey(t, srv, a.DID, labelKey(t)), 400, "InvalidRequest") // not reserved here
	wantError(t, setSigningKey(t, srv, a.DID, reserveKey(t, srv, b.DID)), 400, "InvalidRequest")
	key := reserveKey(t, srv, a.DID)
	wantError(t, setSigningKey(t, srv, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", key), 400, "InvalidRequest")

	// What the directory refuses has not happened, and can be tried again.
	seq := lastSeq(t, srv)
	reg.set(func(r *faultyRegistry) { r.update = &identity.PLCError{Status: 400, Message: "no thanks"} })
	for range 2 {
		wantError(t, setSigningKey(t, srv, a.DID, key), 400, "InvalidRequest")
	}
	reg.set(func(r *faultyRegistry) { r.update = nil })
	wantKey(t, a, old.KeyID)
	if got := eventsAfter(t, srv, seq); len(got) != 0 {
		t.Errorf("events %v", got)
	}
	a.CreateRecord("app.bsky.feed.post", aPost("still works"))
	ok(t, setSigningKey(t, srv, a.DID, key))
	wantKey(t, a, key)
}

// A change that the directory has and the server does not is finished later.
func TestSigningKeyChangeIsFinished(t *testing.T) {
	t.Parallel()
	var reg *faultyRegistry
	var store *faultyStore
	srv := pdstest.New(t, withRegistry(&reg), withFaults(t, &store))
	a := srv.CreateAccount("alice")
	for _, c := range []struct {
		what  string
		fault func()
		mend  func()
	}{
		{"the directory is silent", func() {
			reg.set(func(r *faultyRegistry) { r.update, r.arrived = context.DeadlineExceeded, true })
		}, func() { reg.set(func(r *faultyRegistry) { r.update = nil }) }},
		{"the store fails", func() { store.arm("Apply", errors.New("disk full"), false) }, func() {}},
		{"the store fails to say that it has it", func() { store.arm("Apply", errors.New("who knows"), true) }, func() {}},
	} {
		key := reserveKey(t, srv, a.DID)
		seq := lastSeq(t, srv)
		c.fault()
		if err := setSigningKey(t, srv, a.DID, key); err == nil {
			t.Fatalf("%s: no error", c.what)
		}
		if other := reserveKey(t, srv, ""); c.what == "the directory is silent" {
			wantError(t, setSigningKey(t, srv, a.DID, other), 400, "InvalidRequest") // one at a time
		}
		c.mend()
		for range 2 { // the second has nothing to do
			ok(t, srv.FinishKeyChanges(t.Context()))
		}
		wantKey(t, a, key)
		if d := cmp.Diff([]string{"#identity", "#sync"}, eventsAfter(t, srv, seq)); d != "" {
			t.Errorf("%s: %s", c.what, d)
		}
		a.CreateRecord("app.bsky.feed.post", aPost(c.what))
	}
}

// Commits and changes of key that race leave a repository that verifies.
func TestSigningKeyChangeUnderWrites(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20 {
			if err := writeInProcess(t, a); err != nil {
				t.Errorf("write %d: %v", i, err)
			}
		}
	}()
	for range 4 {
		ok(t, setSigningKey(t, srv, a.DID, reserveKey(t, srv, a.DID)))
	}
	<-done
	if got := a.Export(); len(got.Records) != 20 {
		t.Errorf("%d records", len(got.Records))
	}
}

// The document of a did:web below the server's own domains follows the account.
func TestChangesOfADocumentThatIsServedHere(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	did := syntax.DID("did:web:eve.test")
	_, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{
		Handle: "eve.test", DID: did, Email: "eve@example.com", Password: "password of eve",
	})
	ok(t, err)
	a := &pdstest.Account{PDS: srv, DID: did, Handle: "eve.test", Password: "password of eve"}
	a.Login()
	a.Post("com.atproto.server.activateAccount", nil, nil)
	a.CreateRecord("app.bsky.feed.post", aPost("before"))
	a.Export()
	key := reserveKey(t, srv, did)
	ok(t, setSigningKey(t, srv, did, key))
	a.CreateRecord("app.bsky.feed.post", aPost("after"))
	a.Export() // verifies with the key in the document
	ok(t, post(t, srv, updateHandleNSID, "Bearer "+a.Access, map[string]any{"handle": "evelyn.test"}, nil))
	id, err := srv.Config.Directory.LookupDID(t.Context(), did)
	ok(t, err)
	if named, err := id.PublicKey(); err != nil || named.DIDKey() != key || id.AlsoKnownAs[0] != "at://evelyn.test" {
		t.Errorf("the document says %+v, %v", id, err)
	}
}

func TestSigningKeyOfADocumentOfOnesOwn(t *testing.T) {
	t.Parallel()
	var dir *fakeDirectory
	srv := pdstest.New(t, withDirectory(&dir))
	did := syntax.DID("did:web:eve.example.org")
	_, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "eve.test", DID: did})
	ok(t, err)
	a, _ := account(t, srv, did)
	dir.putDocument(t, did, "eve.test", srv.URL, a.KeyID)
	key := reserveKey(t, srv, did)
	wantError(t, setSigningKey(t, srv, did, key), 400, "InvalidRequest")
	dir.putDocument(t, did, "eve.test", srv.URL, key)
	ok(t, setSigningKey(t, srv, did, key))
	if a, _ = account(t, srv, did); a.KeyID != key {
		t.Errorf("key %s, want %s", a.KeyID, key)
	}
}
