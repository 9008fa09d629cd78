package main

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// A key begins with a letter that stands for the table. Rows:
//
//	a did                   account
//	b account, cid          blob
//	d kind, key             doc
//	e seq                   storage.Event
//	g id                    an account or repo whose rows are to be collected
//	h account               repo
//	j account, uri          refs of things that are no records
//	n repo, cid             treeNode
//	r repo, collection, rkey record
//	w generation            staged
//	x did                   its events up to this number are hidden
//	z name                  counter
//	R key                   a released key
//
// Accounts and repos (a repo is a generation) have numbers from one counter;
// such a number is a scope. The index is made by the rows, see row, and leads
// to their keys; u counts the rows and groups of a scope.
type tx struct {
	root    *node
	now     time.Time
	changed int   // rows that were set or removed
	barred  error // why nothing can be written
	err     error // barred, once somebody tried
}

var _ storage.Tx = (*tx)(nil)

var errReadOnly = errors.New("customstore: a View cannot write")

// row is a value with index entries. Rows with a size are counted.
type row interface {
	index(at, scope string) []entry
}

// entry is a key of the index. Those of tables c and f have a group of entries
// that stand for the same thing, and the things are counted.
type entry struct{ group, rest string }

// sum counts the rows or groups of one table and scope.
type sum struct{ N, Bytes int64 }

const scopeBytes = 16

// set stores a row with its index; nil removes it.
func (t *tx) set(at string, value any) {
	if t.err = t.barred; t.err != nil {
		return
	}
	if old, ok := t.root.get(at); ok {
		t.reindex(at, old, -1)
		t.root = t.root.cut(at, at+"\x00")
	}
	if value != nil {
		t.root = t.root.put(at, value)
		t.reindex(at, value, 1)
	}
	t.changed++
}

func (t *tx) reindex(at string, value any, by int64) {
	r, ok := value.(row)
	if !ok {
		return
	}
	scope := at[1:min(1+scopeBytes, len(at))]
	if sized, ok := value.(interface{ size() int64 }); ok {
		t.count(at[:1], scope, by, by*sized.size())
	}
	for _, e := range r.index(at, scope) {
		k := e.group + e.rest
		if by < 0 {
			t.root = t.root.cut(k, k+"\x00")
		}
		if strings.Contains("cf", k[:1]) && !t.any(e.group) {
			t.count(k[:1], scope, by, 0)
		}
		if by > 0 {
			t.root = t.root.put(k, at)
		}
	}
}

func (t *tx) count(table, scope string, n, bytes int64) {
	total := t.sum(table, scope)
	t.root = t.root.put("u"+scope+table, sum{total.N + n, total.Bytes + bytes})
}

func (t *tx) sum(table, scope string) sum {
	total, _ := get[sum](t, "u"+scope+table)
	return total
}

// get returns a row, or the zero value.
func get[T any](t *tx, at string) (value T, ok bool) {
	v, _ := t.root.get(at)
	value, ok = v.(T)
	return value, ok
}

// key joins the parts of a key so that keys sort as their parts do: strings
// end with a zero byte, numbers have sixteen digits, times are milliseconds.
func key(table string, parts ...any) string {
	for _, p := range parts {
		if at, ok := p.(time.Time); ok {
			p = at.UnixMilli()
		}
		if n, ok := p.(int64); ok {
			table += fmt.Sprintf("%016x", uint64(n)^1<<63)
		} else {
			table += fmt.Sprint(p) + "\x00"
		}
	}
	return table
}

// after is the bound just above every key that begins with prefix.
func after(prefix string) string {
	return prefix[:len(prefix)-1] + string([]byte{prefix[len(prefix)-1] + 1})
}

// rows yields what begins with prefix, from a bound on.
func (t *tx) rows(prefix, from string) iter.Seq2[string, any] {
	return t.root.between(max(prefix, from), after(prefix), false)
}

// first returns the first key that begins with prefix, from a bound on.
func (t *tx) first(prefix, from string) (string, bool) {
	for k := range t.rows(prefix, from) {
		return k, true
	}
	return "", false
}

// any reports whether a key begins with prefix.
func (t *tx) any(prefix string) bool {
	_, ok := t.first(prefix, "")
	return ok
}

// page returns up to limit of those rows that pick wants, by themselves or by
// way of the index.
func page[R, T any](t *tx, rows iter.Seq2[string, any], limit int, pick func(R) (T, bool)) (list []T, err error) {
	for _, v := range rows {
		if len(list) >= limit {
			break
		}
		if at, ok := v.(string); ok {
			v, _ = t.root.get(at)
		}
		r, is := v.(R)
		if picked, ok := pick(r); is && ok {
			list = append(list, picked)
		}
	}
	return list, nil
}

// found returns a row, or the zero value and ErrNotFound.
func found[T any](t *tx, at string) (T, error) {
	row, ok := get[T](t, at)
	if !ok {
		return row, storage.ErrNotFound
	}
	return row, nil
}

// millis rounds a time to what the contract keeps.
func millis(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return time.UnixMilli(at.UnixMilli()).UTC()
}

func (t *tx) counter(name string) int64 {
	n, _ := get[int64](t, key("z", name))
	return n
}

// next returns a number that was never given before.
func (t *tx) next() int64 {
	n := t.counter("id") + 1
	t.set(key("z", "id"), n)
	return n
}
