package pdstest_test

import (
	"context"
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
