package pds_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// rowStore notes how many documents and events its largest Update touched.
// Unlike storagetest's counting store it does not mind how long that takes,
// since hundreds of rows take long under the race detector.
type rowStore struct {
	storage.Store
	most atomic.Int64
}

func (s *rowStore) Unwrap() storage.Store { return s.Store }

func (s *rowStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	return s.Store.Update(ctx, func(tx storage.Tx) error {
		c := &rowTx{Tx: tx}
		err := fn(c)
		for {
			most := s.most.Load()
			if c.rows <= most || s.most.CompareAndSwap(most, c.rows) {
				return err
			}
		}
	})
}

type rowTx struct {
	storage.Tx
	rows int64
}

func (t *rowTx) PutDoc(d storage.Doc) (int64, error) {
	t.rows++
	return t.Tx.PutDoc(d)
}

func (t *rowTx) DeleteDoc(kind, key string) error {
	t.rows++
	return t.Tx.DeleteDoc(kind, key)
}

func (t *rowTx) Append(e storage.Event) error {
	t.rows++
	return t.Tx.Append(e)
}

// TestAccountTransactionsAreSmall takes an account with as many sessions as it
// may have through its life.
func TestAccountTransactionsAreSmall(t *testing.T) {
	t.Parallel()
	var rows *rowStore
	srv := pdstest.New(t, func(cfg *pds.Config) {
		inner, err := sqlite.OpenMemory(sqlite.Options{Clock: pdstest.NewClock()})
		ok(t, err)
		t.Cleanup(func() { _ = inner.Close() })
		rows = &rowStore{Store: inner}
		cfg.Store = rows
	})
	a := srv.CreateAccount("alice")
	const sessions = 500 // the default of Limits.Sessions
	ok(t, rows.Store.Update(t.Context(), func(tx storage.Tx) error {
		for i := range sessions - 1 {
			if _, err := tx.PutDoc(storage.Doc{Kind: "session", Key: fmt.Sprint("s", i), Owner: a.DID, Value: []byte("{}")}); err != nil {
				return err
			}
		}
		return nil
	}))
	takeDown(t, srv, string(a.DID), true)
	if most := rows.most.Load(); most < sessions {
		t.Errorf("the takedown touched %d rows: the test does not test", most)
	}
	takeDown(t, srv, string(a.DID), false)
	a.Login()
	a.Post("com.atproto.server.deactivateAccount", map[string]any{"deleteAfter": "2100-01-01T00:00:00Z"}, nil)
	a.Post("com.atproto.server.activateAccount", nil, nil)
	a.Post("com.atproto.identity.updateHandle", map[string]any{"handle": "alicia.test"}, nil)
	ok(t, post(t, srv, "com.atproto.server.createInviteCodes", adminAuth, map[string]any{"codeCount": 1200, "useCount": 1}, nil))
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": a.DID}, nil))
	if most := rows.most.Load(); most > storage.MaxTxRows {
		t.Errorf("an Update touched %d rows", most)
	}
}
