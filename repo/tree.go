package repo

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/repo/mst"
	"github.com/ipfs/go-cid"
)

// Tree is the Merkle search tree of a repository. It loads nodes from its
// [BlockSource] when an operation touches them, and keeps them: a tree that
// stays with its owner between commits needs few further loads. It is not safe
// for concurrent use. After an error from Apply it must be dropped; methods
// then return that error.
type Tree struct {
	src   BlockSource
	root  cid.Cid  // Undef for a tree that was never encoded
	top   mst.Tree // Root is nil until it is loaded
	nodes int      // in memory, see Nodes
	err   error    // of Apply; the tree may be corrupt
}

// EmptyTree returns a new tree without keys. Its first Apply reports every
// node as new, the root of an empty tree included.
func EmptyTree() *Tree { return &Tree{top: mst.NewEmptyTree(), nodes: 1} }

// LoadTree returns the tree with the given root. Nothing is read yet. The tree
// calls src during its methods only, from the caller's goroutine.
func LoadTree(root cid.Cid, src BlockSource) *Tree { return &Tree{src: src, root: root} }

// Nodes returns how many nodes the tree holds in memory, so that an owner can
// drop a tree that has grown too large and load it anew. A node takes about
// 1 KB.
func (t *Tree) Nodes() int { return t.nodes }

// Root returns the CID of the root node.
func (t *Tree) Root() (cid.Cid, error) {
	if t.err != nil {
		return cid.Undef, t.err
	}
	if !t.root.Defined() {
		return emptyNode().CID, nil
	}
	return t.root, nil
}

// Get returns the value at path, or cid.Undef if there is none.
func (t *Tree) Get(path string) (cid.Cid, error) {
	if t.err != nil {
		return cid.Undef, t.err
	}
	if err := checkKey(path); err != nil {
		return cid.Undef, err
	}
	return t.visit([]byte(path), false, func(*mst.Node) error { return nil })
}

// Proof returns the nodes from the root to path, which prove its value, or, if
// the value is cid.Undef, that there is none. To check a proof, call Get on a
// tree that is loaded from its blocks.
func (t *Tree) Proof(path string) ([]Block, cid.Cid, error) {
	if t.err != nil {
		return nil, cid.Undef, t.err
	}
	if err := checkKey(path); err != nil {
		return nil, cid.Undef, err
	}
	if !t.root.Defined() {
		return []Block{emptyNode()}, cid.Undef, nil
	}
	var blocks []Block
	value, err := t.visit([]byte(path), false, func(n *mst.Node) error {
		data, err := appendNode(nil, n)
		blocks = append(blocks, Block{CID: *n.CID, Data: data})
		return err
	})
	if err != nil {
		return nil, cid.Undef, err
	}
	return blocks, value, nil
}

// emptyNode is the root of a tree without keys.
func emptyNode() Block {
	data := []byte(nodeHead + "\x80" + nodeLeft + "\xf6")
	return Block{CID: CIDOf(data), Data: data}
}

// visit calls fn for the nodes from the root to key, loading them, and returns
// the value at key. If wide is set and the key is there, it goes on with the
// nodes on both sides of it, down to height 0: those that a deletion of the
// key merges. Together these are the nodes whose range touches the key; no
// other node can be changed by an operation on it, or is needed to undo one.
func (t *Tree) visit(key []byte, wide bool, fn func(*mst.Node) error) (cid.Cid, error) {
	n, err := t.loadRoot()
	if err != nil {
		return cid.Undef, err
	}
	var within span
	for {
		if err := fn(n); err != nil {
			return cid.Undef, err
		}
		i, found := find(n, key)
		if found {
			value := *n.Entries[i].Value
			if !wide {
				return value, nil
			}
			// A missing node on one side does not keep the other from loading.
			left := t.visitSide(n, i-1, within, false, fn)
			right := t.visitSide(n, i+1, within, true, fn)
			return value, cmp.Or(left, right)
		}
		if i < 0 {
			return cid.Undef, nil
		}
		if n, within, err = t.child(n, i, within); err != nil {
			return cid.Undef, err
		}
	}
}

