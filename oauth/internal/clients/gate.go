package clients

import (
	"sync"
	"time"
)

// maxWait is how long a fetch waits for its turn.
const maxWait = 5 * time.Second

// gate lets so many fetches run at a time, and so many of them to one host.
type gate struct {
	// Fixed at creation.
	slots   chan struct{}
	perHost int

	mu    sync.Mutex // guards following field
	hosts map[string]*hostGate
}

type hostGate struct {
	slots chan struct{}
	users int // that wait or run
}

func newGate(total, perHost int) *gate {
	return &gate{slots: make(chan struct{}, total), perHost: perHost, hosts: make(map[string]*hostGate)}
}

// enter waits for a turn to fetch from a host, the host's first: whoever waits
// for a slow host keeps nobody else out. The caller calls leave when done. The
// error is errBusy.
func (g *gate) enter(host string) (leave func(), err error) {
	g.mu.Lock()
	h := g.hosts[host]
	if h == nil {
		h = &hostGate{slots: make(chan struct{}, g.perHost)}
		g.hosts[host] = h
	}
	h.users++
	g.mu.Unlock()
	forget := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(g.hosts, host)
		}
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	for _, slots := range []chan struct{}{h.slots, g.slots} {
		select {
		case slots <- struct{}{}:
		case <-timer.C:
			if slots == g.slots {
				<-h.slots
			}
			forget()
			return nil, errBusy
		}
	}
	return func() {
		<-g.slots
		<-h.slots
		forget()
	}, nil
}
