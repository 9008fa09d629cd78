package sqlite

import (
	"context"
	"sync"
)

// watchers are the channels that [Store.Watch] handed out.
type watchers struct {
	mu     sync.Mutex // guards following 2 fields
	closed bool
	stops  map[chan struct{}]func() bool // by channel: takes back the wait for its context
}

func (w *watchers) add(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(ch)
		return ch
	}
	if w.stops == nil {
		w.stops = make(map[chan struct{}]func() bool)
	}
	w.stops[ch] = context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, ok := w.stops[ch]; ok {
			delete(w.stops, ch)
			close(ch)
		}
	})
	return ch
}

// notify leaves a signal in every channel that has none.
func (w *watchers) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.stops {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for ch, stop := range w.stops {
		stop()
		close(ch)
	}
	w.stops = nil
}
