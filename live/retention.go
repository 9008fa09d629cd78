package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pdskit/pdskit/storage"
)

const (
	// maintainTopics is how many topics one call of Maintain looks at.
	maintainTopics = 100

	// removeChunk is how many entries one transaction removes.
	removeChunk = 500
)

// goneTopic is the value of a deleted topic's document: the entries that are
// still to be removed.
type goneTopic struct {
	Next int64 `json:"next"`
	Last int64 `json:"last"`
}

// Maintain removes entries that are not to be kept any longer, of some topics,
// and entries of deleted topics, in small transactions. It reports whether
// there is more to do at once; otherwise it is called again a minute later or
// so. A pds.Server does that itself. It trusts the clock: do not call it while
// that is in doubt.
func (h *Hub) Maintain(ctx context.Context) (more bool, err error) {
	h.maintaining.Lock()
	defer h.maintaining.Unlock()
	left, err := h.removeDeleted(ctx)
	if err != nil {
		return false, err
	}
	var topics []storage.Doc
	err = h.store.View(ctx, func(tx storage.Docs) (err error) {
		topics, err = tx.ScanDocs(docTopic, storage.Scan{From: h.maintained, Limit: maintainTopics})
		return err
	})
	if err != nil {
		return false, err
	}
	for _, d := range topics {
		info, err := decodeTopic(d)
		if err != nil {
			return false, err
		}
		if err := h.trim(ctx, info); err != nil {
			return false, err
		}
		h.maintained = d.Key + "\x00"
	}
	if len(topics) < maintainTopics {
		h.maintained = ""
		return left, nil
	}
	return true, nil
}

// trim removes what a topic does not keep.
func (h *Hub) trim(ctx context.Context, seen Info) error {
	if seen.Keep == (Retention{}) || seen.Last < seen.First {
		return nil
	}
	cut := int64(0) // entries up to it go
	if seen.Keep.Count > 0 {
		cut = seen.Last - seen.Keep.Count
	}
	if seen.Keep.Age > 0 {
		var old int64
		err := h.store.View(ctx, func(tx storage.Docs) (err error) {
			old, err = seen.olderThan(tx, h.clock.Now().Add(-seen.Keep.Age))
			return err
		})
		if err != nil {
			return err
		}
		cut = max(cut, old)
	}
	for more := cut >= seen.First; more; {
		err := storage.Retry(ctx, h.store, func(tx storage.Docs) error {
			more = false
			info, err := Lookup(tx, seen.Name)
			if errors.Is(err, ErrNotFound) || err == nil && info.epoch != seen.epoch {
				return nil
			}
			if err != nil || info.First > cut {
				return err
			}
			if info.First, err = removeEntries(tx, info.epoch, info.First, cut); err != nil {
				return err
			}
			more = info.First <= cut
			return info.put(tx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// olderThan returns the number of the newest entry that is older than t, or
// one below First. Times never go back within a topic.
func (i *Info) olderThan(tx storage.Docs, t time.Time) (int64, error) {
	low, high := i.First-1, i.Last // entries up to low are older, those above high are not
	for low < high {
		mid := low + (high-low+1)/2
		d, err := tx.GetDoc(docEntry, entryKey(i.epoch, mid))
		if errors.Is(err, storage.ErrNotFound) { // trimmed meanwhile
			low = mid
			continue
		}
		if err != nil {
			return 0, err
		}
		e, err := decodeEntry(d)
		if err != nil {
			return 0, err
		}
		if e.Time.Before(t) {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low, nil
}

// removeEntries removes entries from next on, up to last, and returns the first
// that is left.
func removeEntries(tx storage.Docs, epoch string, next, last int64) (int64, error) {
	for n := 0; n < removeChunk && next <= last; n++ {
		if err := tx.DeleteDoc(docEntry, entryKey(epoch, next)); err != nil {
			return 0, err
		}
		next++
	}
	return next, nil
}

// removeDeleted removes a chunk of the entries of a deleted topic and reports
// whether there is more.
func (h *Hub) removeDeleted(ctx context.Context) (more bool, err error) {
	var list []storage.Doc
	err = h.store.View(ctx, func(tx storage.Docs) (err error) {
		list, err = tx.ScanDocs(docGone, storage.Scan{Limit: 2})
		return err
	})
	if err != nil || len(list) == 0 {
		return false, err
	}
	err = storage.Retry(ctx, h.store, func(tx storage.Docs) error {
		more = len(list) > 1
		d, err := tx.GetDoc(docGone, list[0].Key)
		if errors.Is(err, storage.ErrNotFound) { // its owner has left, or another process did it
			return nil
		}
		if err != nil {
			return err
		}
		var gone goneTopic
		if err := json.Unmarshal(d.Value, &gone); err != nil {
			return fmt.Errorf("live: deleted topic %q: %w", d.Key, err)
		}
		if gone.Next, err = removeEntries(tx, d.Key, gone.Next, gone.Last); err != nil {
			return err
		}
		if gone.Next > gone.Last {
			return tx.DeleteDoc(docGone, d.Key)
		}
		more = true
		if d.Value, err = json.Marshal(gone); err != nil {
			return err
		}
		_, err = tx.PutDoc(d)
		return err
	})
	return more, err
}
