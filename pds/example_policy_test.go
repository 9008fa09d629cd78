package pds_test

import (
	"context"
	"fmt"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

// A quota of three records for each account. The counter is a document of the
// policy; it is stored in the same transaction as the record that it counts, or
// not at all.
func ExamplePolicy() {
	quota := pds.PolicyFunc(func(_ context.Context, w *pds.Write) error {
		if w.Ops == nil {
			return nil // an upload, say: not our concern
		}
		counter := pds.DocumentKey{Kind: "com.example.quota", Owner: w.Account}
		used := 0
		if _, err := w.State.GetJSON(counter, &used); err != nil {
			return err
		}
		for _, op := range w.Ops {
			switch op.Action {
			case pds.Create:
				used++
			case pds.Delete:
				used--
			}
		}
		if used > 3 {
			return xrpc.NewError(400, "QuotaExceeded", "Three records are enough")
		}
		return w.State.PutJSON(counter, used)
	})
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	cfg := memoryConfig(store)
	cfg.Policy = quota
	srv := must(pds.New(cfg))

	ctx := context.Background()
	account := must(srv.CreateAccount(ctx, pds.NewAccount{Handle: "alice.test"}))
	for i := range 4 {
		note := must(repo.RecordFromValue(map[string]any{"text": "hello"}, "com.example.note"))
		_, err := srv.Apply(ctx, pds.Batch{
			Account: account.DID, Actor: account.DID,
			Ops: []pds.Op{{Action: pds.Create, Collection: "com.example.note", Record: note}},
		})
		fmt.Println(i+1, err)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
	// 4 xrpc: 400 QuotaExceeded: Three records are enough
}
