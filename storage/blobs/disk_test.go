package blobs_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pdskit/pdskit/storage/blobs"
)

// files returns the paths of all files below dir.
func files(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			paths = append(paths, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestDiskLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	d := openDisk(t, dir)
	for _, key := range []string{"x", "abcdef", "abc/def", "x/y"} {
		put(t, d, key, key)
	}
	want := []string{"ab/abc+def", "ab/abcdef", "x/x", "x+/x+y"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if info, _ := e.Info(); info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	again := openDisk(t, dir)
	if got := read(t, again, "abc/def", 0, -1); got != "abc/def" {
		t.Fatalf("after reopening: %q", got)
	}
	if err := again.Delete(t.Context(), "abc/def"); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 3 {
		t.Fatalf("left after Delete: %q", got)
	}
}

// TestDiskDurable takes the way through fsync.
func TestDiskDurable(t *testing.T) {
	dir := t.TempDir()
	d, err := blobs.NewDisk(dir, blobs.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, "one", "1")
	put(t, d, "only", "2")
	if err := d.Delete(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"on/only"}) {
		t.Fatalf("%q", got)
	}
}

func TestDiskFailuresLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	broken := errors.New("broken")
	if _, err := d.Put(t.Context(), "kk", io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Fatalf("a failing reader left %q", got)
	}
	// A file where the folder has to be: the last step fails.
	inTheWay := filepath.Join(dir, "kk")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(t.Context(), "kk", strings.NewReader("some")); err == nil {
		t.Fatal("stored below a file")
	}
	if got := files(t, dir); !slices.Equal(got, []string{"kk"}) {
		t.Fatalf("a failing rename left %q", got)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	put(t, d, "kk", "some")
	// A folder where the blob has to be is not a blob.
	if err := os.MkdirAll(filepath.Join(dir, "ff", "ffff", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(t.Context(), "ffff", strings.NewReader("some")); err == nil {
		t.Fatal("stored over a folder")
	}
	if _, err := d.Open(t.Context(), "ffff", 0, -1); err == nil {
		t.Fatal("opened a folder")
	}
	if err := d.Delete(t.Context(), "ffff"); err == nil {
		t.Fatal("deleted a folder that is not ours")
	}
	if got := list(t, d, "", 10); !slices.Equal(got, []string{"kk"}) {
		t.Fatalf("listed %q", got)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"kk/kk"}) {
		t.Fatalf("left: %q", got)
	}
}

func TestNewDiskFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		if _, err := blobs.NewDisk(dir, blobs.DiskOptions{}); err == nil {
			t.Errorf("opened %q", dir)
		}
	}
}

// TestSweep opens a second store while a Put of the first is under way: only
// what nobody is writing goes.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	stale := filepath.Join(dir, "tmp", "put-stale")
	if err := os.WriteFile(stale, []byte("half a blo"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := d.Put(t.Context(), "slow", r)
		done <- err
	}()
	if _, err := io.WriteString(w, "first half, "); err != nil { // read: the file is there
		t.Fatal(err)
	}
	again := openDisk(t, dir)
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the stale file is still there (%v)", err)
	}
	if _, err := io.WriteString(w, "second half"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("the sweep of another store broke a Put: %v", err)
	}
	if got := read(t, again, "slow", 0, -1); got != "first half, second half" {
		t.Fatalf("%q", got)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"sl/slow"}) {
		t.Fatalf("left: %q", got)
	}
}

func TestDiskLeavesForeignFilesAlone(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	put(t, d, "abc", "1")
	foreign := []string{".DS_Store", "ab/.nfs0001", "ab/ABC", "ab/zz", "ab/ab..", "ab/a/b", "lost+found/x", "README"}
	for _, name := range foreign {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(t, openDisk(t, dir), "", 2); !slices.Equal(got, []string{"abc"}) {
		t.Fatalf("listed %q", got)
	}
	if got := files(t, dir); len(got) != len(foreign)+1 {
		t.Fatalf("left: %q", got)
	}
}

// TestListFillsPages has entries that turn out not to be blobs: a short page
// would tell the caller that it is the last one.
func TestListFillsPages(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	for _, key := range []string{"aa1", "aa3", "aa5"} {
		put(t, d, key, "")
	}
	for _, name := range []string{"aa0", "aa2", "aa4", "aa6"} {
		if err := os.Mkdir(filepath.Join(dir, "aa", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	page, err := d.List(t.Context(), "", 3)
	if err != nil || len(page) != 3 {
		t.Fatalf("%v (%v)", page, err)
	}
}
