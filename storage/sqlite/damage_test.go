package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// wantPrefix checks that the documents are 0000, 0001, ... without a gap, at
// least so many.
func wantPrefix(t testing.TB, path string, least int) (n int) {
	t.Helper()
	s, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.View(context.Background(), func(tx storage.Tx) error {
		list, err := tx.ScanDocs("test", storage.Scan{Limit: 100_000})
		if err != nil {
			return err
		}
		for i, d := range list {
			if d.Key != fmt.Sprintf("%04d", i) {
				return fmt.Errorf("document %d is %q", i, d.Key)
			}
		}
		n = len(list)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < least {
		t.Fatalf("%d documents are left, %d were acknowledged", n, least)
	}
	return n
}

// What was acknowledged survives whatever happens to the log behind it.
func TestDamagedLog(t *testing.T) {
	s := newStore(t)
	write := func(from, to int) {
		for n := from; n < to; n++ {
			if err := update(s, func(tx storage.Tx) error { return put(tx, fmt.Sprintf("%04d", n), fmt.Sprint("value ", n)) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	const acked, more = 20, 10
	write(0, acked)
	info, err := os.Stat(s.Path() + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	write(acked, acked+more)
	db, err := os.ReadFile(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(s.Path() + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	end := int(info.Size())
	if len(log) <= end {
		t.Fatalf("the log went from %d to %d bytes", end, len(log))
	}
	for round := range 24 {
		path := filepath.Join(t.TempDir(), "copy.db")
		damaged := append([]byte(nil), log...)
		at := end + rand.IntN(len(log)-end)
		switch round % 3 {
		case 0:
			damaged = damaged[:at]
		case 1:
			damaged[at] ^= 1 << rand.IntN(8)
		case 2:
			clear(damaged[at:])
		}
		if err := os.WriteFile(path, db, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+"-wal", damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		wantPrefix(t, path, acked)
	}
}

func TestFullDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pds.db")
	s, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := update(s, func(tx storage.Tx) error { return sqlite.Raw(tx, "PRAGMA max_page_count=300") }); err != nil {
		t.Fatal(err)
	}
	acked := 0
	value := string(make([]byte, 10_000))
	for ; err == nil; acked++ {
		err = update(s, func(tx storage.Tx) error {
			if err := tx.Append(storage.Event{DID: "did:plc:x", Kind: "x"}); err != nil {
				return err
			}
			return put(tx, fmt.Sprintf("%04d", acked), value)
		})
	}
	acked--
	if acked == 0 || acked > 200 {
		t.Fatalf("%d writes fitted in", acked)
	}
	// Reading goes on, and writing once there is room.
	err = s.View(context.Background(), func(tx storage.Tx) error {
		events, err := tx.ListEvents(0, 1000, 1<<20)
		if len(events) != acked {
			t.Errorf("%d events for %d writes", len(events), acked)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := update(s, func(tx storage.Tx) error { return sqlite.Raw(tx, "PRAGMA max_page_count=100000") }); err != nil {
		t.Fatal(err)
	}
	if err := update(s, func(tx storage.Tx) error { return put(tx, fmt.Sprintf("%04d", acked), value) }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if n := wantPrefix(t, path, acked+1); n != acked+1 {
		t.Fatalf("%d documents, want %d", n, acked+1)
	}
}

// The log stays bounded under constant writes while readers follow each other
// without a pause.
func TestLogIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 250 MB")
	}
	s, err := sqlite.OpenMemory(sqlite.Options{ReadConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := newTypical(t, s, 1)
	for range 100 {
		r.commit(t, s)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := s.View(context.Background(), func(tx storage.Tx) error {
					for _, err := range tx.Export(r.did, syntax.TID("")) {
						if err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	value := string(make([]byte, 1<<20))
	largest := int64(0)
	for n := range 250 {
		if err := update(s, func(tx storage.Tx) error { return put(tx, fmt.Sprint(n%16), value) }); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(s.Path() + "-wal"); err == nil {
			largest = max(largest, info.Size())
		}
	}
	close(stop)
	wg.Wait()
	if largest > sqlite.MaxLogBytes*5/4 {
		t.Fatalf("the log grew to %d MB", largest>>20)
	}
	t.Logf("the log grew to %d MB", largest>>20)
}

// The views for the shell show CIDs as text.
func TestShellViews(t *testing.T) {
	s := newStore(t)
	r := newTypical(t, s, 1)
	c, _ := r.next()
	err := update(s, func(tx storage.Tx) error {
		if err := tx.Apply(c); err != nil {
			return err
		}
		for sql, want := range map[string]string{
			"SELECT cid FROM repository_records":                 c.Puts[0].CID.String(),
			"SELECT did FROM repository_records":                 string(r.did),
			"SELECT rev FROM repositories":                       string(c.Head.Rev),
			"SELECT did FROM accounts":                           string(r.did),
			"SELECT author FROM repository_records":              string(r.did),
			"SELECT count(*) || '' FROM account_blobs":           "0",
			"SELECT integrity_check FROM pragma_integrity_check": "ok",
		} {
			if got, err := sqlite.Text(tx, sql); err != nil || got != want {
				t.Errorf("%s gives %q (%v), want %q", sql, got, err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDocNameLimits(t *testing.T) {
	s := newStore(t)
	for _, c := range []struct {
		kind, key int
		ok        bool
	}{{64, 1024, true}, {65, 1, false}, {1, 1025, false}} {
		err := update(s, func(tx storage.Tx) error {
			_, err := tx.PutDoc(storage.Doc{Kind: strings.Repeat("k", c.kind), Key: strings.Repeat("x", c.key)})
			return err
		})
		if (err == nil) != c.ok {
			t.Errorf("a kind of %d and a key of %d bytes: %v", c.kind, c.key, err)
		}
	}
}
