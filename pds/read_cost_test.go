package pds_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// readStore counts what Views read.
type readStore struct {
	storage.Store
	calls, rows int
}

func (s *readStore) Unwrap() storage.Store { return s.Store }

func (s *readStore) View(ctx context.Context, fn func(storage.Tx) error) error {
	return s.Store.View(ctx, func(tx storage.Tx) error { return fn(&readTx{tx, s}) })
}

type readTx struct {
	storage.Tx
	s *readStore
}

func (t *readTx) ListAccounts(after storage.AccountCursor, limit int) ([]storage.Account, error) {
	list, err := t.Tx.ListAccounts(after, limit)
	t.s.calls, t.s.rows = t.s.calls+1, t.s.rows+len(list)
	return list, err
}

func (t *readTx) Head(did syntax.DID) (storage.Head, error) {
	t.s.calls, t.s.rows = t.s.calls+1, t.s.rows+1
	return t.Tx.Head(did)
}

func (t *readTx) Block(did syntax.DID, c cid.Cid) ([]byte, error) {
	t.s.calls++
	return t.Tx.Block(did, c)
}

// The first write of a process to a repository reads the path to its place, not
// the tree: the reads grow with the depth.
func TestColdWriteReadsAPath(t *testing.T) {
	var store *readStore
	srv := pdstest.New(t, func(c *pds.Config) {
		store = &readStore{Store: c.Store}
		c.Store, c.CheckCommits = store, false
	})
	alice, path := srv.CreateAccount("alice"), t.TempDir()+"/repo.car"
	for _, size := range []int{1000, 5000} {
		writeBigCAR(t, path, alice.DID, size)
		car, err := os.ReadFile(path)
		ok(t, err)
		ok(t, sendCAR(t, alice, car))
		cold, err := pds.New(srv.Config)
		ok(t, err)
		rec, err := repo.RecordFromValue(map[string]any{}, noteCollection)
		ok(t, err)
		store.calls = 0
		_, err = cold.Apply(t.Context(), pds.Batch{Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{
			{Action: pds.Create, Collection: noteCollection, RKey: "3aaaaaaaaaaaa", Record: rec}, // in the middle
		}})
		ok(t, err)
		if store.calls == 0 || store.calls > 40 {
			t.Errorf("a write to %d records reads %d blocks", size, store.calls)
		}
		t.Logf("%d records: %d reads", size, store.calls)
	}
}

// A page of listRepos costs the same on a server of any size, wherever it
// begins: one list of accounts and their heads. That the statements below read no
// more is tested by the store (TestNothingIsScanned). With PDSKIT_BIG there are
// 100,000 accounts.
func TestListReposPageCost(t *testing.T) {
	var store *readStore
	srv := pdstest.New(t, func(c *pds.Config) {
		store = &readStore{Store: c.Store}
		c.Store = store
	})
	srv.CreateAccount("alice").CreateRecord("app.bsky.feed.post", syncPost("hello"))
	const limit = 100
	sizes := []int{1000, 3000}
	if os.Getenv(bigEnv) != "" {
		sizes = append(sizes, 100_000)
	}
	n := 1
	for _, size := range sizes {
		for n < size {
			upTo := min(n+500, size)
			ok(t, store.Update(t.Context(), func(tx storage.Tx) error {
				for i := n; i < upTo; i++ {
					did := syntax.DID(fmt.Sprintf("did:plc:%024d", i))
					at := srv.Clock.Now().Add(time.Duration(i/7) * time.Millisecond) // some at the same time
					if _, err := tx.PutAccount(storage.Account{DID: did, CreatedAt: at}); err != nil {
						return err
					}
				}
				return nil
			}))
			n = upTo
		}
		cursor, rows := "", 0
		for page := 1; ; page++ {
			var out struct {
				Cursor string
				Repos  []struct{ DID string }
			}
			store.calls, store.rows = 0, 0
			srv.Get("com.atproto.sync.listRepos", "", url.Values{"limit": {fmt.Sprint(limit)}, "cursor": {cursor}}, &out)
			if store.calls > 1+limit || store.rows > 2*limit {
				t.Fatalf("page %d of %d accounts takes %d reads of %d rows", page, size, store.calls, store.rows)
			}
			rows += store.rows
			if want := page == 1; want != (len(out.Repos) == 1) {
				t.Fatalf("page %d has %d repositories", page, len(out.Repos))
			}
			if cursor = out.Cursor; cursor == "" {
				break
			}
		}
		if rows != 2*size {
			t.Errorf("%d rows were read of %d accounts", rows, size)
		}
	}
}
