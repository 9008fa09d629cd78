package sqlite

import (
	"errors"
	"strings"

	"github.com/pdskit/pdskit/storage"
)

// Limits, for tests at their edges.
const (
	MaxBatch    = maxBatch
	MaxLogBytes = maxLogBytes
	MaxRecent   = maxRecent
	KeepRecent  = keepRecent
	RecentStep  = recentStep

	MaxCachedAccounts = maxCachedAccounts
	MaxHot            = maxHot
)

// CachedAccounts is the number of accounts that a store remembers.
func CachedAccounts(s *Store) int { return len(s.accounts.found) }

// Commits is the number of committed batches, each with one fsync.
func (s *Store) Commits() int64 { return s.writer.commits.Load() }

// Raw runs a statement on the connection of a transaction, past its checks.
func Raw(t storage.Tx, sql string) error { return t.(*tx).c.script(sql) }

// Exec runs a statement as the store's own ones run.
func Exec(t storage.Tx, sql string) error {
	_, err := t.(*tx).exec(sql)
	return err
}

// Plan returns SQLite's plan of a query.
func Plan(t storage.Tx, sql string) (plan string, err error) {
	err = t.(*tx).each(func(r *rows) bool { plan += r.str(3) + "\n"; return true }, "EXPLAIN QUERY PLAN "+strings.ReplaceAll(sql, "?", "1"))
	return plan, err
}

// Text returns the first column of the first row.
func Text(t storage.Tx, sql string) (string, error) {
	r, _, err := t.(*tx).one(sql)
	if err != nil {
		return "", err
	}
	return r.str(0), nil
}

// Queued is how many closures wait.
func (s *Store) Queued() int { return len(s.queue) }

// Path is the database file.
func (s *Store) Path() string { return s.path }

// Statements are the texts of all statements that the connection has prepared.
func Statements(t storage.Tx) (list []string) {
	for sql := range t.(*tx).c.stmts {
		list = append(list, sql)
	}
	return list
}

// RecentSize is what a node without a row counts for.
func RecentSize(cid, rev, data int) int {
	n := recentNode{cid: make([]byte, cid), rev: make([]byte, rev), data: make([]byte, data)}
	return n.size()
}

// RecodeRecent reads a list of nodes without rows and writes it anew.
func RecodeRecent(b []byte) (nodes int, again []byte, err error) {
	list, err := parseRecent(b)
	return len(list), appendRecent(nil, list), err
}

// SchemaVersion is the version of the files that are made.
func SchemaVersion() int64 { return schemaVersion() }

// Upgrade upgrades a closed file by steps of its own and returns its version.
func Upgrade(path string, steps []string) (version int64, err error) {
	c, err := connect(path)
	if err != nil {
		return 0, err
	}
	defer c.close()
	if version, err = c.integer("PRAGMA user_version"); err != nil {
		return 0, err
	}
	err = c.upgrade(version, steps)
	version, e := c.integer("PRAGMA user_version")
	return version, errors.Join(err, e)
}
