package storagetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

func TestCountingRefusesLargeUpdates(t *testing.T) {
	below, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer below.Close()
	s := storagetest.Counting(below)
	put := func(docs, size int) error {
		return s.Update(context.Background(), func(tx storage.Tx) error {
			for n := range docs {
				key := fmt.Sprintf("%d-%d-%d", docs, size, n)
				if _, err := tx.PutDoc(storage.Doc{Kind: "k", Key: key, Value: make([]byte, size)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, c := range []struct {
		docs, size int
		ok         bool
	}{
		{storage.MaxTxRows, 1, true},
		{storage.MaxTxRows + 1, 1, false},
		{2, storage.MaxTxBytes / 2, true},
		{2, storage.MaxTxBytes/2 + 1, false},
	} {
		err := put(c.docs, c.size)
		large, refused := errors.AsType[*storagetest.TooLargeError](err)
		if refused == c.ok || (err == nil) != c.ok {
			t.Errorf("%d documents of %d bytes: %v", c.docs, c.size, err)
		}
		if refused && (large.Rows != c.docs || large.Bytes != c.docs*c.size) {
			t.Errorf("counted %+v, want %d documents of %d bytes", large, c.docs, c.size)
		}
		found := false
		if err := s.View(context.Background(), func(tx storage.Tx) error {
			_, err := tx.GetDoc("k", fmt.Sprintf("%d-%d-0", c.docs, c.size))
			found = err == nil
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if found != c.ok {
			t.Errorf("%d documents of %d bytes: stored %v, want %v", c.docs, c.size, found, c.ok)
		}
	}
	if rows, bytes, _ := s.Max(); rows != storage.MaxTxRows+1 || bytes != storage.MaxTxBytes+2 {
		t.Errorf("the maxima are %d rows and %d bytes", rows, bytes)
	}
	if guard, ok := storage.GuardOf(s); !ok || guard != below.Guard() {
		t.Error("the wrapper hides the guard")
	}
}
