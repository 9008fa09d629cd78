package pds

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

// batchBytes is about how much a subscriber is sent at once. One that takes
// longer than Limits.StallTime for a batch makes no progress.
const batchBytes = 64 << 10

// frameWriter is where a subscriber's frames go.
type frameWriter interface {
	// writeInfo sends an #info message.
	writeInfo(ctx context.Context, name, message string) error

	// writeFrames sends frames, which belong to everybody. It returns when
	// the client is about to have them.
	writeFrames(ctx context.Context, frames [][]byte) error
}

func errFutureCursor() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "FutureCursor", "Cursor in the future.")
}

func errConsumerTooSlow() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "ConsumerTooSlow", "Stream consumer too slow")
}

// serve sends events to a subscriber until ctx ends or something fails: those
// above the cursor, or, without one, new ones.
func (f *firehose) serve(ctx context.Context, cursor *int64, out frameWriter) error {
	fd := f.join(ctx)
	defer f.leave(fd)
	select {
	case <-fd.ready:
	case <-fd.ended:
		return errEventsEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	at, err := f.begin(ctx, cursor)
	if err != nil {
		return err
	}
	if at.future {
		return errFutureCursor()
	}
	if at.outdated {
		if err := out.writeInfo(ctx, "OutdatedCursor", "Requested cursor exceeded limit. Possibly missing events"); err != nil {
			return err
		}
	}
	sub := &subscriber{f: f, feed: fd, out: out, pos: at.pos}
	sub.sent.Store(at.pos)
	f.mu.Lock()
	f.subs[sub] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, sub)
	}()
	return sub.run(ctx)
}

// state returns how many subscribers there are, and the lowest position of
// one, or last without any.
func (f *firehose) state(last int64) (subscribers int, lowest int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		last = min(last, s.sent.Load())
	}
	return len(f.subs), last
}

// subscriber is a position in the log, and where its frames go.
type subscriber struct {
	f    *firehose
	feed *feed
	out  frameWriter
	pos  int64        // all events up to it were sent
	sent atomic.Int64 // pos, for others

	batch [][]byte // used again and again
}

func (s *subscriber) run(ctx context.Context) error {
	for {
		s.sent.Store(s.pos)
		batch, next, more, ok := s.feed.ring.after(s.pos, batchBytes, s.batch[:0])
		s.batch = batch
		switch {
		case !ok:
			if err := s.sendPage(ctx); err != nil {
				return err
			}
		case more != nil:
			select {
			case <-more:
			case <-ctx.Done():
				return ctx.Err()
			}
			if s.feed.hasEnded() {
				return errEventsEnded
			}
		default:
			if err := s.send(ctx, next); err != nil {
				return err
			}
		}
	}
}

// sendPage sends a page from the store.
func (s *subscriber) sendPage(ctx context.Context) error {
	p, err := s.readPage(ctx)
	if err != nil {
		return err
	}
	// A subscriber that began at the edge of the window has this long to leave
	// it.
	grace := s.f.limits.StallTime
	if len(p.frames) > 0 && p.oldest.Before(s.f.windowStart().Add(-grace)) {
		return errConsumerTooSlow()
	}
	s.batch = s.batch[:0]
	size := 0
	for i := range p.frames {
		s.batch = append(s.batch, p.frames[i].data)
		if size += len(p.frames[i].data); size >= batchBytes {
			if err := s.send(ctx, p.frames[i].seq); err != nil {
				return err
			}
			s.batch, size = s.batch[:0], 0
		}
	}
	return s.send(ctx, p.last)
}

func (s *subscriber) readPage(ctx context.Context) (p page, err error) {
	ctx, sp := s.f.tracer.start(ctx, SpanInternal, spanBackfill)
	defer func() {
		sp.set(slog.Int(attrEvents, len(p.frames)))
		sp.end(err)
	}()
	select {
	case s.f.reads <- struct{}{}:
	case <-ctx.Done():
		return page{}, ctx.Err()
	}
	defer func() { <-s.f.reads }()
	return s.f.page(ctx, s.pos)
}

// send sends the batch, after which everything up to next has been sent.
func (s *subscriber) send(ctx context.Context, next int64) error {
	if len(s.batch) == 0 {
		s.pos = next
		return nil
	}
	began := s.f.clock.Elapsed()
	err := s.out.writeFrames(ctx, s.batch)
	clear(s.batch) // an idle subscriber keeps no frames alive
	if err != nil {
		return err
	}
	s.pos = next
	if s.f.clock.Elapsed()-began >= s.f.limits.StallTime && s.feed.ring.behind(next) {
		return errConsumerTooSlow()
	}
	return nil
}

// writeTimeout is how long a client may take for one write of a stream: long
// enough that one which wakes up after Limits.StallTime is still told why its
// stream ends.
func (l *Limits) writeTimeout() time.Duration { return 2 * l.StallTime }
