package sqlite

import (
	"errors"
	"fmt"
	"time"

	modernc "modernc.org/sqlite"

	"github.com/pdskit/pdskit/storage"
)

// roomCheck is how often the writer looks whether there is room again.
const roomCheck = time.Second

// Result codes of SQLite, with their extension, of which a full disk, a quota or a
// limit of the size of files is the usual cause.
const (
	codeWrite   = 778  // SQLITE_IOERR_WRITE: a write was refused
	codeShmSize = 4874 // SQLITE_IOERR_SHMSIZE: the index of the log cannot grow
)

// outOfRoom reports whether SQLite failed because the system took no more bytes
// of a file. What was written before is as it was then. whole says that a
// transaction that was being committed may be complete in the log nevertheless.
func outOfRoom(err error) (full, whole bool) {
	e, ok := errors.AsType[*modernc.Error](err)
	if !ok {
		return false, false
	}
	return e.Code()&0xff == codeFull || e.Code() == codeWrite || e.Code() == codeShmSize, e.Code() == codeShmSize
}

// fullError returns the error of a transaction of which nothing remains for want
// of room, and others as they are.
func fullError(err error) error {
	if full, _ := outOfRoom(err); full && !errors.Is(err, storage.ErrFull) {
		return fmt.Errorf("%w: %w", storage.ErrFull, err)
	}
	return err
}

// A commit appends pages to the log, the last of them with a mark, and syncs it.
// If the log cannot take a page the mark is missing, and SQLite has rolled back:
// no connection sees the transaction. If the index of the log cannot grow, the
// mark is there but no connection sees it either; it would count if the log was
// read anew, after a crash. In both cases the next commit begins in the log where
// this one did, and destroys it. So the writer commits a page at once, or as soon
// as there is room for it, and takes no other transaction before. In between,
// nobody sees anything of what failed; only a crash could bring it to an end.

// commitFailed undoes a commit that has failed, or poisons the store if nobody
// can say what is on the disk. It returns the error for those who wait.
func (w *writer) commitFailed(cause error) error {
	_, _ = w.c.exec("ROLLBACK") // fails if SQLite has rolled back already
	w.lastSeq = w.seqAt
	w.forgetAll()
	full, whole := outOfRoom(cause)
	if !full {
		return w.s.poison(cause)
	}
	err := fullError(fmt.Errorf("sqlite: commit: %w", cause))
	w.s.full.Store(&err)
	switch room := w.makeRoom(); {
	case w.s.failure.Load() != nil:
		return *w.s.failure.Load()
	case room:
		w.s.log.Warn("no room on the disk for a commit", "path", w.s.path, "err", cause)
		return err
	}
	w.s.log.Error("no room on the disk: nothing can be written until there is", "path", w.s.path, "error", cause)
	if whole { // a crash may still complete it
		return fmt.Errorf("sqlite: commit: %w", cause)
	}
	return err
}

// makeRoom destroys what is left of a commit that failed, and lets others write
// again. It reports false if there is still no room. After a failure of another
// kind the store is poisoned.
func (w *writer) makeRoom() bool {
	w.retry = nil
	// What is in the database file needs its place in the log no more.
	if err := withTimeout(w.c, 0, "RESTART"); err != nil {
		if full, _ := outOfRoom(err); !full {
			w.s.check.report(err)
		}
	}
	if w.s.failure.Load() == nil {
		// The version stays the same, but SQLite writes the page that holds it.
		_, err := w.c.exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion()))
		if full, _ := outOfRoom(err); full {
			w.retry = time.After(roomCheck)
			return false
		}
		if err != nil {
			_ = w.s.poison(err)
		}
	}
	w.s.full.Store(nil)
	return true
}
