package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pdskit/pdskit/storage"
)

// Put stores what r yields, see [storage.BlobStore]. It looks at ctx before
// each read of r and once more at its end; from then on the blob is stored,
// whatever becomes of ctx.
//
// Only one of several Puts of a key at the same time succeeds if they come
// from one process. Processes that share a folder never use a key twice.
func (d *Disk) Put(ctx context.Context, key string, r io.Reader) (storage.BlobInfo, error) {
	if err := CheckKey(key); err != nil {
		return storage.BlobInfo{}, err
	}
	if err := ctx.Err(); err != nil {
		return storage.BlobInfo{}, err
	}
	if err := d.absent(key); err != nil {
		return storage.BlobInfo{}, err
	}
	f, err := createTemp(filepath.Join(d.dir, tmpName))
	if err != nil {
		return storage.BlobInfo{}, fmt.Errorf("blobs: %w", err)
	}
	info, err := d.fill(ctx, f, r)
	if err == nil {
		err = d.publish(f.Name(), key)
	}
	if err != nil {
		rest := os.Remove(f.Name())
		if rest != nil && !errors.Is(rest, fs.ErrNotExist) {
			err = errors.Join(err, rest)
		}
		return storage.BlobInfo{}, err
	}
	return info, nil
}

// absent returns an error if the key is there.
func (d *Disk) absent(key string) error {
	_, err := os.Lstat(d.path(key))
	switch {
	case err == nil:
		return errExists(key)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return fmt.Errorf("blobs: %w", err)
	}
}

// fill copies r to the temporary file, makes it durable and closes it.
func (d *Disk) fill(ctx context.Context, f *os.File, r io.Reader) (storage.BlobInfo, error) {
	info, err := copyHashed(ctx, f, r)
	if err == nil && d.opts.Clock != nil {
		now := d.opts.Clock.Now()
		err = os.Chtimes(f.Name(), now, now)
	}
	if err == nil && !d.opts.NoSync {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return info, err
}

// publish moves a complete file to its place. If it fails, the file is gone
// or still has its temporary name.
func (d *Disk) publish(temp, key string) error {
	path := d.path(key)
	dir := filepath.Dir(path)
	if err := d.makeFolder(dir); err != nil {
		return fmt.Errorf("blobs: %w", err)
	}
	if err := d.rename(temp, path, key); err != nil {
		return err
	}
	if err := d.sync(dir); err != nil {
		// The caller is told that it failed, so it must not turn up later.
		return errors.Join(fmt.Errorf("blobs: %w", err), os.Remove(path))
	}
	return nil
}

func (d *Disk) rename(temp, path, key string) error {
	d.publishing.Lock()
	defer d.publishing.Unlock()
	if err := d.absent(key); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("blobs: %w", err)
	}
	return nil
}

// makeFolder makes sure that a folder for files is there and will be after a
// power cut. Finding it is not enough: whoever made it may not have come to
// the second part.
func (d *Disk) makeFolder(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.made[dir]; ok {
		return nil
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := d.sync(d.dir); err != nil {
		return err
	}
	d.made[dir] = struct{}{}
	return nil
}
