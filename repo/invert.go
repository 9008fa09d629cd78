package repo

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/repo/mst"
	"github.com/ipfs/go-cid"
)

// InvertCommit undoes the ops of a commit on its tree and returns the root that
// the tree had before. The source is that of the blocks of the commit's event;
// nothing else is needed. The root of a tree without keys is the CID of the
// empty node, also where there was no tree before.
//
// An op that does not agree with the tree, or two ops on one path, give an
// error that matches [ErrInversion]; blocks that do not suffice give one that
// matches [ErrPartialTree].
func InvertCommit(root cid.Cid, ops []Op, src BlockSource) (cid.Cid, error) {
	t := LoadTree(root, src)
	if _, err := t.loadRoot(); err != nil {
		return cid.Undef, partial(err)
	}
	sorted := slices.Clone(ops)
	slices.SortFunc(sorted, func(a, b Op) int {
		// Deletions first, as other implementations do: a proof that is only
		// just sufficient may depend on it.
		if del := a.Action == ActionDelete; del != (b.Action == ActionDelete) {
			if del {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Path, b.Path)
	})
	paths := make(map[string]struct{}, len(ops))
	for _, op := range sorted {
		if _, ok := paths[op.Path]; ok {
			return cid.Undef, fmt.Errorf("%w: two ops on %q", ErrInversion, op.Path)
		}
		paths[op.Path] = struct{}{}
		if err := t.invert(op); err != nil {
			return cid.Undef, fmt.Errorf("undo %s of %.200q: %w", op.Action, op.Path, partial(err))
		}
	}
	if _, err := t.encode(); err != nil {
		return cid.Undef, err
	}
	return *t.top.Root.CID, nil
}

// invert undoes one op.
func (t *Tree) invert(op Op) error {
	if err := checkKey(op.Path); err != nil {
		return err
	}
	var ok bool
	switch op.Action {
	case ActionCreate:
		ok = op.CID.Defined() && !op.Prev.Defined()
	case ActionUpdate:
		ok = op.CID.Defined() && op.Prev.Defined() && op.CID != op.Prev
	case ActionDelete:
		ok = !op.CID.Defined() && op.Prev.Defined()
	}
	if !ok || op.Prev.Defined() && !isPlainCID(op.Prev.KeyString()) {
		return fmt.Errorf("%w: malformed", ErrInversion)
	}
	key := []byte(op.Path)
	nop := func(*mst.Node) error { return nil }
	value, err := t.visit(key, false, nop)
	if err != nil {
		return err
	}
	if value != op.CID {
		return fmt.Errorf("%w: other value in the tree", ErrInversion)
	}
	if op.Action == ActionCreate {
		// What stands beside the key may be missing from a proof that is only
		// just sufficient; if it is needed after all, mutate says so.
		if _, err := t.visit(key, true, nop); err != nil && !errors.Is(err, ErrBlockNotFound) {
			return err
		}
	}
	return t.mutate(key, op.Prev, op.CID)
}

// partial makes a missing block match ErrPartialTree too.
func partial(err error) error {
	if errors.Is(err, ErrBlockNotFound) && !errors.Is(err, ErrPartialTree) {
		return fmt.Errorf("%w: %w", ErrPartialTree, err)
	}
	return err
}
