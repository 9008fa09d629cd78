package main

import (
	"context"
	"iter"
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

	mu       sync.Mutex // guards following field
	watchers map[chan struct{}]struct{}
}

var _ storage.Store = (*Store)(nil)

// New returns an empty store.
func New(clock storage.Clock) *Store {
	return &Store{
		guard:    storage.NewGuard(clock, time.Time{}),
		writer:   make(chan struct{}, 1),
		watchers: make(map[chan struct{}]struct{}),
	}
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
	return fn(&tx{root: s.root.Load(), now: s.guard.Now(), barred: errReadOnly})
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
	if err := fn(t); err != nil {
		return err
	}
	s.root.Store(t.root)
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		select {
		case w <- struct{}{}:
		default: // a signal is waiting already
		}
	}
	return nil
}

// Watch implements storage.Store.
func (s *Store) Watch(ctx context.Context) <-chan struct{} {
	w := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unwatch(w)
	})
	if s.closed.Load() {
		s.unwatch(w)
	}
	return w
}

// unwatch closes a channel once. The caller has s.mu.
func (s *Store) unwatch(w chan struct{}) {
	if _, ok := s.watchers[w]; ok {
		delete(s.watchers, w)
		close(w)
	}
}

// Close implements storage.Store.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return storage.ErrClosed
	}
	s.life.Lock() // never unlocked
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		s.unwatch(w)
	}
	return nil
}

// chunk is about how many rows one transaction of Maintain takes.
const chunk = 500

// Maintain implements storage.Store.
func (s *Store) Maintain(ctx context.Context, budget storage.Budget) (more bool, err error) {
	if budget.Time <= 0 {
		budget.Time = time.Second
	}
	start := time.Now()
	for more = true; more && err == nil && time.Since(start) < budget.Time; {
		err = s.Update(ctx, func(own storage.Tx) error {
			t := own.(*tx)
			if !budget.KeepAll && s.guard.Doubt() == nil {
				t.dropStaged(func(g staged) bool { return t.now.Sub(g.created) > storage.GenerationTTL })
				t.drop(t.root.between("y", key("y", t.now.Add(time.Millisecond)), false))
			}
			t.collect()
			more = t.changed > 0
			return nil
		})
	}
	return more, err
}

// dropStaged drops the unpublished generations that match.
func (t *tx) dropStaged(match func(staged) bool) {
	for k, v := range t.rows("w", "") {
		if match(v.(staged)) {
			t.set(k, nil)
			t.set("g"+k[1:], true)
		}
	}
}

// drop removes rows by way of the index until the chunk is full.
func (t *tx) drop(index iter.Seq2[string, any]) {
	for _, at := range index {
		if t.changed >= chunk {
			return
		}
		t.set(at.(string), nil)
	}
}

// collect removes some of what was deleted: first the rows that are known
// outside their scope, then all of the scope at once.
func (t *tx) collect() {
	for k := range t.rows("g", "") {
		scope := k[1:]
		for at, b := range t.rows("b"+scope, "") {
			if t.changed >= chunk {
				return
			}
			t.release(at, b.(blob).Key)
		}
		if t.drop(t.rows("o"+scope, "")); t.changed >= chunk {
			return
		}
		for _, table := range "cfhjlnrsu" {
			prefix := string(table) + scope
			t.root = t.root.cut(prefix, after(prefix))
		}
		t.set(k, nil)
	}
}
