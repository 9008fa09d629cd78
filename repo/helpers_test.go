package repo_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/bluesky-social/indigo/atproto/repo/mst"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

// blocks is a store of blocks in memory.
type blocks struct {
	m     map[cid.Cid][]byte
	reads int
}

func newBlocks() *blocks { return &blocks{m: map[cid.Cid][]byte{}} }

func (b *blocks) get(c cid.Cid) ([]byte, error) {
	b.reads++
	data, ok := b.m[c]
	if !ok {
		return nil, fmt.Errorf("%w: %s", repo.ErrBlockNotFound, c)
	}
	return data, nil
}

func (b *blocks) put(list []repo.Block) {
	for _, blk := range list {
		b.m[blk.CID] = blk.Data
	}
}

// apply stores what a diff brings and drops what it no longer needs, checking
// that the former is new and the latter is there.
func (b *blocks) apply(t testing.TB, d *repo.Diff) {
	t.Helper()
	for _, blk := range d.NewNodes {
		if repo.CIDOf(blk.Data) != blk.CID {
			t.Fatalf("new node %s has another hash", blk.CID)
		}
		if _, ok := b.m[blk.CID]; ok {
			t.Fatalf("new node %s is not new", blk.CID)
		}
		b.m[blk.CID] = blk.Data
	}
	for _, c := range d.OldNodes {
		if _, ok := b.m[c]; !ok {
			t.Fatalf("old node %s was not there", c)
		}
		delete(b.m, c)
	}
}

// fullRoot computes the root of a tree from all its keys with indigo's code.
func fullRoot(t testing.TB, m map[string]cid.Cid) cid.Cid {
	t.Helper()
	tree, err := mst.LoadTreeFromMap(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Verify(); err != nil {
		t.Fatal(err)
	}
	c, err := tree.RootCID()
	if err != nil {
		t.Fatal(err)
	}
	return *c
}

// leaf returns some record's CID.
func leaf(i int) cid.Cid { return repo.CIDOf(fmt.Appendf(nil, "value %d", i)) }

// rawLeaf returns some blob's CID.
func rawLeaf(i int) cid.Cid { return repo.RawCID(sha256.Sum256(fmt.Appendf(nil, "value %d", i))) }

// checkRoundTrip takes valid DAG-CBOR to JSON and back, by both routes.
func checkRoundTrip(t testing.TB, data []byte) {
	t.Helper()
	v, err := repo.DecodeCBOR(data)
	if err != nil {
		t.Fatalf("decode %x: %v", data, err)
	}
	again, err := repo.AppendCBOR(nil, v)
	if err != nil || !bytes.Equal(again, data) {
		t.Fatalf("encode again: %x, want %x (%v)", again, data, err)
	}
	text, err := repo.CBORToJSON(nil, data)
	if err != nil {
		t.Fatalf("to JSON: %v", err)
	}
	text2, err := repo.AppendJSON(nil, v)
	if err != nil || !bytes.Equal(text, text2) {
		t.Fatalf("AppendJSON %s, CBORToJSON %s (%v)", text2, text, err)
	}
	back, err := repo.DecodeJSON(text)
	if err != nil {
		t.Fatalf("from JSON %s: %v", text, err)
	}
	again, err = repo.AppendCBOR(nil, back)
	if err != nil || !bytes.Equal(again, data) {
		t.Fatalf("from JSON %s: %x, want %x (%v)", text, again, data, err)
	}
}
