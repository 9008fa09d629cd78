package sqlite_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// typical makes commits as a repository of some size sees them: six nodes in
// and five out, one record of 400 bytes, an event of 5 KB.
type typical struct {
	did     syntax.DID
	version int64
	n       int
	head    storage.Head
	nodes   []storage.Block
	rand    *rand.ChaCha8
}

func randomBlock(r *rand.ChaCha8, size int) storage.Block {
	data := make([]byte, size)
	_, _ = r.Read(data) // never fails
	sum := sha256.Sum256(data)
	c, _ := cid.Cast(append([]byte{1, 0x71, 0x12, 0x20}, sum[:]...))
	return storage.Block{CID: c, Data: data}
}

func newTypical(t testing.TB, s storage.Store, n int) *typical {
	r := &typical{did: syntax.DID(fmt.Sprintf("did:plc:%024d", n)), rand: rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})}
	err := s.Update(context.Background(), func(tx storage.Tx) (err error) {
		r.version, err = tx.PutAccount(storage.Account{DID: r.did, CreatedAt: time.Now(), KeyID: "k"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *typical) next() (*storage.Commit, storage.Event) {
	r.n++
	rev := syntax.NewTID(1_700_000_000_000_000+int64(r.n), 0)
	var nodes []storage.Block
	for range 6 {
		nodes = append(nodes, randomBlock(r.rand, 600))
	}
	commit := randomBlock(r.rand, 220)
	value := randomBlock(r.rand, 400)
	c := &storage.Commit{
		DID: r.did, Base: r.head.CID, AccountVersion: r.version, KeyID: "k",
		Head:     storage.Head{CID: commit.CID, Rev: rev, Data: nodes[0].CID, Commit: commit.Data},
		NewNodes: nodes,
		Puts: []storage.Record{{
			RecordPath: storage.RecordPath{Collection: "app.bsky.feed.post", RKey: syntax.RecordKey(rev)},
			CID:        value.CID, Rev: rev, Author: r.did, Value: value.Data,
		}},
	}
	for i := 0; i < 5 && i < len(r.nodes); i++ {
		c.OldNodes = append(c.OldNodes, r.nodes[i].CID)
	}
	r.nodes = nodes
	r.head = c.Head
	return c, storage.Event{DID: r.did, Kind: "commit", Body: randomBlock(r.rand, 5000).Data, Actor: r.did}
}

func (r *typical) commit(t testing.TB, s storage.Store) {
	c, ev := r.next()
	err := s.Update(context.Background(), func(tx storage.Tx) error {
		if err := tx.Apply(c); err != nil {
			return err
		}
		return tx.Append(ev)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func benchStore(b *testing.B) *sqlite.Store {
	s, err := sqlite.Open(filepath.Join(b.TempDir(), "b.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// cpu reports the CPU time of the process for each operation.
func cpu(b *testing.B, per int) func() {
	usage := func() (u syscall.Rusage) {
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u
	}
	before := usage()
	return func() {
		after := usage()
		used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(used)/1000/float64(b.N*per), "cpu-µs/op")
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := benchStore(b)
			repos := make(chan *typical, clients)
			for n := range clients {
				r := newTypical(b, s, n)
				fill(b, s, r, 8_000/clients)
				for range 50 {
					r.commit(b, s)
				}
				repos <- r
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan struct{})
			before := s.Commits()
			defer cpu(b, 1)()
			b.ResetTimer()
			for range clients {
				go func() {
					r := <-repos
					for left.Add(-1) >= 0 {
						r.commit(b, s)
					}
					done <- struct{}{}
				}()
			}
			for range clients {
				<-done
			}
			b.ReportMetric(float64(b.N)/float64(s.Commits()-before), "batch")
		})
	}
}

// filled returns a store with one repository of n records, staged.
func filled(b *testing.B, n int) (*sqlite.Store, *typical) {
	s := benchStore(b)
	r := newTypical(b, s, 1)
	fill(b, s, r, n)
	return s, r
}

func fill(b *testing.B, s storage.Store, r *typical, n int) {
	var g storage.Generation
	update := func(fn func(tx storage.Tx) error) {
		if err := s.Update(context.Background(), fn); err != nil {
			b.Fatal(err)
		}
	}
	update(func(tx storage.Tx) (err error) { g, err = tx.NewGeneration(r.did); return err })
	rev := syntax.NewTID(1_600_000_000_000_000, 0)
	for at := 0; at < n; at += 1000 {
		var records []storage.Record
		var nodes []storage.Block
		for i := range min(1000, n-at) {
			value := randomBlock(r.rand, 250)
			records = append(records, storage.Record{
				RecordPath: storage.RecordPath{Collection: "app.bsky.feed.post", RKey: syntax.RecordKey(syntax.NewTID(1_500_000_000_000_000+int64(at+i), 0))},
				CID:        value.CID, Rev: rev, Author: r.did, Value: value.Data,
			})
			if i%3 == 0 {
				nodes = append(nodes, randomBlock(r.rand, 300))
			}
		}
		update(func(tx storage.Tx) error { return tx.Stage(g, nodes, records) })
	}
	head := randomBlock(r.rand, 220)
	update(func(tx storage.Tx) error {
		return tx.Apply(&storage.Commit{DID: r.did, AccountVersion: r.version, KeyID: "k", Base: r.head.CID, Generation: g,
			Head: storage.Head{CID: head.CID, Rev: rev, Data: head.CID, Commit: head.Data}})
	})
	r.head, r.nodes = storage.Head{CID: head.CID}, nil
}

func BenchmarkGetRecord(b *testing.B) {
	s, r := filled(b, 10_000)
	defer cpu(b, 1)()
	for b.Loop() {
		rkey := syntax.RecordKey(syntax.NewTID(1_500_000_000_000_000+rand.Int64N(10_000), 0))
		err := s.View(context.Background(), func(tx storage.Tx) error {
			if _, err := tx.Account(r.did); err != nil {
				return err
			}
			_, err := tx.Record(r.did, "app.bsky.feed.post", rkey)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListRecords100(b *testing.B) {
	s, r := filled(b, 10_000)
	defer cpu(b, 1)()
	for b.Loop() {
		after := string(syntax.NewTID(1_500_000_000_000_000+100+rand.Int64N(9_000), 0))
		err := s.View(context.Background(), func(tx storage.Tx) error {
			list, err := tx.ListRecords(r.did, "app.bsky.feed.post", storage.Range{After: after, Limit: 100, Reverse: true})
			if err == nil && len(list) != 100 {
				b.Fatalf("%d records", len(list))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExport10k(b *testing.B) {
	s, r := filled(b, 10_000)
	defer cpu(b, 1)()
	b.ReportAllocs()
	for b.Loop() {
		var n, bytes int
		err := s.View(context.Background(), func(tx storage.Tx) error {
			for block, err := range tx.Export(r.did, "") {
				if err != nil {
					return err
				}
				n++
				bytes += len(block.Data)
			}
			return nil
		})
		if err != nil || n < 13_000 {
			b.Fatal(n, err)
		}
		b.SetBytes(int64(bytes))
	}
}

// BenchmarkStage stages a repository of 100,000 records for each operation.
func BenchmarkStage(b *testing.B) {
	const records = 100_000
	s := benchStore(b)
	r := newTypical(b, s, 1)
	defer cpu(b, records)()
	for b.Loop() {
		fill(b, s, r, records)
	}
}

func BenchmarkListEvents(b *testing.B) {
	s := benchStore(b)
	r := newTypical(b, s, 1)
	for range 2000 {
		r.commit(b, s)
	}
	defer cpu(b, 1000)()
	for b.Loop() {
		err := s.View(context.Background(), func(tx storage.Tx) error {
			list, err := tx.ListEvents(0, 1000, 64<<20)
			if len(list) != 1000 {
				b.Fatal(len(list))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenMemory(b *testing.B) {
	for b.Loop() {
		s, err := sqlite.OpenMemory(sqlite.Options{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
