package main

import (
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

func (n *node) get(key string) (any, bool) {
	for n != nil && n.key != key {
		if key < n.key {
			n = n.left
		} else {
			n = n.right
		}
	}
	if n == nil {
		return nil, false
	}
	return n.value, true
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
	if l == nil {
		return r
	}
	if r == nil {
		return l
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
func (n *node) between(from, to string, down bool) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) { n.walk(from, to, down, yield) }
}

func (n *node) walk(from, to string, down bool, yield func(string, any) bool) bool {
	if n == nil {
		return true
	}
	first, last := n.left, n.right
	if down {
		first, last = last, first
	}
	// A side that is out of range is not entered.
	low, high := n.key < from, n.key >= to
	if !(low && !down || high && down) && !first.walk(from, to, down, yield) {
		return false
	}
	if !low && !high && !yield(n.key, n.value) {
		return false
	}
	return low && down || high && !down || last.walk(from, to, down, yield)
}
