package live

import (
	"bytes"
	"container/heap"
	"fmt"
	"slices"
	"sort"
	"time"
	"unicode/utf8"
)

// Limits of a signal.
const (
	MaxSignalKey   = 256     // bytes of its key
	MaxSignalBytes = 4 << 10 // bytes of its data
	MaxSignalTime  = 5 * time.Minute
)

// maxEnded is how many signals of a topic that have ended are remembered, for
// the subscribers to be told.
const maxEnded = 256

// signals is the signals of a feed. Each change has a number; a subscriber
// holds that of the last change that it knows of, and so gets only the last
// value of each key. The fields are guarded by the feed's lock.
type signals struct {
	changes int64              // the number of the last change
	log     []*signal          // in order of change
	byKey   map[string]*signal // the last change of each key
	ended   int                // of them, those that are gone
	floor   int64              // ends of signals up to this change are forgotten
}

// signal is a change of a signal.
type signal struct {
	change  int64
	event   *Event
	size    int           // in memory
	expires time.Duration // on the clock's Elapsed
	feed    *feed
	place   int  // in Hub.signals
	stale   bool // a later change has taken its place
}

func (s *signals) current() int { return len(s.byKey) - s.ended }

// get returns the current signal of a key, or nil.
func (s *signals) get(key string) *signal {
	if sg := s.byKey[key]; sg != nil && !sg.event.Signal.Gone {
		return sg
	}
	return nil
}

// change puts a change at the end.
func (s *signals) change(sg *signal) {
	s.changes++
	sg.change = s.changes
	key := sg.event.Signal.Key
	if old := s.byKey[key]; old != nil {
		old.stale = true
		if old.event.Signal.Gone {
			s.ended--
		}
	}
	s.byKey[key] = sg
	s.log = append(s.log, sg)
	if sg.event.Signal.Gone {
		s.ended++
	}
	if s.ended > maxEnded {
		s.forgetEnded()
	}
	if len(s.log) > 2*len(s.byKey)+32 {
		s.log = slices.DeleteFunc(s.log, func(sg *signal) bool { return sg.stale })
	}
}

// forgetEnded forgets the signals that are gone. A subscriber who has not been
// told of all of them begins anew.
func (s *signals) forgetEnded() {
	for key, sg := range s.byKey {
		if sg.event.Signal.Gone {
			delete(s.byKey, key)
			sg.stale = true
		}
	}
	s.ended, s.floor = 0, s.changes
}

// after appends to the batch the changes after the one that the subscriber
// knows of, as far as there is room.
func (s *signals) after(topic string, b *batch) {
	if s.floor > max(b.signal, b.signalsFrom) {
		if !b.take(&Event{Kind: KindSignalsReset, Topic: topic}, 0) {
			return
		}
		b.signal, b.signalsFrom = 0, s.changes
	}
	at := sort.Search(len(s.log), func(i int) bool { return s.log[i].change > b.signal })
	for _, sg := range s.log[at:] {
		gone := sg.event.Signal.Gone
		if !sg.stale && !(gone && sg.change <= b.signalsFrom) && !b.take(sg.event, len(sg.event.Signal.Data)) {
			return
		}
		b.signal = sg.change
	}
}

