package live

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// Config says what a [Hub] is made of.
type Config struct {
	// Store holds the topics. Required.
	Store storage.DocStore

	// Clock is the time; it should be that of the store. Default: the system's.
	Clock storage.Clock

	// Logger is told when the store fails. Default: nothing is logged.
	Logger *slog.Logger

	// Limits bounds memory, counts and times.
	Limits Limits
}

// Hub is the topics of a store as one process sees them, with the subscribers
// and signals of that process. Its methods may be called concurrently.
type Hub struct {
	// fixed at creation
	store  storage.DocStore
	clock  storage.Clock
	log    *slog.Logger
	limits Limits
	reads  chan struct{} // one element for each page that is being read
	stop   chan struct{} // closed by Close

	maintaining sync.Mutex // guards following field
	maintained  string     // name of the next topic for Maintain to look at

	mu          sync.Mutex // guards following 8 fields; taken before the lock of a feed
	feeds       map[string]*feed
	clients     map[string]map[*Subscription]struct{} // by Options.Client
	subscribers int
	rings       list.List // of feeds with something in their rings, the one that grew last at the back
	ringBytes   int
	signals     expiries
	signalBytes int
	closed      bool
	keeper      sync.WaitGroup // of the goroutine that keeps time
	keeping     bool           // it runs; guarded by mu
}

// New makes a hub. It returns an error that names the field if one is missing
// or wrong, and starts nothing: a goroutine runs while there are subscribers or
// signals.
func New(cfg Config) (*Hub, error) {
	if cfg.Store == nil {
		return nil, errors.New("live: Config.Store: required")
	}
	if err := cfg.Limits.setDefaults(); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = storage.SystemClock()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Hub{
		store: cfg.Store, clock: cfg.Clock, log: cfg.Logger, limits: cfg.Limits,
		reads: make(chan struct{}, cfg.Limits.Reads), stop: make(chan struct{}),
		feeds: map[string]*feed{}, clients: map[string]map[*Subscription]struct{}{},
	}, nil
}

// Close ends all subscriptions with [ErrClosed], refuses new ones and forgets
// the signals. What only needs the store, such as Publish, goes on working.
func (h *Hub) Close() {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.stop)
		for _, f := range h.feeds {
			h.dropSignals(f)
			f.end(ErrClosed)
		}
	}
	h.mu.Unlock()
	h.keeper.Wait()
}

// Create makes a topic, see the function Create.
func (h *Hub) Create(ctx context.Context, t Topic) error {
	return storage.Retry(ctx, h.store, func(tx storage.Docs) error { return Create(tx, h.clock.Now(), t) })
}

// SetRetention changes how long the entries of a topic are kept.
func (h *Hub) SetRetention(ctx context.Context, topic string, keep Retention) error {
	return storage.Retry(ctx, h.store, func(tx storage.Docs) error { return SetRetention(tx, topic, keep) })
}

// Delete removes a topic with its entries, see the function Delete, and ends
// its subscriptions.
func (h *Hub) Delete(ctx context.Context, topic string) error {
	defer h.Wake(topic)
	return storage.Retry(ctx, h.store, func(tx storage.Docs) error { return Delete(tx, topic) })
}

