package pds

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// The firehose. The events that are there lie in the store; the newest of
// them, encoded, also in one ring in memory that all subscribers share. A
// subscriber holds nothing but a position. Where the ring reaches back to it,
// it sends from the ring, else it reads pages from the store until the ring
// does. The positions are sequence numbers in both, so nothing is lost or sent
// twice where one takes over from the other.
//
// One goroutine, the pump, moves new events from the store to the ring. It runs
// while there are subscribers.

// Sizes of what is read from the store at once.
const (
	pageEvents = 500
	pageBytes  = 1 << 20
)

// maxPageReads is how many pages are read at a time by all subscribers
// together.
const maxPageReads = 4

// pumpRetry is how long the pump rests when the store fails.
const pumpRetry = time.Second

var errEventsEnded = errors.New("pds: the store ended its events")

// firehose is the stream of events for all its subscribers.
type firehose struct {
	// fixed at creation
	store  storage.Store
	clock  storage.Clock
	log    *slog.Logger
	limits Limits
	reads  chan struct{} // one element for each page that is being read
	tracer tracer

	mu   sync.Mutex // guards following 2 fields, and the count in the first
	feed *feed      // nil while there are no subscribers
	subs map[*subscriber]struct{}
}

func newFirehose(store storage.Store, clock storage.Clock, log *slog.Logger, limits Limits, t tracer) *firehose {
	return &firehose{
		store: store, clock: clock, log: log, limits: limits, tracer: t,
		reads: make(chan struct{}, maxPageReads), subs: map[*subscriber]struct{}{},
	}
}

// feed is a run of the pump, from the first subscriber's coming to the last
// one's leaving.
type feed struct {
	ring        *ring
	subscribers int
	ready       chan struct{} // closed when the ring has a start
	stop        context.CancelFunc
	ended       chan struct{} // closed when the pump has ended
}

// join adds a subscriber and returns the feed to read from, started if need
// be.
func (f *firehose) join(ctx context.Context) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.feed == nil || f.feed.hasEnded() {
		// The pump outlives the subscriber that needs it first.
		run, stop := context.WithCancel(context.WithoutCancel(ctx))
		f.feed = &feed{
			ring: newRing(f.limits.RingBytes), ready: make(chan struct{}), stop: stop, ended: make(chan struct{}),
		}
		go f.pump(run, f.feed)
	}
	f.feed.subscribers++
	return f.feed
}

// leave removes a subscriber of a feed. When the last one leaves, the pump is
// stopped.
func (f *firehose) leave(fd *feed) {
	f.mu.Lock()
	fd.subscribers--
	last := fd.subscribers == 0
	if last && f.feed == fd {
		f.feed = nil
	}
	f.mu.Unlock()
	if last {
		fd.stop()
		<-fd.ended
	}
}

func (fd *feed) hasEnded() bool {
	select {
	case <-fd.ended:
		return true
	default:
		return false
	}
}

// pump moves events from the store to the ring until ctx ends or the store
// closes.
func (f *firehose) pump(ctx context.Context, fd *feed) {
	defer func() {
		close(fd.ended)
		fd.ring.close()
	}()
	signals := f.store.Watch(ctx)
	after, err := f.lastSeq(ctx)
	for err != nil {
		if !f.rest(ctx, err) {
			return
		}
		after, err = f.lastSeq(ctx)
	}
	fd.ring.start(after)
	close(fd.ready)
	for {
		p, err := f.page(ctx, after)
		switch {
		case err != nil:
			if !f.rest(ctx, err) {
				return
			}
			continue
		case p.last > after:
			fd.ring.add(p.frames, p.last)
			after = p.last
			continue // there may be more
		}
		if _, ok := <-signals; !ok {
			return
		}
	}
}

// rest waits after a failure of the store and reports whether to try again.
func (f *firehose) rest(ctx context.Context, cause error) bool {
	if ctx.Err() != nil || errors.Is(cause, storage.ErrClosed) {
		return false
	}
	f.log.ErrorContext(ctx, "reading events failed", "error", cause)
	select {
	case <-time.After(pumpRetry):
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *firehose) lastSeq(ctx context.Context) (last int64, err error) {
	err = f.store.View(ctx, func(tx storage.Tx) error {
		last, err = tx.LastSeq()
		return err
	})
	return last, err
}

// page is a part of the log.
type page struct {
	frames []frame
	oldest time.Time // of the first event
	last   int64     // position to go on from
}

// page reads the next events after a position. If there are none, the position
// to go on from is the end of the log.
func (f *firehose) page(ctx context.Context, after int64) (p page, err error) {
	var events []storage.Event
	err = f.store.View(ctx, func(tx storage.Tx) error {
		events, err = tx.ListEvents(after, pageEvents, pageBytes)
		if err == nil && len(events) == 0 {
			p.last, err = tx.LastSeq()
			p.last = max(p.last, after)
		}
		return err
	})
	if err != nil || len(events) == 0 {
		return p, err
	}
	p.oldest, p.last = events[0].Time, events[len(events)-1].Seq
	p.frames = make([]frame, 0, len(events))
	for i := range events {
		ev := &events[i]
		final := isDeletion(ev)
		data, err := eventFrame(ev)
		if err != nil {
			// To skip it is all that helps consumers.
			f.log.ErrorContext(ctx, "a stored event cannot be sent", "seq", ev.Seq, "did", ev.DID, "error", err)
			continue
		}
		p.frames = append(p.frames, frame{seq: ev.Seq, did: ev.DID, data: data, final: final})
	}
	return p, nil
}
