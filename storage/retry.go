package storage

import (
	"context"
	"errors"
)

// maxRetries is how often a transaction that conflicts is begun.
const maxRetries = 5

// Retry runs an Update of s, and again if it returns [ErrConflict], up to five
// times. fn does nothing but to its Docs, as with any Update.
func Retry(ctx context.Context, s DocStore, fn func(Docs) error) error {
	var err error
	for range maxRetries {
		if err = s.Update(ctx, fn); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

// Retrying returns a wrapper of s that runs an Update again, up to five times in
// all, if its closure succeeded and the store says [ErrConflict] nevertheless:
// the transaction got in another's way. A conflict that the closure itself has
// found comes back at once, since the caller has to decide anew. A server uses
// its store so.
func Retrying(s Store) Store { return &retrying{s} }

type retrying struct{ Store }

var _ Store = (*retrying)(nil)

// Unwrap returns the store below, see [As].
func (s *retrying) Unwrap() Store { return s.Store }

func (s *retrying) Update(ctx context.Context, fn func(Tx) error) error {
	var err error
	for range maxRetries {
		var own error
		err = s.Store.Update(ctx, func(tx Tx) error {
			own = fn(tx)
			return own
		})
		if own != nil || !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}
