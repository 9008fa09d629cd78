package pds_test

import (
	"fmt"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

// TestAccountTransactionsAreSmall takes an account with as many sessions as it
// may have through its life, on a store that fails a large Update.
func TestAccountTransactionsAreSmall(t *testing.T) {
	t.Parallel()
	var counting *storagetest.CountingStore
	srv := pdstest.New(t, func(cfg *pds.Config) {
		inner, err := sqlite.OpenMemory(sqlite.Options{Clock: pdstest.NewClock()})
		ok(t, err)
		t.Cleanup(func() { _ = inner.Close() })
		counting = storagetest.Counting(inner)
		cfg.Store = counting
	})
	a := srv.CreateAccount("alice")
	const sessions = 500 // the default of Limits.Sessions
	ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		for i := range sessions - 1 {
			if _, err := tx.PutDoc(storage.Doc{Kind: "session", Key: fmt.Sprint("s", i), Owner: a.DID, Value: []byte("{}")}); err != nil {
				return err
			}
		}
		return nil
	}))
	for i := range 200 {
		a.CreateRecord("app.bsky.feed.post", aPost(fmt.Sprint(i)))
	}
	takeDown(t, srv, string(a.DID), true)
	takeDown(t, srv, string(a.DID), false)
	a.Login()
	a.Post("com.atproto.server.deactivateAccount", map[string]any{"deleteAfter": "2100-01-01T00:00:00Z"}, nil)
	a.Post("com.atproto.server.activateAccount", nil, nil)
	a.Post("com.atproto.identity.updateHandle", map[string]any{"handle": "alicia.test"}, nil)
	ok(t, post(t, srv, "com.atproto.server.createInviteCodes", adminAuth, map[string]any{"codeCount": 5000, "useCount": 1}, nil))
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": a.DID}, nil))
	rows, bytes, _ := counting.Max()
	if rows < sessions {
		t.Errorf("the largest Update has %d rows: the test does not test", rows)
	}
	t.Logf("the largest Updates have %d rows, %d bytes", rows, bytes)
}
