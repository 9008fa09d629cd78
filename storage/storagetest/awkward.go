package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/pdskit/pdskit/storage"
)

// awkwardChance is how many Updates there are to one that conflicts.
const awkwardChance = 16

// Awkward returns a wrapper of store that does all that the contract allows:
// closures of Update run twice, and what the first run has done is gone; now and
// then a transaction conflicts with another, and nothing has happened.
func Awkward(store storage.Store) storage.Store { return &awkward{store} }

type awkward struct{ storage.Store }

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
	if rand.IntN(awkwardChance) == 0 {
		return fmt.Errorf("%w: by chance", storage.ErrConflict)
	}
	return s.Store.Update(ctx, fn)
}
