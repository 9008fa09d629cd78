package actor_test

import (
	"path/filepath"
	"testing"

	"github.com/pdskit/pdskit/actor/actortest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

func openMemory(t testing.TB, clock storage.Clock) storage.Store {
	s, err := sqlite.OpenMemory(sqlite.Options{Clock: clock})
	ok(t, err)
	return s
}

func TestSuite(t *testing.T) {
	actortest.Run(t, openMemory, actortest.Options{
		Reopen: func(t testing.TB, dir string, clock storage.Clock) storage.Store {
			s, err := sqlite.Open(filepath.Join(dir, "pds.db"), sqlite.Options{Clock: clock})
			ok(t, err)
			return s
		},
	})
}

// TestSuiteOnAwkwardStore does everything twice, and some of it conflicts.
func TestSuiteOnAwkwardStore(t *testing.T) {
	actortest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
		return storagetest.Awkward(openMemory(t, clock))
	}, actortest.Options{})
}
