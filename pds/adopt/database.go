package adopt

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// database is one database of the source, opened for reading.
type database struct {
	*sql.DB
	copied string // folder with a copy, to be removed; empty: none
}

// openDatabase opens a database without ever writing beside it. One that has a
// log of writes is copied, with its log, into a new folder below temp.
func openDatabase(ctx context.Context, path, temp string) (db *database, err error) {
	path, err = filepath.EvalSymlinks(path) // the log lies beside the file itself
	if err != nil {
		return nil, err
	}
	if err := checkFile(path); err != nil {
		return nil, err
	}
	db = &database{}
	options := "?immutable=1&mode=ro"
	for _, suffix := range []string{"-wal", "-journal"} {
		info, err := os.Stat(path + suffix)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case info.Size() == 0:
			continue
		}
		if db.copied == "" {
			if db.copied, err = os.MkdirTemp(temp, "adopt-*"); err != nil {
				return nil, err
			}
		}
		if err := copyFile(filepath.Join(db.copied, "db"+suffix), path+suffix); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	if db.copied != "" {
		to := filepath.Join(db.copied, "db")
		if err := copyFile(to, path); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		path, options = to, ""
	}
	if db.DB, err = sql.Open("sqlite", fileURI(path)+options); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	db.SetMaxOpenConns(2) // one that goes through rows, one that looks something up meanwhile
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

// Close closes the database and removes its copy.
func (db *database) Close() error {
	var err error
	if db.DB != nil {
		err = db.DB.Close()
	}
	if db.copied != "" {
		err = errors.Join(err, os.RemoveAll(db.copied))
	}
	return err
}

// fileURI returns the name by which the driver opens a file.
func fileURI(path string) string {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return "file://" + (&url.URL{Path: p}).EscapedPath()
}

// openFile opens a file of the source for reading.
func openFile(path string) (*os.File, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// checkFile refuses what is no file: to open a pipe can take for ever.
func checkFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	return err
}

func copyFile(to, from string) error {
	r, err := openFile(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
