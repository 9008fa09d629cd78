package repo_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/repo/mst"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

// entry is an entry of a node as a hostile peer may write it.
type entry struct {
	share int64
	key   string
	right *cid.Cid
}

// node encodes a node with indigo's codec, which checks nothing, and stores it.
func (b *blocks) node(t testing.TB, left *cid.Cid, entries ...entry) *cid.Cid {
	t.Helper()
	nd := mst.NodeData{Left: left}
	for _, e := range entries {
		nd.Entries = append(nd.Entries, mst.EntryData{PrefixLen: e.share, KeySuffix: []byte(e.key), Value: leaf(1), Right: e.right})
	}
	data, c, err := nd.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b.m[*c] = data
	return c
}

// keysOf returns n keys of a height in ascending order.
func keysOf(height, n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if k := fmt.Sprintf("a.b.c/%08d", i); mst.HeightForKey([]byte(k)) == height {
			keys = append(keys, k)
		}
	}
	return keys
}

func TestHostileTrees(t *testing.T) {
	low, mid, high := keysOf(0, 40), keysOf(1, 10), keysOf(2, 4)
	before := func(list []string, key string) (s string) { // the last one before key
		for _, k := range list {
			if k < key {
				s = k
			}
		}
		return s
	}
	after := func(list []string, key string) string { // the first one after key
		for _, k := range list {
			if k > key {
				return k
			}
		}
		t.Fatalf("no key after %s", key)
		return ""
	}
	b := newBlocks()
	missing := leaf(12345)
	raw := rawLeaf(1)
	b.m[raw] = []byte("value 1")
	child := func(keys ...string) *cid.Cid {
		var list []entry
		for _, k := range keys {
			list = append(list, entry{key: k})
		}
		return b.node(t, nil, list...)
	}
	m := mid[2]
	chain := b.node(t, b.node(t, b.node(t, nil)))
	cases := []struct {
		name string
		root *cid.Cid
		want error
	}{
		{"good", b.node(t, child(before(low, m)), entry{key: m, right: child(after(low, m))}), nil},
		{"empty", b.node(t, nil), nil},
		{"prefix beyond the key before", b.node(t, nil, entry{share: 1, key: m}), repo.ErrInvalidTree},
		{"prefix negative", b.node(t, nil, entry{share: -1, key: m}), repo.ErrInvalidTree},
		{"prefix huge", b.node(t, nil, entry{key: low[0]}, entry{share: 1 << 40, key: "x"}), repo.ErrInvalidTree},
		{"prefix too short", b.node(t, nil, entry{key: low[0]}, entry{key: low[1]}), repo.ErrInvalidTree},
		{"same key twice", b.node(t, nil, entry{key: low[0]}, entry{share: int64(len(low[0]))}), repo.ErrInvalidTree},
		{"keys descend", b.node(t, nil, entry{key: "a.b.c/z"}, entry{share: 6, key: "y"}), repo.ErrInvalidTree},
		{"key without slash", b.node(t, nil, entry{key: "abc"}), repo.ErrInvalidTree},
		{"key with space", b.node(t, nil, entry{key: "a.b.c/ "}), repo.ErrInvalidTree},
		{"key empty", b.node(t, nil, entry{key: ""}), repo.ErrInvalidTree},
		{"key too long", b.node(t, nil, entry{key: "a/" + strings.Repeat("x", repo.MaxKeyBytes-1)}), repo.ErrInvalidTree},
		{"two heights", b.node(t, nil, entry{key: low[0]}, entry{share: int64(mst.CountPrefixLen([]byte(low[0]), []byte(after(mid, low[0])))), key: after(mid, low[0])[mst.CountPrefixLen([]byte(low[0]), []byte(after(mid, low[0]))):]}), repo.ErrInvalidTree},
		{"root is a pointer", b.node(t, child(low[0])), repo.ErrInvalidTree},
		{"child is empty", b.node(t, b.node(t, nil), entry{key: m}), repo.ErrInvalidTree},
		{"chain ends empty", b.node(t, chain, entry{key: m}), repo.ErrInvalidTree},
		{"child skips a level", b.node(t, child(low[0]), entry{key: high[1]}), repo.ErrInvalidTree},
		{"child of height 0", b.node(t, child(low[0]), entry{key: low[1]}), repo.ErrInvalidTree},
		{"left child behind", b.node(t, child(after(low, m)), entry{key: m}), repo.ErrInvalidTree},
		{"right child before", b.node(t, nil, entry{key: m, right: child(before(low, m))}), repo.ErrInvalidTree},
		{"child on both sides", b.node(t, child(before(low, m)), entry{key: m, right: child(before(low, m))}), repo.ErrInvalidTree},
		{"child missing", b.node(t, &missing, entry{key: m}), repo.ErrBlockNotFound},
		{"child is a blob", b.node(t, &raw, entry{key: m}), repo.ErrInvalidTree},
		{"missing", &missing, repo.ErrBlockNotFound},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := repo.WalkTree(*c.root, b.get, nil, nil)
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Errorf("walk: %v, want %v", err, c.want)
			}
			// No operation panics; what it returns may depend on the path.
			for _, k := range append(append(keysOf(0, 6), mid[:4]...), high[:2]...) {
				for _, v := range []cid.Cid{leaf(2), cid.Undef} {
					if _, err := repo.LoadTree(*c.root, b.get).Apply([]repo.Write{{Path: k, CID: v}}); c.want == nil && err != nil {
						t.Error(err)
					}
				}
				for _, op := range []repo.Op{
					{Action: repo.ActionCreate, Path: k, CID: leaf(1)},
					{Action: repo.ActionUpdate, Path: k, CID: leaf(1), Prev: leaf(2)},
					{Action: repo.ActionDelete, Path: k, Prev: leaf(1)},
				} {
					_, err := repo.InvertCommit(*c.root, []repo.Op{op}, b.get)
					if err != nil && !errors.Is(err, repo.ErrInvalidTree) && !errors.Is(err, repo.ErrPartialTree) && !errors.Is(err, repo.ErrInversion) {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestWalkTreeStops(t *testing.T) {
	m := newModel(t)
	for i, k := range treeKeys(4) {
		m.apply([]repo.Write{{Path: k, CID: leaf(i)}})
	}
	boom := errors.New("boom")
	if err := repo.WalkTree(m.root, m.store.get, func(string, cid.Cid) error { return boom }, nil); err != boom {
		t.Error(err)
	}
	if err := repo.WalkTree(m.root, m.store.get, nil, func(repo.Block) error { return boom }); err != boom {
		t.Error(err)
	}
}

func TestPaths(t *testing.T) {
	name := "a." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63)
	long := strings.Repeat("r", 512)
	for path, valid := range map[string]bool{
		"app.bsky.feed.post/3lhhvdkcby3e2": true,
		"a.b.c/self":                       true,
		name + "/" + long:                  true,
		name + "c/x":                       false,
		name + "/" + long + "r":            false,
		"a.b/x":                            false,
		"a.b.c":                            false,
		"a.b.c/":                           false,
		"/x":                               false,
		"a.b.c/x/y":                        false,
		"a.b.c/.":                          false,
		"a.b.c/..":                         false,
		"a.b.c-d/x":                        false,
		"a.-b.c/x":                         false,
		"a.b.c/ü":                          false,
		"":                                 false,
	} {
		if err := repo.CheckPath(path); (err == nil) != valid || (err != nil && !errors.Is(err, repo.ErrInvalidPath)) {
			t.Errorf("%q: %v", path, err)
		}
	}
	// A malformed write does not spoil the tree.
	tree := repo.EmptyTree()
	if _, err := tree.Apply([]repo.Write{{Path: "a.b.c/x", CID: leaf(1)}, {Path: "bad"}}); !errors.Is(err, repo.ErrInvalidPath) {
		t.Error(err)
	}
	if d, err := tree.Apply(nil); err != nil || len(d.NewNodes) != 1 {
		t.Error(err)
	}
	fits := "a/" + strings.Repeat("x", repo.MaxKeyBytes-2)
	for path, valid := range map[string]bool{fits: true, fits + "x": false, "a": false, "/a": false, "a/": false, "a/b/c": false, "a/b c": false} {
		for what, err := range map[string]error{
			"apply": func() error { _, err := repo.EmptyTree().Apply([]repo.Write{{Path: path, CID: leaf(1)}}); return err }(),
			"get":   func() error { _, err := repo.EmptyTree().Get(path); return err }(),
			"proof": func() error { _, _, err := repo.EmptyTree().Proof(path); return err }(),
		} {
			if (err == nil) != valid || (err != nil && !errors.Is(err, repo.ErrInvalidPath)) {
				t.Errorf("%s %.20q: %v", what, path, err)
			}
		}
	}
}

// TestNodeEntries fills one node to its limit.
func TestNodeEntries(t *testing.T) {
	keys := keysOf(0, repo.MaxNodeEntries+1)
	var list []entry
	prev := ""
	for _, k := range keys[:repo.MaxNodeEntries] {
		share := mst.CountPrefixLen([]byte(prev), []byte(k))
		list = append(list, entry{share: int64(share), key: k[share:]})
		prev = k
	}
	b := newBlocks()
	root := *b.node(t, nil, list...)
	n := 0
	err := repo.WalkTree(root, b.get, func(path string, _ cid.Cid) error {
		if path != keys[n] {
			return fmt.Errorf("%s, want %s", path, keys[n])
		}
		n++
		return nil
	}, nil)
	if err != nil || n != repo.MaxNodeEntries {
		t.Errorf("%d entries, %v", n, err)
	}
	if _, err := repo.LoadTree(root, b.get).Apply([]repo.Write{{Path: keys[n-1], CID: leaf(2)}}); err != nil {
		t.Error(err)
	}
	if _, err := repo.LoadTree(root, b.get).Apply([]repo.Write{{Path: keys[n], CID: leaf(2)}}); !errors.Is(err, repo.ErrTooLarge) {
		t.Error(err)
	}

	// One more entry, as no codec writes it.
	data := bytes.Replace(b.m[root], []byte("\x99\x20\x00"), []byte("\x99\x20\x01"), 1)
	last := keys[n]
	share := mst.CountPrefixLen([]byte(prev), []byte(last))
	data = append(data[:len(data)-3], "\xa4\x61k"...)
	data = append(append(data, 0x40|byte(len(last)-share)), last[share:]...)
	data = append(data, "\x61p"...)
	data = append(data, byte(share))
	data = append(append(data, "\x61t\xf6\x61v\xd8\x2a\x58\x25\x00"...), leaf(1).Bytes()...)
	data = append(data, "\x61l\xf6"...)
	more := repo.CIDOf(data)
	b.m[more] = data
	if err := repo.WalkTree(more, b.get, nil, nil); !errors.Is(err, repo.ErrInvalidTree) || !strings.Contains(err.Error(), "too many") {
		t.Error(err)
	}

	big := make([]byte, repo.MaxNodeBytes+1)
	b.m[repo.CIDOf(big)] = big
	if err := repo.WalkTree(repo.CIDOf(big), b.get, nil, nil); !errors.Is(err, repo.ErrInvalidTree) || !strings.Contains(err.Error(), "bytes") {
		t.Error(err)
	}
}
