package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/pdskit/pdskit/storage"
)

// BlobOptions say what a BlobStore can do besides the contract's minimum.
type BlobOptions struct {
	// Reopen opens the store again that open last returned for this test. A
	// store that keeps nothing leaves it nil; the case is then skipped.
	Reopen func(t testing.TB, s storage.BlobStore) storage.BlobStore
}

// blobCase is one rule of [storage.BlobStore] and its check.
type blobCase struct {
	name string
	rule string
	run  func(t *testing.T, s storage.BlobStore)
}

// RunBlobs runs the suite of [storage.BlobStore]. Open returns a new, empty
// store; if that needs closing, open registers a cleanup.
func RunBlobs(t *testing.T, open func(t testing.TB) storage.BlobStore, opts BlobOptions) {
	run := func(name, rule string, fn func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the rule: %s", rule)
				}
			})
			fn(t)
		})
	}
	for _, c := range blobStoreCases {
		run(c.name, c.rule, func(t *testing.T) { c.run(t, open(t)) })
	}
	run("reopen", "What Put returned for is there after opening again.", func(t *testing.T) {
		if opts.Reopen == nil {
			t.Skip("the store cannot be reopened")
		}
		s := open(t)
		putBytes(t, s, "a/b", []byte("kept"))
		s = opts.Reopen(t, s)
		wantBytes(t, s, "a/b", 0, -1, "kept")
	})
}

func putBytes(t *testing.T, s storage.BlobStore, key string, data []byte) {
	t.Helper()
	info, err := s.Put(context.Background(), key, bytes.NewReader(data))
	if err != nil {
		t.Fatalf("Put %s: %v", key, err)
	}
	if want := (storage.BlobInfo{Size: int64(len(data)), SHA256: sha256.Sum256(data)}); info != want {
		t.Fatalf("Put %s returned %+v, want %+v", key, info, want)
	}
}

func wantBytes(t *testing.T, s storage.BlobStore, key string, offset, length int64, want string) {
	t.Helper()
	r, err := s.Open(context.Background(), key, offset, length)
	if err != nil {
		t.Fatalf("Open %s [%d, +%d): %v", key, offset, length, err)
	}
	got, err := io.ReadAll(r)
	if closeErr := r.Close(); err != nil || closeErr != nil {
		t.Fatalf("reading %s: %v, %v", key, err, closeErr)
	}
	if string(got) != want {
		t.Fatalf("%s [%d, +%d) is %.40q (%d bytes), want %.40q (%d bytes)", key, offset, length, got, len(got), want, len(want))
	}
}

func wantNone(t *testing.T, s storage.BlobStore, key string) {
	t.Helper()
	r, err := s.Open(context.Background(), key, 0, -1)
	if err == nil {
		r.Close()
	}
	if !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("Open %s returned %v, want ErrNotFound", key, err)
	}
}

// listAll reads the whole list in pages.
func listAll(t *testing.T, s storage.BlobStore, limit int) (keys []string) {
	t.Helper()
	after := ""
	for {
		page, err := s.List(context.Background(), after, limit)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		if len(page) > limit {
			t.Fatalf("List returned %d entries with limit %d", len(page), limit)
		}
		if len(page) == 0 {
			return keys
		}
		for _, f := range page {
			keys = append(keys, f.Key)
		}
		if len(keys) > 10_000 {
			t.Fatal("List does not come to an end")
		}
		after = keys[len(keys)-1]
	}
}

