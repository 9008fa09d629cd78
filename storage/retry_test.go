package storage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pdskit/pdskit/storage"
)

// conflictStore is a store whose next Updates conflict after their closures
// have succeeded.
type conflictStore struct {
	storage.Store
	conflicts, begun int
}

func (s *conflictStore) Update(_ context.Context, fn func(storage.Tx) error) error {
	s.begun++
	if err := fn(nil); err != nil {
		return err
	}
	if s.conflicts > 0 {
		s.conflicts--
		return fmt.Errorf("%w: with another", storage.ErrConflict)
	}
	return nil
}

func TestRetry(t *testing.T) {
	own := fmt.Errorf("%w: found by the closure", storage.ErrConflict)
	failed := errors.New("failed")
	for _, c := range []struct {
		name                  string
		conflicts             int
		fn, want              error
		retryBegun, wrapBegun int
	}{
		{"success", 0, nil, nil, 1, 1},
		{"four conflicts", 4, nil, nil, 5, 5},
		{"five conflicts", 5, nil, storage.ErrConflict, 5, 5},
		{"a conflict of the closure's", 0, own, own, 5, 1},
		{"another error", 1, failed, failed, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &conflictStore{conflicts: c.conflicts}
			err := storage.Retry(t.Context(), storage.DocsOf(s), func(storage.Docs) error { return c.fn })
			if !errors.Is(err, c.want) || s.begun != c.retryBegun {
				t.Errorf("Retry: %v after %d transactions, want %v after %d", err, s.begun, c.want, c.retryBegun)
			}
			s = &conflictStore{conflicts: c.conflicts}
			wrapped := storage.Retrying(s)
			err = wrapped.Update(t.Context(), func(storage.Tx) error { return c.fn })
			if !errors.Is(err, c.want) || s.begun != c.wrapBegun {
				t.Errorf("Retrying: %v after %d transactions, want %v after %d", err, s.begun, c.want, c.wrapBegun)
			}
			if below, ok := storage.As[*conflictStore](wrapped); !ok || below != s {
				t.Error("the store below is not found")
			}
		})
	}
}
