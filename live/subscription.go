package live

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/pdskit/pdskit/storage"
)

// How much [Subscription.Next] returns at once, about.
const (
	batchEvents = 100
	batchBytes  = 64 << 10
)

// Rule says whether a subscriber may have, or still may have, what is published
// on a topic: it returns nil, or an error that says why not. It may read the
// store. It is asked at Subscribe, after each [Hub.Recheck] of the topic, and
// from time to time (Limits.Recheck); until it has answered, the subscriber
// gets nothing more. One that panics, or takes longer than Limits.RuleTimeout,
// denies.
type Rule func(ctx context.Context) error

// Public returns a rule that agrees to everybody.
func Public() Rule { return func(context.Context) error { return nil } }

// Options say what a subscriber wants.
type Options struct {
	// Cursor is the position to resume from: Event.Cursor of the last event
	// that the subscriber has, or Info.Cursor. Empty: what is published from
	// now on.
	Cursor string

	// Client says who subscribes, such as a DID, for [Hub.Revoke] and
	// Limits.ClientSubscribers. Empty: nobody in particular.
	Client string

	// SignalsOnly leaves the messages out. The topic need not exist in the
	// store then.
	SignalsOnly bool
}

// Subscription is a position in a topic. It holds no messages: one that is not
// asked for the next takes no memory for what is published meanwhile, and
// delays nobody. Its methods may be called concurrently, but for Next, of which
// there may be one call at a time.
type Subscription struct {
	// fixed when Subscribe returns
	hub    *Hub
	feed   *feed
	client string
	rule   Rule
	epoch  string // empty for SignalsOnly
	done   chan struct{}

	// used by Next alone
	pos         int64  // all entries up to it were sent
	first       *Event // to be sent before all others
	checked     int    // the feed's checks when the rule was asked last
	signal      int64  // all changes of signals up to it were sent
	signalsFrom int64  // the changes when it began: earlier ends of signals do not matter

	err error // why it ended; guarded by the feed's lock
}

// Subscribe begins a subscription of a topic, if the rule agrees. It has to be
// closed. Errors match [ErrNotFound] if there is no such topic, [ErrCursor],
// [ErrInvalid], [ErrTooMany] or [ErrClosed], or are the rule's own.
func (h *Hub) Subscribe(ctx context.Context, topic string, rule Rule, o Options) (*Subscription, error) {
	if err := checkName(topic); err != nil {
		return nil, err
	}
	var at cursor
	if o.Cursor != "" {
		var err error
		if at, err = parseCursor(o.Cursor); err != nil {
			return nil, err
		}
	}
	s := &Subscription{hub: h, client: o.Client, rule: rule, done: make(chan struct{})}
	if err := h.join(s, topic); err != nil {
		return nil, err
	}
	if err := s.start(ctx, at, o); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// start asks the rule and finds the position.
func (s *Subscription) start(ctx context.Context, at cursor, o Options) error {
	s.checked = -1
	if err := s.check(ctx); err != nil || o.SignalsOnly {
		return err
	}
	info, err := s.feed.begin(ctx, s)
	if err != nil {
		return err
	}
	s.pos = info.Last
	switch {
	case o.Cursor == "":
	case at.epoch != info.life || at.seq > info.Last:
		s.first = info.gap(Gap{From: info.First, To: info.Last, Reset: true})
	default:
		s.pos = at.seq
	}
	return nil
}

// gap is the event of a gap.
func (i *Info) gap(g Gap) *Event {
	return &Event{Kind: KindGap, Topic: i.Name, Cursor: i.Cursor(g.To), Gap: &g}
}

// Close ends the subscription. A second call does nothing.
func (s *Subscription) Close() {
	s.end(ErrClosed)
	s.hub.leave(s)
}

// end makes Next return reason, unless there is one already.
func (s *Subscription) end(reason error) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	s.finish(reason)
}

// finish is end for a caller that holds the feed's lock.
func (s *Subscription) finish(reason error) {
	if s.err == nil {
		s.err = reason
		close(s.done)
	}
}

// Next waits for events and returns those that are there, in order, up to
// about 64 KiB. It returns an error when ctx ends, and when the subscription
// has ended: that of the rule, the reason given to [Hub.Revoke], [ErrDeleted],
// [ErrDenied] or [ErrClosed]. A failure of the store, too, is returned; the
// subscription is where it was then. The slice is the caller's, the events are
// everybody's.
func (s *Subscription) Next(ctx context.Context) ([]*Event, error) {
	for {
		if err := s.check(ctx); err != nil {
			return nil, err
		}
		var b batch
		state := s.collect(&b)
		if state == mustRead {
			if err := s.read(ctx, &b); err != nil {
				return nil, err
			}
			state = s.confirm()
		}
		switch {
		case state == mustCheck:
			continue
		case len(b.events) > 0:
			b.commit(s)
			return b.events, nil
		}
		if err := s.wait(ctx, b.more); err != nil {
			return nil, err
		}
	}
}

