package sqlite_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func failure[T any](_ T, err error) error { return err }

// No statement reads a whole table: what its plan calls a scan is a list of
// arguments, or is cut by a limit in the order of the table itself.
func TestNothingIsScanned(t *testing.T) {
	s := newStore(t)
	r := newTypical(t, s, 1)
	r.commit(t, s)
	r.commit(t, s)
	c, _ := r.next()
	c.Puts[0].Blobs = []cid.Cid{c.Puts[0].CID}
	reads := func(tx storage.Tx) error {
		put := c.Puts[0]
		failures := []error{
			failure(tx.AccountByHandle("x.test")),
			failure(tx.AccountByEmail("x")),
			failure(tx.ListAccounts(storage.AccountCursor{CreatedAt: 1}, 1)),
			failure(tx.Usage(r.did)),
			failure(tx.Head(r.did)),
			failure(tx.Record(r.did, put.Collection, put.RKey)),
			failure(tx.ListRecordsSince(r.did, "x", 1)),
			failure(tx.ListBacklinks(r.did, put.Collection, "x", 1)),
			failure(tx.ListCollections(r.did)),
			failure(tx.Block(r.did, put.CID)),
			failure(tx.ListEvents(1, 1, 1)),
			failure(tx.LastSeq()),
			failure(tx.Blob(r.did, put.CID)),
			failure(tx.BlobReferenced(r.did, put.CID)),
			failure(tx.ListBlobRefs(r.did, "x", "a", 1)),
			failure(tx.ListMissingBlobs(r.did, "a", 1)),
			failure(tx.ListTemporaryBlobs(time.Now(), 1)),
			failure(tx.BlobKeyUsed("k")),
			failure(tx.ReleasedBlobs(1)),
			failure(tx.GetDoc("k", "x")),
			failure(tx.ScanOwner(r.did, "k")),
			failure(tx.OwnerKinds(r.did)),
		}
		for _, reverse := range []bool{false, true} {
			failures = append(failures,
				failure(tx.ListRecords(r.did, put.Collection, storage.Range{After: "x", Reverse: reverse, Limit: 1})),
				failure(tx.ScanDocs("k", storage.Scan{From: "a", To: "b", Reverse: reverse, Limit: 1})),
			)
		}
		for _, err := range tx.Export(r.did, "") {
			failures = append(failures, err)
		}
		return errors.Join(slices.DeleteFunc(failures, func(err error) bool { return errors.Is(err, storage.ErrNotFound) })...)
	}
	check := func(tx storage.Tx) error {
		statements := sqlite.Statements(tx)
		for _, sql := range statements {
			if strings.Contains(sql, "LIMIT ?") && !strings.Contains(sql, "LIMIT ?+0") {
				t.Errorf("it is prepared again each time: %s", sql)
			}
			plan, err := sqlite.Plan(tx, sql)
			if err != nil {
				return err
			}
			for line := range strings.SplitSeq(plan, "\n") {
				scan, ok := strings.CutPrefix(line, "SCAN ")
				if !ok || strings.HasSuffix(scan, "VALUES CLAUSE") || scan == "CONSTANT ROW" {
					continue
				}
				switch scan {
				case "meta", "released", "doomed", "events", "sqlite_master": // one row, or LIMIT without another order
				default:
					t.Errorf("%s\n%s", sql, plan)
				}
			}
			if strings.Contains(plan, "TEMP B-TREE") && !strings.Contains(sql, "UNION") {
				t.Errorf("it sorts: %s\n%s", sql, plan)
			}
		}
		t.Logf("%d statements", len(statements))
		return nil
	}
	if err := s.View(context.Background(), func(tx storage.Tx) error {
		if err := reads(tx); err != nil {
			return err
		}
		return check(tx)
	}); err != nil {
		t.Fatal(err)
	}
	err := update(s, func(tx storage.Tx) error {
		if err := tx.Apply(c); err != nil {
			return err
		}
		if err := tx.SetBlobRefs(r.did, "urn:x", c.Puts[0].Blobs); err != nil {
			return err
		}
		if err := tx.PutBlob(storage.Blob{Owner: r.did, CID: c.Puts[0].CID, Key: "k"}); err != nil {
			return err
		}
		if _, err := tx.PutDoc(storage.Doc{Kind: "k", Key: "k", Owner: r.did}); err != nil {
			return err
		}
		if err := tx.HideEvents(r.did); err != nil {
			return err
		}
		if _, err := tx.PruneEvents(1<<53, 1); err != nil {
			return err
		}
		g, err := tx.NewGeneration(r.did)
		if err != nil {
			return err
		}
		if err := tx.Stage(g, c.NewNodes, c.Puts); err != nil {
			return err
		}
		return tx.DeleteAccount(r.did)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Maintain(context.Background(), storage.Budget{}); err != nil {
		t.Fatal(err)
	}
	if err := update(s, check); err != nil {
		t.Fatal(err)
	}
}