// Signal sets a signal of a topic: subscribers get it at once, new ones when
// they come, and all are told when it is gone: when d has passed (at most
// MaxSignalTime) or by [Hub.EndSignal]. It takes the place of the one with its
// key, which says who and what, such as "typing/did:plc:..."; with the same
// data it only lasts longer. data is what [EncodeData] takes, at most
// MaxSignalBytes. Signals are never stored and do not reach other
// processes; whether the topic exists does not matter. It returns an error that
// matches [ErrInvalid], [ErrTooMany] or [ErrClosed].
func (h *Hub) Signal(topic, key string, data any, d time.Duration) error {
	if err := checkName(topic); err != nil {
		return err
	}
	if key == "" || len(key) > MaxSignalKey || !utf8.ValidString(key) {
		return fmt.Errorf("%w: the key of a signal is text of 1 to %d bytes", ErrInvalid, MaxSignalKey)
	}
	if d <= 0 || d > MaxSignalTime {
		return fmt.Errorf("%w: a signal cannot last %v (at most %v)", ErrInvalid, d, MaxSignalTime)
	}
	text, err := encodeData(data, MaxSignalBytes)
	if err != nil {
		return err
	}
	sg := &signal{
		event:   &Event{Kind: KindSignal, Topic: topic, Signal: &Signal{Key: key, Data: text}},
		size:    eventSize(len(text)) + len(key),
		expires: h.clock.Elapsed() + d,
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	f := h.feed(topic)
	defer h.drop(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	freed := 0
	old := f.signals.get(key)
	if old != nil {
		freed = old.size
	}
	switch {
	case old != nil && bytes.Equal(old.event.Signal.Data, text):
		old.expires = sg.expires
		heap.Fix(&h.signals, old.place)
		return nil
	case old == nil && f.signals.current() >= h.limits.Signals:
		return tooMany("signals of this topic")
	case h.signalBytes-freed+sg.size > h.limits.SignalBytes:
		return tooMany("bytes of signals")
	}
	if old != nil {
		heap.Remove(&h.signals, old.place)
	}
	h.signalBytes += sg.size - freed
	sg.feed = f
	heap.Push(&h.signals, sg)
	f.signals.change(sg)
	f.broadcast()
	return nil
}

// EndSignal ends a signal before its time; one that is not there is no error.
func (h *Hub) EndSignal(topic, key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[topic]
	if f == nil {
		return
	}
	f.mu.Lock()
	if sg := f.signals.get(key); sg != nil {
		h.endSignal(sg)
	}
	f.mu.Unlock()
	h.drop(f)
}

// Signals returns the current signals of a topic, the one that changed first
// at the front.
func (h *Hub) Signals(topic string) []Signal {
	h.mu.Lock()
	f := h.feeds[topic]
	h.mu.Unlock()
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Signal, 0, f.signals.current())
	for _, sg := range f.signals.log {
		if !sg.stale && !sg.event.Signal.Gone {
			list = append(list, *sg.event.Signal)
		}
	}
	return list
}

// endSignal tells that a signal is gone. The caller holds h.mu and the feed's
// lock.
func (h *Hub) endSignal(sg *signal) {
	heap.Remove(&h.signals, sg.place)
	h.signalBytes -= sg.size
	end := &Event{Kind: KindSignal, Topic: sg.feed.name, Signal: &Signal{Key: sg.event.Signal.Key, Gone: true}}
	sg.feed.signals.change(&signal{event: end, feed: sg.feed})
	sg.feed.broadcast()
}

// expire ends signals whose time is over. It reports whether nothing is left
// to look after, in which case the goroutine that asks ends.
func (h *Hub) expire(now time.Duration) (idle bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.signals) > 0 && h.signals[0].expires <= now {
		sg := h.signals[0]
		sg.feed.mu.Lock()
		h.endSignal(sg)
		sg.feed.mu.Unlock()
		h.drop(sg.feed)
	}
	h.keeping = len(h.feeds) > 0
	return !h.keeping
}

// dropSignals forgets the signals of a feed without telling. The caller holds
// h.mu.
func (h *Hub) dropSignals(f *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sg := range f.signals.byKey {
		if !sg.event.Signal.Gone {
			heap.Remove(&h.signals, sg.place)
			h.signalBytes -= sg.size
		}
	}
	f.signals = signals{byKey: map[string]*signal{}}
}

func tooMany(what string) error { return fmt.Errorf("%w %s", ErrTooMany, what) }

// expiries is a heap of current signals, the one that expires next first.
type expiries []*signal

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].expires < e[j].expires }

func (e expiries) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = i, j
}

func (e *expiries) Push(x any) {
	sg := x.(*signal)
	sg.place = len(*e)
	*e = append(*e, sg)
}

func (e *expiries) Pop() any {
	last := len(*e) - 1
	sg := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return sg
}
