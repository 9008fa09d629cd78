package repo

import (
	"github.com/ipfs/go-cid"
)

// WalkTree reads a whole tree and checks every rule: each block's hash, the
// canonical encoding, the order and height of all keys, no empty node below the
// root. It calls fn with each path and value in ascending order and node with
// each node, parents first; either may be nil, and an error of theirs ends the
// walk. Paths have the form that trees demand, which is less than [CheckPath]
// does. A missing node gives an error that matches [ErrBlockNotFound]. The
// blocks given to node are valid during the call. Memory is bounded by one node
// per level of the tree, of which there can be 128.
func WalkTree(root cid.Cid, src BlockSource, fn func(path string, value cid.Cid) error, node func(Block) error) error {
	w := walker{src: src, fn: fn, node: node}
	return w.walk(root, noHeight, span{})
}

type walker struct {
	src  BlockSource
	fn   func(path string, value cid.Cid) error
	node func(Block) error
}

func (w *walker) walk(c cid.Cid, height int, within span) error {
	data, err := readBlock(w.src, c)
	if err != nil {
		return err
	}
	n, err := decodeNode(c, data, height, within)
	if err != nil {
		return err
	}
	if w.node != nil {
		if err := w.node(Block{CID: c, Data: data}); err != nil {
			return err
		}
	}
	for i := range n.Entries {
		e := &n.Entries[i]
		if e.IsValue() {
			if w.fn != nil {
				if err := w.fn(string(e.Key), *e.Value); err != nil {
					return err
				}
			}
			continue
		}
		below := within
		if i > 0 {
			below.low = n.Entries[i-1].Key
		}
		if i+1 < len(n.Entries) {
			below.high = n.Entries[i+1].Key
		}
		if err := w.walk(*e.ChildCID, n.Height-1, below); err != nil {
			return err
		}
	}
	return nil
}
