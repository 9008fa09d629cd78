package sqlite_test

import (
	"context"
	"fmt"
	"log"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func Example() {
	store, err := sqlite.OpenMemory(sqlite.Options{}) // or sqlite.Open("pds.db", ...)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	ctx := context.Background()
	err = store.Update(ctx, func(tx storage.Tx) error {
		_, err := tx.PutDoc(storage.Doc{Kind: "greeting", Key: "en", Value: []byte("hello")})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	err = store.View(ctx, func(tx storage.Tx) error {
		d, err := tx.GetDoc("greeting", "en")
		fmt.Printf("%s\n", d.Value)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: hello
}
