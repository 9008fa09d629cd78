// Package blobs holds the bytes of blobs on a disk or in memory. Both stores
// implement [storage.BlobStore].
//
// Import it to give a server its blob store:
//
//	disk, err := blobs.NewDisk("pds-data/blobs", blobs.DiskOptions{})
//
// [Disk] keeps one file for each key and answers a Put when the bytes are
// durable. [Memory] is for tests and for servers that may forget.
//
// Neither limits the size of a blob: whoever calls Put hands it a reader that
// ends, or fails, at the limit.
package blobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pdskit/pdskit/storage"
)

// MaxKeyBytes is the length of the longest key, in bytes.
const MaxKeyBytes = 200

// copyBytes is the size of the buffer through which Put copies.
const copyBytes = 64 << 10

var (
	// ErrKey says that a key breaks the rules of [storage.BlobStore].
	ErrKey = errors.New("blobs: invalid key")

	// ErrOffset says that Open was asked for a negative offset.
	ErrOffset = errors.New("blobs: negative offset")
)

// CheckKey returns an error that matches [ErrKey] unless key is one to
// [MaxKeyBytes] bytes of [a-z0-9_-] in non-empty segments separated by "/".
// Both stores check keys by themselves; this is for other implementations.
func CheckKey(key string) error {
	if len(key) > MaxKeyBytes {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrKey, len(key), MaxKeyBytes)
	}
	segment := 0
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
			segment++
		case c == '/' && segment > 0:
			segment = 0
		default:
			return fmt.Errorf("%w: %q at byte %d of %q", ErrKey, c, i, key)
		}
	}
	if segment == 0 {
		return fmt.Errorf("%w: %q ends with an empty segment", ErrKey, key)
	}
	return nil
}

// errExists is the answer to a Put of a key that is there.
func errExists(key string) error { return fmt.Errorf("blob %q: %w", key, storage.ErrExists) }

// errNotFound is the answer to an Open of a key that is not there.
func errNotFound(key string) error { return fmt.Errorf("blob %q: %w", key, storage.ErrNotFound) }

// copyHashed copies r to w until its end and returns what it found. It looks
// at ctx before each read. An error of r comes back unchanged.
func copyHashed(ctx context.Context, w io.Writer, r io.Reader) (info storage.BlobInfo, err error) {
	hash := sha256.New()
	info.Size, err = io.CopyBuffer(io.MultiWriter(w, hash), contextReader{ctx, r}, make([]byte, copyBytes))
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return storage.BlobInfo{}, err
	}
	hash.Sum(info.SHA256[:0])
	return info, nil
}

// contextReader is a reader that fails when its context has ended. It lives
// no longer than the call that made it.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// smallest collects the limit smallest of many keys above a bound, holding at
// most twice as many as it returns.
type smallest struct {
	after string
	limit int
	keys  []string
	full  bool // limit keys are held, none above max matters any more
	max   string
}

func (s *smallest) add(key string) {
	if key <= s.after || s.full && key >= s.max {
		return
	}
	s.keys = append(s.keys, key)
	if len(s.keys)/2 >= s.limit {
		s.cut()
	}
}

// cut sorts the keys and drops those that are not among the smallest.
func (s *smallest) cut() {
	slices.Sort(s.keys)
	if len(s.keys) >= s.limit {
		s.keys = s.keys[:s.limit]
		s.full, s.max = true, s.keys[s.limit-1]
	}
}

// sorted ends the collection.
func (s *smallest) sorted() []string {
	s.cut()
	return s.keys
}