var blobStoreCases = []blobCase{
	{
		name: "round-trip",
		rule: "Put stores the bytes it reads, of any length, and returns their size and SHA-256.",
		run: func(t *testing.T, s storage.BlobStore) {
			for i, size := range []int{0, 1, 511, 4096, 100_000, 1 << 20} {
				data := bytes.Repeat([]byte{byte(i), 'x', 0}, size/3+1)[:size]
				key := fmt.Sprintf("size/%d", size)
				putBytes(t, s, key, data)
				wantBytes(t, s, key, 0, -1, string(data))
			}
			info, err := s.Put(context.Background(), "slow", iotest.OneByteReader(strings.NewReader("slowly")))
			if err != nil || info.Size != 6 {
				t.Fatalf("Put returned %+v, %v", info, err)
			}
			wantBytes(t, s, "slow", 0, -1, "slowly")
		},
	},
	{
		name: "ranges",
		rule: "Open returns length bytes from offset, to the end if length is negative; a range beyond the end is cut.",
		run: func(t *testing.T, s storage.BlobStore) {
			const text = "0123456789"
			putBytes(t, s, "k", []byte(text))
			for offset := range int64(13) {
				for _, length := range []int64{-1, 0, 1, 5, 10, 11, 1 << 40} {
					want := text[min(offset, 10):]
					if length >= 0 {
						want = want[:min(length, int64(len(want)))]
					}
					wantBytes(t, s, "k", offset, length, want)
				}
			}
		},
	},
	{
		name: "missing",
		rule: "Open of a key that is not there gives ErrNotFound; deleting one is no error.",
		run: func(t *testing.T, s storage.BlobStore) {
			wantNone(t, s, "none")
			wantNone(t, s, "a/b/c")
			if err := s.Delete(context.Background(), "a/b/c"); err != nil {
				t.Fatalf("Delete: %v", err)
			}
		},
	},
	{
		name: "written-once",
		rule: "A key that is there gives ErrExists and keeps its bytes; once deleted it is gone from Open and List.",
		run: func(t *testing.T, s storage.BlobStore) {
			putBytes(t, s, "k", []byte("first"))
			if _, err := s.Put(context.Background(), "k", strings.NewReader("second")); !errors.Is(err, storage.ErrExists) {
				t.Fatalf("Put returned %v, want ErrExists", err)
			}
			wantBytes(t, s, "k", 0, -1, "first")
			for range 2 {
				if err := s.Delete(context.Background(), "k"); err != nil {
					t.Fatalf("Delete: %v", err)
				}
			}
			wantNone(t, s, "k")
			if keys := listAll(t, s, 10); len(keys) != 0 {
				t.Fatalf("the list is %q", keys)
			}
		},
	},
	{
		name: "failed-put",
		rule: "If the reader fails or the context ends, Put returns that error and leaves nothing behind.",
		run: func(t *testing.T, s storage.BlobStore) {
			own := errors.New("own")
			r := io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000)), iotest.ErrReader(own))
			if _, err := s.Put(context.Background(), "a/failed", r); !errors.Is(err, own) {
				t.Fatalf("Put returned %v, want the reader's error", err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			r = io.MultiReader(strings.NewReader("some"), readerFunc(func(p []byte) (int, error) {
				cancel()
				return copy(p, "more"), nil
			}))
			if _, err := s.Put(ctx, "b/cancelled", r); !errors.Is(err, context.Canceled) {
				t.Fatalf("Put returned %v, want the context's error", err)
			}
			for _, key := range []string{"a/failed", "b/cancelled"} {
				wantNone(t, s, key)
			}
			if keys := listAll(t, s, 10); len(keys) != 0 {
				t.Fatalf("the list is %q", keys)
			}
			putBytes(t, s, "a/failed", []byte("now it works"))
			wantBytes(t, s, "a/failed", 0, -1, "now it works")
		},
	},
	{
		name: "keys",
		rule: "Keys are up to 200 bytes of [a-z0-9_-] in segments; others are refused and reach nothing.",
		run: func(t *testing.T, s storage.BlobStore) {
			long := strings.Repeat("ab_-9/", 33) + "zz"
			for _, key := range []string{"a", "-", "_", "0/1", "a/b/c/d", "con", long} {
				putBytes(t, s, key, []byte("value of "+key))
			}
			for _, key := range []string{"a", "-", "_", "0/1", "a/b/c/d", "con", long} {
				wantBytes(t, s, key, 0, -1, "value of "+key)
			}
			for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "A", "a b", "a.b", "a\\b", "a\x00", "é", long + "z"} {
				if _, err := s.Put(context.Background(), key, strings.NewReader("x")); err == nil {
					t.Errorf("Put accepts the key %q", key)
				}
				if r, err := s.Open(context.Background(), key, 0, -1); err == nil {
					r.Close()
					t.Errorf("Open finds the key %q", key)
				}
			}
		},
	},
	{
		name: "list",
		rule: "List returns the stored keys after the given one, in byte order, with their sizes, at most limit.",
		run: func(t *testing.T, s storage.BlobStore) {
			var want []string
			for _, a := range []string{"a", "a-b", "a_", "ab", "b", "0"} {
				for _, b := range []string{"-", "0", "x", "y/z", "y-"} {
					key := a + "/" + b
					want = append(want, key)
					putBytes(t, s, key, []byte(key))
				}
			}
			slices.Sort(want)
			for _, limit := range []int{1, 3, 7, len(want), 1000} {
				if got := listAll(t, s, limit); !slices.Equal(got, want) {
					t.Fatalf("by %d the list is %q, want %q", limit, got, want)
				}
			}
			for _, after := range []string{"", "0", "a", "a/", "a/x", "a/xx", "a/y/", "a0", "b/y/z", "zz"} {
				page, err := s.List(context.Background(), after, 1000)
				if err != nil {
					t.Fatal(err)
				}
				rest := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return k <= after })
				if len(page) != len(rest) {
					t.Fatalf("%d entries after %q, want %d", len(page), after, len(rest))
				}
				for i, f := range page {
					if f.Key != rest[i] || f.Size != int64(len(f.Key)) || f.Modified.IsZero() {
						t.Fatalf("after %q entry %d is %+v, want %q", after, i, f, rest[i])
					}
				}
			}
		},
	},
	{
		name: "concurrent",
		rule: "Methods may be called concurrently: of many Puts of one key one succeeds, and others never disturb it.",
		run: func(t *testing.T, s storage.BlobStore) {
			var wg sync.WaitGroup
			var mu sync.Mutex // guards won
			won := map[string]string{}
			for w := range 16 {
				wg.Go(func() {
					for n := range 8 {
						key, text := fmt.Sprintf("k/%d", n), strings.Repeat(fmt.Sprintf("by %d ", w), 2000)
						_, err := s.Put(context.Background(), key, strings.NewReader(text))
						switch {
						case err == nil:
							mu.Lock()
							if won[key] != "" {
								t.Errorf("two Puts of %s succeeded", key)
							}
							won[key] = text
							mu.Unlock()
						case !errors.Is(err, storage.ErrExists):
							t.Errorf("Put: %v", err)
						}
						if _, err := s.List(context.Background(), "", 100); err != nil {
							t.Errorf("List: %v", err)
						}
					}
				})
			}
			wg.Wait()
			if len(won) != 8 {
				t.Fatalf("%d keys were stored, want 8", len(won))
			}
			for key, text := range won {
				wantBytes(t, s, key, 0, -1, text)
			}
		},
	},
	{
		name: "cancelled",
		rule: "A context that has ended stops Put with its error.",
		run: func(t *testing.T, s storage.BlobStore) {
			putBytes(t, s, "k", []byte("x"))
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := s.Put(ctx, "new", strings.NewReader("x"))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Put returned %v", err)
			}
			wantNone(t, s, "new")
		},
	},
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
