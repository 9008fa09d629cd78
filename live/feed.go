package live

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pdskit/pdskit/storage"
)

// feed is a topic that has subscribers or signals. New entries are moved from
// the store to its ring by one of the subscribers that wait for them: the one
// that finds the token in dirty.
type feed struct {
	// fixed at creation
	hub   *Hub
	name  string
	dirty chan struct{} // holds a token while the store may have more than the ring

	// guarded by the hub's lock
	place   *list.Element // in Hub.rings, or nil
	charged int           // of the ring's bytes, counted in Hub.ringBytes

	loading sync.Mutex // held while the ring is filled; taken before mu

	mu      sync.Mutex // guards following 7 fields
	subs    map[*Subscription]struct{}
	more    chan struct{} // closed and replaced when there is something for all subscribers
	checks  int           // how often the rules were to be asked
	started bool          // a durable subscription has begun: the next two are valid
	info    Info          // the topic, First and Last apart
	ring    ring
	signals signals
}

func newFeed(h *Hub, name string) *feed {
	return &feed{
		hub: h, name: name, dirty: make(chan struct{}, 1),
		subs: map[*Subscription]struct{}{}, more: make(chan struct{}),
		ring:    ring{limit: h.limits.TopicRingBytes},
		signals: signals{byKey: map[string]*signal{}},
	}
}

// wake lets a subscriber look into the store.
func (f *feed) wake() {
	select {
	case f.dirty <- struct{}{}:
	default:
	}
}

// broadcast wakes all subscribers. The caller holds f.mu.
func (f *feed) broadcast() {
	close(f.more)
	f.more = make(chan struct{})
}

func (f *feed) recheck() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks++
	f.broadcast()
}

// end ends all subscriptions. The subscribers still have to leave.
func (f *feed) end(reason error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		s.finish(reason)
	}
}

// restart ends the durable subscriptions of a topic that was deleted, and
// begins with the one that has its name now, if any. The caller holds f.mu.
func (f *feed) restart(info *Info) {
	for s := range f.subs {
		if s.epoch != "" && (info == nil || s.epoch != info.epoch) {
			s.finish(ErrDeleted)
		}
	}
	f.started = info != nil
	if f.started {
		f.info = *info
		f.ring.start(info.Last)
	}
}

// begin gives a durable subscription its epoch and returns the topic.
func (f *feed) begin(ctx context.Context, s *Subscription) (info Info, err error) {
	err = f.hub.store.View(ctx, func(tx storage.Docs) error {
		info, err = Lookup(tx, f.name)
		return err
	})
	if err != nil {
		return Info{}, err
	}
	if err := f.adopt(s, &info); err != nil {
		return Info{}, err
	}
	f.load(ctx) // what was published since the View began has found nobody to wake
	return info, nil
}

// adopt gives a subscription the epoch of the topic as it has read it.
func (f *feed) adopt(s *Subscription, info *Info) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.started || f.info.epoch != info.epoch {
		if f.started && info.Created.Before(f.info.Created) {
			return ErrDeleted // others have read later than we
		}
		f.restart(info)
	}
	s.epoch = info.epoch
	return nil
}

// compare wakes the feed if its topic in the store is not as the ring has it.
func (f *feed) compare(tx storage.Docs) error {
	f.mu.Lock()
	started, epoch, high := f.started, f.info.epoch, f.ring.high
	f.mu.Unlock()
	if !started {
		return nil
	}
	info, err := Lookup(tx, f.name)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	case err != nil || info.epoch != epoch || info.Last != high:
		f.wake()
	}
	return nil
}

// maxCatchUp is how many new entries are moved to the ring at once. If there
// are more, the older ones are left for the subscribers to read themselves.
const maxCatchUp = 256

// load moves what is new in the store to the ring.
func (f *feed) load(ctx context.Context) {
	f.loading.Lock()
	defer f.loading.Unlock()
	for {
		more, err := f.loadSome(context.WithoutCancel(ctx))
		if err != nil {
			// The next poll tries again.
			f.hub.log.ErrorContext(ctx, "reading new messages failed", "topic", f.name, "error", err)
		}
		if !more || err != nil {
			break
		}
	}
	f.hub.grown(f)
}

func (f *feed) loadSome(ctx context.Context) (more bool, err error) {
	f.mu.Lock()
	after, started, epoch := f.ring.high, f.started, f.info.epoch
	f.mu.Unlock()
	if !started {
		return false, nil
	}
	var info *Info
	var entries []Entry
	err = f.hub.store.View(ctx, func(tx storage.Docs) error {
		info, entries = nil, nil
		found, err := Lookup(tx, f.name)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		info = &found
		from := max(after+1, info.Last-maxCatchUp+1, info.First)
		entries, err = info.scan(tx, from, info.Last+1, false, scanEntries)
		if err == nil && len(entries) == 0 && from <= info.Last {
			err = fmt.Errorf("live: entries from %d of topic %q are missing", from, f.name)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if info == nil || info.epoch != epoch {
		if f.started && f.info.epoch == epoch {
			f.restart(info)
		}
		return false, nil
	}
	for _, e := range entries {
		if e.Seq > f.ring.high {
			f.ring.add(info, e)
		}
	}
	if len(entries) > 0 {
		f.broadcast()
	}
	return f.ring.high < info.Last && len(entries) > 0, nil
}

// recount drops entries of so many bytes and returns by how much the ring has
// grown since it was counted. The caller holds the hub's lock.
func (f *feed) recount(drop int) (grown int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring.drop(drop)
	grown = f.ring.bytes - f.charged
	f.charged = f.ring.bytes
	return grown
}
