package pds_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// Blobs: deleted with the last record; kept when shared, reused, unchanged.
func TestBlobsDeletedWithLastRecord(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "shared")
	link := up.Ref.Link
	del := func(rkey string) {
		t.Helper()
		mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": rkey})
	}
	want := func(what, want string) {
		t.Helper()
		if got := state(t, alice, link); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	op := func(action, rkey string, blobs ...map[string]any) map[string]any {
		m := map[string]any{"$type": applyWrites + "#" + action, "collection": noteCollection, "rkey": rkey}
		if action != "delete" {
			m["value"] = map[string]any{"blobs": blobs, "in": rkey}
		}
		return m
	}
	batch := func(ops ...any) {
		t.Helper()
		mustWrite(t, alice, applyWrites, map[string]any{"writes": ops})
	}
	ok(t, attach(t, alice, "a", up.ref()))
	ok(t, attach(t, alice, "b", up.ref()))
	del("a")
	want("shared", "permanent")
	mustWrite(t, alice, putRecord, map[string]any{
		"collection": noteCollection, "rkey": "b", "record": map[string]any{"still": up.ref()},
	})
	want("updated, still referred to", "permanent")
	batch(op("delete", "b"), op("create", "c", up.ref()))
	want("reused in the same commit", "permanent")
	batch(op("update", "c", up.ref()), op("update", "c"))
	want("no longer referred to in the end", "gone")
	if err := attach(t, alice, "c", up.ref()); err == nil {
		t.Error("a deleted blob can be referred to")
	}
	ok(t, srv.DeleteReleasedBlobs(t.Context()))
	if n := files(t, srv); n != 0 {
		t.Errorf("%d files", n)
	}
	// A batch that creates and deletes: the blob was never used.
	up = mustUpload(t, alice, "text/plain", "shared")
	batch(op("create", "d", up.ref()), op("delete", "d"))
	want("used for a moment only", "temporary")
	batch(op("create", "d", up.ref()), op("create", "e", up.ref()), op("delete", "d"))
	want("one record left", "permanent")
	del("e")
	want("last record deleted", "gone")
	// Of one record with two references to it.
	up = mustUpload(t, alice, "text/plain", "shared")
	ok(t, attach(t, alice, "f", up.ref(), up.ref()))
	want("twice in one record", "permanent")
	del("f")
	want("deleted", "gone")
}

// Blobs are per account: the same bytes of another account stay.
func TestBlobsOfOthersStay(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	a, b := mustUpload(t, alice, "text/plain", "same"), mustUpload(t, bob, "text/plain", "same")
	ok(t, attach(t, alice, "a", a.ref()))
	ok(t, attach(t, bob, "a", b.ref()))
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	ok(t, srv.DeleteReleasedBlobs(t.Context()))
	if state(t, alice, a.Ref.Link) != "gone" || state(t, bob, b.Ref.Link) != "permanent" {
		t.Error("wrong blob deleted")
	}
	if _, body := fetch(t, bob, b.Ref.Link); string(body) != "same" {
		t.Errorf("%q", body)
	}
}

// Blobs: temporary sweep, with the fake clock.
func TestBlobsTemporarySweep(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	unused, used := mustUpload(t, alice, "text/plain", "unused"), mustUpload(t, alice, "text/plain", "used")
	again := mustUpload(t, alice, "text/plain", "again")
	ok(t, attach(t, alice, "a", used.ref()))
	sweep := func() {
		t.Helper()
		ok(t, srv.SweepTemporaryBlobs(t.Context()))
		ok(t, srv.DeleteReleasedBlobs(t.Context()))
	}
	srv.Clock.Advance(24*time.Hour - time.Minute)
	sweep()
	if got := state(t, alice, unused.Ref.Link); got != "temporary" {
		t.Errorf("before its time: %s", got)
	}
	alice.Login()
	late := mustUpload(t, alice, "text/plain", "late")
	mustUpload(t, alice, "text/plain", "again") // uploading again starts anew
	srv.Clock.Advance(2 * time.Minute)
	sweep()
	for link, want := range map[string]string{
		unused.Ref.Link: "gone", used.Ref.Link: "permanent", late.Ref.Link: "temporary", again.Ref.Link: "temporary",
	} {
		if got := state(t, alice, link); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if n := files(t, srv); n != 3 {
		t.Errorf("%d files", n)
	}
}

// Bytes that a crash left without metadata are found, and no others.
func TestBlobsOrphanSweep(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "kept")
	ok(t, attach(t, alice, "a", up.ref()))
	_, err := srv.Config.Blobs.Put(t.Context(), "0123456789abcdef/orphan", strings.NewReader("left"))
	ok(t, err)
	srv.Clock.Advance(23 * time.Hour)
	_, err = srv.Config.Blobs.Put(t.Context(), "0123456789abcdef/fresh", strings.NewReader("under way"))
	ok(t, err)
	ok(t, srv.SweepOrphanedBlobs(t.Context()))
	if n := files(t, srv); n != 3 {
		t.Errorf("before its time: %d files", n)
	}
	srv.Clock.Advance(2 * time.Hour)
	ok(t, srv.SweepOrphanedBlobs(t.Context()))
	if n := files(t, srv); n != 2 {
		t.Errorf("%d files", n)
	}
	if _, body := fetch(t, alice, up.Ref.Link); string(body) != "kept" {
		t.Errorf("%q", body)
	}
}

// A blob that is taken down is not served, not referred to and not uploaded
// again, also after its last record is gone.
func TestBlobsTakendown(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "bad")
	ok(t, attach(t, alice, "a", up.ref()))
	set := func(applied bool) {
		t.Helper()
		srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
			"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoBlobRef", "did": alice.DID, "cid": up.Ref.Link},
			"takedown": map[string]any{"applied": applied, "ref": "1"},
		}, nil)
	}
	set(true)
	refused := func() {
		t.Helper()
		if resp, _ := fetch(t, alice, up.Ref.Link); resp.StatusCode != 400 {
			t.Errorf("served: %d", resp.StatusCode)
		}
		wantError(t, attach(t, alice, "b", up.ref()), 400, "BlobNotFound")
		_, err := upload(t, alice, "text/plain", []byte("bad"))
		wantError(t, err, 400, "InvalidRequest")
		wantMessage(t, err, "Blob has been takendown, cannot re-upload")
		if n := files(t, srv); n != 1 {
			t.Errorf("%d files", n)
		}
	}
	refused()
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	refused()
	set(false)
	if _, err := upload(t, alice, "text/plain", []byte("bad")); err != nil {
		t.Error(err)
	}
	ok(t, attach(t, alice, "b", up.ref()))
	if _, body := fetch(t, alice, up.Ref.Link); string(body) != "bad" {
		t.Errorf("%q", body)
	}
}

// Blobs: uploads by inactive accounts: a deactivated one may, for its
// migration; one that is taken down may not.
func TestBlobsOfInactiveAccounts(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	alice.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	alice.Login()
	mustUpload(t, alice, "text/plain", "moving")
	srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": alice.DID},
		"takedown": map[string]any{"applied": true, "ref": "1"},
	}, nil)
	_, err := upload(t, alice, "text/plain", []byte("more"))
	wantError(t, err, 401, "AccountTakedown")
	_, err = upload(t, &pdstest.Account{PDS: srv, DID: syntax.DID("did:plc:none"), Access: "nonsense"}, "text/plain", []byte("x"))
	wantError(t, err, 400, "InvalidToken")
}
