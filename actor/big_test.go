package actor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/actor"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// TestHundredThousand calls 100,000 actors, a hundred of which stay in memory:
// the heap stays below 100 MB, at its highest and at the end.
func TestHundredThousand(t *testing.T) {
	if os.Getenv("PDSKIT_BIG") == "" {
		t.Skip("set PDSKIT_BIG=1")
	}
	const keys, active, most = 100_000, 100, 100 << 20
	clock := pdstest.NewClock()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "pds.db"), sqlite.Options{Clock: clock})
	ok(t, err)
	defer store.Close()
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Store = storage.Store(store) })
	a := rooms(srv, actor.Kind[room]{}, actor.Options{Active: active})
	text := strings.Repeat("x", 500)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	highest := heap()
	for from := 0; from < keys; from += keys / 20 {
		var wg sync.WaitGroup
		for worker := range 16 {
			wg.Go(func() {
				for i := from + worker; i < from+keys/20; i += 16 {
					err := a.Do(t.Context(), fmt.Sprint("room-", i), func(c *actor.Call[room]) error {
						c.State.Count, c.State.Log = i, []string{text}
						return nil
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		highest = max(highest, heap())
	}
	// A hundred of them go on being called.
	for range 20 {
		for i := range active {
			ok(t, a.Do(t.Context(), fmt.Sprint("room-", i), increment))
		}
	}
	for i := range active {
		if got := state(t, a, fmt.Sprint("room-", i)); got.Count != i+20 {
			t.Errorf("room %d has %d", i, got.Count)
		}
	}
	highest = max(highest, heap())
	runtime.GC()
	if end := heap(); highest > most || end > most {
		t.Errorf("the heap takes %d MB, %d at most", end>>20, highest>>20)
	} else {
		t.Logf("the heap takes %d MB, %d at most", end>>20, highest>>20)
	}
}
