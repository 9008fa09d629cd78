package sqlite

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// LockedError says that another Store, of this process or another, has the
// file open.
type LockedError struct {
	Path   string // of the database
	Holder string // who holds it, as text; may be empty
}

// Error names the file and its holder.
func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("sqlite: %s is in use by %s", e.Path, holder)
}

// lock takes the exclusive ownership of a database by a file beside it, which
// says who holds it. The file stays when the lock is released: to remove it
// would let two owners hold two different files of the same name.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: lock file: %w", err)
	}
	if err := tryLock(f); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 512))
		f.Close()
		return nil, &LockedError{Path: path, Holder: strings.TrimSpace(string(holder))}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	text := fmt.Sprintf("process %d on %s since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("sqlite: lock file: %w", err)
	}
	return f, nil
}
