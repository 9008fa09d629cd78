package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pdskit/pdskit/storage"
)

// How a Disk lays out its folder:
//
//	tmp/            uploads that are not complete
//	ab/abcd+ef      the blob with the key "abcd/ef"
//
// The first two characters of a key name its folder, so there are never more
// than 38*39+38 folders, and going through them in order goes through the keys
// in order. No folder has three characters but tmp. A "+" stands for "/":
// keys are never paths, and a key may be the beginning of another.
const (
	tmpName     = "tmp"
	fanoutBytes = 2

	// namesAtOnce is how many entries of a folder List reads at a time.
	namesAtOnce = 1024

	dirMode = 0o700
)

// DiskOptions are the options of [NewDisk]. The zero value is what a server
// wants.
type DiskOptions struct {
	// Clock says when a blob was stored. Nil means the time that the file
	// system gives.
	Clock storage.Clock

	// NoSync leaves it to the system when bytes reach the disk. A Put is then
	// not durable when it returns: for tests.
	NoSync bool
}

// Disk is a [storage.BlobStore] in a folder: one file for each key. Its methods
// may be called concurrently, and several processes may use one folder.
//
// A blob appears under its key complete and durable or not at all: Put writes
// a temporary file of the same folder, synchronises it, renames it, and
// synchronises the folders it changed. A failed Put removes its temporary
// file; what a crash leaves is removed by the next NewDisk.
//
// Folders stay small, and pages of List cheap, when keys begin with random
// characters. Keys that all begin alike work, but share one folder. Files that
// do not belong to the store are left alone.
type Disk struct {
	dir  string
	opts DiskOptions

	publishing sync.Mutex // makes a look for a key and its rename one step

	mu   sync.Mutex          // guards following field
	made map[string]struct{} // folders whose entry in dir is durable
}

var _ storage.BlobStore = (*Disk)(nil)

// NewDisk opens the store in dir, making the folder if there is none, readable
// by its owner only. It removes the temporary files of processes that are gone.
func NewDisk(dir string, opts DiskOptions) (*Disk, error) {
	if dir == "" {
		return nil, errors.New("blobs: no folder given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	d := &Disk{dir: dir, opts: opts, made: make(map[string]struct{})}
	if err := d.makeAll(filepath.Join(dir, tmpName)); err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	if err := sweep(filepath.Join(dir, tmpName)); err != nil {
		return nil, fmt.Errorf("blobs: removing unfinished uploads: %w", err)
	}
	return d, nil
}

// makeAll makes a folder and those above it, durably.
func (d *Disk) makeAll(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := d.makeAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.sync(parent)
}

// sync makes the entries of a folder durable.
func (d *Disk) sync(dir string) error {
	if d.opts.NoSync {
		return nil
	}
	return syncDir(dir)
}

// folder is the name of the folder that holds the file with this name.
func folder(name string) string { return name[:min(fanoutBytes, len(name))] }

// fileName is the name of the file that holds the blob with this key.
func fileName(key string) string { return strings.ReplaceAll(key, "/", "+") }

// keyOf undoes fileName. It says no to files of others.
func keyOf(name string) (string, bool) {
	key := strings.ReplaceAll(name, "+", "/")
	return key, CheckKey(key) == nil && fileName(key) == name
}

// FilePath returns where in its folder a [Disk] keeps the blob with this key.
func FilePath(key string) string {
	name := fileName(key)
	return filepath.Join(folder(name), name)
}

func (d *Disk) path(key string) string { return filepath.Join(d.dir, FilePath(key)) }

// Open returns a range of a blob, see [storage.BlobStore]. A negative offset
// gives an error that matches [ErrOffset]. The reader has a WriteTo by which
// io.Copy can use the system's way to send files.
func (d *Disk) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := checkOpen(ctx, key, offset); err != nil {
		return nil, err
	}
	f, err := os.Open(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotFound(key)
	}
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Name())
	}
	if err == nil && offset > 0 {
		_, err = f.Seek(min(offset, info.Size()), io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("blobs: %w", err), f.Close())
	}
	rest := max(info.Size()-offset, 0)
	if length < 0 || length > rest {
		length = rest
	}
	return &diskReader{f: f, left: io.LimitedReader{R: f, N: length}}, nil
}

// diskReader reads a range of a file.
type diskReader struct {
	f    *os.File
	left io.LimitedReader
}

func (r *diskReader) Read(p []byte) (int, error)         { return r.left.Read(p) }
func (r *diskReader) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, &r.left) }
func (r *diskReader) Close() error                       { return r.f.Close() }

// Delete removes a blob durably, see [storage.BlobStore]. Where the system
// allows it, a blob that somebody has open stays readable for them.
func (d *Disk) Delete(ctx context.Context, key string) error {
	if err := checkOpen(ctx, key, 0); err != nil {
		return err
	}
	path := d.path(key)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = d.sync(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("blobs: %w", err)
	}
	return nil
}