// visitSide calls fn for the child at index i of n, if there is one, and on
// down along its first entries, or along its last ones.
func (t *Tree) visitSide(n *mst.Node, i int, within span, first bool, fn func(*mst.Node) error) error {
	for 0 <= i && i < len(n.Entries) && n.Entries[i].IsChild() {
		var err error
		if n, within, err = t.child(n, i, within); err != nil {
			return err
		}
		if err := fn(n); err != nil {
			return err
		}
		if i = len(n.Entries) - 1; first {
			i = 0
		}
	}
	return nil
}

// find returns the index of key in n, or that of the child whose range covers
// it, or -1 if there is neither.
func find(n *mst.Node, key []byte) (i int, found bool) {
	cover := -1
	for i := range n.Entries {
		e := &n.Entries[i]
		if e.IsChild() {
			cover = i
			continue
		}
		switch c := bytes.Compare(key, e.Key); {
		case c == 0:
			return i, true
		case c < 0:
			return cover, false
		}
		cover = -1
	}
	return cover, false
}

// loadRoot returns the root node.
func (t *Tree) loadRoot() (*mst.Node, error) {
	if t.top.Root == nil {
		n, err := t.load(t.root, noHeight, span{})
		if err != nil {
			return nil, err
		}
		t.top.Root = n
	}
	if t.top.Root.Stub {
		return nil, ErrPartialTree
	}
	return t.top.Root, nil
}

// child returns the child at index i of n, whose range is within.
func (t *Tree) child(n *mst.Node, i int, within span) (*mst.Node, span, error) {
	if i > 0 {
		within.low = n.Entries[i-1].Key
	}
	if i+1 < len(n.Entries) {
		within.high = n.Entries[i+1].Key
	}
	e := &n.Entries[i]
	if e.Child == nil {
		c, err := t.load(*e.ChildCID, n.Height-1, within)
		if err != nil {
			return nil, within, err
		}
		e.Child = c
	}
	return e.Child, within, nil
}

// load reads a node from the source.
func (t *Tree) load(c cid.Cid, height int, within span) (*mst.Node, error) {
	data, err := readBlock(t.src, c)
	if err != nil {
		return nil, err
	}
	n, err := decodeNode(c, data, height, within)
	if err != nil {
		return nil, err
	}
	t.nodes++
	return n, nil
}

// readBlock asks a source, which may be nil, for a block.
func readBlock(src BlockSource, c cid.Cid) ([]byte, error) {
	if src == nil || !c.Defined() {
		return nil, fmt.Errorf("%w: %s", ErrBlockNotFound, c)
	}
	data, err := src(c)
	if err != nil && !errors.Is(err, ErrBlockNotFound) {
		return nil, fmt.Errorf("read block %s: %w", c, err)
	}
	return data, err
}

// encode gives every changed node its encoding and CID and returns these
// blocks, parents before children. Nodes that indigo marked as changed without
// changing them are among them.
func (t *Tree) encode() ([]Block, error) {
	var blocks []Block
	if t.top.Root.Stub {
		return nil, nil
	}
	err := encodeNode(t.top.Root, &blocks)
	return blocks, err
}

func encodeNode(n *mst.Node, blocks *[]Block) error {
	if !n.Dirty && n.CID != nil {
		return nil
	}
	at := len(*blocks)
	*blocks = append(*blocks, Block{})
	size := 16
	for i := range n.Entries {
		e := &n.Entries[i]
		e.Dirty = false
		size += 56 + len(e.Key)
		if e.Child == nil {
			continue
		}
		if err := encodeNode(e.Child, blocks); err != nil {
			return err
		}
		e.ChildCID = e.Child.CID
	}
	data, err := appendNode(make([]byte, 0, size), n)
	if err != nil {
		return err
	}
	c := CIDOf(data)
	n.CID, n.Dirty = &c, false
	(*blocks)[at] = Block{CID: c, Data: data}
	return nil
}
