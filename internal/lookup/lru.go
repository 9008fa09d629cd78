package lookup

import (
	"sync"
	"time"
)

// entry is what one fetch gave: a value or an error.
type entry[V any] struct {
	value V
	err   error
	at    time.Time // when the fetch ended
	retry time.Time // when to renew at the earliest, after a failure to
	seq   uint64    // when it began, in the cache's order
	cost  int       // bytes
	gone  bool      // purged: a miss that keeps older fetches out
}

// lru forgets what was not used for longest when it has too many entries or
// bytes. It is safe for concurrent use.
type lru[K comparable, V any] struct {
	maxEntries, maxBytes int // fixed at creation

	mu      sync.Mutex // guards following 3 fields
	entries map[K]*lruNode[K, V]
	root    lruNode[K, V] // ring; root.next is the newest
	bytes   int
}

type lruNode[K comparable, V any] struct {
	prev, next *lruNode[K, V]
	key        K
	entry      entry[V]
}

func newLRU[K comparable, V any](maxEntries, maxBytes int) *lru[K, V] {
	c := &lru[K, V]{maxEntries: maxEntries, maxBytes: maxBytes, entries: make(map[K]*lruNode[K, V])}
	c.root.prev, c.root.next = &c.root, &c.root
	return c
}

// get returns the entry of key and marks it used; purged ones are not found.
func (c *lru[K, V]) get(key K) (entry[V], bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.entries[key]
	if n == nil || n.entry.gone {
		return entry[V]{}, false
	}
	c.unlink(n)
	c.link(n)
	return n.entry, true
}

// put stores an entry unless the cache holds the result of a later fetch.
func (c *lru[K, V]) put(key K, e entry[V]) {
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
		n = &lruNode[K, V]{key: key}
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

func (c *lru[K, V]) unlink(n *lruNode[K, V]) {
	n.prev.next, n.next.prev = n.next, n.prev
}

func (c *lru[K, V]) link(n *lruNode[K, V]) {
	n.prev, n.next = &c.root, c.root.next
	n.prev.next, n.next.prev = n, n
}
