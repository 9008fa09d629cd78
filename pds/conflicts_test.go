package pds_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// busyStore is a store in which each transaction that succeeds gets in another's
// way first. It does all that the contract allows.
type busyStore struct {
	storage.Store
	updates atomic.Int64
}

func (s *busyStore) Unwrap() storage.Store { return s.Store }

func (s *busyStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if s.updates.Add(1)%2 == 0 {
		return s.Store.Update(ctx, fn)
	}
	discarded := false
	err := s.Store.Update(ctx, func(tx storage.Tx) error {
		err := fn(tx)
		if discarded = err == nil; discarded {
			return context.Canceled
		}
		return err
	})
	if discarded {
		return fmt.Errorf("%w: with another", storage.ErrConflict)
	}
	return err
}

// Clients see nothing of conflicts in the store.
func TestConflictsInTheStore(t *testing.T) {
	t.Parallel()
	var store *busyStore
	srv := pdstest.New(t, func(c *pds.Config) {
		store = &busyStore{Store: c.Store}
		c.Store = store
	})
	alice := srv.CreateAccount("alice")
	alice.Login()
	tokens, err := refresh(t, srv, alice.Refresh)
	ok(t, err)
	alice.Access = tokens.AccessJwt
	app := newAppPassword(t, alice, "an app", false)
	login(t, srv, string(alice.Handle), app)
	for _, call := range []struct {
		nsid string
		in   any
	}{
		{"com.atproto.server.revokeAppPassword", map[string]any{"name": "an app"}},
		{"app.bsky.actor.putPreferences", map[string]any{"preferences": []any{}}},
		{"com.atproto.server.requestEmailConfirmation", nil},
		{"com.atproto.server.reserveSigningKey", map[string]any{"did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}},
		{"com.atproto.identity.updateHandle", map[string]any{"handle": "alicia.test"}},
		{createRecord, map[string]any{"repo": alice.DID, "collection": noteCollection, "rkey": "one", "record": map[string]any{}}},
		{deleteRecord, map[string]any{"repo": alice.DID, "collection": noteCollection, "rkey": "one"}},
		{"com.atproto.server.deactivateAccount", map[string]any{}},
		{"com.atproto.server.activateAccount", nil},
	} {
		if err := alice.TryPost(call.nsid, call.in, nil); err != nil {
			t.Errorf("%s: %v", call.nsid, err)
		}
	}
	mustUpload(t, alice, "text/plain", "hello")
	ok(t, post(t, srv, "com.atproto.server.createInviteCode", adminAuth, map[string]any{"useCount": 1}, nil))
	takeDown(t, srv, string(alice.DID), true)
	takeDown(t, srv, string(alice.DID), false)
	ok(t, srv.Audit(t.Context(), pds.AuditEntry{Actor: "admin", Action: "look"}, func(context.Context) error { return nil }))
	ok(t, srv.Schedule(t.Context(), pds.Job{Kind: "com.example.chore", Name: "one"}))
	srv.RunJobs()
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": alice.DID}, nil))
	if store.updates.Load() < 60 {
		t.Errorf("only %d transactions: the test does not test", store.updates.Load())
	}
}
