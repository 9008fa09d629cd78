package sqlite

import (
	_ "embed"
	"errors"
	"fmt"
)

//go:embed schema.sql
var schema string

// upgrades lead from each version of the schema to the next one: the first one
// from version 1 to 2. What is changed in schema.sql is added here, so that
// files that exist are changed in the same way; a file of each version is in
// testdata, and a test opens them all. An upgrade is one transaction with the
// new version, so a crash leaves the file as it was or as it is to be. One that
// rewrites much needs as much room on the disk again.
func upgrades() []string { return nil }

// schemaVersion is the user_version of the files that this code makes.
func schemaVersion() int64 { return int64(len(upgrades())) + 1 }

// ErrNewerSchema matches the error of Open for a file that a newer version of
// this package has changed. It is left as it is.
var ErrNewerSchema = errors.New("sqlite: the file was made or upgraded by a newer version of this program")

// prepareFile makes, checks or upgrades the schema, drops generations that were
// never published, and returns the last sequence number.
func prepareFile(c *conn) (lastSeq int64, err error) {
	version, err := c.integer("PRAGMA user_version")
	if err != nil {
		return 0, err
	}
	if version == 0 {
		tables, err := c.integer("SELECT count(*) FROM sqlite_master")
		if err != nil {
			return 0, err
		}
		if tables != 0 {
			return 0, errors.New("the file is a database of another program")
		}
		if err := c.change(schema, schemaVersion()); err != nil {
			return 0, fmt.Errorf("make the schema: %w", err)
		}
		return 0, nil
	}
	if err := c.upgrade(version, upgrades()); err != nil {
		return 0, err
	}
	if err := c.script("UPDATE generations SET state = 2 WHERE state = 0 AND state <> 1"); err != nil {
		return 0, err
	}
	return c.integer(sqlLastSeq)
}

// upgrade brings a file of a version to the newest one, step by step.
func (c *conn) upgrade(version int64, steps []string) error {
	newest := int64(len(steps)) + 1
	if version < 1 || version > newest {
		return fmt.Errorf("%w: its schema is version %d, this one knows %d", ErrNewerSchema, version, newest)
	}
	for ; version < newest; version++ {
		if err := c.change(steps[version-1], version+1); err != nil {
			return fmt.Errorf("upgrade the schema from version %d: %w", version, err)
		}
	}
	return nil
}

// change runs a script and sets the version, both or neither.
func (c *conn) change(script string, version int64) error {
	err := c.script(fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", script, version))
	if err != nil {
		_ = c.script("ROLLBACK") // fails if SQLite has rolled back already
	}
	return err
}
