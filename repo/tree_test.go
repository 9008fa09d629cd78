package repo_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	indigo "github.com/bluesky-social/indigo/atproto/repo"
	"github.com/bluesky-social/indigo/atproto/repo/mst"
	bf "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/pdskit/pdskit/repo"
)

// treeKeys returns keys of which many stand high in the tree, so that small
// trees have interesting shapes: n of each height from 0 to 4.
func treeKeys(n int) []string {
	var keys []string
	left := []int{n, n, n, n, n / 4}
	for i := 0; len(keys) < 4*n+n/4; i++ {
		k := fmt.Sprintf("com.example.c%d/k%05d", i%3, i*7919%100003)
		if h := mst.HeightForKey([]byte(k)); h < len(left) && left[h] > 0 {
			left[h]--
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// model is a repository tree with everything that is known about it.
type model struct {
	t      testing.TB
	values map[string]cid.Cid
	store  *blocks
	root   cid.Cid
	hot    *repo.Tree // never dropped
}

func newModel(t testing.TB) *model {
	m := &model{t: t, values: map[string]cid.Cid{}, store: newBlocks(), hot: repo.EmptyTree()}
	d, err := m.hot.Apply(nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.PrevRoot.Defined() || len(d.NewNodes) != 1 || len(d.Proof) != 1 {
		t.Fatalf("diff of a new tree: %+v", d)
	}
	m.store.apply(t, d)
	m.root = d.Root
	return m
}

// apply carries out writes on a hot and on a cold tree and checks everything
// about the result.
func (m *model) apply(writes []repo.Write) *repo.Diff {
	t := m.t
	t.Helper()
	cold := repo.LoadTree(m.root, m.store.get)
	d, err := cold.Apply(writes)
	if err != nil {
		t.Fatalf("cold: %v", err)
	}
	hot, err := m.hot.Apply(writes)
	if err != nil {
		t.Fatalf("hot: %v", err)
	}
	sameDiff(t, d, hot)

	// The ops are the net difference of the values.
	before := maps.Clone(m.values)
	for _, w := range writes {
		if w.CID.Defined() {
			m.values[w.Path] = w.CID
		} else {
			delete(m.values, w.Path)
		}
	}
	checkOps(t, before, m.values, d.Ops)

	if want := fullRoot(t, m.values); d.Root != want || d.PrevRoot != m.root {
		t.Fatalf("root %s after %s, want %s after %s", d.Root, d.PrevRoot, want, m.root)
	}

	// New and old nodes are exactly the difference of what is reachable.
	m.store.apply(t, d)
	walked := map[string]cid.Cid{}
	reachable := map[cid.Cid]bool{}
	err = repo.WalkTree(d.Root, m.store.get, func(path string, v cid.Cid) error {
		walked[path] = v
		return nil
	}, func(b repo.Block) error {
		reachable[b.CID] = true
		return nil
	})
	if err != nil || !maps.Equal(walked, m.values) {
		t.Fatalf("walk: %v; %d values, want %d", err, len(walked), len(m.values))
	}
	if len(reachable) != len(m.store.m) {
		t.Fatalf("%d nodes are reachable, %d stored", len(reachable), len(m.store.m))
	}

	m.checkProof(d)
	m.root = d.Root
	return d
}

// checkProof undoes a diff with nothing but its own proof, here and in indigo.
func (m *model) checkProof(d *repo.Diff) {
	t := m.t
	t.Helper()
	proof := newBlocks()
	for _, b := range d.Proof {
		if _, ok := proof.m[b.CID]; ok {
			t.Fatalf("proof has %s twice", b.CID)
		}
		if repo.CIDOf(b.Data) != b.CID {
			t.Fatalf("proof has %s with another hash", b.CID)
		}
		proof.m[b.CID] = b.Data
	}
	if d.Proof[0].CID != d.Root {
		t.Fatal("proof does not begin with the root")
	}
	for _, b := range d.NewNodes {
		if _, ok := proof.m[b.CID]; !ok {
			t.Fatal("proof lacks a new node")
		}
	}
	before, err := repo.InvertCommit(d.Root, d.Ops, proof.get)
	if err != nil || before != d.PrevRoot {
		t.Fatalf("inverted root %s, want %s (%v)", before, d.PrevRoot, err)
	}
	var ops []indigo.Operation
	for _, op := range d.Ops {
		o := indigo.Operation{Path: op.Path}
		if op.CID.Defined() {
			o.Value = &op.CID
		}
		if op.Prev.Defined() {
			o.Prev = &op.Prev
		}
		ops = append(ops, o)
	}
	ops, err = indigo.NormalizeOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	bs := indigo.NewTinyBlockstore()
	for _, b := range d.Proof {
		blk, _ := bf.NewBlockWithCid(b.Data, b.CID)
		if err := bs.Put(ctx, blk); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := mst.LoadTreeFromStore(ctx, bs, d.Root)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		if err := indigo.CheckOp(tree, &op); err != nil {
			t.Fatalf("indigo: check %s: %v", op.Path, err)
		}
	}
	for _, op := range ops {
		if err := indigo.InvertOp(tree, &op); err != nil {
			t.Fatalf("indigo: invert %s: %v", op.Path, err)
		}
	}
	if tree.Root.IsEmpty() && !tree.Root.Stub {
		return // indigo does not settle the height of a tree that became empty
	}
	got, err := tree.RootCID()
	if err != nil || *got != d.PrevRoot {
		t.Fatalf("indigo inverts to %s, want %s (%v)", got, d.PrevRoot, err)
	}
}

func checkOps(t testing.TB, before, after map[string]cid.Cid, ops []repo.Op) {
	t.Helper()
	want := map[string]repo.Op{}
	for p, v := range after {
		switch prev, ok := before[p]; {
		case !ok:
			want[p] = repo.Op{Action: "create", Path: p, CID: v}
		case prev != v:
			want[p] = repo.Op{Action: "update", Path: p, CID: v, Prev: prev}
		}
	}
	for p, prev := range before {
		if _, ok := after[p]; !ok {
			want[p] = repo.Op{Action: "delete", Path: p, Prev: prev}
		}
	}
	if len(want) != len(ops) {
		t.Fatalf("%d ops, want %d", len(ops), len(want))
	}
	for i, op := range ops {
		if want[op.Path] != op {
			t.Fatalf("op %+v, want %+v", op, want[op.Path])
		}
		if i > 0 && ops[i-1].Path >= op.Path {
			t.Fatal("ops are not in order")
		}
	}
}

func sameDiff(t testing.TB, a, b *repo.Diff) {
	t.Helper()
	names := func(list []repo.Block) []string {
		var out []string
		for _, b := range list {
			out = append(out, b.CID.String())
		}
		slices.Sort(out)
		return out
	}
	if a.Root != b.Root || a.PrevRoot != b.PrevRoot || !slices.Equal(a.Ops, b.Ops) || !slices.Equal(a.OldNodes, b.OldNodes) ||
		!slices.Equal(names(a.NewNodes), names(b.NewNodes)) || !slices.Equal(names(a.Proof), names(b.Proof)) {
		t.Fatalf("diffs differ:\n%+v\n%+v", a, b)
	}
}

func TestTreeSingleOps(t *testing.T) {
	keys := treeKeys(12)
	var steps int
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			w := repo.Write{Path: rapid.SampledFrom(keys).Draw(rt, "key")}
			if v := rapid.IntRange(0, 4).Draw(rt, "value"); v > 1 {
				w.CID = leaf(v)
			}
			m.apply([]repo.Write{w})
			steps++
		}
	})
	t.Logf("%d steps", steps)
}

func TestTreeBatches(t *testing.T) {
	keys := treeKeys(40)
	var steps int
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			var writes []repo.Write
			deletions := rapid.IntRange(1, 9).Draw(rt, "deletions")
			for range rapid.IntRange(1, 100).Draw(rt, "size") {
				w := repo.Write{Path: rapid.SampledFrom(keys).Draw(rt, "key")}
				if v := rapid.IntRange(0, 9).Draw(rt, "value"); v > deletions {
					w.CID = leaf(v)
				}
				writes = append(writes, w)
			}
			m.apply(writes)
			steps++
		}
	})
	t.Logf("%d steps", steps)
}

