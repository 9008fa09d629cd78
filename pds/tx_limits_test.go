package pds_test

import (
	"os"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

// No write makes a transaction that is larger than the contract of storage
// allows: imports, and the largest batches spread over a large tree.
func TestTransactionsStaySmall(t *testing.T) {
	t.Parallel()
	var counting *storagetest.CountingStore
	srv := pdstest.New(t, func(c *pds.Config) {
		inner, err := sqlite.OpenMemory(sqlite.Options{Clock: c.Clock})
		ok(t, err)
		t.Cleanup(func() { _ = inner.Close() })
		counting = storagetest.Counting(inner)
		c.Store = counting
	})
	alice := srv.CreateAccount("alice")
	path := t.TempDir() + "/repo.car"
	n := scaled(20_000)
	writeBigCAR(t, path, alice.DID, n)
	car, err := os.ReadFile(path)
	ok(t, err)
	ok(t, sendCAR(t, alice, car))
	rows, bytes, took := counting.Max()
	t.Logf("import: at most %d rows, %d bytes, %v", rows, bytes, took)

	var updates, deletes []any
	i := 0
	for path := range alice.Export().Records { // in no order: all over the tree
		collection, rkey, _ := strings.Cut(path, "/")
		if i++; i <= 200 {
			updates = append(updates, map[string]any{
				"$type": applyWrites + "#update", "collection": collection, "rkey": rkey, "value": map[string]any{"i": i},
			})
		} else if i <= 400 {
			deletes = append(deletes, map[string]any{
				"$type": applyWrites + "#delete", "collection": collection, "rkey": rkey,
			})
		}
	}
	mustWrite(t, alice, applyWrites, map[string]any{"validate": false, "writes": updates})
	rows, bytes, took = counting.Max()
	t.Logf("200 updates: at most %d rows, %d bytes, %v", rows, bytes, took)
	mustWrite(t, alice, applyWrites, map[string]any{"writes": deletes})
	rows, bytes, took = counting.Max()
	t.Logf("200 deletes: at most %d rows, %d bytes, %v", rows, bytes, took)
	if got := len(alice.Export().Records); got != n-len(deletes) {
		t.Errorf("%d records", got)
	}
}
