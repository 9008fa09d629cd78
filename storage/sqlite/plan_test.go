package sqlite_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

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
		tx.AccountByHandle("x.test")
		tx.AccountByEmail("x")
		tx.ListAccounts(storage.AccountCursor{CreatedAt: 1}, 1)
		tx.Usage(r.did)
		tx.Head(r.did)
		tx.Record(r.did, put.Collection, put.RKey)
		for _, reverse := range []bool{false, true} {
			tx.ListRecords(r.did, put.Collection, storage.Range{After: "x", Reverse: reverse, Limit: 1})
			tx.ScanDocs("k", storage.Scan{From: "a", To: "b", Reverse: reverse, Limit: 1})
		}
		tx.ListRecordsSince(r.did, "x", 1)
		tx.ListBacklinks(r.did, put.Collection, "x", 1)
		tx.ListCollections(r.did)
		tx.Block(r.did, put.CID)
		for range tx.Export(r.did, "") {
		}
		tx.ListEvents(1, 1, 1)
		tx.LastSeq()
		tx.Blob(r.did, put.CID)
		tx.BlobReferenced(r.did, put.CID)
		tx.ListBlobRefs(r.did, "x", "a", 1)
		tx.ListMissingBlobs(r.did, "a", 1)
		tx.ListTemporaryBlobs(time.Now(), 1)
		tx.BlobKeyUsed("k")
		tx.ReleasedBlobs(1)
		tx.GetDoc("k", "x")
		_, err := tx.ScanOwner(r.did, "k")
		return err
	}
	check := func(tx storage.Tx) error {
		statements := sqlite.Statements(tx)
		for _, sql := range statements {
			plan, err := sqlite.Plan(tx, sql)
			if err != nil {
				return err
			}
			for line := range strings.SplitSeq(plan, "\n") {
				scan, ok := strings.CutPrefix(line, "SCAN ")
				if !ok || strings.HasPrefix(scan, "json_each") || strings.HasSuffix(scan, "VALUES CLAUSE") || scan == "CONSTANT ROW" {
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
