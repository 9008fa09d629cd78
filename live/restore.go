package live

import (
	"context"

	"github.com/pdskit/pdskit/storage"
)

// VoidCursors makes all cursors void that clients hold: whoever resumes with one
// is sent a [Gap] with Reset. Call it when the store has gone back in time, after
// it was restored from a backup, before anybody publishes or subscribes: numbers
// are given again, so that a cursor of before would pass over other messages than
// its client has. AnnounceRepos of a pds.Server does so.
func (h *Hub) VoidCursors(ctx context.Context) error {
	life, from := newEpoch(), ""
	for {
		n, last := 0, ""
		err := storage.Retry(ctx, h.store, func(tx storage.Docs) error {
			topics, err := tx.ScanDocs(docTopic, storage.Scan{From: from, Limit: maintainTopics})
			if n = len(topics); err != nil || n == 0 {
				return err
			}
			for _, d := range topics {
				info, err := decodeTopic(d)
				if err != nil {
					return err
				}
				info.life = life
				if err := info.put(tx); err != nil {
					return err
				}
				last = d.Key
			}
			return nil
		})
		if err != nil || n < maintainTopics {
			return err
		}
		from = last + "\x00"
	}
}
