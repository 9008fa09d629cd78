// Package mapstore is a storage.Store that is one ordered map in memory, whose
// snapshots cost nothing. Copy it as a start: it forgets everything when it
// ends.
package mapstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// Store is a storage.Store that keeps everything in one ordered map in memory.
type Store struct {
	guard  *storage.Guard       // fixed at creation
	root   atomic.Pointer[node] // the last committed state
	writer chan struct{}        // holds a token while an Update runs
	life   sync.RWMutex         // held by Views and Updates, and by Close for ever
	closed atomic.Bool

	changed atomic.Pointer[chan struct{}] // closed and replaced by each Update
	done    chan struct{}                 // closed by Close
}

var _ storage.Store = (*Store)(nil)

// New returns an empty store.
func New(clock storage.Clock) *Store {
	guard := storage.NewGuard(clock, time.Time{})
	s := &Store{guard: guard, writer: make(chan struct{}, 1), done: make(chan struct{})}
	s.changed.Store(new(make(chan struct{})))
	return s
}

// Guard returns the clock by which the store numbers events, see
// storage.GuardOf.
func (s *Store) Guard() *storage.Guard { return s.guard }

// View implements storage.Store: a root is a snapshot.
func (s *Store) View(ctx context.Context, fn func(storage.Tx) error) error {
	if !s.life.TryRLock() {
		return storage.ErrClosed
	}
	defer s.life.RUnlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &tx{root: s.root.Load(), now: s.guard.Now(), barred: errors.ErrUnsupported}
	defer t.end()
	return fn(t)
}

// Update implements storage.Store: it works on a root of its own, and makes
// it everybody's at the end.
func (s *Store) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if !s.life.TryRLock() {
		return storage.ErrClosed
	}
	defer s.life.RUnlock()
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &tx{root: s.root.Load(), now: s.guard.Now()}
	defer t.end()
	if err := fn(t); err != nil {
		return err
	}
	s.root.Store(t.root)
	close(*s.changed.Swap(new(make(chan struct{}))))
	return nil
}

// Watch implements storage.Store.
func (s *Store) Watch(ctx context.Context) <-chan struct{} {
	w, changed := make(chan struct{}, 1), s.changed.Load()
	go func() {
		defer close(w)
		for {
			select {
			case <-*changed:
			case <-ctx.Done():
				return
			case <-s.done:
				return
			}
			changed = s.changed.Load()
			select {
			case w <- struct{}{}:
			default: // a signal is waiting already
			}
		}
	}()
	return w
}

// Close implements storage.Store.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return storage.ErrClosed
	}
	s.life.Lock() // never unlocked
	close(s.done)
	return nil
}

// Maintain implements storage.Store. It does everything in one transaction: a
// store for big accounts would take turns with others.
func (s *Store) Maintain(ctx context.Context, budget storage.Budget) (more bool, err error) {
	return false, s.Update(ctx, func(own storage.Tx) error {
		t := own.(*tx)
		if !budget.KeepAll && s.guard.Doubt() == nil {
			t.dropStaged("w", func(g staged) bool { return t.now.Sub(g.created) > storage.GenerationTTL })
			for _, v := range t.root.between("y", key("y", t.now.UnixMilli()+1), false) {
				t.set(v.(doc).at(), nil)
			}
		}
		t.collect()
		return nil
	})
}

// dropStaged drops the unpublished generations below a prefix that match.
func (t *tx) dropStaged(prefix string, match func(staged) bool) {
	t.err = t.barred
	for k, v := range t.rows(prefix, "") {
		if match(v.(staged)) {
			t.set(k, nil)
			t.set("g"+k[1:], true)
		}
	}
}

