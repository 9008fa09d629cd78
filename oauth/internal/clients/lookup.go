package clients

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// maxFlights is how many fetches of one kind may be under way or wait for
// their turn.
const maxFlights = 256

// overhead is what an entry of a cache takes beside its documents, in bytes.
const overhead = 1 << 10

var errBusy = &Error{Code: CodeTemporarilyUnavailable, Description: "too many clients are being looked up"}

// lookup is one kind of document, by its URL: fetched once for all who want it at
// the same time, and cached with a limit of entries and one of bytes.
type lookup[V any] struct {
	// Fixed at creation. Fetch returns a value and the bytes it was made of.
	fetch                func(ctx context.Context, url string) (V, int, error)
	ttl, failureTTL      time.Duration
	maxEntries, maxBytes int
	clock                func() time.Time

	mu      sync.Mutex // guards following 4 fields
	entries map[string]*list.Element
	order   list.List // of *entry[V], the one used last in front
	bytes   int
	flights map[string]*flight[V]
}

// entry is what a fetch gave: a value or an error.
type entry[V any] struct {
	url     string
	value   V
	err     error
	cost    int
	until   time.Time
	renewed time.Time // when it was last fetched before its time
}

// flight is a fetch under way. Value and err are set when done is closed.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func newLookup[V any](cfg Config, fetch func(context.Context, string) (V, int, error)) *lookup[V] {
	return &lookup[V]{
		fetch: fetch,
		ttl:   cfg.TTL, failureTTL: cfg.FailureTTL,
		maxEntries: cfg.CacheEntries, maxBytes: cfg.CacheBytes,
		clock:   cfg.Clock,
		entries: make(map[string]*list.Element),
		flights: make(map[string]*flight[V]),
	}
}

// get returns what is cached for url, or fetches it.
func (l *lookup[V]) get(ctx context.Context, url string) (V, error) {
	l.mu.Lock()
	if e := l.current(url); e != nil {
		defer l.mu.Unlock()
		return e.value, e.err
	}
	return l.join(ctx, url)
}

// renew fetches url although it is cached, once in RenewEvery; else it is get.
func (l *lookup[V]) renew(ctx context.Context, url string) (V, error) {
	l.mu.Lock()
	if e := l.current(url); e != nil && l.flights[url] == nil {
		now := l.clock()
		if now.Sub(e.renewed) < RenewEvery {
			defer l.mu.Unlock()
			return e.value, e.err
		}
		e.renewed = now
	}
	return l.join(ctx, url)
}

// has reports whether get would not fetch anything.
func (l *lookup[V]) has(url string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current(url) != nil
}

// current returns the entry of url unless it is too old. The caller holds mu.
func (l *lookup[V]) current(url string) *entry[V] {
	el := l.entries[url]
	if el == nil {
		return nil
	}
	e := el.Value.(*entry[V])
	if !l.clock().Before(e.until) {
		return nil
	}
	l.order.MoveToFront(el)
	return e
}

// join waits for a fetch of url, and starts it if there is none. A caller that
// leaves does not stop it. The caller holds mu; join lets go of it.
func (l *lookup[V]) join(ctx context.Context, url string) (V, error) {
	var zero V
	f := l.flights[url]
	if f == nil {
		if len(l.flights) >= maxFlights {
			l.mu.Unlock()
			return zero, errBusy
		}
		f = &flight[V]{done: make(chan struct{})}
		l.flights[url] = f
		go l.run(context.WithoutCancel(ctx), url, f)
	}
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-f.done:
		return f.value, f.err
	}
}

// run fetches url and stores the outcome.
func (l *lookup[V]) run(ctx context.Context, url string, f *flight[V]) {
	value, size, err := l.fetch(ctx, url)
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(f.done)
	delete(l.flights, url)
	if old := l.current(url); old != nil && err != nil {
		// It was fetched before its time: the failure changes nothing.
		f.value, f.err = old.value, old.err
		return
	}
	f.value, f.err = value, err
	if errors.Is(err, errBusy) {
		return // that says nothing about the client
	}
	ttl := l.ttl
	if err != nil {
		ttl = l.failureTTL
	}
	l.put(&entry[V]{
		url: url, value: value, err: err,
		cost:  overhead + len(url) + 2*size, // as text, and parsed about the same
		until: l.clock().Add(ttl),
	})
}

// put stores an entry in place of an older one and makes room. The caller holds
// mu.
func (l *lookup[V]) put(e *entry[V]) {
	if el := l.entries[e.url]; el != nil {
		e.renewed = el.Value.(*entry[V]).renewed
		l.remove(el)
	}
	l.entries[e.url] = l.order.PushFront(e)
	l.bytes += e.cost
	for len(l.entries) > l.maxEntries || l.bytes > l.maxBytes {
		l.remove(l.order.Back())
	}
}

func (l *lookup[V]) remove(el *list.Element) {
	e := l.order.Remove(el).(*entry[V])
	delete(l.entries, e.url)
	l.bytes -= e.cost
}
