package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// Nodes of all ages, removed after they got a row or before, with records of
// the same bytes, are found, exported and counted as a recount says.
func TestNodesOfAllAges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := newStore(t)
	r := newTypical(t, s, 1)
	nodes := make(map[cid.Cid][]byte)
	records := make(map[cid.Cid][]byte)
	var order []cid.Cid // of nodes, oldest first
	for round := range 120 {
		c, _ := r.next()
		c.OldNodes = nil
		for i := 0; i < len(order); i++ {
			// Mostly young ones go, as in a tree.
			if age := len(order) - i; rng.IntN(age*age/8+2) == 0 {
				c.OldNodes = append(c.OldNodes, order[i])
				delete(nodes, order[i])
				order = append(order[:i], order[i+1:]...)
				i--
			}
		}
		if len(order) > 0 {
			old := order[rng.IntN(len(order))]
			c.NewNodes = append(c.NewNodes, storage.Block{CID: old, Data: nodes[old]}) // it is there already
			if rng.IntN(4) == 0 {
				c.Puts[0].CID, c.Puts[0].Value = old, nodes[old]
			}
		}
		for i, b := range c.NewNodes {
			if i == 0 && round%20 == 0 {
				c.NewNodes[i] = randomBlock(r.rand, 1+rng.IntN(2*sqlite.MaxRecent))
				b, c.Head.Data = c.NewNodes[i], c.NewNodes[i].CID
			}
			if _, ok := nodes[b.CID]; !ok {
				order = append(order, b.CID)
			}
			nodes[b.CID] = b.Data
		}
		records[c.Puts[0].CID] = c.Puts[0].Value
		r.head = c.Head
		if round%3 == 0 { // what is undone leaves nothing that is remembered
			undone := errors.New("undone")
			if err := update(s, func(tx storage.Tx) error { return errors.Join(tx.Apply(c), undone) }); !errors.Is(err, undone) || errors.Is(err, storage.ErrConflict) {
				t.Fatal(err)
			}
		}
		if err := update(s, func(tx storage.Tx) error { return tx.Apply(c) }); err != nil {
			t.Fatal(err)
		}
		if round%10 != 9 {
			continue
		}
		want := map[cid.Cid][]byte{c.Head.CID: c.Head.Commit}
		for _, m := range []map[cid.Cid][]byte{nodes, records} {
			maps.Copy(want, m)
		}
		checkBlocks(t, s, r.did, want, c.OldNodes)
	}
}

// checkBlocks checks that these are the blocks of a repository, and that
// others are none.
func checkBlocks(t *testing.T, s storage.Store, did syntax.DID, want map[cid.Cid][]byte, gone []cid.Cid) {
	t.Helper()
	err := s.View(context.Background(), func(tx storage.Tx) error {
		usage, err := tx.Usage(did)
		if err != nil {
			return err
		}
		if int(usage.RepoBlocks) != len(want) {
			t.Errorf("%d blocks are counted, want %d", usage.RepoBlocks, len(want))
		}
		for c, data := range want {
			got, err := tx.Block(did, c)
			if err != nil || !bytes.Equal(got, data) {
				return fmt.Errorf("block %s has %d bytes, want %d (%w)", c, len(got), len(data), err)
			}
		}
		for _, c := range gone {
			if _, again := want[c]; again {
				continue
			}
			if _, err := tx.Block(did, c); !errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("removed node %s: %w", c, err)
			}
		}
		seen := make(map[cid.Cid]bool)
		for b, err := range tx.Export(did, "") {
			if err != nil {
				return err
			}
			if seen[b.CID] || !bytes.Equal(b.Data, want[b.CID]) {
				return fmt.Errorf("block %s is exported twice, or should not be", b.CID)
			}
			seen[b.CID] = true
		}
		if len(seen) != len(want) {
			t.Errorf("%d blocks are exported, want %d", len(seen), len(want))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// More repositories than the writer remembers, and references that are counted
// beside their commits.
func TestMoreRepositoriesThanAreRemembered(t *testing.T) {
	s := newStore(t)
	var repos []*typical
	for i := range sqlite.MaxHot + 3 {
		repos = append(repos, newTypical(t, s, i))
	}
	for round := range 3 {
		for i, r := range repos {
			c, _ := r.next()
			blob := c.Puts[0].CID
			c.Puts[0].Blobs = []cid.Cid{blob}
			err := update(s, func(tx storage.Tx) error {
				if err := tx.Apply(c); err != nil || i%50 != 0 {
					return err
				}
				return tx.SetBlobRefs(r.did, "urn:x", []cid.Cid{blob})
			})
			if err != nil {
				t.Fatalf("round %d, repository %d: %v", round, i, err)
			}
		}
	}
	err := s.View(context.Background(), func(tx storage.Tx) error {
		for i, r := range repos {
			u, err := tx.Usage(r.did)
			if err != nil {
				return err
			}
			// Each commit but the last removes five of its six nodes.
			want := storage.Usage{Records: 3, RepoBlocks: 3 + 6 + 2 + 1, RepoBytes: u.RepoBytes, ReferencedBlobs: 3}
			if u != want {
				t.Errorf("repository %d: %+v, want %+v", i, u, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Up to MaxRecent bytes nodes have no rows; one more byte, and the oldest get
// some until KeepRecent bytes are left.
func TestRecentLimit(t *testing.T) {
	const nodes = 8
	overhead := sqlite.RecentSize(36, 13, 0)
	for _, c := range []struct {
		bytes int // of all nodes with their overhead
		rows  string
	}{
		{sqlite.MaxRecent, "0"},
		{sqlite.MaxRecent + 1, fmt.Sprint(nodes - sqlite.KeepRecent*nodes/sqlite.MaxRecent)},
	} {
		s := newStore(t)
		r := newTypical(t, s, 1)
		commit, _ := r.next()
		commit.NewNodes = nil
		for i := range nodes {
			size := sqlite.MaxRecent / nodes
			if i == 0 {
				size += c.bytes - sqlite.MaxRecent
			}
			commit.NewNodes = append(commit.NewNodes, randomBlock(r.rand, size-overhead))
		}
		err := update(s, func(tx storage.Tx) error {
			if err := tx.Apply(commit); err != nil {
				return err
			}
			if rows, err := sqlite.Text(tx, "SELECT count(*) || '' FROM nodes"); err != nil || rows != c.rows {
				t.Errorf("%d bytes of nodes have %s rows (%v), want %s", c.bytes, rows, err, c.rows)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzRecent(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x04cid4\x03rev\x05bytes\x01c\x00\x00"))
	f.Add([]byte("\x80\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, again, err := sqlite.RecodeRecent(b)
		if err != nil {
			return
		}
		if len(again)%sqlite.RecentStep != 0 {
			t.Errorf("the value has %d bytes", len(again))
		}
		m, twice, err := sqlite.RecodeRecent(again)
		if err != nil || m != n || !bytes.Equal(again, twice) {
			t.Errorf("%d nodes became %d (%v)", n, m, err)
		}
	})
}
