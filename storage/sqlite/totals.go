package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/pdskit/pdskit/storage"
)

var _ storage.Totaler = (*Store)(nil)

// Totals implements [storage.Totaler].
func (s *Store) Totals(ctx context.Context) (t storage.Totals, err error) {
	err = s.View(ctx, func(own storage.Tx) error {
		for sql, fields := range map[string][]*int64{
			"SELECT count(*), sum(blobs), sum(blob_bytes) FROM accounts":                                     {&t.Accounts, &t.Blobs, &t.BlobBytes},
			"SELECT sum(g.records), sum(g.bytes) FROM accounts a JOIN generations g ON g.id = a.generation":  {&t.Records, &t.RepoBytes},
			"SELECT count(*) FROM blobs WHERE temporary = 1 AND account NOT IN (SELECT account FROM doomed)": {&t.TemporaryBlobs},
		} {
			r, _, err := own.(*tx).one(sql)
			if err != nil {
				return err
			}
			for i, f := range fields {
				*f = r.int(i)
			}
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	t.ExpiredDocs, t.CollectedRows = s.expired.Load(), s.collected.Load()
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(s.path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return t, err
		}
		t.StoreBytes += info.Size()
	}
	return t, nil
}
