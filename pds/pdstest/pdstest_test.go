package pdstest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// countingStore counts the Updates of the store that it wraps.
type countingStore struct {
	storage.Store
	updates atomic.Int64
}

func (s *countingStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	s.updates.Add(1)
	return s.Store.Update(ctx, fn)
}

func (s *countingStore) Unwrap() storage.Store { return s.Store }

// An adjust function finds a configuration that is complete, and may wrap what
// is in it.
func TestAdjustWrapsTheStore(t *testing.T) {
	t.Parallel()
	var store *countingStore
	srv := pdstest.New(t, func(c *pds.Config) {
		store = &countingStore{Store: c.Store}
		c.Store = store
	})
	alice := srv.CreateAccount("alice")
	before := store.updates.Load()
	alice.CreateRecord("app.bsky.feed.post", map[string]any{"text": "hello", "createdAt": "2026-11-22T12:00:00Z"})
	if store.updates.Load() == before {
		t.Error("the write did not go through the wrapper")
	}
	if srv.Config.Store != store {
		t.Errorf("Config.Store is a %T", srv.Config.Store)
	}
}

// An account needs no invite code of the test's where the server requires one.
func TestCreateAccountWithInvites(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired = true })
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	if alice.DID == bob.DID || bob.Handle != "bob.test" {
		t.Errorf("signed up as %s and %s, %s", alice.DID, bob.DID, bob.Handle)
	}
	_, err := srv.Call(t.Context(), "POST", "com.atproto.server.createAccount", nil, nil,
		map[string]any{"handle": "carol.test", "email": "carol@example.com", "password": "password of carol"})
	var refused *pdstest.Error
	if !errors.As(err, &refused) || refused.Name != "InvalidInviteCode" {
		t.Errorf("without a code: %v", err)
	}
}

// A subscription at the end has what is written once Subscribe has returned, and
// nothing from before.
func TestSubscribeAtTheEnd(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for range 20 {
		alice.CreateRecord("com.example.note", map[string]any{"text": "before"})
		events, err := srv.Subscribe(t.Context(), -1)
		if err != nil {
			t.Fatal(err)
		}
		_, c := alice.CreateRecord("com.example.note", map[string]any{"text": "after"})
		ev, err := events.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(ev.Ops) != 1 || ev.Ops[0].CID.String() != c {
			t.Errorf("got %+v, want the record %s", ev.Ops, c)
		}
		events.Close()
	}
}
