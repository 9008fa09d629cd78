package identity

import (
	"sync"
	"time"
)

// cached is what one fetch gave: a value or an error.
type cached[V any] struct {
	value V
	err   error
	at    time.Time // when the fetch ended
	retry time.Time // when to renew at the earliest, after a failure to
	seq   uint64    // when it began, in the resolver's order
	cost  int       // bytes
	gone  bool      // purged: a miss that keeps older fetches out
}

// cache is an LRU with a limit of entries and one of bytes. It is safe for
// concurrent use.
type cache[K comparable, V any] struct {
	maxEntries, maxBytes int // fixed at creation

	mu      sync.Mutex // guards following 3 fields
	entries map[K]*cacheNode[K, V]
	root    cacheNode[K, V] // ring; root.next is the newest
	bytes   int
}

type cacheNode[K comparable, V any] struct {
	prev, next *cacheNode[K, V]
	key        K
	entry      cached[V]
}

func newCache[K comparable, V any](maxEntries, maxBytes int) *cache[K, V] {
	c := &cache[K, V]{maxEntries: maxEntries, maxBytes: maxBytes, entries: make(map[K]*cacheNode[K, V])}
	c.root.prev, c.root.next = &c.root, &c.root
	return c
}

// get returns the entry of key and marks it used; purged ones are not found.
func (c *cache[K, V]) get(key K) (cached[V], bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.entries[key]
	if n == nil || n.entry.gone {
		return cached[V]{}, false
	}
	c.unlink(n)
	c.link(n)
	return n.entry, true
}

// put stores an entry unless the cache holds the result of a later fetch.
func (c *cache[K, V]) put(key K, e cached[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.entries[key]
	if n != nil {
		if n.entry.seq > e.seq {
			return
		}
		c.bytes -= n.entry.cost
		c.unlink(n)
	} else {
		n = &cacheNode[K, V]{key: key}
		c.entries[key] = n
	}
	n.entry = e
	c.bytes += e.cost
	c.link(n)
	for len(c.entries) > c.maxEntries || (c.bytes > c.maxBytes && len(c.entries) > 1) {
		old := c.root.prev
		c.unlink(old)
		delete(c.entries, old.key)
		c.bytes -= old.entry.cost
	}
}

func (c *cache[K, V]) unlink(n *cacheNode[K, V]) {
	n.prev.next, n.next.prev = n.next, n.prev
}

func (c *cache[K, V]) link(n *cacheNode[K, V]) {
	n.prev, n.next = &c.root, c.root.next
	n.prev.next, n.next.prev = n, n
}
