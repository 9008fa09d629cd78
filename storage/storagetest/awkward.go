package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/pdskit/pdskit/storage"
)

const (
	// awkwardChance is how many Updates there are to one that conflicts.
	awkwardChance = 16

	// awkwardRow is how many conflict in a row at most.
	awkwardRow = 3
)

// Awkward returns a wrapper of store that does all that the contract allows:
// closures of Update run twice, and what the first run has done is gone; now and
// then a transaction conflicts with another, and nothing has happened. Three
// Updates in a row may, not more, so that retries in a test come to an end.
func Awkward(store storage.Store) storage.Store { return &awkward{Store: store} }

type awkward struct {
	storage.Store
	row atomic.Int32
}

var _ storage.Store = (*awkward)(nil)

// Unwrap returns the store below, see [storage.As].
func (s *awkward) Unwrap() storage.Store { return s.Store }

var errDiscard = errors.New("storagetest: discarded")

func (s *awkward) Update(ctx context.Context, fn func(storage.Tx) error) error {
	err := s.Store.Update(ctx, func(tx storage.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return errDiscard
	})
	if !errors.Is(err, errDiscard) {
		return err
	}
	if rand.IntN(awkwardChance) == 0 && s.row.Add(1) <= awkwardRow {
		return fmt.Errorf("%w: by chance", storage.ErrConflict)
	}
	s.row.Store(0)
	return s.Store.Update(ctx, fn)
}
