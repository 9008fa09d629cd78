package pds

import (
	"context"
	"errors"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// The log is ordered by number, and, but for a clock that was set back, by
// time. Where the window begins is found by probing.

// firstSince returns the first event after a position whose time is not
// before t, by binary search; ok is false if there is none. before is the
// number of the last event ahead of it that is older than t, or the position
// itself.
func firstSince(tx storage.Events, after int64, t time.Time) (first storage.Event, before int64, ok bool, err error) {
	next := func(after int64) (ev storage.Event, ok bool, err error) {
		list, err := tx.ListEvents(after, 1, 1)
		if err != nil || len(list) == 0 {
			return ev, false, err
		}
		return list[0], true, nil
	}
	first, ok, err = next(after)
	if err != nil || !ok || !first.Time.Before(t) {
		return first, after, ok, err
	}
	high, err := tx.LastSeq()
	if err != nil {
		return first, after, false, err
	}
	// All known events up to low are older than t. What follows high is not,
	// or nothing follows it.
	low, ok := first.Seq, false
	for low < high {
		mid := low + (high-low)/2
		ev, found, err := next(mid)
		switch {
		case err != nil:
			return first, after, false, err
		case !found:
			high = mid
		case ev.Time.Before(t):
			low = ev.Seq
		default:
			first, ok, high = ev, true, mid
		}
	}
	return first, low, ok, nil
}

// Where the log has been pruned, a document remembers the highest number that
// went, so that a subscriber whose cursor is below learns that it has missed
// something.
const (
	firehoseDocs = "firehose"
	prunedKey    = "pruned"
)

// prunedTo returns the number of the newest pruned event, zero if there is
// none, and the document that says so.
func prunedTo(tx storage.Docs) (int64, storage.Doc, error) {
	doc, err := tx.GetDoc(firehoseDocs, prunedKey)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, storage.Doc{Kind: firehoseDocs, Key: prunedKey}, nil
	}
	if err != nil {
		return 0, doc, err
	}
	seq, err := parseSeq(doc.Value)
	return seq, doc, err
}

// startAt says where a subscriber begins.
type startAt struct {
	pos      int64 // it gets the events above
	future   bool  // the cursor lies beyond the end of the log
	outdated bool  // the cursor lies before what can be sent
}

// begin finds the start of a subscriber: the end of the log without a cursor.
func (f *firehose) begin(ctx context.Context, cursor *int64) (at startAt, err error) {
	err = f.store.View(ctx, func(tx storage.Tx) error {
		last, err := tx.LastSeq()
		if err != nil {
			return err
		}
		at = startAt{pos: last}
		if cursor == nil || *cursor == last {
			return nil
		}
		if *cursor > last {
			at.future = true
			return nil
		}
		pos := max(*cursor, 0)
		pruned, _, err := prunedTo(tx)
		if err != nil {
			return err
		}
		first, before, ok, err := firstSince(tx, pos, f.windowStart())
		switch {
		case err != nil:
			return err
		case before > pos: // events of the log lie before the window
			at.outdated = true
		case pos < pruned:
			at.outdated = true
		}
		if ok {
			at.pos = first.Seq - 1
		}
		return nil
	})
	return at, err
}

// windowStart is the time of the oldest event that is sent.
func (f *firehose) windowStart() time.Time { return f.clock.Now().Add(-f.limits.BackfillWindow) }
