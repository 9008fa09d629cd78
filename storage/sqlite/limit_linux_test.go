package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// When the system takes no more bytes, writes fail and nothing of them remains,
// also after a crash; reading goes on; and so does writing when there is room
// again. Here files may not grow beyond a limit.
func TestFileSizeLimit(t *testing.T) {
	if dir := os.Getenv("SQLITE_TEST_LIMIT_DIR"); dir != "" {
		writeToTheLimit(t, dir, os.Getenv("SQLITE_TEST_LIMIT_RAISE") != "")
		return
	}
	for _, raise := range []string{"", "1"} {
		t.Run("raised="+raise, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$", "-test.v")
			cmd.Env = append(os.Environ(), "SQLITE_TEST_LIMIT_DIR="+dir, "SQLITE_TEST_LIMIT_RAISE="+raise)
			out, err := cmd.CombinedOutput()
			if err != nil || bytes.Contains(out, []byte("--- SKIP")) {
				t.Fatalf("%v: %s", err, out)
			}
			var acked []string
			for line := range strings.Lines(string(out)) {
				if key, ok := strings.CutPrefix(line, "acknowledged "); ok {
					acked = append(acked, strings.TrimSpace(key))
				}
			}
			// The child has not closed the store: what it leaves is what a crash does.
			s, err := sqlite.Open(filepath.Join(dir, "pds.db"), sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if len(acked) < 20 {
				t.Fatalf("%d writes: %s", len(acked), out)
			}
			wantKeys(t, s, acked)
		})
	}
}

// wantKeys checks that there are these documents and no others.
func wantKeys(t *testing.T, s *sqlite.Store, want []string) {
	t.Helper()
	var got []string
	err := s.View(context.Background(), func(tx storage.Tx) error {
		list, err := tx.ScanDocs("test", storage.Scan{Limit: 100_000})
		for _, d := range list {
			got = append(got, d.Key)
		}
		return err
	})
	want = slices.Sorted(slices.Values(want))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d documents are there and %d writes were acknowledged (%v)", len(got), len(want), err)
	}
}

func writeToTheLimit(t *testing.T, dir string, raise bool) {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := sqlite.Open(filepath.Join(dir, "pds.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	repo := newTypical(t, s, 1)
	repo.commit(t, s)
	limit := func(bytes uint64) { // 0: as much as there is
		t.Helper()
		var now syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
			t.Fatal(err)
		}
		if now.Cur = bytes; bytes == 0 {
			now.Cur = now.Max
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
			t.Fatal(err)
		}
	}
	limit(2 << 20)
	var (
		mu    sync.Mutex // guards following
		acked []string
	)
	write := func(key string, size int) error {
		err := update(s, func(tx storage.Tx) error { return put(tx, key, strings.Repeat("x", size)) })
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			acked = append(acked, key)
		}
		return err
	}
	// Several write at a time, so that commits are shared, and go on when they
	// are refused, with what might just fit in.
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			refused := 0
			for i := 0; refused < 50; i++ {
				err := write(fmt.Sprintf("%d-%05d", w, i), 20_000>>(i%8))
				if err != nil && !errors.Is(err, storage.ErrFull) {
					t.Errorf("a write failed with %v", err)
					return
				}
				if err != nil {
					refused++
				}
			}
		})
	}
	writers.Wait()
	wantKeys(t, s, acked)
	again := func(write func() error) {
		t.Helper()
		limit(0)
		err, deadline := storage.ErrFull, time.Now().Add(30*time.Second)
		for errors.Is(err, storage.ErrFull) && time.Now().Before(deadline) {
			err = write()
		}
		if err != nil {
			t.Fatalf("when there is room again: %v", err)
		}
	}
	if raise {
		again(func() error { return write("again", 100_000) })
		for i := range 200 {
			if err := write(fmt.Sprintf("later-%05d", i), 20_000); err != nil {
				t.Fatal(err)
			}
		}
		// A commit of a repository that was refused fits in afterwards: nothing
		// remembers it.
		log, err := os.Stat(s.Path() + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		limit(uint64(log.Size()) + 100_000)
		var next *storage.Commit
		var event storage.Event
		apply := func() error {
			return update(s, func(tx storage.Tx) error { return errors.Join(tx.Apply(next), tx.Append(event)) })
		}
		for err = nil; err == nil; {
			next, event = repo.next()
			err = apply()
		}
		if !errors.Is(err, storage.ErrFull) {
			t.Errorf("a commit failed with %v", err)
		}
		again(apply)
		wantKeys(t, s, acked)
	}
	for _, key := range acked {
		fmt.Println("acknowledged", key)
	}
}
