package pds

import (
	"context"
	"strconv"

	"github.com/pdskit/pdskit/storage"
)

// pruneChunk is how many events one transaction removes.
const pruneChunk = 1000

// pruneEvents removes events older than Limits.EventAge, but none that a
// subscriber may still ask for; and, whatever their age, the oldest that make
// the log larger than Limits.EventLogBytes.
func (s *Server) pruneEvents(ctx context.Context) (more bool, err error) {
	age := max(s.cfg.Limits.EventAge, s.cfg.Limits.BackfillWindow)
	cutoff := s.clock.Now().Add(-age)
	var upTo, newest int64 // numbers up to which rows, and events, are to go
	err = s.store.View(ctx, func(tx storage.Tx) error {
		first, before, ok, err := firstSince(tx, 0, cutoff)
		if err != nil {
			return err
		}
		newest, upTo = before, before
		if ok {
			upTo = first.Seq - 1 // hidden events have no place to be seen
		}
		size, _, err := readLogSize(tx)
		if err != nil {
			return err
		}
		pruned, _, err := prunedTo(tx) // perhaps not all of that has gone yet
		size.drop(pruned)
		tooMuch := max(pruned, size.excess(s.cfg.Limits.EventLogBytes))
		newest, upTo = max(newest, tooMuch), max(upTo, tooMuch)
		return err
	})
	if err != nil || upTo <= 0 || newest == 0 {
		return false, err
	}
	removed := 0
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		pruned, doc, err := prunedTo(tx)
		if err != nil {
			return err
		}
		if pruned < newest {
			doc.Value = formatSeq(newest)
			if _, err := tx.PutDoc(doc); err != nil {
				return err
			}
		}
		removed, err = tx.PruneEvents(upTo, pruneChunk)
		return err
	})
	if err == nil {
		s.counts.prunedEvents.Add(int64(removed))
	}
	return removed == pruneChunk, err
}

func formatSeq(seq int64) []byte { return strconv.AppendInt(nil, seq, 10) }

func parseSeq(text []byte) (int64, error) { return strconv.ParseInt(string(text), 10, 64) }
