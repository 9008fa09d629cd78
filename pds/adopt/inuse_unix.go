//go:build unix

package adopt

import (
	"io"
	"syscall"
)

// The bytes of a database file of which every SQLite connection locks some for
// reading, as long as it is open with a write-ahead log (SQLite's
// SHARED_FIRST and SHARED_SIZE).
const (
	sharedFirst = 0x40000002
	sharedSize  = 510
)

// inUse returns the process that has a database open, or zero.
func inUse(path string) (pid int, err error) {
	f, err := openFile(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: sharedFirst, Len: sharedSize}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return 0, err
	}
	if lock.Type == syscall.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}
