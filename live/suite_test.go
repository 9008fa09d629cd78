package live_test

import (
	"path/filepath"
	"testing"

	"github.com/pdskit/pdskit/live/livetest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

func openMemory(t testing.TB, clock storage.Clock) storage.Store {
	s, err := sqlite.OpenMemory(sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLive(t *testing.T) {
	livetest.Run(t, openMemory, livetest.Options{
		Reopen: func(t testing.TB, dir string, clock storage.Clock) storage.Store {
			s, err := sqlite.Open(filepath.Join(dir, "live.db"), sqlite.Options{Clock: clock})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	})
}

// TestLiveOnAwkwardStore does everything twice, and some of it conflicts.
func TestLiveOnAwkwardStore(t *testing.T) {
	livetest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
		return storagetest.Awkward(openMemory(t, clock))
	}, livetest.Options{})
}
