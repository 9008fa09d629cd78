package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// brokenStore fails from some View on.
type brokenStore struct {
	storage.Store
	views, good int
	err         error
}

func (s *brokenStore) View(context.Context, func(storage.Tx) error) error {
	if s.views++; s.views > s.good {
		return s.err
	}
	return nil
}

func TestWatchStore(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		stops bool
	}{
		{"poisoned", sqlite.ErrPoisoned, true},
		{"another failure", errors.New("too many open files"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				store := &brokenStore{good: 5, err: c.err}
				go watchStore(ctx, store, stop)
				select {
				case <-ctx.Done():
				case <-time.After(20 * storeCheck):
				}
				cause := context.Cause(ctx)
				stop(nil)
				synctest.Wait()
				if stopped := errors.Is(cause, sqlite.ErrPoisoned); stopped != c.stops {
					t.Errorf("stopped: %v, %v", stopped, cause)
				}
				if store.views <= store.good {
					t.Errorf("only %d looks", store.views)
				}
			})
		})
	}
}
