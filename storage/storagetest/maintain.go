package storagetest

import (
	"context"
	"fmt"
	"time"

	"github.com/pdskit/pdskit/storage"
)

var maintainCases = []testCase{
	{
		name: "maintain/collects",
		rule: "Maintain collects deleted accounts and dropped generations of any size within its budget, and touches nothing else.",
		run: func(e *env) {
			keep, gone := e.newRepo(1), e.newRepo(2)
			keep.apply([]storage.Record{record("com.example.a/1", "one")})
			for _, r := range []*repo{keep, gone} {
				g := r.begin()
				for chunk := range 6 {
					var records []storage.Record
					for n := range 300 {
						rec := record(fmt.Sprintf("com.example.a/%04d", chunk*1000+n), fmt.Sprint("value ", chunk, n))
						rec.Rev = revN(1)
						records = append(records, rec)
					}
					r.stage(g, nil, records)
				}
				if r == keep {
					e.update(func(tx storage.Tx) error { return tx.DropGeneration(g) })
				}
			}
			e.update(func(tx storage.Tx) error { return tx.DeleteAccount(gone.did()) })
			rounds := 0
			for more := true; more; rounds++ {
				var err error
				if more, err = e.store.Maintain(background(), storage.Budget{Time: time.Millisecond}); err != nil {
					e.Fatalf("Maintain: %v", err)
				}
				if rounds > 10_000 {
					e.Fatal("Maintain does not come to an end")
				}
			}
			keep.check()
		},
	},
	{
		name: "maintain/cancelled",
		rule: "Maintain ends with the error of its context.",
		run: func(e *env) {
			ctx, cancel := context.WithCancel(background())
			cancel()
			_, err := e.store.Maintain(ctx, storage.Budget{})
			matches(e, "Maintain", err, context.Canceled)
		},
	},
}