func TestTreeEmptyAgain(t *testing.T) {
	// A tree that became empty forgets the height it had; with indigo's code
	// alone the roots after this are wrong.
	keys := treeKeys(4)
	for _, high := range keys {
		m := newModel(t)
		for _, low := range keys {
			m.apply([]repo.Write{{Path: high, CID: leaf(1)}})
			d := m.apply([]repo.Write{{Path: high}})
			if len(d.NewNodes) != 1 || d.Root != fullRoot(t, noValues()) {
				t.Fatalf("empty tree: %+v", d)
			}
			m.apply([]repo.Write{{Path: low, CID: leaf(2)}})
			m.apply([]repo.Write{{Path: low}})
		}
	}
}

func noValues() map[string]cid.Cid { return map[string]cid.Cid{} }

func TestTreeGetAndProof(t *testing.T) {
	keys := treeKeys(30)
	m := newModel(t)
	var writes []repo.Write
	for i, k := range keys {
		if i%2 == 0 {
			writes = append(writes, repo.Write{Path: k, CID: leaf(i)})
		}
	}
	m.apply(writes)
	for i, k := range keys {
		want := cid.Undef
		if i%2 == 0 {
			want = leaf(i)
		}
		tree := repo.LoadTree(m.root, m.store.get)
		if got, err := tree.Get(k); err != nil || got != want {
			t.Fatalf("%s: %s, want %s (%v)", k, got, want, err)
		}
		proof, got, err := tree.Proof(k)
		if err != nil || got != want {
			t.Fatalf("%s: %s, want %s (%v)", k, got, want, err)
		}
		only := newBlocks()
		only.put(proof)
		if got, err := repo.LoadTree(m.root, only.get).Get(k); err != nil || got != want {
			t.Fatalf("%s from its proof: %s, want %s (%v)", k, got, want, err)
		}
		for _, b := range proof {
			missing := newBlocks()
			missing.put(proof)
			delete(missing.m, b.CID)
			if _, err := repo.LoadTree(m.root, missing.get).Get(k); !errors.Is(err, repo.ErrBlockNotFound) {
				t.Fatalf("%s without %s: %v", k, b.CID, err)
			}
		}
	}
}

