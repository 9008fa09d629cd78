package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// TestBackupUnderLoad copies a database while writers work: the copy holds
// what was acknowledged before, and of each writer's later documents a
// beginning, as a single moment does.
func TestBackupUnderLoad(t *testing.T) {
	s := newStore(t)
	const writers = 4
	var acked [writers]atomic.Int64
	write := func(w int) error {
		n := acked[w].Load()
		err := update(s, func(tx storage.Tx) error {
			return put(tx, fmt.Sprintf("%d-%08d", w, n), string(make([]byte, 4000)))
		})
		if err == nil {
			acked[w].Add(1)
		}
		return err
	}
	for range 300 {
		for w := range writers {
			if err := write(w); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := write(w); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	for acked[0].Load() < 320 { // the load is on
	}
	var before, after [writers]int64
	for w := range writers {
		before[w] = acked[w].Load()
	}
	err := s.Backup(t.Context(), path)
	for w := range writers {
		after[w] = acked[w].Load()
	}
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info.Mode(), err)
	}
	copied, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if err := copied.Check(t.Context()); err != nil {
		t.Error(err)
	}
	err = copied.View(t.Context(), func(tx storage.Tx) error {
		for w := range writers {
			list, err := tx.ScanDocs("test", storage.Scan{From: fmt.Sprint(w), To: fmt.Sprint(w + 1), Limit: 1 << 20})
			if err != nil {
				return err
			}
			n := int64(len(list))
			// One more may have been stored than its writer had noted.
			if n < before[w] || n > after[w]+1 {
				t.Errorf("writer %d: %d documents in the copy, %d before the backup, %d after it", w, n, before[w], after[w])
			}
			if last := list[n-1].Key; last != fmt.Sprintf("%d-%08d", w, n-1) {
				t.Errorf("writer %d: the last of %d documents is %s", w, n, last)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBackupRefused(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	there := filepath.Join(dir, "there.db")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), there); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if data, err := os.ReadFile(there); string(data) != "mine" {
		t.Errorf("the file is now %q, %v", data, err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	path := filepath.Join(dir, "copy.db")
	if err := s.Backup(ended, path); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), path); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed backup left a file: %v", err)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pds.db")
	s, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := update(s, func(tx storage.Tx) error { return put(tx, fmt.Sprintf("%04d", i), string(make([]byte, 500))) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for at := len(data) - page; at > len(data)/2; at -= page {
		clear(data[at : at+64]) // the heads of pages
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = sqlite.Open(path, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Check(t.Context()); err == nil {
		t.Error("no damage was found")
	}
}
