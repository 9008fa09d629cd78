package jobs

import (
	"context"
	"errors"

	"github.com/pdskit/pdskit/storage"
)

// Info is a job as an operator sees it.
type Info struct {
	Job            // Due is the end of the lease while the job runs, and when it was given up if it is dead
	Running bool   // or it was when its process died
	Dead    bool   // given up
	Error   string // of the last attempt, shortened
}

// Query selects jobs.
type Query struct {
	Dead bool // those that were given up, alone

	// After is where the last page ended: "kind/name" of its last job.
	After string
	Limit int
}

// List returns jobs in order of kind and name.
func (q *Queue) List(ctx context.Context, query Query) ([]Info, error) {
	var out []Info
	err := q.store.View(ctx, func(tx storage.Docs) error {
		out = nil
		scan := storage.Scan{Limit: query.Limit}
		if query.After != "" {
			scan.From = query.After + "\x00"
		}
		kind := docJob
		if query.Dead {
			kind = docDead
		}
		docs, err := tx.ScanDocs(kind, scan)
		if err != nil {
			return err
		}
		for _, d := range docs {
			if query.Dead {
				if d, err = tx.GetDoc(docJob, d.Key); errors.Is(err, storage.ErrNotFound) {
					continue // it has expired between the two
				} else if err != nil {
					return err
				}
			}
			e, err := decode(d)
			if err != nil {
				return err
			}
			out = append(out, Info{Job: e.toJob(), Running: e.Leased, Dead: e.Dead, Error: e.Error})
		}
		return nil
	})
	return out, err
}

// Retry lets a job that was given up begin anew. It returns
// storage.ErrNotFound if there is no such job among the dead.
func (q *Queue) Retry(ctx context.Context, kind, name string) error {
	err := storage.Retry(ctx, q.store, func(tx storage.Docs) error {
		e, err := get(tx, kind, name)
		if err != nil {
			return err
		}
		if !e.Dead {
			return storage.ErrNotFound
		}
		j := e.toJob()
		j.Due, j.Until = q.clock.Latest(), timeOf(0)
		return q.Put(tx, j)
	})
	if err == nil {
		q.Wake()
	}
	return err
}