func TestNewTree(t *testing.T) {
	tree := repo.EmptyTree()
	root, err := tree.Root()
	if err != nil || root != fullRoot(t, noValues()) {
		t.Fatalf("root %s, %v", root, err)
	}
	proof, v, err := tree.Proof("com.example.test/self")
	if err != nil || v.Defined() || len(proof) != 1 || proof[0].CID != root {
		t.Fatalf("proof %v, %s, %v", proof, v, err)
	}
	if v, err := tree.Get("com.example.test/self"); err != nil || v.Defined() {
		t.Fatalf("%s, %v", v, err)
	}
	d, err := tree.Apply([]repo.Write{{Path: "com.example.test/self", CID: rawLeaf(1)}, {Path: "com.example.test/self", CID: leaf(1)}})
	if err != nil || d.PrevRoot.Defined() || len(d.Ops) != 1 || len(d.NewNodes) != 1 || len(d.OldNodes) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	if before, err := repo.InvertCommit(d.Root, d.Ops, func(c cid.Cid) ([]byte, error) { return d.Proof[0].Data, nil }); err != nil || before != root {
		t.Fatalf("inverted root %s, want the empty tree's, %s (%v)", before, root, err)
	}
}

// TestTreeNodes checks the count of nodes in memory: all of a tree that was
// built in memory, and the touched ones of a tree that was loaded.
func TestTreeNodes(t *testing.T) {
	keys := treeKeys(40)
	m := newModel(t)
	for i, k := range keys {
		m.apply([]repo.Write{{Path: k, CID: leaf(i)}})
		if m.hot.Nodes() != len(m.store.m) {
			t.Fatalf("%d nodes, want %d", m.hot.Nodes(), len(m.store.m))
		}
	}
	m.store.reads = 0
	tree := repo.LoadTree(m.root, m.store.get)
	if tree.Nodes() != 0 || m.store.reads != 0 {
		t.Fatal("loading is not lazy")
	}
	for range 2 {
		if _, err := tree.Get(keys[0]); err != nil {
			t.Fatal(err)
		}
	}
	if n := tree.Nodes(); n == 0 || n > 6 || m.store.reads != n {
		t.Fatalf("%d nodes after %d reads", n, m.store.reads)
	}
	for i, k := range keys {
		m.apply([]repo.Write{{Path: k}})
		if m.hot.Nodes() != len(m.store.m) {
			t.Fatalf("%d nodes after %d deletions, want %d", m.hot.Nodes(), i+1, len(m.store.m))
		}
	}
}

