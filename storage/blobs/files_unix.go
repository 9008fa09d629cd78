//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package blobs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes the file's lock, which ends when the file is closed. It reports
// false if somebody else has it.
func lock(f *os.File) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}

// sweepFile removes a file unless somebody has its lock.
func sweepFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	free, err := lock(f)
	if free && err == nil {
		err = os.Remove(path)
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the entries of a folder durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
