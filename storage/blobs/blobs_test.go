package blobs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
)

// each runs a test on an empty store of each kind.
func each(t *testing.T, fn func(t *testing.T, s storage.BlobStore)) {
	t.Run("disk", func(t *testing.T) { fn(t, openDisk(t, t.TempDir())) })
	t.Run("memory", func(t *testing.T) { fn(t, blobs.NewMemory(nil)) })
}

func openDisk(tb testing.TB, dir string) *blobs.Disk {
	tb.Helper()
	d, err := blobs.NewDisk(dir, blobs.DiskOptions{NoSync: true})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func put(tb testing.TB, s storage.BlobStore, key, data string) {
	tb.Helper()
	info, err := s.Put(tb.Context(), key, strings.NewReader(data))
	if err != nil {
		tb.Fatalf("put %q: %v", key, err)
	}
	if want := (storage.BlobInfo{Size: int64(len(data)), SHA256: sha256.Sum256([]byte(data))}); info != want {
		tb.Fatalf("put %q: %+v, want %+v", key, info, want)
	}
}

func read(tb testing.TB, s storage.BlobStore, key string, offset, length int64) string {
	tb.Helper()
	r, err := s.Open(tb.Context(), key, offset, length)
	if err != nil {
		tb.Fatalf("open %q: %v", key, err)
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		tb.Fatalf("read %q: %v", key, err)
	}
	return string(data)
}

// list pages through all keys.
func list(tb testing.TB, s storage.BlobStore, after string, limit int) (keys []string) {
	tb.Helper()
	for {
		page, err := s.List(tb.Context(), after, limit)
		if err != nil {
			tb.Fatal(err)
		}
		if len(page) > limit {
			tb.Fatalf("%d entries, asked for %d", len(page), limit)
		}
		for _, f := range page {
			keys = append(keys, f.Key)
		}
		if len(page) < limit {
			return keys
		}
		after = page[len(page)-1].Key
	}
}

func TestCheckKey(t *testing.T) {
	longest := strings.Repeat("k", blobs.MaxKeyBytes)
	good := []string{"a", "-", "_", "0", "ab/cd", "a/b/c", "tmp", "did-plc_x/3k2a", longest}
	bad := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a.b", "A", "a b", "a\x00", "é", "a\\b", "a+b",
		"c:", longest + "k",
	}
	for _, key := range good {
		if err := blobs.CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range bad {
		if err := blobs.CheckKey(key); !errors.Is(err, blobs.ErrKey) {
			t.Errorf("%q: %v, want ErrKey", key, err)
		}
	}
	each(t, func(t *testing.T, s storage.BlobStore) {
		for _, key := range good {
			put(t, s, key, key)
		}
		for _, key := range bad {
			_, put := s.Put(t.Context(), key, strings.NewReader("x"))
			_, open := s.Open(t.Context(), key, 0, -1)
			for name, err := range map[string]error{"put": put, "open": open, "delete": s.Delete(t.Context(), key)} {
				if !errors.Is(err, blobs.ErrKey) {
					t.Errorf("%s %q: %v, want ErrKey", name, key, err)
				}
			}
		}
		for _, key := range good {
			if got := read(t, s, key, 0, -1); got != key {
				t.Errorf("%q holds %q", key, got)
			}
		}
		slices.Sort(good)
		if got := list(t, s, "", 3); !slices.Equal(got, good) {
			t.Errorf("listed %q, want %q", got, good)
		}
	})
}

func TestRanges(t *testing.T) {
	each(t, func(t *testing.T, s storage.BlobStore) {
		put(t, s, "k", "0123456789")
		put(t, s, "empty", "")
		for _, c := range []struct {
			key            string
			offset, length int64
			want           string
		}{
			{"k", 0, -1, "0123456789"},
			{"k", 0, 10, "0123456789"},
			{"k", 0, 0, ""},
			{"k", 3, 4, "3456"},
			{"k", 3, -1, "3456789"},
			{"k", 3, -5, "3456789"},
			{"k", 9, 1, "9"},
			{"k", 9, 2, "9"},
			{"k", 3, math.MaxInt64, "3456789"},
			{"k", 10, -1, ""},
			{"k", 10, 5, ""},
			{"k", 11, -1, ""},
			{"k", math.MaxInt64, math.MaxInt64, ""},
			{"empty", 0, -1, ""},
			{"empty", 1, 1, ""},
		} {
			if got := read(t, s, c.key, c.offset, c.length); got != c.want {
				t.Errorf("%s from %d, %d bytes: %q, want %q", c.key, c.offset, c.length, got, c.want)
			}
			r, err := s.Open(t.Context(), c.key, c.offset, c.length)
			if err != nil {
				t.Fatal(err)
			}
			var buf bytes.Buffer
			if _, err := io.Copy(&buf, r); err != nil || buf.String() != c.want {
				t.Errorf("%s from %d, %d bytes, copied: %q, want %q (%v)", c.key, c.offset, c.length, &buf, c.want, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Open(t.Context(), "k", -1, 2); !errors.Is(err, blobs.ErrOffset) {
			t.Errorf("a negative offset: %v", err)
		}
		if _, err := s.Open(t.Context(), "kk", 0, -1); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("an absent key: %v", err)
		}
	})
}

func TestKeyIsWrittenOnce(t *testing.T) {
	each(t, func(t *testing.T, s storage.BlobStore) {
		put(t, s, "k", "first")
		if _, err := s.Put(t.Context(), "k", strings.NewReader("second")); !errors.Is(err, storage.ErrExists) {
			t.Fatalf("second put: %v", err)
		}
		if got := read(t, s, "k", 0, -1); got != "first" {
			t.Fatalf("the blob is %q", got)
		}
		var (
			wg   sync.WaitGroup
			errs = make([]error, 8)
			gate = make(chan struct{})
		)
		for i := range errs {
			wg.Go(func() {
				// Nobody's bytes end before everybody has begun.
				r := io.MultiReader(strings.NewReader(fmt.Sprint(i)), readerFunc(func([]byte) (int, error) {
					<-gate
					return 0, io.EOF
				}))
				_, errs[i] = s.Put(t.Context(), "same", r)
			})
		}
		close(gate)
		wg.Wait()
		winner := slices.Index(errs, nil)
		if winner < 0 {
			t.Fatalf("nobody won: %v", errs)
		}
		for i, err := range errs {
			if i != winner && !errors.Is(err, storage.ErrExists) {
				t.Errorf("put %d: %v", i, err)
			}
		}
		if got := read(t, s, "same", 0, -1); got != fmt.Sprint(winner) {
			t.Errorf("the blob is that of put %s, put %d was told that it won", got, winner)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestFailedPut(t *testing.T) {
	broken := errors.New("broken")
	half := func() io.Reader { return strings.NewReader(strings.Repeat("x", 100_000)) }
	each(t, func(t *testing.T, s storage.BlobStore) {
		_, err := s.Put(t.Context(), "k", io.MultiReader(half(), iotest.ErrReader(broken)))
		if err != broken {
			t.Errorf("a failing reader: %v, want its own error unchanged", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, err = s.Put(ctx, "k", io.MultiReader(half(), readerFunc(func(p []byte) (int, error) {
			cancel()
			return copy(p, "more"), nil
		})))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while reading: %v", err)
		}
		// The end of the reader and the end of the context at once.
		ctx, cancel = context.WithCancel(t.Context())
		_, err = s.Put(ctx, "k", readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, io.EOF
		}))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at the end: %v", err)
		}
		if _, err := s.Open(t.Context(), "k", 0, -1); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("something was stored: %v", err)
		}
		put(t, s, "k", "now it works")
		if _, err := s.List(ctx, "", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
		if _, err := s.Open(ctx, "k", 0, -1); !errors.Is(err, context.Canceled) {
			t.Errorf("open: %v", err)
		}
		if err := s.Delete(ctx, "k"); !errors.Is(err, context.Canceled) {
			t.Errorf("delete: %v", err)
		}
	})
}

func TestDelete(t *testing.T) {
	each(t, func(t *testing.T, s storage.BlobStore) {
		put(t, s, "a", "1")
		put(t, s, "a/b", "2")
		put(t, s, "ab", "3")
		for range 2 {
			if err := s.Delete(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(t.Context(), "never/there"); err != nil {
			t.Fatal(err)
		}
		if got := list(t, s, "", 10); !slices.Equal(got, []string{"a/b", "ab"}) {
			t.Fatalf("left: %q", got)
		}
	})
}

// TestListOrder pages through random keys that are hard to order: many share
// beginnings, some are the beginning of others.
func TestListOrder(t *testing.T) {
	each(t, func(t *testing.T, s storage.BlobStore) {
		rng := rand.New(rand.NewPCG(1, 2))
		all := map[string]bool{}
		for range 400 {
			key := ""
			for range 1 + rng.IntN(6) {
				key += string("ab-_/0"[rng.IntN(6)])
			}
			if blobs.CheckKey(key) == nil && !all[key] {
				all[key] = true
				put(t, s, key, key)
			}
		}
		var want []string
		for key := range all {
			want = append(want, key)
		}
		slices.Sort(want)
		for _, limit := range []int{1, 2, 7, len(want), len(want) + 1, math.MaxInt} {
			if got := list(t, s, "", limit); !slices.Equal(got, want) {
				t.Fatalf("by %d: %q, want %q", limit, got, want)
			}
		}
		for _, after := range []string{"a", "a/", "a/b", "b", "-", "~", "a.", "é", "\xff", "ab~"} {
			i, found := slices.BinarySearch(want, after)
			if found {
				i++
			}
			if got := list(t, s, after, 50); !slices.Equal(got, want[i:]) {
				t.Fatalf("after %q: %q, want %q", after, got, want[i:])
			}
		}
		for _, limit := range []int{0, -1} {
			if page, err := s.List(t.Context(), "", limit); err != nil || len(page) != 0 {
				t.Fatalf("limit %d: %v, %v", limit, page, err)
			}
		}
	})
}

type fixedClock struct{ now time.Time }

func (c fixedClock) Now() time.Time       { return c.now }
func (fixedClock) Elapsed() time.Duration { return 0 }

func TestListTellsSizeAndTime(t *testing.T) {
	clock := fixedClock{time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)}
	disk, err := blobs.NewDisk(t.TempDir(), blobs.DiskOptions{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]storage.BlobStore{"disk": disk, "memory": blobs.NewMemory(clock)} {
		put(t, s, "k", "12345")
		page, err := s.List(t.Context(), "", 10)
		if err != nil || len(page) != 1 || page[0].Size != 5 || !page[0].Modified.Equal(clock.now) {
			t.Errorf("%s: %+v (%v)", name, page, err)
		}
	}
	put(t, openDisk(t, t.TempDir()), "k", "") // without a clock
}

func TestReadersOutliveDelete(t *testing.T) {
	s := blobs.NewMemory(nil)
	put(t, s, "k", "data")
	r, err := s.Open(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", "other")
	if got, err := io.ReadAll(r); err != nil || string(got) != "data" {
		t.Fatalf("%q, %v", got, err)
	}
}
