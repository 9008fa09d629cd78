package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	modernc "modernc.org/sqlite"

	"github.com/pdskit/pdskit/storage"
)

// backupPages is how many pages Backup copies before it looks whether it is
// still wanted.
const backupPages = 256

// Backup writes a copy of the database, as it is at one moment after the call,
// to a file that must not exist, in a folder that must. When it returns nil the
// copy is complete and durable, and [Open] opens it. Everything that an Update
// stored before the call is in it. If it fails, or ctx ends, no file remains.
//
// Writers go on meanwhile. The log, though, keeps what they write until the copy is
// complete, so it may grow beyond its usual bound by about twice what is written
// in that time. Backup takes one of the [Options.ReadConns].
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("sqlite: backup: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	s.check.pinned.Add(1)
	defer s.check.pinned.Add(-1)
	err = s.View(ctx, func(own storage.Tx) error {
		// A transaction that has read keeps its snapshot through all steps.
		if _, err := own.LastSeq(); err != nil {
			return err
		}
		return s.copyTo(ctx, own.(*tx).c, path)
	})
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sqlite: backup: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// copyTo copies what the transaction of c sees. The copy is synced by the
// caller, and worthless until it is complete, so it needs no journal.
func (s *Store) copyTo(ctx context.Context, c *conn, path string) (err error) {
	source, ok := c.c.(interface {
		NewBackup(uri string) (*modernc.Backup, error)
	})
	if !ok {
		return errors.New("sqlite: the driver cannot copy databases")
	}
	b, err := source.NewBackup(fileURI(path) + "?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)")
	if err != nil {
		return fmt.Errorf("sqlite: backup: %w", err)
	}
	defer func() {
		if e := b.Finish(); err == nil && e != nil {
			err = fmt.Errorf("sqlite: backup: %w", e)
		}
	}()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.usable(); err != nil {
			return err
		}
		if more, err = b.Step(backupPages); err != nil {
			return fmt.Errorf("sqlite: backup: %w", err)
		}
	}
	return nil
}

// Check reads the whole database and returns an error that names the first
// damage found in its pages, rows or indexes. It says nothing about the bytes
// that the rows hold. It takes about as long as reading the file does.
func (s *Store) Check(ctx context.Context) error {
	return s.View(ctx, func(own storage.Tx) error {
		r, ok, err := own.(*tx).one("PRAGMA quick_check(1)")
		if err != nil {
			return err
		}
		if result := r.str(0); !ok || result != "ok" {
			return fmt.Errorf("sqlite: the database is damaged: %s", result)
		}
		return nil
	})
}
