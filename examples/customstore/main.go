// Command customstore shows a database of one's own under pdskit: a
// storage.Store that is written outside the SDK, in less than 800 lines, and
// passes the SDK's own suite. It is one ordered map in memory, whose snapshots
// cost nothing. Copy it as a start: it forgets everything when it ends.
//
//	go run ./examples/customstore
//
// creates an account in such a store and lists what is there.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/pdskit/pdskit/storage"
)

func main() {
	store := New(storage.SystemClock())
	if err := run(context.Background(), store); err != nil {
		log.Fatal(err)
	}
	if err := store.Close(); err != nil {
		log.Fatal(err)
	}
}

// run adds an account, and prints all of them.
func run(ctx context.Context, store storage.Store) error {
	alice := storage.Account{DID: "did:web:alice.test", Handle: "alice.test", CreatedAt: time.Now()}
	err := store.Update(ctx, func(tx storage.Tx) error {
		_, err := tx.PutAccount(alice)
		return err
	})
	if err != nil {
		return err
	}
	return store.View(ctx, func(tx storage.Tx) error {
		list, err := tx.ListAccounts(storage.AccountCursor{}, 100)
		for _, a := range list {
			fmt.Println(a.CreatedAt.Format(time.DateTime), a.DID, a.Handle)
		}
		return err
	})
}
