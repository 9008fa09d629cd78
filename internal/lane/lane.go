// Package lane runs work one piece at a time for each key, in order of
// arrival, and keeps a value for each key between pieces of work.
package lane

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// ErrReentered is returned by Do when the caller already runs in the same
// lane, where waiting would never end.
var ErrReentered = errors.New("lane: work in a lane cannot wait for the same lane")

// ErrFull is returned by Do when too much work waits in the lane.
var ErrFull = errors.New("lane: too much work waits")

// PanicError is what Do returns when the work panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Group is a set of lanes. The zero Group is not usable, see [New].
type Group[K comparable, V any] struct {
	maxIdle    int
	maxWaiting int

	mu    sync.Mutex // guards following 2 fields
	lanes map[K]*lane[K, V]
	idle  *list.List // of *lane, least recently used first
}

type lane[K comparable, V any] struct {
	key     K
	value   *V
	busy    bool
	waiting []chan struct{} // in order of arrival
	idle    *list.Element
}

// New returns a Group that keeps the values of up to maxIdle lanes in which
// nothing runs, and lets up to maxWaiting callers wait in each lane.
func New[K comparable, V any](maxIdle, maxWaiting int) *Group[K, V] {
	return &Group[K, V]{maxIdle: maxIdle, maxWaiting: maxWaiting, lanes: map[K]*lane[K, V]{}, idle: list.New()}
}

// heldKey names a lane in the context of the work that runs in it.
type heldKey[K comparable] struct {
	group any
	key   K
}

// Do waits for its turn in the lane of key and calls fn with the lane's value,
// which starts as the zero V. While ctx is live, callers run in the order in
// which they called. If ctx ends before the turn comes, Do returns its error.
// A panic of fn is returned as a [*PanicError]; the value is then dropped, as
// it is when fn returns keep = false.
func (g *Group[K, V]) Do(ctx context.Context, key K, fn func(ctx context.Context, v *V) (keep bool, err error)) error {
	held := heldKey[K]{g, key}
	if ctx.Value(held) != nil {
		return ErrReentered
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l, err := g.enter(ctx, key)
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			l.value = nil
		}
		g.leave(l)
	}()
	if l.value == nil {
		l.value = new(V)
	}
	keep, err = contain(func() (bool, error) {
		return fn(context.WithValue(ctx, held, true), l.value)
	})
	return err
}

func contain(fn func() (bool, error)) (keep bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			keep, err = false, &PanicError{v, debug.Stack()}
		}
	}()
	return fn()
}

// Enter waits for its turn in the lane of key, as Do does, and leaves it when the
// function that it returns is called, once. Who enters a lane of the group while in
// another one has to see to it that nobody does so the other way round.
func (g *Group[K, V]) Enter(ctx context.Context, key K) (leave func(), err error) {
	l, err := g.enter(ctx, key)
	if err != nil {
		return nil, err
	}
	return func() { g.leave(l) }, nil
}

// Busy reports whether somebody is in the lane of key.
func (g *Group[K, V]) Busy(key K) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lanes[key]
	return l != nil && l.busy
}

// enter returns the lane with the caller as its only worker.
func (g *Group[K, V]) enter(ctx context.Context, key K) (*lane[K, V], error) {
	g.mu.Lock()
	l := g.lanes[key]
	if l == nil {
		l = &lane[K, V]{key: key}
		g.lanes[key] = l
	}
	if !l.busy {
		l.busy = true
		if l.idle != nil {
			g.idle.Remove(l.idle)
			l.idle = nil
		}
		g.mu.Unlock()
		return l, nil
	}
	if len(l.waiting) >= g.maxWaiting {
		g.mu.Unlock()
		return nil, ErrFull
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return l, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	for i, w := range l.waiting {
		if w == turn {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			g.mu.Unlock()
			return nil, ctx.Err()
		}
	}
	g.mu.Unlock()
	// The turn came at the same moment: pass it on.
	g.leave(l)
	return nil, ctx.Err()
}

// leave gives the lane to the next in line, or makes it idle.
func (g *Group[K, V]) leave(l *lane[K, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(l.waiting) > 0 {
		turn := l.waiting[0]
		l.waiting = l.waiting[1:]
		close(turn)
		return
	}
	l.busy = false
	if l.value == nil {
		delete(g.lanes, l.key)
		return
	}
	l.idle = g.idle.PushBack(l)
	for g.idle.Len() > g.maxIdle {
		oldest := g.idle.Remove(g.idle.Front()).(*lane[K, V])
		delete(g.lanes, oldest.key)
	}
}

// Len returns the number of lanes in memory.
func (g *Group[K, V]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.lanes)
}
