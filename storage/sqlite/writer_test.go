package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"go.uber.org/goleak"
)

func newStore(t testing.TB) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "pds.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(tx storage.Tx, key, value string) error {
	d, err := tx.GetDoc("test", key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{Kind: "test", Key: key, Version: d.Version, Value: []byte(value)})
	return err
}

func update(s storage.Store, fn func(tx storage.Tx) error) error {
	return s.Update(context.Background(), fn)
}

func wantDocs(t testing.TB, s storage.Store, want ...string) {
	t.Helper()
	var got []string
	err := s.View(context.Background(), func(tx storage.Tx) error {
		list, err := tx.ScanDocs("test", storage.Scan{Limit: 100_000})
		for _, d := range list {
			got = append(got, d.Key)
		}
		return err
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("the documents are %.200q (%v), want %.200q", got, err, want)
	}
}

// together runs closures so that they stand in the queue at once, behind one
// that runs already.
func together(t testing.TB, s *sqlite.Store, fns ...func(tx storage.Tx) error) []error {
	t.Helper()
	results := make([]error, len(fns))
	var wg sync.WaitGroup
	defer wg.Wait()
	started := false
	err := update(s, func(storage.Tx) error {
		if started {
			return nil // it runs again because its batch was lost
		}
		started = true
		for i, fn := range fns {
			wg.Go(func() { results[i] = update(s, fn) })
			for s.Queued() <= i {
				runtime.Gosched()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	return results
}

func TestBatchesShareACommit(t *testing.T) {
	s := newStore(t)
	var fns []func(tx storage.Tx) error
	for n := range sqlite.MaxBatch {
		fns = append(fns, func(tx storage.Tx) error { return put(tx, fmt.Sprintf("%03d", n), "x") })
	}
	before := s.Commits()
	for _, err := range together(t, s, fns...) {
		if err != nil {
			t.Fatal(err)
		}
	}
	// One for the closure in front, and a few where the time of a batch ran out.
	if n := s.Commits() - before; n > sqlite.MaxBatch/4 {
		t.Fatalf("%d closures took %d commits", len(fns), n)
	}
	err := s.View(context.Background(), func(tx storage.Tx) error {
		var last int64 // versions rise as documents are stored: FIFO
		for n := range sqlite.MaxBatch {
			d, err := tx.GetDoc("test", fmt.Sprintf("%03d", n))
			if err != nil || d.Version <= last {
				return fmt.Errorf("closure %d ran out of order (%w)", n, err)
			}
			last = d.Version
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailuresInABatch(t *testing.T) {
	s := newStore(t)
	own := errors.New("own")
	results := together(t, s,
		func(tx storage.Tx) error { return put(tx, "a", "1") },
		func(tx storage.Tx) error { return errors.Join(put(tx, "b", "1"), own) },
		func(tx storage.Tx) error { return put(tx, "c", "1") },
		func(tx storage.Tx) error { return errors.Join(put(tx, "a", "2"), own) },
	)
	if want := []error{nil, own, nil, own}; fmt.Sprint(results) != fmt.Sprint(want) {
		t.Fatalf("the results are %v, want %v", results, want)
	}
	wantDocs(t, s, "a", "c")
}

// A failure after which SQLite has rolled back the whole transaction takes the
// closures of the same batch with it: they run again.
func TestLostBatch(t *testing.T) {
	s := newStore(t)
	runs := 0
	for round := 0; runs < 2; round++ {
		if round == 100 {
			t.Fatal("the closures never met in one batch")
		}
		runs = 0
		results := together(t, s,
			func(tx storage.Tx) error { runs++; return put(tx, "a", "1") },
			func(tx storage.Tx) error {
				if err := put(tx, "b", "1"); err != nil {
					return err
				}
				if err := sqlite.Raw(tx, "ROLLBACK"); err != nil {
					return err
				}
				if err := sqlite.Exec(tx, "INSERT INTO no_such_table VALUES (1)"); err == nil {
					return errors.New("the failure is missing")
				}
				return put(tx, "autocommit", "1")
			},
			func(tx storage.Tx) error { return put(tx, "c", "1") },
		)
		if results[0] != nil || results[1] == nil || results[2] != nil {
			t.Fatalf("the results are %v", results)
		}
		wantDocs(t, s, "a", "c")
	}
}

func TestIgnoredFailure(t *testing.T) {
	s := newStore(t)
	err := update(s, func(tx storage.Tx) error {
		if err := put(tx, "a", "1"); err != nil {
			return err
		}
		_ = sqlite.Exec(tx, "INSERT INTO no_such_table VALUES (1)")
		return put(tx, "b", "1")
	})
	if err == nil || !strings.Contains(err.Error(), "no_such_table") {
		t.Fatalf("Update returned %v, want the failure that its closure ignored", err)
	}
	wantDocs(t, s)
}

func TestGoexit(t *testing.T) {
	s := newStore(t)
	for range 3 {
		ended := make(chan bool)
		go func() {
			defer func() { ended <- recover() == nil }()
			_ = update(s, func(tx storage.Tx) error {
				defer runtime.Goexit()
				return put(tx, "a", "1")
			})
			t.Error("Update returned after its closure ended the goroutine")
		}()
		if !<-ended {
			t.Fatal("the goroutine panicked")
		}
		if err := update(s, func(tx storage.Tx) error { return put(tx, "b", "1") }); err != nil {
			t.Fatal(err)
		}
	}
	wantDocs(t, s, "b")
}

func TestPoisoned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pds.db")
	s, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := update(s, func(tx storage.Tx) error { return put(tx, "a", "1") }); err != nil {
		t.Fatal(err)
	}
	// A COMMIT without a transaction is one that fails.
	err = update(s, func(tx storage.Tx) error { return errors.Join(put(tx, "b", "1"), sqlite.Raw(tx, "ROLLBACK")) })
	if !errors.Is(err, sqlite.ErrPoisoned) {
		t.Fatalf("Update returned %v", err)
	}
	ran := false
	fn := func(storage.Tx) error { ran = true; return nil }
	_, maintain := s.Maintain(context.Background(), storage.Budget{})
	for _, err := range []error{update(s, fn), s.View(context.Background(), fn), maintain} {
		if !errors.Is(err, sqlite.ErrPoisoned) {
			t.Fatalf("a poisoned store returned %v", err)
		}
	}
	if ran {
		t.Fatal("a poisoned store ran a closure")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = sqlite.Open(path, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantDocs(t, s, "a")
}

func TestSecondOpen(t *testing.T) {
	s := newStore(t)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(s.Path(), link); err != nil {
		t.Skip(err)
	}
	for _, path := range []string{s.Path(), link} {
		_, err := sqlite.Open(path, sqlite.Options{})
		locked, ok := errors.AsType[*sqlite.LockedError](err)
		if !ok || !strings.Contains(locked.Holder, fmt.Sprintf("process %d on ", os.Getpid())) {
			t.Fatalf("the second Open returned %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := sqlite.Open(link, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"missing folder": filepath.Join(dir, "none", "x.db"), "other file": text, "folder": dir} {
		if s, err := sqlite.Open(path, sqlite.Options{}); err == nil {
			s.Close()
			t.Errorf("%s: Open returned no error", name)
		}
	}
	if _, err := sqlite.OpenMemory(sqlite.Options{ReadConns: -1}); err == nil {
		t.Error("negative ReadConns are accepted")
	}
	odd := filepath.Join(dir, "odd ?#%41&name.db")
	s, err := sqlite.Open(odd, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := os.Stat(odd); err != nil {
		t.Error(err)
	}
}

func TestMemoryLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := update(s, func(tx storage.Tx) error { return put(tx, "a", "1") }); err != nil {
		t.Fatal(err)
	}
	wantDocs(t, s, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(s.Path())); !os.IsNotExist(err) {
		t.Fatalf("the folder is still there (%v)", err)
	}
}
