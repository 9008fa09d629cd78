package pds

import (
	"context"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// Limits of what RecentEvents reads at once.
const (
	maxRecentEvents = 200
	maxRecentBytes  = 4 << 20
)

// RecentEvents returns the newest events of the log, the newest first: at most
// limit of them and 200, or as many as fit in 4 MB.
func (s *Server) RecentEvents(ctx context.Context, limit int) ([]*Event, error) {
	var stored []storage.Event
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		stored, err = newestEvents(tx, min(max(limit, 1), maxRecentEvents))
		return err
	})
	list := make([]*Event, 0, len(stored))
	for i := len(stored) - 1; i >= 0 && err == nil; i-- {
		var ev *Event
		if ev, err = decodeEvent(stored[i]); err == nil {
			list = append(list, ev)
		}
	}
	return list, err
}

// newestEvents finds the longest stretch at the end of the log that one read
// holds. The log is read forwards only; but its numbers follow the clock, so the
// stretch is doubled until it is too long, and then halved in between.
func newestEvents(tx storage.Events, limit int) (found []storage.Event, err error) {
	last, err := tx.LastSeq()
	if err != nil {
		return nil, err
	}
	read := func(length int64) (fits bool, err error) {
		events, err := tx.ListEvents(max(last-length, 0), limit, maxRecentBytes)
		if err != nil || len(events) == 0 {
			return true, err
		}
		more, err := tx.ListEvents(events[len(events)-1].Seq, 1, 1)
		if fits = len(more) == 0; fits {
			found = events
		}
		return fits, err
	}
	low, high := int64(0), time.Second.Microseconds()
	for {
		fits, err := read(high)
		if err != nil || fits && (high >= last || len(found) == limit) {
			return found, err
		}
		if !fits {
			break
		}
		low, high = high, high*2
	}
	for high-low > 1 && len(found) < limit {
		mid := low + (high-low)/2
		fits, err := read(mid)
		if err != nil {
			return nil, err
		}
		if fits {
			low = mid
		} else {
			high = mid
		}
	}
	return found, nil
}
