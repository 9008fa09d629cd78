package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	modernc "modernc.org/sqlite"
)

// conn is one connection with its prepared statements. It talks to the driver
// through the interfaces of database/sql/driver: the pool of database/sql
// would copy every value once more and lock around each statement. It is used
// by one goroutine at a time.
type conn struct {
	c     driver.Conn
	stmts map[string]*stmt
}

// stmt is a prepared statement. An iterator that is still open keeps it busy.
type stmt struct {
	s    driver.Stmt
	args []driver.NamedValue
	busy bool
}

// connect opens the file and runs the pragmas. No other code of this process
// may open the file: POSIX drops all locks of a process with the first close.
func connect(path string, pragmas ...string) (*conn, error) {
	connector, err := modernc.NewConnector(fileURI(path))
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	c := &conn{c: dc, stmts: make(map[string]*stmt)}
	for _, pragma := range pragmas {
		if err := c.script("PRAGMA " + pragma); err != nil {
			c.close()
			return nil, fmt.Errorf("PRAGMA %s: %w", pragma, err)
		}
	}
	return c, nil
}

// fileURI returns the name by which the driver opens a file.
func fileURI(path string) string {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return "file://" + (&url.URL{Path: p}).EscapedPath()
}

func (c *conn) close() error {
	for _, st := range c.stmts {
		st.s.Close()
	}
	return c.c.Close()
}

// script runs statements without arguments and keeps nothing prepared.
func (c *conn) script(sql string) error {
	_, err := c.c.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

// prepared returns the statement for sql, ready for use. The second result is
// true if the caller must close it afterwards.
//
// Limits are written "LIMIT ?+0": SQLite makes a plan for the very number that
// stands behind a bare "LIMIT ?", and so prepares the statement again whenever
// one is bound.
func (c *conn) prepared(sql string, args []any) (*stmt, bool, error) {
	st, ok := c.stmts[sql]
	once := ok && st.busy
	if !ok || once {
		s, err := c.c.Prepare(sql)
		if err != nil {
			return nil, false, fmt.Errorf("prepare %q: %w", sql, err)
		}
		st = &stmt{s: s}
		if !once {
			c.stmts[sql] = st
		}
	}
	st.args = st.args[:0]
	for i, a := range args {
		switch v := a.(type) {
		case int:
			a = int64(v)
		case bool:
			if a = int64(0); v {
				a = int64(1)
			}
		}
		st.args = append(st.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return st, once, nil
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(sql string, args ...any) (int64, error) {
	st, once, err := c.prepared(sql, args)
	if err != nil {
		return 0, err
	}
	if once {
		defer st.s.Close()
	}
	res, err := st.s.(driver.StmtExecContext).ExecContext(context.Background(), st.args)
	clear(st.args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// snapshot begins to read one state of the database, which lasts until the
// rows are closed: SQLite ends a transaction that nobody began when the last
// statement ends. So a View costs one statement instead of two. The state is
// known by the version of its accounts.
func (c *conn) snapshot() (r *rows, version int64, err error) {
	if r, err = c.query(sqlVersion); err != nil {
		return nil, 0, err
	}
	if !r.next() {
		return nil, 0, errors.Join(errNoMeta, r.close())
	}
	return r, r.int(0), nil
}

// sqlVersion finds the number that every change of the accounts raises.
const sqlVersion = "SELECT last_version FROM meta"

var errNoMeta = errors.New("the table meta is empty")

// rows is an open query. It must be closed.
type rows struct {
	r    driver.Rows
	st   *stmt
	once bool
	row  []driver.Value
	err  error
}

func (c *conn) query(sql string, args ...any) (*rows, error) {
	st, once, err := c.prepared(sql, args)
	if err != nil {
		return nil, err
	}
	r, err := st.s.(driver.StmtQueryContext).QueryContext(context.Background(), st.args)
	clear(st.args)
	if err != nil {
		if once {
			st.s.Close()
		}
		return nil, err
	}
	st.busy = true
	return &rows{r: r, st: st, once: once, row: make([]driver.Value, len(r.Columns()))}, nil
}

// next moves to the next row. It is false at the end and after an error.
func (r *rows) next() bool {
	if r.err != nil {
		return false
	}
	if err := r.r.Next(r.row); err != nil {
		r.err = err
		return false
	}
	return true
}

// close ends the query and returns the error that ended it early, if any.
func (r *rows) close() error {
	err := r.r.Close()
	r.st.busy = false
	if r.once {
		r.st.s.Close()
	}
	if failure := r.failure(); failure != nil {
		return failure
	}
	return err
}

// failure returns the error that ended the query early, if any.
func (r *rows) failure() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// The accessors give the zero value for NULL. What bytes returns is the
// caller's own.
func (r *rows) int(i int) int64  { v, _ := r.row[i].(int64); return v }
func (r *rows) bool(i int) bool  { return r.int(i) != 0 }
func (r *rows) str(i int) string { v, _ := r.row[i].(string); return v }

func (r *rows) bytes(i int) []byte {
	v, _ := r.row[i].([]byte)
	if v == nil {
		v = []byte{}
	}
	return v
}