// Publish appends a message to a topic and makes it known. When it returns, the
// message is durable. data is what [EncodeData] takes. An error that matches
// [ErrNotFound], [ErrInvalid] or storage.ErrConflict says that nothing was
// published; after any other the message may or may not be there.
func (h *Hub) Publish(ctx context.Context, topic string, data any) (e Entry, err error) {
	text, err := EncodeData(data)
	if err != nil {
		return Entry{}, err
	}
	defer h.Wake(topic)
	err = storage.Retry(ctx, h.store, func(tx storage.Docs) (err error) {
		e, err = Append(tx, h.clock.Now(), topic, text)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// Redact removes the data of a message for good and makes that known, see the
// function Redact.
func (h *Hub) Redact(ctx context.Context, topic string, seq int64) error {
	defer h.Wake(topic)
	return storage.Retry(ctx, h.store, func(tx storage.Docs) error { return Redact(tx, h.clock.Now(), topic, seq) })
}

// Topic returns a topic, or an error that matches [ErrNotFound].
func (h *Hub) Topic(ctx context.Context, name string) (info Info, err error) {
	err = h.store.View(ctx, func(tx storage.Docs) error {
		info, err = Lookup(tx, name)
		return err
	})
	return info, err
}

// Wake makes known what has been committed to topics in a transaction of
// somebody else's. Without it, subscribers learn of it within Limits.Poll. It
// does not block, and does nothing for a topic without subscribers.
func (h *Hub) Wake(topics ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range topics {
		if f := h.feeds[name]; f != nil {
			f.wake()
		}
	}
}

// Recheck has the rules of all subscriptions of a topic asked again: call it
// when somebody's rights have changed. When it returns, no subscriber gets
// anything more before its rule has agreed; a subscription whose rule does not
// ends with the rule's error.
func (h *Hub) Recheck(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.feeds[topic]; f != nil {
		f.recheck()
	}
}

// RecheckClient does what Recheck does for every topic that a client, see
// Options.Client, subscribes to.
func (h *Hub) RecheckClient(client string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.clients[client] {
		s.feed.recheck()
	}
}

// Revoke ends the subscriptions that a client, see Options.Client, has of a
// topic, or of all topics if that is empty. Next returns the reason; nil stands
// for [ErrRevoked]. When Revoke returns, the client gets nothing more. It may
// subscribe again, if the rule allows that.
func (h *Hub) Revoke(client, topic string, reason error) {
	if reason == nil {
		reason = ErrRevoked
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.clients[client] {
		if topic == "" || s.feed.name == topic {
			s.end(reason)
		}
	}
}

// join adds a subscription to the feed of its topic, which is made if need be.
func (h *Hub) join(s *Subscription, topic string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[topic]
	switch {
	case h.closed:
		return ErrClosed
	case h.subscribers >= h.limits.Subscribers:
		return tooMany("subscriptions")
	case f != nil && len(f.subs) >= h.limits.TopicSubscribers:
		return tooMany("subscriptions of this topic")
	case s.client != "" && len(h.clients[s.client]) >= h.limits.ClientSubscribers:
		return tooMany("subscriptions of this client")
	}
	f = h.feed(topic)
	h.subscribers++
	if s.client != "" {
		if h.clients[s.client] == nil {
			h.clients[s.client] = map[*Subscription]struct{}{}
		}
		h.clients[s.client][s] = struct{}{}
	}
	s.feed = f
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[s] = struct{}{}
	s.signalsFrom = f.signals.changes
	return nil
}

// leave undoes join.
func (h *Hub) leave(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := s.feed
	f.mu.Lock()
	_, there := f.subs[s]
	delete(f.subs, s)
	f.mu.Unlock()
	if !there {
		return
	}
	h.subscribers--
	if mine := h.clients[s.client]; mine != nil {
		delete(mine, s)
		if len(mine) == 0 {
			delete(h.clients, s.client)
		}
	}
	h.drop(f)
}

// feed returns the feed of a topic, made if need be. The caller holds h.mu.
func (h *Hub) feed(topic string) *feed {
	f := h.feeds[topic]
	if f == nil {
		f = newFeed(h, topic)
		h.feeds[topic] = f
	}
	if !h.keeping {
		h.keeping = true
		now := h.clock.Elapsed()
		h.keeper.Go(func() { h.keepTime(now) })
	}
	return f
}

// drop forgets a feed that nobody needs any more. The caller holds h.mu.
func (h *Hub) drop(f *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subs) > 0 || f.signals.current() > 0 || h.feeds[f.name] != f {
		return
	}
	delete(h.feeds, f.name)
	h.ringBytes -= f.charged
	f.charged = 0
	f.started = false
	if f.place != nil {
		h.rings.Remove(f.place)
		f.place = nil
	}
}

// grown counts what a feed's ring has grown by, and makes room in the rings
// that have not grown for the longest time.
func (h *Hub) grown(f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feeds[f.name] != f {
		return
	}
	if f.place == nil {
		f.place = h.rings.PushBack(f)
	}
	h.rings.MoveToBack(f.place)
	h.ringBytes += f.recount(0)
	for h.ringBytes > h.limits.RingBytes {
		victim := h.rings.Front().Value.(*feed)
		h.ringBytes += victim.recount(h.ringBytes - h.limits.RingBytes)
		if victim.charged == 0 {
			h.rings.Remove(victim.place)
			victim.place = nil
		}
	}
}

// keepTick is how often the hub looks for signals that have expired.
const keepTick = 250 * time.Millisecond

// keepTime tells of signals that expire, and looks for what no Wake tells of,
// until there is nothing left to look after. since is when there began to be
// something.
func (h *Hub) keepTime(since time.Duration) {
	tick := time.NewTicker(keepTick)
	defer tick.Stop()
	polled, rechecked := since, since
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
		now := h.clock.Elapsed()
		if h.expire(now) {
			return
		}
		if now-rechecked >= h.limits.Recheck {
			rechecked = now
			h.recheckAll()
		}
		if now-polled >= h.limits.Poll {
			polled = now
			h.poll()
		}
	}
}

func (h *Hub) recheckAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.feeds {
		f.recheck()
	}
}

// pollTopics is how many topics are looked up at once.
const pollTopics = 200

// poll wakes the feeds whose topics are not what they were. Without an answer
// of the store it does nothing: there is another time.
func (h *Hub) poll() {
	h.mu.Lock()
	var feeds []*feed
	for _, f := range h.feeds {
		feeds = append(feeds, f)
	}
	h.mu.Unlock()
	for len(feeds) > 0 {
		some := feeds[:min(len(feeds), pollTopics)]
		feeds = feeds[len(some):]
		ctx := context.Background() //nolint:forbidigo // nobody has asked for this
		err := h.store.View(ctx, func(tx storage.Docs) error {
			for _, f := range some {
				if err := f.compare(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			h.log.Error("looking for new messages failed", "error", err)
			return
		}
	}
}
