package blobs_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/storage/blobs"
)

// FuzzKey stores under whatever key: it is refused, or found and listed under
// this very key, and nothing appears outside the folder.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "ab/cd/ef", "../x", "/etc/passwd", "a+b", "tmp", "tmp/x", "a//b", "..", "nul", "\xff", "a\x00b"} {
		f.Add(key)
	}
	parent := f.TempDir()
	dir := filepath.Join(parent, "blobs")
	f.Fuzz(func(t *testing.T, key string) {
		d := openDisk(t, dir)
		_, err := d.Put(t.Context(), key, strings.NewReader(key))
		if (err == nil) != (blobs.CheckKey(key) == nil) || err != nil && !errors.Is(err, blobs.ErrKey) {
			t.Fatalf("%q: %v", key, err)
		}
		if err == nil {
			if got := list(t, d, "", 10); !slices.Equal(got, []string{key}) {
				t.Fatalf("listed %q, want %q", got, key)
			}
			if got := read(t, d, key, 0, -1); got != key {
				t.Fatalf("read %q, want %q", got, key)
			}
			if err := d.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
			t.Fatalf("%v, %v", entries, err)
		}
		if got := files(t, dir); len(got) != 0 {
			t.Fatalf("left: %q", got)
		}
	})
}
