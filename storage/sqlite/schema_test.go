package sqlite_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// unpack makes a file of testdata, which servers of their time have made.
func unpack(t *testing.T, version int64) (path string) {
	t.Helper()
	packed, err := os.Open(fmt.Sprintf("testdata/version-%d.db.gz", version))
	if err != nil {
		t.Fatalf("%v: run a server of that version, use it, stop it, and pack its pds.db", err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	path = filepath.Join(t.TempDir(), "pds.db")
	if err = errors.Join(err, os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// schemaOf lists columns, and indexes and views by their definitions. Those of
// tables may be written in several ways.
func schemaOf(t *testing.T, s *sqlite.Store) (text string) {
	t.Helper()
	err := s.View(t.Context(), func(tx storage.Tx) (err error) {
		text, err = sqlite.Text(tx, `SELECT group_concat(line, char(10)) FROM (
			SELECT m.name || ' ' || p.name || ' ' || p.type || ' ' || p."notnull" || ' ' || coalesce(p.dflt_value, '-') || ' ' || p.pk AS line
			FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'
			UNION ALL SELECT sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL
			ORDER BY line)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A file of every version opens, has what it had, is like a new one, and can be
// written to.
func TestFilesOfAllVersions(t *testing.T) {
	fresh := schemaOf(t, newStore(t))
	for version := int64(1); version <= sqlite.SchemaVersion(); version++ {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			s, err := sqlite.Open(unpack(t, version), sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if got := schemaOf(t, s); got != fresh {
				t.Errorf("the schema after the upgrade:\n%s\na new one:\n%s", got, fresh)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Error(err)
			}
			var last int64
			err = s.View(t.Context(), func(tx storage.Tx) error {
				alice, err := tx.AccountByHandle("alice.test")
				if err != nil {
					return err
				}
				records, err := tx.ListRecords(alice.DID, "com.example.note", storage.Range{Limit: 100})
				if err != nil || len(records) != 59 {
					t.Errorf("%d records, %v", len(records), err)
				}
				for i := range records {
					if _, err := tx.Block(alice.DID, records[i].CID); err != nil {
						t.Errorf("%s: %v", records[i].RecordPath, err)
					}
				}
				u, err := tx.Usage(alice.DID)
				if err != nil || u.Records != 59 || u.Blobs != 2 || u.ReferencedBlobs != 1 {
					t.Errorf("usage %+v, %v", u, err)
				}
				if bob, err := tx.AccountByHandle("bob.test"); err != nil || bob.TakedownRef != "spam" {
					t.Errorf("bob: %+v, %v", bob, err)
				}
				events, err := tx.ListEvents(0, 1000, 1<<24)
				if err != nil || len(events) < 65 {
					t.Errorf("%d events, %v", len(events), err)
				}
				last, err = tx.LastSeq()
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Update(t.Context(), func(tx storage.Tx) error {
				return errors.Join(put(tx, "0000", "x"), tx.Append(storage.Event{DID: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Kind: "test"}))
			})
			if err != nil {
				t.Error(err)
			}
			err = s.View(t.Context(), func(tx storage.Tx) error {
				if seq, err := tx.LastSeq(); err != nil || seq <= last {
					t.Errorf("number %d after %d, %v", seq, last, err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A file of a newer version is refused and left alone.
func TestNewerFileRefused(t *testing.T) {
	path := unpack(t, sqlite.SchemaVersion())
	newer := append(make([]string, sqlite.SchemaVersion()-1), "CREATE TABLE new (x)")
	if version, err := sqlite.Upgrade(path, newer); err != nil || version != sqlite.SchemaVersion()+1 {
		t.Fatal(version, err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(path, sqlite.Options{})
	if !errors.Is(err, sqlite.ErrNewerSchema) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprint("version ", sqlite.SchemaVersion()+1)) {
		t.Errorf("Open: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file was changed, %v", err)
	}
}

// Each step of an upgrade happens as a whole or not at all.
func TestUpgrade(t *testing.T) {
	path := unpack(t, 1)
	good := []string{"CREATE TABLE one (x)", "CREATE TABLE two (x); INSERT INTO two SELECT count(*) FROM records"}
	bad := []string{good[0], "CREATE TABLE two (x); INSERT INTO nowhere VALUES (1)"}
	version, err := sqlite.Upgrade(path, bad)
	if err == nil || version != 2 || !strings.Contains(err.Error(), "from version 2") {
		t.Errorf("a bad step: version %d, %v", version, err)
	}
	for range 2 { // the second time there is nothing to do
		if version, err := sqlite.Upgrade(path, good); err != nil || version != 3 {
			t.Errorf("version %d, %v", version, err)
		}
	}
	if version, err := sqlite.Upgrade(path, good[:1]); !errors.Is(err, sqlite.ErrNewerSchema) || version != 3 {
		t.Errorf("an older program: version %d, %v", version, err)
	}
}
