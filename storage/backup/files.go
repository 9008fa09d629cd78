package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
)

// createNew makes a file that only its owner can read and that is not there.
func createNew(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// copyFile copies a file to one that is not there, durably, and returns its
// size and hash.
func copyFile(ctx context.Context, to, from string) (size int64, sum [sha256.Size]byte, err error) {
	f, err := createNew(to)
	if err != nil {
		return 0, sum, err
	}
	size, sum, err = readFile(ctx, from, f)
	if err == nil {
		err = f.Sync()
	}
	return size, sum, errors.Join(err, f.Close())
}

// hashFile returns the size and hash of a file.
func hashFile(ctx context.Context, name string) (size int64, sum [sha256.Size]byte, err error) {
	return readFile(ctx, name, io.Discard)
}

func readFile(ctx context.Context, name string, w io.Writer) (size int64, sum [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, sum, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hash := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		if _, e := w.Write(buf[:n]); e != nil {
			return size, sum, e
		}
		hash.Write(buf[:n])
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return size, [sha256.Size]byte(hash.Sum(nil)), ctx.Err()
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return size, sum, err
		}
	}
}