func TestTreeErrors(t *testing.T) {
	keys := treeKeys(40)
	m := newModel(t)
	var writes []repo.Write
	for i, k := range keys {
		writes = append(writes, repo.Write{Path: k, CID: leaf(i)})
	}
	m.apply(writes)

	t.Run("missing node", func(t *testing.T) {
		boom := errors.New("boom")
		for _, fail := range []error{boom, fmt.Errorf("x: %w", repo.ErrBlockNotFound)} {
			reads := 0
			tree := repo.LoadTree(m.root, func(c cid.Cid) ([]byte, error) {
				if reads++; reads == 3 {
					return nil, fail
				}
				return m.store.get(c)
			})
			_, err := tree.Apply([]repo.Write{{Path: keys[0]}})
			if !errors.Is(err, fail) {
				t.Fatalf("%v, want %v", err, fail)
			}
			// The tree refuses to go on.
			if _, err := tree.Apply(nil); !errors.Is(err, fail) {
				t.Fatal(err)
			}
			if _, err := tree.Get(keys[0]); !errors.Is(err, fail) {
				t.Fatal(err)
			}
			if _, err := tree.Root(); !errors.Is(err, fail) {
				t.Fatal(err)
			}
			if _, _, err := tree.Proof(keys[0]); !errors.Is(err, fail) {
				t.Fatal(err)
			}
		}
	})
	t.Run("wrong block", func(t *testing.T) {
		tree := repo.LoadTree(m.root, func(c cid.Cid) ([]byte, error) {
			data, err := m.store.get(c)
			data = slices.Clone(data)
			data[len(data)/2] ^= 1
			return data, err
		})
		if _, err := tree.Get(keys[0]); !errors.Is(err, repo.ErrHashMismatch) {
			t.Fatal(err)
		}
	})
	t.Run("no source", func(t *testing.T) {
		if _, err := repo.LoadTree(m.root, nil).Get(keys[0]); !errors.Is(err, repo.ErrBlockNotFound) {
			t.Fatal(err)
		}
	})
	t.Run("root is a record", func(t *testing.T) {
		raw := rawLeaf(1)
		if _, err := repo.LoadTree(raw, func(cid.Cid) ([]byte, error) { return []byte("value 1"), nil }).Get(keys[0]); !errors.Is(err, repo.ErrInvalidTree) {
			t.Fatal(err)
		}
	})
	t.Run("bad value", func(t *testing.T) {
		v0 := mustCID(t, "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR")
		if _, err := repo.LoadTree(m.root, m.store.get).Apply([]repo.Write{{Path: keys[0], CID: v0}}); !errors.Is(err, repo.ErrInvalidValue) {
			t.Fatal(err)
		}
	})
}

func TestInvertErrors(t *testing.T) {
	keys := treeKeys(20)
	m := newModel(t)
	var writes []repo.Write
	for i, k := range keys[:len(keys)-1] {
		writes = append(writes, repo.Write{Path: k, CID: leaf(i)})
	}
	m.apply(writes)
	d := m.apply([]repo.Write{{Path: keys[3]}, {Path: keys[5], CID: leaf(99)}, {Path: keys[len(keys)-1], CID: leaf(98)}})
	proof := newBlocks()
	proof.put(d.Proof)
	absent := repo.Op{Action: "create", Path: "com.example.none/x", CID: leaf(1)}
	for name, ops := range map[string][]repo.Op{
		"twice":            {d.Ops[0], d.Ops[0]},
		"absent":           {absent},
		"other value":      {{Action: "create", Path: d.Ops[2].Path, CID: leaf(5)}},
		"delete but there": {{Action: "delete", Path: d.Ops[2].Path, Prev: leaf(5)}},
		"no prev":          {{Action: "update", Path: d.Ops[1].Path, CID: d.Ops[1].CID}},
		"same prev":        {{Action: "update", Path: d.Ops[1].Path, CID: d.Ops[1].CID, Prev: d.Ops[1].CID}},
		"create with prev": {{Action: "create", Path: d.Ops[2].Path, CID: d.Ops[2].CID, Prev: leaf(5)}},
		"unknown action":   {{Action: "move", Path: d.Ops[2].Path, CID: d.Ops[2].CID}},
	} {
		if _, err := repo.InvertCommit(d.Root, ops, m.store.get); !errors.Is(err, repo.ErrInversion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := repo.InvertCommit(d.Root, []repo.Op{{Action: "create", Path: "x", CID: leaf(1)}}, proof.get); !errors.Is(err, repo.ErrInvalidPath) {
		t.Error(err)
	}
	// Wrong ops that fit the tree give another root.
	if before, err := repo.InvertCommit(d.Root, d.Ops[:2], m.store.get); err != nil || before == d.PrevRoot {
		t.Errorf("%s, %v", before, err)
	}
	// Every block of the proof matters, for some op.
	for c := range proof.m {
		less := newBlocks()
		less.put(d.Proof)
		delete(less.m, c)
		before, err := repo.InvertCommit(d.Root, d.Ops, less.get)
		if err == nil && before != d.PrevRoot {
			t.Errorf("without %s: wrong root and no error", c)
		}
		if err != nil && !errors.Is(err, repo.ErrPartialTree) {
			t.Errorf("without %s: %v", c, err)
		}
	}
}
