package storage_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// countingStore is a wrapper: it embeds a Store, changes what it wants, and
// has Unwrap, so that As and GuardOf find what is below it.
type countingStore struct {
	storage.Store
	updates atomic.Int64
}

func (s *countingStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	s.updates.Add(1)
	return s.Store.Update(ctx, fn)
}

func (s *countingStore) Unwrap() storage.Store { return s.Store }

// A store is wrapped by embedding it. Prove the wrapper with storagetest.Run.
func ExampleAs() {
	ctx := context.Background()
	below, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		log.Fatal(err)
	}
	store := &countingStore{Store: below}
	defer store.Close()

	err = store.Update(ctx, func(tx storage.Tx) error {
		_, err := tx.PutDoc(storage.Doc{Kind: "com.example.greeting", Key: "first", Value: []byte("hello")})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	found, ok := storage.As[*sqlite.Store](store)
	_, guarded := storage.GuardOf(store)
	fmt.Println(store.updates.Load(), ok && found == below, guarded)
	// Output: 1 true true
}
