package blobs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// createTemp makes a temporary file that sweep leaves alone until it is closed
// or its process ends.
func createTemp(dir string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, "put-*")
		if err != nil {
			return nil, err
		}
		ours, err := lock(f)
		if err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		if ours && inPlace(f) {
			return f, nil
		}
		// A sweep came between making the file and locking it.
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// inPlace reports whether the open file still has its name.
func inPlace(f *os.File) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(have, named)
}

// sweep removes the temporary files that nobody holds.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := sweepFile(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
