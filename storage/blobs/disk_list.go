package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pdskit/pdskit/storage"
)

// List returns stored keys in byte order, see [storage.BlobStore]. It reads
// the folders that the page comes from, and needs memory for about twice the
// page, however many files there are. Blobs that come or go meanwhile may be
// in the page or not.
func (d *Disk) List(ctx context.Context, after string, limit int) ([]storage.BlobFile, error) {
	if err := ctx.Err(); err != nil || limit <= 0 {
		return nil, err
	}
	folders, err := d.folders(after)
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	var files []storage.BlobFile
	for _, dir := range folders {
		if files, err = d.listFolder(ctx, dir, after, limit, files); err != nil {
			return nil, err
		}
		if len(files) == limit {
			break
		}
	}
	return files, nil
}

// folders returns the folders that can hold a key above after, in the order
// of the keys that they hold.
func (d *Disk) folders(after string) ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || len(name) > fanoutBytes {
			continue
		}
		if strings.ReplaceAll(name, "+", "/") >= after[:min(fanoutBytes, len(after))] {
			dirs = append(dirs, name)
		}
	}
	slices.SortFunc(dirs, func(a, b string) int {
		return strings.Compare(strings.ReplaceAll(a, "+", "/"), strings.ReplaceAll(b, "+", "/"))
	})
	return dirs, nil
}

// listFolder appends the blobs of one folder to files until there are limit.
func (d *Disk) listFolder(ctx context.Context, dir, after string, limit int, files []storage.BlobFile) ([]storage.BlobFile, error) {
	for {
		want := limit - len(files)
		keys, err := d.smallestKeys(ctx, dir, after, want)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			info, err := os.Lstat(d.path(key))
			switch {
			case errors.Is(err, fs.ErrNotExist): // deleted since
			case err != nil:
				return nil, fmt.Errorf("blobs: %w", err)
			case info.Mode().IsRegular():
				files = append(files, storage.BlobFile{Key: key, Size: info.Size(), Modified: info.ModTime()})
			}
		}
		if len(keys) < want || len(files) == limit {
			return files, nil
		}
		after = keys[len(keys)-1] // some were no blobs: fill the page
	}
}

// smallestKeys returns the first keys of a folder above after.
func (d *Disk) smallestKeys(ctx context.Context, dir, after string, limit int) (keys []string, err error) {
	f, err := os.Open(filepath.Join(d.dir, dir))
	if err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	found := smallest{after: after, limit: limit}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		names, err := f.Readdirnames(namesAtOnce)
		for _, name := range names {
			if key, ok := keyOf(name); ok && folder(name) == dir {
				found.add(key)
			}
		}
		if errors.Is(err, io.EOF) {
			return found.sorted(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("blobs: %w", err)
		}
	}
}
