package mapstore

import (
	"cmp"
	"hash/maphash"
	"iter"
)

// node is the root of an immutable ordered map: a treap whose priorities are
// hashes of the keys. Every change returns a new root that shares what did not
// change, so a root is a snapshot and throwing one away is an undo.
type node struct {
	key         string
	value       any // never changed
	priority    uint64
	left, right *node
}

var seed = maphash.MakeSeed()

// get returns nil if there is no such key.
func (n *node) get(key string) any {
	for _, v := range n.between(key, key+"\x00", false) {
		return v
	}
	return nil
}

// split returns what is below key and the rest.
func (n *node) split(key string) (below, rest *node) {
	if n == nil {
		return nil, nil
	}
	top := *n
	if n.key < key {
		top.right, rest = n.right.split(key)
		return &top, rest
	}
	below, top.left = n.left.split(key)
	return below, &top
}

// join is the union of two maps; every key of r is above those of l.
func join(l, r *node) *node {
	if l == nil || r == nil {
		return cmp.Or(l, r)
	}
	if l.priority > r.priority {
		top := *l
		top.right = join(l.right, r)
		return &top
	}
	top := *r
	top.left = join(l, r.left)
	return &top
}

// cut removes the keys in [from, to), at the cost of removing one.
func (n *node) cut(from, to string) *node {
	below, rest := n.split(from)
	_, above := rest.split(to)
	return join(below, above)
}

func (n *node) put(key string, value any) *node {
	below, rest := n.split(key)
	_, above := rest.split(key + "\x00")
	return join(join(below, &node{key: key, value: value, priority: maphash.String(seed, key)}), above)
}

// between yields what is in [from, to), upwards or downwards.
func (n *node) between(from, to string, down bool) rows {
	return func(yield func(string, any) bool) { n.walk(from, to, down, yield) }
}

// rows are keys with their values.
type rows = iter.Seq2[string, any]

func (n *node) walk(from, to string, down bool, yield func(string, any) bool) bool {
	if n == nil {
		return true
	}
	low, high := n.key < from, n.key >= to
	left := func() bool { return low || n.left.walk(from, to, down, yield) }
	here := func() bool { return low || high || yield(n.key, n.value) }
	right := func() bool { return high || n.right.walk(from, to, down, yield) }
	if down {
		return right() && here() && left()
	}
	return left() && here() && right()
}