// collect removes what was deleted: first the rows that are known outside
// their scope, then all of the scope at once.
func (t *tx) collect() {
	for k := range t.rows("g", "") {
		scope := k[1:]
		for at, v := range t.rows("b"+scope, "") {
			t.set(at, nil)
			t.set(key("R", v.(blob).Key), v.(blob).Key)
		}
		for _, v := range t.rows("o"+scope, "") {
			t.set(v.(doc).at(), nil)
		}
		for _, table := range "cfhjlnrsu" {
			prefix := string(table) + scope
			t.root = t.root.cut(prefix, after(prefix))
		}
		t.set(k, nil)
	}
}

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
//	z                       the last number that was given
//	Z                       the last seq
//	R key                   a released key
//
// Accounts and repos (a repo is a generation) have numbers from one counter;
// such a number is a scope. The index is made by the rows, see row, and holds
// them again; u counts the rows and groups of a scope.
type tx struct {
	root   *node
	now    time.Time
	barred error // why nothing can be written
	err    error // barred, once somebody tried
	ended  error // why nothing can be read
}

// row is a value with index keys. Rows with a size are counted. In tables c and
// f, what stands up to the first zero byte is one thing, however many keys it
// has, and those things are counted.
type row interface {
	index(at, scope string) []string
}

// end makes a Tx useless that somebody kept.
func (t *tx) end() { t.root, t.barred, t.ended = nil, storage.ErrClosed, storage.ErrClosed }

const scopeBytes = 16

// set stores a row with its index; nil removes it.
func (t *tx) set(at string, value any) {
	if t.err = t.barred; t.err != nil {
		return
	}
	if old := t.root.get(at); old != nil {
		t.reindex(at, old, -1)
		t.root = t.root.cut(at, at+"\x00")
	}
	if value != nil {
		t.root = t.root.put(at, value)
		t.reindex(at, value, 1)
	}
}

// save is set as the last step of a method.
func (t *tx) save(at string, value any) error {
	t.set(at, value)
	return t.err
}

func (t *tx) reindex(at string, value any, by int64) {
	r, ok := value.(row)
	if !ok {
		return
	}
	scope := at[1:min(1+scopeBytes, len(at))]
	if sized, ok := value.(interface{ size() int64 }); ok {
		t.count("u"+scope+at[:1], by)
		t.count("u"+scope+at[:1]+"bytes", by*sized.size())
	}
	for _, k := range r.index(at, scope) {
		t.root = t.root.cut(k, k+"\x00")
		if strings.Contains("cf", k[:1]) && !t.any(k[:strings.IndexByte(k, 0)+1]) {
			t.count("u"+scope+k[:1], by)
		}
		if by > 0 {
			t.root = t.root.put(k, value)
		}
	}
}

func (t *tx) count(at string, by int64) { t.root = t.root.put(at, t.number(at)+by) }

// number returns a row that is a number, or zero.
func (t *tx) number(at string) int64 {
	n, _ := found[int64](t, at)
	return n
}

// key joins the parts of a key so that keys sort as their parts do: strings
// end with a zero byte, numbers have sixteen digits.
func key(table string, parts ...any) string {
	for _, p := range parts {
		if n, ok := p.(int64); ok {
			table += fmt.Sprintf("%016x", uint64(n)^1<<63)
		} else {
			table += fmt.Sprint(p) + "\x00"
		}
	}
	return table
}

// after is the bound just above every key that begins with prefix.
func after(prefix string) string { return prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1) }

// rows yields what begins with prefix, from a bound on.
func (t *tx) rows(prefix, from string) rows {
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

// page returns up to limit of those rows that pick wants.
func page[R, T any](t *tx, rows rows, limit int, pick func(R) (T, bool)) (list []T, err error) {
	for _, v := range rows {
		if len(list) >= limit {
			break
		}
		if picked, ok := pick(v.(R)); ok {
			list = append(list, picked)
		}
	}
	return list, t.ended
}

// found returns a row, or the zero value and ErrNotFound.
func found[T any](t *tx, at string) (T, error) {
	row, ok := t.root.get(at).(T)
	if !ok {
		return row, cmp.Or(t.ended, storage.ErrNotFound)
	}
	return row, nil
}

// millis rounds a time to what the contract keeps.
func millis(at time.Time) time.Time { return at.Truncate(time.Millisecond) }

// next returns a number that was never given before.
func (t *tx) next() int64 {
	t.set("z", t.number("z")+1)
	return t.number("z")
}
