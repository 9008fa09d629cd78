package oauth_test

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
)

// stores are stores on which races are run, as changes of a configuration.
var stores = map[string]func(*oauth.Config){
	"sqlite":  func(*oauth.Config) {},
	"awkward": func(c *oauth.Config) { c.Store = awkward{c.Store} },
}

// awkward does all that the contract of a store allows: closures of Update run
// twice, what the first run has done is gone, and now and then a transaction
// conflicts with another and nothing has happened.
type awkward struct{ storage.DocStore }

var errDiscard = errors.New("discarded")

func (s awkward) Update(ctx context.Context, fn func(storage.Docs) error) error {
	err := s.DocStore.Update(ctx, func(docs storage.Docs) error {
		if err := fn(docs); err != nil {
			return err
		}
		return errDiscard
	})
	if !errors.Is(err, errDiscard) {
		return err
	}
	if rand.IntN(16) == 0 {
		return storage.ErrConflict
	}
	return s.DocStore.Update(ctx, fn)
}
