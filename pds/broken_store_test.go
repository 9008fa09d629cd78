package pds_test

import (
	"context"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// brokenStore fails as told.
type brokenStore struct {
	storage.Store

	mu sync.Mutex // guards following fields

	view   error // of every View
	before error // of every Update, which then does nothing
	after  error // of every Update, which takes effect all the same

	// in, if not nil, is asked at each step of an Update that writes: a method
	// of storage.Tx. Its error becomes the method's. It may panic.
	in func(step string) error

	updated func() // called before each Update begins
}

func (s *brokenStore) Unwrap() storage.Store { return s.Store }

func (s *brokenStore) set(change func(s *brokenStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view, s.before, s.after, s.in, s.updated = nil, nil, nil, nil, nil
	change(s)
}

func (s *brokenStore) mend() { s.set(func(*brokenStore) {}) }

func (s *brokenStore) View(ctx context.Context, fn func(storage.Tx) error) error {
	s.mu.Lock()
	err := s.view
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.Store.View(ctx, fn)
}

func (s *brokenStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	s.mu.Lock()
	before, after, in, updated := s.before, s.after, s.in, s.updated
	s.mu.Unlock()
	if updated != nil {
		updated()
	}
	if before != nil {
		return before
	}
	err := s.Store.Update(ctx, func(tx storage.Tx) error {
		if in != nil {
			tx = brokenTx{tx, in}
		}
		return fn(tx)
	})
	if err == nil {
		err = after
	}
	return err
}

type brokenTx struct {
	storage.Tx
	in func(step string) error
}

func (t brokenTx) Apply(c *storage.Commit) error {
	if err := t.in("Apply"); err != nil {
		return err
	}
	return t.Tx.Apply(c)
}

func (t brokenTx) Append(e storage.Event) error {
	if err := t.in("Append"); err != nil {
		return err
	}
	return t.Tx.Append(e)
}

func (t brokenTx) PutBlob(b storage.Blob) error {
	if err := t.in("PutBlob"); err != nil {
		return err
	}
	return t.Tx.PutBlob(b)
}

func (t brokenTx) DeleteBlob(owner syntax.DID, c cidOf) error {
	if err := t.in("DeleteBlob"); err != nil {
		return err
	}
	return t.Tx.DeleteBlob(owner, c)
}

func (t brokenTx) Stage(g storage.Generation, nodes []storage.Block, records []storage.Record) error {
	if err := t.in("Stage"); err != nil {
		return err
	}
	return t.Tx.Stage(g, nodes, records)
}

func (t brokenTx) NewGeneration(did syntax.DID) (storage.Generation, error) {
	if err := t.in("NewGeneration"); err != nil {
		return 0, err
	}
	return t.Tx.NewGeneration(did)
}

func withBrokenStore(t *testing.T, store **brokenStore) func(*pds.Config) {
	return func(c *pds.Config) {
		inner, err := sqlite.OpenMemory(sqlite.Options{Clock: c.Clock})
		ok(t, err)
		t.Cleanup(func() { _ = inner.Close() })
		*store = &brokenStore{Store: inner}
		c.Store = *store
	}
}
