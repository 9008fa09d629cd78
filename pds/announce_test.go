package pds_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// TestAnnounceRepos tells the state of all active repositories, more than one
// run of the job takes, each by a commit with a rev of its own.
func TestAnnounceRepos(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	const accounts = 53
	revs := map[syntax.DID]syntax.TID{}
	for i := range accounts {
		a := srv.CreateAccount(fmt.Sprintf("user%d", i))
		if i == 0 || i == 30 {
			a.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
			continue
		}
		revs[a.DID] = a.Export().Commit.Rev
	}
	var last int64
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		last, err = tx.LastSeq()
		return err
	}))
	ok(t, srv.Live().Create(t.Context(), live.Topic{Name: roomTopic}))
	before, err := srv.Live().Topic(t.Context(), roomTopic)
	ok(t, err)
	ok(t, srv.AnnounceRepos(t.Context()))
	after, err := srv.Live().Topic(t.Context(), roomTopic)
	ok(t, err)
	if before.Cursor(0) == after.Cursor(0) {
		t.Error("cursors of topics are good as before")
	}
	events, err := srv.Subscribe(t.Context(), last)
	ok(t, err)
	defer events.Close()
	first, err := events.Next(t.Context()) // it is there when AnnounceRepos returns
	ok(t, err)
	told := []syntax.DID{first.DID}
	for range 3 {
		srv.Clock.Advance(2 * time.Second)
		srv.RunJobs()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(told) < len(revs) {
		e, err := events.Next(ctx)
		ok(t, err)
		if e.Kind != "#sync" || e.Rev <= revs[e.DID] || revs[e.DID] == "" {
			t.Errorf("%s of %s with rev %s, had %s", e.Kind, e.DID, e.Rev, revs[e.DID])
		}
		told = append(told, e.DID)
	}
	slices.Sort(told)
	if told = slices.Compact(told); len(told) != len(revs) {
		t.Errorf("%d accounts were announced, want %d", len(told), len(revs))
	}
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		more, err := tx.ListEvents(last, 1000, 1<<20)
		if len(more) != len(revs) {
			t.Errorf("%d events, want %d", len(more), len(revs))
		}
		return err
	}))
}

// TestKeepBlobs lets bytes live while somebody keeps them.
func TestKeepBlobs(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "kept")
	ok(t, attach(t, alice, "a", up.ref()))
	first, second := srv.KeepBlobs(), srv.KeepBlobs()
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	for _, release := range []func(){first, first, second} { // twice is once
		ok(t, srv.DeleteReleasedBlobs(t.Context()))
		if n := files(t, srv); n != 1 {
			t.Fatalf("%d files while they are kept", n)
		}
		release()
	}
	ok(t, srv.DeleteReleasedBlobs(t.Context()))
	if n := files(t, srv); n != 0 {
		t.Errorf("%d files afterwards", n)
	}
}
