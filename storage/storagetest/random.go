package storagetest

import (
	"fmt"
	"math/rand/v2"

	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

// randomSteps is how many random changes a repository goes through.
const randomSteps = 60

var randomCases = []testCase{
	{
		name: "repos/random",
		rule: "Whatever the order of commits, publications and references, heads, records, blocks and totals are those of a recount.",
		run: func(e *env) {
			seed := rand.Uint64()
			e.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			repos := []*repo{e.newRepo(1), e.newRepo(2)}
			for step := range randomSteps {
				r := repos[rng.IntN(len(repos))]
				switch {
				case rng.IntN(6) == 0:
					r.randomImport(rng)
				case rng.IntN(4) == 0:
					r.randomRefs(rng)
				default:
					r.randomCommit(rng)
				}
				if rng.IntN(10) == 0 {
					e.maintain(storage.Budget{})
				}
				if step%4 == 0 && r.head.CID.Defined() {
					r.check()
				}
			}
			for _, r := range repos {
				if r.head.CID.Defined() {
					r.check()
				}
			}
		},
	},
}

// randomRecords are records at few paths with few values and few blobs, so
// that everything meets everything.
func (r *repo) randomRecords(rng *rand.Rand) (list []storage.Record) {
	taken := map[string]bool{}
	for range rng.IntN(6) {
		rec := record(fmt.Sprintf("com.example.%c/%d", 'a'+rng.IntN(3), rng.IntN(5)), fmt.Sprint("value ", rng.IntN(4)))
		if taken[rec.String()] {
			continue
		}
		taken[rec.String()] = true
		rec.Author = r.did()
		for b := range 3 {
			if rng.IntN(3) == 0 {
				rec.Blobs = append(rec.Blobs, blobCID(fmt.Sprint(b)))
			}
		}
		list = append(list, rec)
	}
	return list
}

func randomNodes(rng *rand.Rand) (list []storage.Block) {
	for range rng.IntN(4) {
		text := fmt.Sprint("node ", rng.IntN(6))
		if rng.IntN(8) == 0 {
			text = fmt.Sprint("value ", rng.IntN(4)) // also a record's block
		}
		list = append(list, block(text))
	}
	return list
}

func (r *repo) randomCommit(rng *rand.Rand) {
	r.e.Helper()
	var deletes []string
	puts := r.randomRecords(rng)
	for range rng.IntN(3) {
		path := fmt.Sprintf("com.example.%c/%d", 'a'+rng.IntN(3), rng.IntN(5))
		clash := false
		for _, p := range puts {
			clash = clash || p.String() == path
		}
		if !clash {
			deletes = append(deletes, path)
		}
	}
	c := r.next(puts, deletes...)
	for _, n := range randomNodes(rng) {
		c.OldNodes = append(c.OldNodes, n.CID)
	}
	c.NewNodes = append(c.NewNodes, randomNodes(rng)...)
	r.applyCommit(c)
}

func (r *repo) randomImport(rng *rand.Rand) {
	r.e.Helper()
	g := r.begin()
	staged := map[string]storage.Record{}
	nodes := map[cid.Cid]storage.Block{}
	for range 3 {
		r.randomRefs(rng)
		chunk, some := r.randomRecords(rng), randomNodes(rng)
		for i := range chunk {
			chunk[i].Rev = revN(1 + rng.IntN(r.rev+1))
			staged[chunk[i].String()] = chunk[i]
		}
		for _, n := range some {
			nodes[n.CID] = n
		}
		r.stage(g, some, chunk)
	}
	if rng.IntN(3) == 0 {
		r.e.update(func(tx storage.Tx) error { return tx.DropGeneration(g) })
		return
	}
	c := r.publishing(g)
	r.e.update(func(tx storage.Tx) error { return tx.Apply(c) })
	var records []storage.Record
	for _, rec := range staged {
		records = append(records, rec)
	}
	var blocks []storage.Block
	for _, n := range nodes {
		blocks = append(blocks, n)
	}
	r.published(c, blocks, records)
}

// randomRefs sets the references of something that is no record.
func (r *repo) randomRefs(rng *rand.Rand) {
	r.e.Helper()
	uri := fmt.Sprint("urn:", rng.IntN(3))
	var list []cid.Cid
	for b := range 4 {
		if rng.IntN(3) == 0 {
			list = append(list, blobCID(fmt.Sprint(b)))
		}
	}
	r.e.update(func(tx storage.Tx) error { return tx.SetBlobRefs(r.did(), uri, list) })
	r.others[uri] = list
}