// wait waits until there may be something to send.
func (s *Subscription) wait(ctx context.Context, more <-chan struct{}) error {
	var dirty <-chan struct{}
	if s.epoch != "" {
		dirty = s.feed.dirty
	}
	select {
	case <-more:
	case <-s.done:
	case <-dirty:
		s.feed.load(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// check returns why the subscription has ended, after it has asked the rule if
// that is to be asked.
func (s *Subscription) check(ctx context.Context) error {
	f := s.feed
	f.mu.Lock()
	err, checks := s.err, f.checks
	f.mu.Unlock()
	if err != nil || checks == s.checked {
		return err
	}
	if err := s.ask(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.end(err)
		return err
	}
	s.checked = checks
	return nil
}

// ask asks the rule.
func (s *Subscription) ask(ctx context.Context) (err error) {
	if s.rule == nil {
		return fmt.Errorf("%w: there is no rule", ErrDenied)
	}
	ask, cancel := context.WithTimeout(ctx, s.hub.limits.RuleTimeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			s.hub.log.ErrorContext(ctx, "a rule panicked", "topic", s.feed.name, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: the rule panicked", ErrDenied)
		}
	}()
	err = s.rule(ask)
	if ask.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: the rule took too long", ErrDenied)
	}
	return err
}

// batch is what Next is about to return.
type batch struct {
	events []*Event
	bytes  int
	more   <-chan struct{} // closed when there is more than this

	// Where the subscription is after it.
	pos, signal, signalsFrom int64
}

// take adds an event with so much data if there is room.
func (b *batch) take(e *Event, data int) bool {
	if len(b.events) >= batchEvents || len(b.events) > 0 && b.bytes+data > batchBytes {
		return false
	}
	b.events = append(b.events, e)
	b.bytes += data
	return true
}

func (b *batch) commit(s *Subscription) {
	s.pos, s.signal, s.signalsFrom, s.first = b.pos, b.signal, b.signalsFrom, nil
}

// What collect finds.
const (
	ready     = iota
	mustRead  // old entries, from the store
	mustCheck // the rule, or whether the subscription has ended
)

// collect takes what is in memory.
func (s *Subscription) collect(b *batch) int {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	b.pos, b.signal, b.signalsFrom, b.more = s.pos, s.signal, s.signalsFrom, f.more
	if s.err != nil || f.checks != s.checked {
		return mustCheck
	}
	if s.first != nil {
		b.take(s.first, 0)
	}
	switch {
	case s.epoch == "" || b.pos >= f.ring.high:
	case f.ring.high-b.pos > s.hub.limits.Behind:
		b.take(f.info.gap(Gap{From: b.pos + 1, To: f.ring.high}), 0)
		b.pos = f.ring.high
	case b.pos < f.ring.low:
		return mustRead
	default:
		b.pos = f.ring.after(b.pos, b)
	}
	f.signals.after(f.name, b)
	return ready
}

// confirm is called after entries were read from the store, and finds out
// whether they may be sent.
func (s *Subscription) confirm() int {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if s.err != nil || s.feed.checks != s.checked {
		return mustCheck
	}
	return ready
}

// read takes old entries from the store.
func (s *Subscription) read(ctx context.Context, b *batch) error {
	h := s.hub
	select {
	case h.reads <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.reads }()
	var info Info
	var entries []Entry
	err := h.store.View(ctx, func(tx storage.Docs) (err error) {
		entries = nil
		if info, err = Lookup(tx, s.feed.name); err == nil && info.epoch == s.epoch {
			entries, err = info.scan(tx, max(b.pos+1, info.First), info.Last+1, false, scanEntries)
		}
		return err
	})
	if errors.Is(err, ErrNotFound) || err == nil && info.epoch != s.epoch {
		s.end(ErrDeleted)
		return nil
	}
	if err != nil {
		return err
	}
	if missing := info.First - 1; b.pos < missing {
		b.take(info.gap(Gap{From: b.pos + 1, To: missing}), 0)
		b.pos = missing
	}
	for _, e := range entries {
		if !b.take(info.entryEvent(e), len(e.Data)) {
			break
		}
		b.pos = e.Seq
	}
	return nil
}
