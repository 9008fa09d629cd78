package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
)

// Limits of what is read of a backup.
const (
	maxManifest = 1 << 20
	maxSumLine  = 4096
)

var (
	// ErrIncomplete says that a folder holds no complete backup.
	ErrIncomplete = errors.New("backup: no complete backup")

	// ErrDamaged says that a file of a backup is missing or is not what was
	// written.
	ErrDamaged = errors.New("backup: damaged")
)

// Target is where Restore puts a backup.
type Target struct {
	Database string            // a file that must not exist
	Blobs    storage.BlobStore // must be empty

	// Files are where further files go, by their names in the backup; none of
	// them may exist. Those that are not named are left out; those that are
	// named and not in the backup are an error.
	Files map[string]string
}

// Read returns the manifest of a backup, or an error that matches
// [ErrIncomplete] if there is none that this program understands.
func Read(dir string) (*Manifest, error) {
	f, err := os.Open(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, fmt.Errorf("%w in %s: %w", ErrIncomplete, dir, err)
	}
	defer f.Close()
	m := new(Manifest)
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(m); err != nil {
		return nil, fmt.Errorf("%w in %s: %s: %w", ErrIncomplete, dir, manifestName, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("%w in %s: its format is %d, this program knows %d", ErrIncomplete, dir, m.Format, format)
	}
	return m, nil
}

// Restore puts a backup in place and checks every file on the way. The error
// matches [ErrDamaged] if the list of files, the database or a further file is
// not what was written; what was put in place so far stays. A damaged blob is
// left out and its key returned, so that the rest can be saved.
func Restore(ctx context.Context, dir string, to Target) (m *Manifest, lost []string, err error) {
	if m, err = Read(dir); err != nil {
		return nil, nil, err
	}
	_, sum, err := hashFile(ctx, filepath.Join(dir, sumsName))
	if err != nil {
		return m, nil, fmt.Errorf("backup: %w", err)
	}
	if hex.EncodeToString(sum[:]) != m.Sums {
		return m, nil, fmt.Errorf("%w: %s", ErrDamaged, sumsName)
	}
	r := restorer{dir: dir, to: to, done: map[string]bool{}}
	if err := r.all(ctx); err != nil {
		return m, r.lost, err
	}
	for name := range to.Files {
		if !r.done[path.Join(filesName, name)] {
			return m, r.lost, fmt.Errorf("%w: it holds no file %s", ErrIncomplete, name)
		}
	}
	if !r.done[databaseName] {
		return m, r.lost, fmt.Errorf("%w: it holds no %s", ErrIncomplete, databaseName)
	}
	return m, r.lost, nil
}

type restorer struct {
	dir  string
	to   Target
	done map[string]bool // but for blobs
	lost []string        // keys of blobs
}

func (r *restorer) all(ctx context.Context) (err error) {
	from, err := blobs.NewDisk(filepath.Join(r.dir, blobsName), blobs.DiskOptions{})
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(r.dir, sumsName))
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxSumLine)
	for lines.Scan() {
		text, name, ok := strings.Cut(lines.Text(), "  ")
		sum, err := hex.DecodeString(text)
		if !ok || err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("%w: a line of %s", ErrDamaged, sumsName)
		}
		if key, isBlob := blobKey(name); isBlob {
			err = r.blob(ctx, from, key, [sha256.Size]byte(sum))
		} else {
			err = r.file(ctx, name, [sha256.Size]byte(sum))
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// blobKey returns the key of the blob that a name of SHA256SUMS is about.
func blobKey(name string) (string, bool) {
	file, ok := strings.CutPrefix(name, blobsName+"/")
	if !ok {
		return "", false
	}
	key := strings.ReplaceAll(path.Base(file), "+", "/")
	return key, blobs.CheckKey(key) == nil && filepath.ToSlash(blobs.FilePath(key)) == file
}

// blob puts one blob in place, or notes that it is lost.
func (r *restorer) blob(ctx context.Context, from storage.BlobStore, key string, sum [sha256.Size]byte) error {
	info, err := copyBlob(ctx, r.to.Blobs, from, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.lost = append(r.lost, key)
		return nil
	case err != nil:
		return err
	case info.SHA256 != sum:
		r.lost = append(r.lost, key)
		return r.to.Blobs.Delete(ctx, key)
	}
	return nil
}

// file puts the database or a further file in place.
func (r *restorer) file(ctx context.Context, name string, sum [sha256.Size]byte) error {
	to := r.to.Database
	if name != databaseName {
		if path.Dir(name) != filesName {
			return fmt.Errorf("%w: %s names %q", ErrDamaged, sumsName, name)
		}
		if to = r.to.Files[path.Base(name)]; to == "" {
			return nil
		}
	}
	_, got, err := copyFile(ctx, to, filepath.Join(r.dir, filepath.FromSlash(name)))
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if got != sum {
		return fmt.Errorf("%w: %s", ErrDamaged, name)
	}
	r.done[name] = true
	return syncDir(filepath.Dir(to))
}
