package sqlite

import (
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// Sequence numbers are below it, because consumers read them as JSON numbers.
const maxSeq = 1 << 53

var errSeqUsedUp = errors.New("sqlite: the sequence numbers are used up")

// sqlLastSeq finds the last number without a row that every event would have
// to change: the number is written to meta only when events are pruned or
// the number is raised.
const sqlLastSeq = "SELECT max(coalesce((SELECT max(seq) FROM events), 0), (SELECT last_seq FROM meta))"

// Append implements [storage.Events].
func (t *tx) Append(e storage.Event) error {
	if err := t.writable(); err != nil {
		return err
	}
	e.Seq, e.Time = max(t.seq+1, t.now().UnixMicro()), t.now()
	return t.insertEvent(&e)
}

func (t *tx) insertEvent(e *storage.Event) error {
	if e.Seq >= maxSeq {
		return errSeqUsedUp
	}
	_, err := t.exec("INSERT INTO events (seq, at, did, kind, actor, client, body) VALUES (?,?,?,?,?,?,?)",
		e.Seq, e.Time.UnixMilli(), string(e.DID), e.Kind, string(e.Actor), e.Client, notNil(e.Body))
	if err == nil {
		t.seq = e.Seq
	}
	return err
}

var _ storage.EventLoader = (*tx)(nil)

// LoadEvent implements [storage.EventLoader].
func (t *tx) LoadEvent(e storage.Event) error {
	if err := t.writable(); err != nil {
		return err
	}
	if e.Seq <= t.seq {
		return storage.ErrConflict
	}
	return t.insertEvent(&e)
}

// RaiseSeq implements [storage.EventLoader].
func (t *tx) RaiseSeq(seq int64) error {
	if err := t.writable(); err != nil || seq <= t.seq {
		return err
	}
	if seq >= maxSeq-1 { // the next one must be possible
		return errSeqUsedUp
	}
	_, err := t.exec("UPDATE meta SET last_seq = ?", seq)
	if err == nil {
		t.seq = seq
	}
	return err
}

// ListEvents implements [storage.Events].
func (t *tx) ListEvents(after int64, limit, maxBytes int) ([]storage.Event, error) {
	if limit <= 0 {
		return nil, t.usable()
	}
	var list []storage.Event
	total := 0
	err := t.each(func(r *rows) bool {
		body := r.bytes(6)
		if total += len(body); total > maxBytes && len(list) > 0 {
			return false
		}
		list = append(list, storage.Event{
			Seq:    r.int(0),
			Time:   time.UnixMilli(r.int(1)).UTC(),
			DID:    syntax.DID(r.str(2)),
			Kind:   r.str(3),
			Actor:  syntax.DID(r.str(4)),
			Client: r.str(5),
			Body:   body,
		})
		return true
	}, `SELECT seq, at, did, kind, actor, client, body FROM events WHERE seq > ?
		AND NOT EXISTS (SELECT 1 FROM hidden WHERE hidden.did = events.did AND hidden.upto >= events.seq)
		ORDER BY seq LIMIT ?+0`, after, limit)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// LastSeq implements [storage.Events].
func (t *tx) LastSeq() (int64, error) {
	if t.w != nil {
		return t.seq, t.usable()
	}
	r, _, err := t.one(sqlLastSeq)
	if err != nil {
		return 0, err
	}
	return r.int(0), nil
}

// HideEvents implements [storage.Events].
func (t *tx) HideEvents(did syntax.DID) error {
	_, err := t.exec("INSERT INTO hidden (did, upto) VALUES (?, ?) ON CONFLICT (did) DO UPDATE SET upto = excluded.upto",
		string(did), t.seq)
	return err
}

// PruneEvents implements [storage.Events].
func (t *tx) PruneEvents(upTo int64, limit int) (int, error) {
	if err := t.writable(); err != nil || limit <= 0 {
		return 0, err
	}
	n, err := t.exec("DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq <= ? ORDER BY seq LIMIT ?+0)", upTo, limit)
	if err != nil || n == 0 {
		return 0, err
	}
	if _, err := t.exec("UPDATE meta SET last_seq = ?", t.seq); err != nil {
		return 0, err
	}
	_, err = t.exec(`DELETE FROM hidden WHERE did IN (SELECT did FROM hidden
		WHERE upto < coalesce((SELECT min(seq) FROM events), ?) ORDER BY upto LIMIT ?+0)`, maxSeq, limit)
	return int(n), err
}
