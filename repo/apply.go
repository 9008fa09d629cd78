package repo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/repo/mst"
	"github.com/ipfs/go-cid"
)

// Actions of an [Op].
const (
	ActionCreate = "create"
	ActionUpdate = "update"
	ActionDelete = "delete"
)

// Write sets the value at a path, or, if CID is cid.Undef, removes it.
type Write struct {
	Path string
	CID  cid.Cid
}

// Op is what a commit did to one path.
type Op struct {
	Action string  // ActionCreate, ActionUpdate or ActionDelete
	Path   string  // "collection/rkey"
	CID    cid.Cid // the new value; cid.Undef after a deletion
	Prev   cid.Cid // the value before; cid.Undef before a creation
}

// Diff says what Apply changed.
type Diff struct {
	Root     cid.Cid // of the tree after the writes
	PrevRoot cid.Cid // before them; cid.Undef for a new tree

	// Ops is the net effect, one Op per path, in ascending order of paths.
	// Writes that change nothing have none.
	Ops []Op

	// NewNodes are the nodes that the tree has gained and OldNodes the ones
	// that it no longer reaches: exactly the two differences between the
	// reachable nodes of both trees.
	NewNodes []Block
	OldNodes []cid.Cid

	// Proof is what the event of the commit must carry besides the commit and
	// the records: the root first, all NewNodes, and every node whose range
	// touches a created or deleted path, so that the ops can be undone and
	// each of them checked without any other node. Each node occurs once.
	Proof []Block
}

// Apply changes the tree and says what that changed. A path that is written
// twice gets the last value; a value that is there already and the removal of
// a path that is not there are no error. Apply may be called again and again;
// each Diff describes one call. The blocks belong to the caller. If Apply
// returns an error the tree must be dropped, unless the error is that of a
// malformed write, which matches [ErrInvalidPath] or [ErrInvalidValue] and
// leaves the tree as it was.
func (t *Tree) Apply(writes []Write) (*Diff, error) {
	if t.err != nil {
		return nil, t.err
	}
	writes, err := netWrites(writes)
	if err != nil {
		return nil, err // nothing happened yet
	}
	d, err := t.apply(writes)
	if err != nil {
		t.err = fmt.Errorf("tree is unusable: %w", err)
		return nil, err
	}
	return d, nil
}

// apply carries out checked writes, of which no two have the same path.
func (t *Tree) apply(writes []Write) (*Diff, error) {
	if _, err := t.loadRoot(); err != nil {
		return nil, err
	}
	d := &Diff{PrevRoot: t.root, Ops: make([]Op, 0, len(writes))}
	before := make(map[cid.Cid]struct{}, 8*len(writes)) // nodes that may go
	for _, w := range writes {
		op, err := t.applyOne(w, before)
		if err != nil {
			return nil, err
		}
		if op.Action != "" {
			d.Ops = append(d.Ops, op)
		}
	}
	encoded, err := t.encode()
	if err != nil {
		return nil, err
	}
	t.root = *t.top.Root.CID
	d.Root = t.root
	if err := t.describe(d, before, encoded); err != nil {
		return nil, err
	}
	t.nodes += len(d.NewNodes) - len(d.OldNodes)
	if !d.PrevRoot.Defined() {
		t.nodes-- // the root was counted when the tree was made
	}
	return d, nil
}

// netWrites checks the writes and returns the last one of each path, ordered.
func netWrites(writes []Write) ([]Write, error) {
	for _, w := range writes {
		if err := checkKey(w.Path); err != nil {
			return nil, err
		}
		if w.CID.Defined() && !isPlainCID(w.CID.KeyString()) {
			return nil, fmt.Errorf("%w: %s at %q", ErrInvalidValue, w.CID, w.Path)
		}
	}
	if len(writes) < 2 {
		return writes, nil
	}
	sorted := slices.Clone(writes)
	slices.SortStableFunc(sorted, func(a, b Write) int { return strings.Compare(a.Path, b.Path) })
	n := 0
	for i, w := range sorted {
		if i+1 < len(sorted) && sorted[i+1].Path == w.Path {
			continue
		}
		sorted[n] = w
		n++
	}
	return sorted[:n], nil
}

// applyOne carries out one write and returns what it did; the zero Op if
// nothing. It adds the nodes that the write may change or drop to before.
func (t *Tree) applyOne(w Write, before map[cid.Cid]struct{}) (Op, error) {
	key := []byte(w.Path)
	var room [24]*mst.Node
	seen := room[:0]
	prev, err := t.visit(key, !w.CID.Defined(), func(n *mst.Node) error {
		seen = append(seen, n)
		return nil
	})
	if err != nil || prev == w.CID {
		return Op{}, err
	}
	for _, n := range seen {
		if n.CID != nil { // not made by this batch
			before[*n.CID] = struct{}{}
		}
	}
	op := Op{Action: ActionUpdate, Path: w.Path, CID: w.CID, Prev: prev}
	switch {
	case !w.CID.Defined():
		op.Action = ActionDelete
	case !prev.Defined():
		op.Action = ActionCreate
	}
	return op, t.mutate(key, w.CID, prev)
}

// mutate sets or removes a value in the loaded nodes; prev is what is there.
func (t *Tree) mutate(key []byte, value, prev cid.Cid) error {
	var was *cid.Cid
	var err error
	if value.Defined() {
		was, err = t.top.Insert(key, value)
	} else {
		was, err = t.top.Remove(key)
		if err == nil && t.top.Root.IsEmpty() && !t.top.Root.Stub {
			// indigo keeps the old height, which later gives a wrong root.
			t.top.Root = mst.NewEmptyTree().Root
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPartialTree, err)
	}
	if prev.Defined() != (was != nil) || was != nil && *was != prev {
		return fmt.Errorf("%w: unexpected value at %q", ErrInvalidTree, key)
	}
	return nil
}

// describe fills in the nodes of a Diff. The nodes in before were touched; the
// encoded blocks are those that indigo marked.
//
// A node that is touched by no op, in the sense of visit, stands in both trees.
// So walking the touched nodes of the new tree finds all that are new and all
// of before that are still there.
func (t *Tree) describe(d *Diff, before map[cid.Cid]struct{}, encoded []Block) error {
	data := make(map[cid.Cid][]byte, len(encoded))
	for _, b := range encoded {
		data[b.CID] = b.Data
		if _, old := before[b.CID]; !old {
			d.NewNodes = append(d.NewNodes, b)
		}
	}
	done := make(map[cid.Cid]struct{}, len(before)+len(encoded))
	prove := func(n *mst.Node) error {
		c := *n.CID
		if _, ok := done[c]; ok {
			return nil
		}
		done[c] = struct{}{}
		b, ok := data[c]
		if !ok {
			var err error
			if b, err = appendNode(nil, n); err != nil {
				return err
			}
		}
		d.Proof = append(d.Proof, Block{CID: c, Data: b})
		return nil
	}
	if err := prove(t.top.Root); err != nil {
		return err
	}
	for _, op := range d.Ops {
		if _, err := t.visit([]byte(op.Path), op.Action != ActionUpdate, prove); err != nil {
			return err
		}
	}
	for c := range before {
		if _, ok := done[c]; !ok {
			d.OldNodes = append(d.OldNodes, c)
		}
	}
	slices.SortFunc(d.OldNodes, func(a, b cid.Cid) int { return strings.Compare(a.KeyString(), b.KeyString()) })
	for _, b := range d.NewNodes {
		if _, ok := done[b.CID]; !ok {
			return fmt.Errorf("%w: new node %s is out of reach", ErrInvalidTree, b.CID)
		}
	}
	return nil
}
