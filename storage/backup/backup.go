// Package backup copies the data of a server while it serves, and puts a copy
// back. Import it to give a server of your own what "server backup" and
// "server restore" of the example server do:
//
//	made, err := backup.Create(ctx, "/backup/monday", backup.Source{
//		Database: store, // a *sqlite.Store
//		Blobs:    disk,
//		Keep:     srv.KeepBlobs,
//		Files:    map[string]string{"master.key": "pds-data/master.key"},
//	})
//
// A backup is a folder with
//
//	pds.db         the database
//	blobs/         the bytes of blobs, laid out as blobs.Disk does
//	files/         keys, secrets and what else was named
//	SHA256SUMS     what "sha256sum -c" checks, for all of these
//	manifest.json  what it is; written last: without it a backup is incomplete
//
// After [Restore] call AnnounceRepos of the server, before it serves: it is
// older than what the network has seen.
//
// Whoever has a backup has everything that was in the server. Its files are
// readable by their owner only.
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
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
)

// Names in a backup.
const (
	databaseName = "pds.db"
	blobsName    = "blobs"
	filesName    = "files"
	sumsName     = "SHA256SUMS"
	manifestName = "manifest.json"
)

// format is the version of what Create writes.
const format = 1

// listPage is how many blobs are listed at a time.
const listPage = 1000

// Database is a database that can be copied while it is in use, such as a
// sqlite.Store.
type Database interface {
	// Backup writes a consistent, durable copy to a file that does not exist.
	Backup(ctx context.Context, path string) error
}

// Source is what Create copies.
type Source struct {
	Database Database
	Blobs    storage.BlobStore

	// Keep lets no bytes of blobs vanish until release is called:
	// pds.Server.KeepBlobs. Nil: nothing deletes any, because no server runs.
	Keep func() (release func())

	// Files are further files, by their names in the backup, which must have
	// no folder. One that does not exist is an error.
	Files map[string]string

	// Server is remembered in the manifest: what was copied, for people.
	Server string
}

// Manifest says what a backup holds.
type Manifest struct {
	Format int    `json:"format"`
	Server string `json:"server,omitempty"` // Source.Server

	// Begun is when the copying began: what was acknowledged before is in it.
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended"`

	DatabaseBytes int64    `json:"databaseBytes"`
	Blobs         int64    `json:"blobs"`
	BlobBytes     int64    `json:"blobBytes"`
	Files         []string `json:"files"`

	Sums string `json:"sums"` // SHA-256 of the file SHA256SUMS, in hex
}

// Create makes a backup in a folder that is empty or does not exist. What was
// acknowledged before the call is in it; blobs that come meanwhile may be. The
// server goes on, but deletes no bytes of blobs until Create returns. If it
// fails or ctx ends, what it has written stays, without a manifest.
func Create(ctx context.Context, dir string, src Source) (*Manifest, error) {
	m := &Manifest{Format: format, Server: src.Server, Begun: time.Now().UTC().Truncate(time.Millisecond), Files: []string{}}
	if err := makeEmpty(dir); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if src.Keep != nil {
		defer src.Keep()()
	}
	sums, err := newSums(dir)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	err = m.copyAll(ctx, dir, src, sums)
	if e := sums.close(); err == nil {
		err = e
	}
	if err == nil {
		m.Ended, m.Sums = time.Now().UTC().Truncate(time.Millisecond), hex.EncodeToString(sums.hash.Sum(nil))
		err = m.write(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return m, nil
}

// copyAll copies the database before the blobs, so that the bytes of every
// blob that the copy names are there to be copied.
func (m *Manifest) copyAll(ctx context.Context, dir string, src Source, sums *sums) error {
	if len(src.Files) > 0 {
		if err := os.Mkdir(filepath.Join(dir, filesName), 0o700); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(src.Files)) {
		if name != filepath.Base(name) {
			return fmt.Errorf("the name of a file, %q, must have no folder", name)
		}
		to := path.Join(filesName, name)
		_, sum, err := copyFile(ctx, filepath.Join(dir, to), src.Files[name])
		if err != nil {
			return err
		}
		m.Files = append(m.Files, name)
		if err := sums.add(sum, to); err != nil {
			return err
		}
	}
	database := filepath.Join(dir, databaseName)
	if err := src.Database.Backup(ctx, database); err != nil {
		return err
	}
	size, sum, err := hashFile(ctx, database)
	if err != nil {
		return err
	}
	m.DatabaseBytes = size
	if err := sums.add(sum, databaseName); err != nil {
		return err
	}
	return m.copyBlobs(ctx, filepath.Join(dir, blobsName), src.Blobs, sums)
}

func (m *Manifest) copyBlobs(ctx context.Context, dir string, from storage.BlobStore, sums *sums) error {
	to, err := blobs.NewDisk(dir, blobs.DiskOptions{})
	if err != nil {
		return err
	}
	for after := ""; ; {
		page, err := from.List(ctx, after, listPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, f := range page {
			after = f.Key
			info, err := copyBlob(ctx, to, from, f.Key)
			if errors.Is(err, storage.ErrNotFound) {
				continue // the database's copy does not name it: see Source.Keep
			}
			if err != nil {
				return err
			}
			m.Blobs, m.BlobBytes = m.Blobs+1, m.BlobBytes+info.Size
			if err := sums.add(info.SHA256, path.Join(blobsName, filepath.ToSlash(blobs.FilePath(f.Key)))); err != nil {
				return err
			}
		}
	}
}

func copyBlob(ctx context.Context, to, from storage.BlobStore, key string) (info storage.BlobInfo, err error) {
	r, err := from.Open(ctx, key, 0, -1)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return to.Put(ctx, key, r)
}

// write writes the manifest, by which the backup is complete.
func (m *Manifest) write(dir string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	f, err := createNew(filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDir(dir)
}

// sums writes the file SHA256SUMS.
type sums struct {
	f    *os.File
	w    *bufio.Writer
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func newSums(dir string) (*sums, error) {
	f, err := createNew(filepath.Join(dir, sumsName))
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	return &sums{f: f, w: bufio.NewWriter(io.MultiWriter(f, hash)), hash: hash}, nil
}

func (s *sums) add(sum [sha256.Size]byte, name string) error {
	_, err := fmt.Fprintf(s.w, "%x  %s\n", sum, name)
	return err
}

func (s *sums) close() error { return errors.Join(s.w.Flush(), s.f.Sync(), s.f.Close()) }

// makeEmpty makes a folder, unless it is there and empty.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return checkEmpty(dir)
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty: %w", dir, fs.ErrExist)
	}
	return err
}
