package pds

import "sync"

// callSlots bounds how much work of a kind, such as calls of other services, is
// under way, in total and for each of those who cause it.
type callSlots struct {
	total, each int // fixed at creation

	mu   sync.Mutex // guards following 2 fields
	used int
	by   map[string]int
}

func newCallSlots(total, each int) *callSlots {
	return &callSlots{total: total, each: each, by: make(map[string]int)}
}

// inUse returns how many slots are taken.
func (c *callSlots) inUse() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// take returns a function that gives the slot back, to be called once, or false
// if there is none. An empty key counts in the total alone.
func (c *callSlots) take(key string) (release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used >= c.total || key != "" && c.by[key] >= c.each {
		return nil, false
	}
	c.used++
	if key != "" {
		c.by[key]++
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.used--
		if key == "" {
			return
		}
		if c.by[key]--; c.by[key] == 0 {
			delete(c.by, key)
		}
	}, true
}
