package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

// openFile opens the database of a test's folder.
func openFile(t testing.TB, dir string, clock storage.Clock) storage.Store {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(dir, "pds.db"), sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openMemory(t testing.TB, clock storage.Clock) storage.Store {
	t.Helper()
	s, err := sqlite.OpenMemory(sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFile(t *testing.T) {
	storagetest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
		return openFile(t, t.TempDir(), clock)
	}, storagetest.Options{Reopen: openFile, Durable: true})
}

func TestMemory(t *testing.T) {
	storagetest.Run(t, openMemory, storagetest.Options{})
}

func TestCounting(t *testing.T) {
	storagetest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
		return storagetest.Counting(openMemory(t, clock))
	}, storagetest.Options{})
}
