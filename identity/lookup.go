package identity

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/singleflight"
)

// lookup is one kind of fetching, shared and cached: documents or handles.
type lookup[K ~string, V any] struct {
	// Fixed at creation.
	r        *Resolver
	fetch    func(context.Context, K) (V, error)
	cost     func(V) int
	notFound error // the error that ends the life of an old result
	cache    *cache[K, V]

	flights singleflight.Group
	wg      sync.WaitGroup // renewals in the background

	mu       sync.Mutex // guards following field
	renewing map[K]struct{}
}

// get returns the cached result of key, or fetches it.
func (l *lookup[K, V]) get(ctx context.Context, key K) (cached[V], error) {
	e, ok := l.cache.get(key)
	if !ok {
		return l.share(ctx, key)
	}
	now := l.r.clock()
	age := now.Sub(e.at)
	switch {
	case e.err != nil:
		if age < l.r.errorTTL {
			return e, e.err
		}
	case age < l.r.staleTTL:
		return e, nil
	case age < l.r.maxTTL:
		if !now.Before(e.retry) {
			l.renew(ctx, key)
		}
		return e, nil
	}
	return l.share(ctx, key)
}

// share fetches key, together with everybody who wants it right now. A caller
// whose context ends leaves; the fetch goes on for the others and the cache.
func (l *lookup[K, V]) share(ctx context.Context, key K) (cached[V], error) {
	detached := context.WithoutCancel(ctx)
	ch := l.flights.DoChan(string(key), func() (any, error) {
		return l.load(detached, key)
	})
	select {
	case <-ctx.Done():
		return cached[V]{}, ctx.Err()
	case res := <-ch:
		return res.Val.(cached[V]), res.Err
	}
}

// refresh fetches key for this caller alone. Later lookups do not join a fetch
// that began earlier, and the result of such a one is not stored any more.
func (l *lookup[K, V]) refresh(ctx context.Context, key K) (cached[V], error) {
	l.flights.Forget(string(key))
	return l.load(ctx, key)
}

// forget makes the next get of key a new fetch.
func (l *lookup[K, V]) forget(key K) {
	l.flights.Forget(string(key))
	l.cache.put(key, cached[V]{gone: true, seq: l.r.seq.Add(1)})
}

// renew fetches key in the background, once at a time.
func (l *lookup[K, V]) renew(ctx context.Context, key K) {
	l.mu.Lock()
	_, busy := l.renewing[key]
	if busy || len(l.renewing) >= maxBackground {
		l.mu.Unlock()
		return
	}
	if l.renewing == nil {
		l.renewing = make(map[K]struct{})
	}
	l.renewing[key] = struct{}{}
	l.mu.Unlock()
	detached := context.WithoutCancel(ctx)
	l.wg.Go(func() {
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.renewing, key)
		}()
		// The outcome is in the cache; nobody waits for it here.
		_, _, _ = l.flights.Do(string(key), func() (any, error) {
			return l.load(detached, key)
		})
	})
}

// load fetches key and stores the result.
func (l *lookup[K, V]) load(ctx context.Context, key K) (cached[V], error) {
	seq := l.r.seq.Add(1)
	value, err := l.fetch(ctx, key)
	now := l.r.clock()
	e := cached[V]{value: value, err: err, at: now, seq: seq, cost: len(key)}
	switch {
	case err == nil:
		e.cost += l.cost(value)
		l.cache.put(key, e)
	case ctx.Err() != nil:
		// The caller left: that says nothing about the identity.
	case !errors.Is(err, l.notFound):
		if old, ok := l.cache.get(key); ok && old.err == nil && now.Sub(old.at) < l.r.maxTTL {
			// Keep what is there, and do not try again at once.
			old.retry, old.seq = now.Add(l.r.errorTTL), seq
			l.cache.put(key, old)
			break
		}
		fallthrough
	default:
		l.cache.put(key, e)
	}
	return e, err
}
