package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/backup"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// source is a store with one document, three blobs and a key.
func source(t *testing.T) backup.Source {
	t.Helper()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "pds.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	err = store.Update(t.Context(), func(tx storage.Tx) error {
		_, err := tx.PutDoc(storage.Doc{Kind: "test", Key: "a", Value: []byte("value")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	bytes := blobs.NewMemory(nil)
	for _, key := range []string{"ab12", "ab12/34", "cd-x_y"} {
		if _, err := bytes.Put(t.Context(), key, strings.NewReader("bytes of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return backup.Source{Database: store, Blobs: bytes, Files: map[string]string{"master.key": key}, Server: "test"}
}

func target(t *testing.T) backup.Target {
	dir := t.TempDir()
	return backup.Target{
		Database: filepath.Join(dir, "restored.db"), Blobs: blobs.NewMemory(nil),
		Files: map[string]string{"master.key": filepath.Join(dir, "master.key")},
	}
}

func TestCreateAndRestore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "backup")
	src := source(t)
	kept := 0
	src.Keep = func() func() { kept++; return func() { kept += 10 } }
	made, err := backup.Create(t.Context(), dir, src)
	if err != nil {
		t.Fatal(err)
	}
	if kept != 11 || made.Blobs != 3 || made.BlobBytes != 9*3+4+7+6 || fmt.Sprint(made.Files) != "[master.key]" || made.Server != "test" {
		t.Errorf("%+v, kept %d", made, kept)
	}
	if tool, err := exec.LookPath("sha256sum"); err == nil {
		check := exec.CommandContext(t.Context(), tool, "--check", "--quiet", "SHA256SUMS")
		check.Dir = dir
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("sha256sum: %v: %s", err, out)
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read %s: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	to := target(t)
	read, lost, err := backup.Restore(t.Context(), dir, to)
	if err != nil || len(lost) != 0 || fmt.Sprint(*read) != fmt.Sprint(*made) {
		t.Fatalf("%+v, lost %q: %v", read, lost, err)
	}
	key, err := os.ReadFile(to.Files["master.key"])
	if err != nil || string(key) != "secret" {
		t.Errorf("the key is %q, %v", key, err)
	}
	if list, err := to.Blobs.List(t.Context(), "", 10); err != nil || len(list) != 3 {
		t.Errorf("blobs %v, %v", list, err)
	}
	r, err := to.Blobs.Open(t.Context(), "ab12/34", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "bytes of ab12/34" {
		t.Errorf("a blob is %q, %v", text, err)
	}
	store, err := sqlite.Open(to.Database, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	err = store.View(t.Context(), func(tx storage.Tx) error {
		d, err := tx.GetDoc("test", "a")
		if string(d.Value) != "value" {
			t.Errorf("the document is %q", d.Value)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, _, err := backup.Restore(t.Context(), dir, to); !errors.Is(err, fs.ErrExist) && !errors.Is(err, storage.ErrExists) {
		t.Errorf("a second time: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	src := source(t)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Create(t.Context(), full, src); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a folder in use: %v", err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	dir := t.TempDir()
	if _, err := backup.Create(ended, dir, src); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	if _, _, err := backup.Restore(t.Context(), dir, target(t)); !errors.Is(err, backup.ErrIncomplete) {
		t.Errorf("what it left can be restored: %v", err)
	}
	for _, files := range []map[string]string{{"../key": src.Files["master.key"]}, {"key": "/does/not/exist"}} {
		src.Files = files
		if _, err := backup.Create(t.Context(), t.TempDir(), src); err == nil {
			t.Errorf("%v was accepted", files)
		}
	}
}

func TestRestoreFindsDamage(t *testing.T) {
	src := source(t)
	for name, c := range map[string]struct {
		damage func(dir string) error
		lost   string
		want   error
	}{
		"manifest":        {func(d string) error { return os.Remove(d + "/manifest.json") }, "", backup.ErrIncomplete},
		"other manifest":  {func(d string) error { return os.WriteFile(d+"/manifest.json", []byte("{}"), 0o600) }, "", backup.ErrIncomplete},
		"broken manifest": {func(d string) error { return os.Truncate(d+"/manifest.json", 20) }, "", backup.ErrIncomplete},
		"sums":            {func(d string) error { return appendTo(d + "/SHA256SUMS") }, "", backup.ErrDamaged},
		"database":        {func(d string) error { return appendTo(d + "/pds.db") }, "", backup.ErrDamaged},
		"no database":     {func(d string) error { return os.Remove(d + "/pds.db") }, "", fs.ErrNotExist},
		"key":             {func(d string) error { return appendTo(d + "/files/master.key") }, "", backup.ErrDamaged},
		"blob":            {func(d string) error { return appendTo(d + "/blobs/ab/ab12") }, "ab12", nil},
		"no blob":         {func(d string) error { return os.Remove(d + "/blobs/cd/cd-x_y") }, "cd-x_y", nil},
		"more blobs":      {func(d string) error { return os.WriteFile(d+"/blobs/ab/abc", nil, 0o600) }, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := backup.Create(t.Context(), dir, src); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			to := target(t)
			_, lost, err := backup.Restore(t.Context(), dir, to)
			if !errors.Is(err, c.want) || strings.Join(lost, " ") != c.lost {
				t.Errorf("lost %q, %v; want %q, %v", lost, err, c.lost, c.want)
			}
			if c.want == nil {
				list, err := to.Blobs.List(t.Context(), "", 10)
				if err != nil || len(list)+len(lost) != 3 {
					t.Errorf("%d blobs are in place, %v", len(list), err)
				}
			}
		})
	}
	dir := t.TempDir()
	if _, err := backup.Create(t.Context(), dir, src); err != nil {
		t.Fatal(err)
	}
	to := target(t)
	to.Files["secrets.json"] = filepath.Join(t.TempDir(), "s")
	if _, _, err := backup.Restore(t.Context(), dir, to); !errors.Is(err, backup.ErrIncomplete) {
		t.Errorf("a file that it does not hold: %v", err)
	}
}

func appendTo(file string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Close())
}
