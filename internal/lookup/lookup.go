// Package lookup fetches things by name, once for all who want them at the same
// time, and remembers what came of it. What is stale is used while it is being
// renewed behind the scenes; failures are remembered, too; the memory is bounded.
package lookup

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// maxBackground is how many stale entries of a cache are renewed at once;
// further ones wait for the next lookup.
const maxBackground = 32

// Config says how a Cache works. All fields but NotFound are required.
type Config[K ~string, V any] struct {
	// Fetch gets a value. Its context does not end with the caller that caused
	// it: it needs a timeout of its own.
	Fetch func(ctx context.Context, key K) (V, error)

	// NotFound is the error of Fetch that ends the life of an old value. After
	// others it lives on until MaxTTL. nil: no error does.
	NotFound error

	// Cost is the size of a value in bytes. That of its key is added.
	Cost func(V) int

	StaleTTL time.Duration // the age from which a value is renewed when it is used
	MaxTTL   time.Duration // the age from which it is not used any more
	ErrorTTL time.Duration // how long a failure is remembered; negative: not at all

	MaxEntries, MaxBytes int

	Clock func() time.Time
}

// Cache is one kind of thing that is fetched. It is safe for concurrent use.
type Cache[K ~string, V any] struct {
	cfg   Config[K, V] // fixed at creation
	known *lru[K, V]
	seq   atomic.Uint64 // orders fetches

	flights singleflight.Group
	wg      sync.WaitGroup // renewals in the background

	mu       sync.Mutex // guards following field
	renewing map[K]struct{}
}

// New returns an empty cache.
func New[K ~string, V any](cfg Config[K, V]) *Cache[K, V] {
	return &Cache[K, V]{cfg: cfg, known: newLRU[K, V](cfg.MaxEntries, cfg.MaxBytes)}
}

// Result is a value with the time at which it was fetched.
type Result[V any] struct {
	Value V
	At    time.Time
}

// Known returns the outcome of an earlier fetch, value or error, if it is young
// enough to be used. A value that is stale is being renewed afterwards.
func (c *Cache[K, V]) Known(ctx context.Context, key K) (res Result[V], ok bool, err error) {
	e, ok := c.known.get(key)
	if !ok {
		return res, false, nil
	}
	now := c.cfg.Clock()
	age := now.Sub(e.at)
	switch {
	case e.err != nil:
		return res, age < c.cfg.ErrorTTL, e.err
	case age < c.cfg.StaleTTL:
	case age < c.cfg.MaxTTL:
		if !now.Before(e.retry) {
			c.renew(ctx, key)
		}
	default:
		return res, false, nil
	}
	return Result[V]{e.value, e.at}, true, nil
}

// Get returns what is known of a key, or fetches it.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (Result[V], error) {
	if res, ok, err := c.Known(ctx, key); ok {
		return res, err
	}
	return c.Share(ctx, key)
}

// Peek returns the value of a key, if it was fetched at any time.
func (c *Cache[K, V]) Peek(key K) (value V, ok bool) {
	e, ok := c.known.get(key)
	return e.value, ok && e.err == nil
}

// Put remembers a value that was fetched at some time, unless something is
// known of the key already.
func (c *Cache[K, V]) Put(key K, value V, at time.Time) {
	if _, ok := c.known.get(key); !ok {
		c.known.put(key, entry[V]{value: value, at: at, seq: c.seq.Add(1), cost: len(key) + c.cfg.Cost(value)})
	}
}

// Share fetches a key, together with everybody who wants it right now. A caller
// whose context ends leaves; the fetch goes on for the others and the cache.
func (c *Cache[K, V]) Share(ctx context.Context, key K) (Result[V], error) {
	detached := context.WithoutCancel(ctx)
	ch := c.flights.DoChan(string(key), func() (any, error) {
		return c.load(detached, key)
	})
	select {
	case <-ctx.Done():
		return Result[V]{}, ctx.Err()
	case res := <-ch:
		return res.Val.(Result[V]), res.Err
	}
}

// Refresh fetches a key for this caller alone. Later lookups do not join a fetch
// that began earlier, and the result of such a one is not stored any more.
func (c *Cache[K, V]) Refresh(ctx context.Context, key K) (Result[V], error) {
	c.flights.Forget(string(key))
	return c.load(ctx, key)
}

// Forget makes the next Get of a key a new fetch.
func (c *Cache[K, V]) Forget(key K) {
	c.flights.Forget(string(key))
	c.known.put(key, entry[V]{gone: true, seq: c.seq.Add(1)})
}

// Wait blocks until no renewal runs in the background. New lookups may start
// more.
func (c *Cache[K, V]) Wait() { c.wg.Wait() }

// renew fetches a key in the background, once at a time.
func (c *Cache[K, V]) renew(ctx context.Context, key K) {
	c.mu.Lock()
	_, busy := c.renewing[key]
	if busy || len(c.renewing) >= maxBackground {
		c.mu.Unlock()
		return
	}
	if c.renewing == nil {
		c.renewing = make(map[K]struct{})
	}
	c.renewing[key] = struct{}{}
	c.mu.Unlock()
	detached := context.WithoutCancel(ctx)
	c.wg.Go(func() {
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.renewing, key)
		}()
		// The outcome is in the cache; nobody waits for it here.
		_, _, _ = c.flights.Do(string(key), func() (any, error) {
			return c.load(detached, key)
		})
	})
}

// load fetches a key and stores the outcome.
func (c *Cache[K, V]) load(ctx context.Context, key K) (Result[V], error) {
	seq := c.seq.Add(1)
	value, err := c.cfg.Fetch(ctx, key)
	now := c.cfg.Clock()
	e := entry[V]{value: value, err: err, at: now, seq: seq, cost: len(key)}
	switch {
	case err == nil:
		e.cost += c.cfg.Cost(value)
		c.known.put(key, e)
	case ctx.Err() != nil:
		// The caller left: that says nothing about the key.
	case c.cfg.NotFound == nil || !errors.Is(err, c.cfg.NotFound):
		if old, ok := c.known.get(key); ok && old.err == nil && now.Sub(old.at) < c.cfg.MaxTTL {
			// Keep what is there, and do not try again at once.
			old.retry, old.seq = now.Add(c.cfg.ErrorTTL), seq
			c.known.put(key, old)
			break
		}
		fallthrough
	default:
		c.known.put(key, e)
	}
	return Result[V]{value, now}, err
}
