package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func handleOf(t *testing.T, tx storage.Tx, did syntax.DID) syntax.Handle {
	t.Helper()
	a, err := tx.Account(did)
	if errors.Is(err, storage.ErrNotFound) {
		return "gone"
	}
	if err != nil {
		t.Fatal(err)
	}
	return a.Handle
}

// Whatever accounts are remembered, each transaction sees those of its own
// state: also a View that was there before a change, and an Update after a
// change of its batch, or after one that was undone.
func TestRememberedAccounts(t *testing.T) {
	s := newStore(t)
	const did = syntax.DID("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
	put := func(tx storage.Tx, handle syntax.Handle) error {
		a, err := tx.Account(did)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		a.DID, a.Handle, a.CreatedAt = did, handle, time.Unix(1, 0)
		_, err = tx.PutAccount(a)
		return err
	}
	want := syntax.Handle("gone")
	rng := rand.New(rand.NewPCG(1, 2))
	undone := errors.New("undone")
	for i := range 200 {
		next := syntax.Handle(fmt.Sprintf("h%d.test", i))
		ask := rng.IntN(2) == 0
		change := func(tx storage.Tx) error {
			if ask && handleOf(t, tx, did) != want {
				t.Errorf("round %d: an Update sees %s before its change, want %s", i, handleOf(t, tx, did), want)
			}
			if want != "gone" && i%7 == 0 {
				next = "gone"
				if err := tx.DeleteAccount(did); err != nil {
					return err
				}
			} else if err := put(tx, next); err != nil {
				return err
			}
			if got := handleOf(t, tx, did); got != next {
				t.Errorf("round %d: an Update sees %s after its change, want %s", i, got, next)
			}
			return nil
		}
		err := s.View(context.Background(), func(before storage.Tx) error {
			if ask && handleOf(t, before, did) != want {
				t.Errorf("round %d: a View sees %s, want %s", i, handleOf(t, before, did), want)
			}
			if err := update(s, func(tx storage.Tx) error { return errors.Join(change(tx), undone) }); !errors.Is(err, undone) {
				t.Fatal(err)
			}
			if err := update(s, change); err != nil {
				t.Fatal(err)
			}
			return s.View(context.Background(), func(after storage.Tx) error {
				if got := handleOf(t, after, did); got != next {
					t.Errorf("round %d: a View after the change sees %s, want %s", i, got, next)
				}
				if got := handleOf(t, before, did); got != want {
					t.Errorf("round %d: the View before the change sees %s, want %s", i, got, want)
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		want = next
	}
}

// A remembered account leads to the repository that it has now.
func TestRememberedAccountWithoutRepository(t *testing.T) {
	s := newStore(t)
	r := newTypical(t, s, 1)
	head := func() (h storage.Head) {
		err := s.View(context.Background(), func(tx storage.Tx) (err error) {
			h, err = tx.Head(r.did)
			return err
		})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Fatal(err)
		}
		return h
	}
	if head().CID.Defined() {
		t.Fatal("a head without a repository")
	}
	for range 3 {
		r.commit(t, s)
		if head().CID != r.head.CID {
			t.Error("not the newest head")
		}
	}
}

// More accounts than are remembered are all found.
func TestMoreAccountsThanAreRemembered(t *testing.T) {
	s := newStore(t)
	n := sqlite.MaxCachedAccounts + 10
	did := func(i int) syntax.DID { return syntax.DID(fmt.Sprintf("did:plc:%024d", i)) }
	for from := 0; from < n; from += 500 {
		err := update(s, func(tx storage.Tx) error {
			for i := from; i < min(from+500, n); i++ {
				if _, err := tx.PutAccount(storage.Account{DID: did(i), CreatedAt: time.Unix(1, 0)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		err := s.View(context.Background(), func(tx storage.Tx) error {
			for i := range n {
				if a, err := tx.Account(did(i)); err != nil || a.DID != did(i) {
					return fmt.Errorf("account %d: %s, %w", i, a.DID, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := sqlite.CachedAccounts(s); got == 0 || got > sqlite.MaxCachedAccounts {
		t.Errorf("%d accounts are remembered", got)
	}
}
