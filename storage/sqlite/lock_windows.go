package sqlite

import (
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes the lock on f without waiting. The system releases it when
// the file is closed, also when the process is killed. The locked range lies
// beyond the text, which others may read.
func tryLock(f *os.File) error {
	at := &windows.Overlapped{OffsetHigh: 1}
	return windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
}

// syncDir does nothing: folders cannot be synced here.
func syncDir(string) error { return nil }
