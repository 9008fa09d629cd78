package sqlite

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// How many rows one transaction of Maintain removes. With the rows that follow
// (references, released keys) it stays within [storage.MaxTxRows].
const maintainRows = 500

// sweep removes up to maintainRows rows and returns how many it removed.
type sweep func(t *tx) (int64, error)

// Maintain implements [storage.Store].
func (s *Store) Maintain(ctx context.Context, budget storage.Budget) (more bool, err error) {
	if budget.Time <= 0 {
		budget.Time = time.Second
	}
	start := time.Now()
	sweeps := []counted{{sweepGenerations, &s.collected}, {sweepAccounts, &s.collected}}
	if !budget.KeepAll && s.guard.Doubt() == nil {
		sweeps = append(sweeps, counted{dropAbandoned, nil}, counted{sweepExpired, &s.expired})
	}
	// A sweep may leave work for an earlier one, so they take turns.
	for {
		removed := int64(0)
		for _, sweep := range sweeps {
			if time.Since(start) >= budget.Time {
				return true, nil
			}
			var n int64
			err := s.Update(ctx, func(own storage.Tx) (err error) {
				n, err = sweep.run(own.(*tx))
				return err
			})
			if err != nil {
				return true, err
			}
			if sweep.count != nil {
				sweep.count.Add(n)
			}
			removed += n
		}
		if removed == 0 {
			break
		}
	}
	s.check.now()
	return false, nil
}

// counted is a sweep with the counter of what it removes, if there is one.
type counted struct {
	run   sweep
	count *atomic.Int64
}

// sweepGenerations collects the rows of dropped generations. The condition
// state <> 1 tells SQLite that the index of unpublished ones holds them.
func sweepGenerations(t *tx) (int64, error) {
	r, ok, err := t.one("SELECT id FROM generations WHERE state = 2 AND state <> 1 LIMIT 1")
	if err != nil || !ok {
		return 0, err
	}
	id := r.int(0)
	first, last := ids(id)
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{"DELETE FROM records WHERE id IN (SELECT id FROM records WHERE id BETWEEN ? AND ? LIMIT ?+0)", []any{first, last, maintainRows}},
		{"DELETE FROM nodes WHERE id IN (SELECT id FROM nodes WHERE id BETWEEN ? AND ? LIMIT ?+0)", []any{first, last, maintainRows}},
		{"DELETE FROM refs WHERE (scope, cid, uri) IN (SELECT scope, cid, uri FROM refs WHERE scope = ? LIMIT ?+0)", []any{id, maintainRows}},
		{"DELETE FROM missing WHERE (scope, cid) IN (SELECT scope, cid FROM missing WHERE scope = ? LIMIT ?+0)", []any{id, maintainRows}},
		{"DELETE FROM generations WHERE id = ?", []any{id}},
	} {
		if n, err := t.exec(step.sql, step.args...); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// sweepAccounts collects the rows of deleted accounts and releases the keys of
// their blobs.
func sweepAccounts(t *tx) (int64, error) {
	r, ok, err := t.one("SELECT account FROM doomed LIMIT 1")
	if err != nil || !ok {
		return 0, err
	}
	id := r.int(0)
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{"DELETE FROM docs WHERE version IN (SELECT version FROM docs WHERE owner = ? AND owner <> 0 LIMIT ?+0)", []any{id, maintainRows}},
		{"DELETE FROM refs WHERE (scope, cid, uri) IN (SELECT scope, cid, uri FROM refs WHERE scope = ? LIMIT ?+0)", []any{otherScope(id), maintainRows}},
		{"DELETE FROM missing WHERE (scope, cid) IN (SELECT scope, cid FROM missing WHERE scope = ? LIMIT ?+0)", []any{otherScope(id), maintainRows}},
	} {
		if n, err := t.exec(step.sql, step.args...); n > 0 || err != nil {
			return n, err
		}
	}
	const some = "SELECT id FROM blobs WHERE account = ? ORDER BY cid LIMIT ?+0"
	if _, err := t.exec("INSERT OR IGNORE INTO released (key) SELECT key FROM blobs WHERE id IN ("+some+")", id, maintainRows); err != nil {
		return 0, err
	}
	if n, err := t.exec("DELETE FROM blobs WHERE id IN ("+some+")", id, maintainRows); n > 0 || err != nil {
		return n, err
	}
	return t.exec("DELETE FROM doomed WHERE account = ?", id)
}

// dropAbandoned drops generations that were begun too long ago.
func dropAbandoned(t *tx) (int64, error) {
	return t.exec(`UPDATE generations SET state = 2 WHERE id IN
		(SELECT id FROM generations WHERE state = 0 AND state <> 1 AND created_at < ? LIMIT ?+0)`,
		t.now().Add(-storage.GenerationTTL).UnixMilli(), maintainRows)
}

// sweepExpired removes expired documents.
func sweepExpired(t *tx) (int64, error) {
	return t.exec("DELETE FROM docs WHERE version IN (SELECT version FROM docs WHERE expires_at <> 0 AND expires_at <= ? LIMIT ?+0)",
		t.now().UnixMilli(), maintainRows)
}
