//go:build unix

package pds_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
)

// fillBatch is how many records one Apply of fillRepo writes.
const fillBatch = 200

// fillRepo writes n small records with keys spread over the past.
func fillRepo(b *testing.B, srv *pdstest.PDS, did syntax.DID, n int) {
	b.Helper()
	var tid syntax.TID
	past := time.Now().Add(-1000 * time.Hour)
	for done := 0; done < n; {
		batch := pds.Batch{Account: did, Actor: did, Validate: pds.ValidateNone}
		for ; len(batch.Ops) < fillBatch && done < n; done++ {
			rec, err := repo.RecordFromValue(map[string]any{"text": fmt.Sprint(done)}, noteCollection)
			if err != nil {
				b.Fatal(err)
			}
			past = past.Add(time.Millisecond)
			tid = repo.NextRev(tid, past, 1)
			batch.Ops = append(batch.Ops, pds.Op{
				Action: pds.Create, Collection: noteCollection, RKey: syntax.RecordKey(tid), Record: rec,
			})
		}
		if _, err := srv.Apply(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateBySize measures one write to repositories of growing size. Its
// cost grows with the depth of the tree alone. The largest takes minutes to
// make and is left out unless PDSKIT_BIG is set.
func BenchmarkCreateBySize(b *testing.B) {
	for _, size := range []int{1_000, 10_000, 100_000, 1_000_000} {
		if size > 10_000 && os.Getenv("PDSKIT_BIG") == "" {
			continue
		}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			srv := benchServer(b)
			acct := srv.CreateAccount("alice").DID
			fillRepo(b, srv, acct, size)
			start := cpuTime(b)
			for i := 0; b.Loop(); i++ {
				rec, err := repo.RecordFromValue(benchPost(i), "app.bsky.feed.post")
				if err != nil {
					b.Fatal(err)
				}
				_, err = srv.Apply(b.Context(), pds.Batch{Account: acct, Actor: acct, Ops: []pds.Op{{
					Action: pds.Create, Collection: "app.bsky.feed.post", Record: rec,
				}}})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-start).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpuTime is what this process has used, which says more than the time on the
// wall where machines are shared.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
