package sqlite

import (
	"bytes"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

// repo finds the account of a repository, or [storage.ErrNotFound] if there is
// no account or it has no repository yet.
func (t *tx) repo(did syntax.DID) (*accountRef, error) {
	a, err := t.account(did)
	if err != nil {
		return nil, err
	}
	if a.generation == 0 {
		return nil, storage.ErrNotFound
	}
	return a, nil
}

// Head implements [storage.Repos].
func (t *tx) Head(did syntax.DID) (storage.Head, error) {
	a, err := t.repo(did)
	if err != nil {
		return storage.Head{}, err
	}
	r, ok, err := t.one("SELECT rev, head, data, signed FROM generations WHERE id = ?", a.generation)
	if err != nil {
		return storage.Head{}, err
	}
	if !ok {
		return storage.Head{}, storage.ErrNotFound
	}
	h := storage.Head{Rev: syntax.TID(r.str(0)), Commit: r.bytes(3)}
	if h.CID, err = parseCID(r.bytes(1)); err != nil {
		return storage.Head{}, err
	}
	h.Data, err = parseCID(r.bytes(2))
	return h, err
}

const recordColumns = "collection, rkey, rev, cid, author, backlink, takedown_ref, value"

func scanRecord(r *rows, owner syntax.DID) (storage.Record, error) {
	rec := storage.Record{
		RecordPath:  storage.RecordPath{Collection: syntax.NSID(r.str(0)), RKey: syntax.RecordKey(r.str(1))},
		Rev:         syntax.TID(r.str(2)),
		Author:      owner,
		Backlink:    r.str(5),
		TakedownRef: r.str(6),
		Value:       r.bytes(7),
	}
	if author := r.str(4); author != "" {
		rec.Author = syntax.DID(author)
	}
	var err error
	rec.CID, err = parseCID(r.bytes(3))
	return rec, err
}

// Record implements [storage.Repos].
func (t *tx) Record(did syntax.DID, collection syntax.NSID, rkey syntax.RecordKey) (storage.Record, error) {
	a, err := t.repo(did)
	if err != nil {
		return storage.Record{}, err
	}
	r, ok, err := t.one("SELECT "+recordColumns+" FROM records WHERE generation = ? AND collection = ? AND rkey = ?",
		a.generation, string(collection), string(rkey))
	if err != nil {
		return storage.Record{}, err
	}
	if !ok {
		return storage.Record{}, storage.ErrNotFound
	}
	return scanRecord(r, did)
}

// roomForRecords is how many records a list has room for from the beginning.
const roomForRecords = 100

// records runs a query for recordColumns in did's published generation, which
// is the first argument. Without a repository there are none.
func (t *tx) records(did syntax.DID, limit int, rest string, args ...any) ([]storage.Record, error) {
	a, err := t.repo(did)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil || limit <= 0 {
		return nil, err
	}
	list := make([]storage.Record, 0, min(limit, roomForRecords))
	var bad error
	err = t.each(func(r *rows) bool {
		var rec storage.Record
		rec, bad = scanRecord(r, did)
		list = append(list, rec)
		return bad == nil
	}, "SELECT "+recordColumns+" FROM records WHERE generation = ? AND "+rest+" LIMIT ?+0",
		append(append([]any{a.generation}, args...), limit)...)
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	return list, nil
}

// ListRecords implements [storage.Repos].
func (t *tx) ListRecords(did syntax.DID, collection syntax.NSID, r storage.Range) ([]storage.Record, error) {
	switch {
	case !r.Reverse:
		return t.records(did, r.Limit, "collection = ? AND rkey > ? ORDER BY rkey", string(collection), r.After)
	case r.After == "":
		return t.records(did, r.Limit, "collection = ? ORDER BY rkey DESC", string(collection))
	}
	return t.records(did, r.Limit, "collection = ? AND rkey < ? ORDER BY rkey DESC", string(collection), r.After)
}

// ListRecordsSince implements [storage.Repos].
func (t *tx) ListRecordsSince(did syntax.DID, since syntax.TID, limit int) ([]storage.Record, error) {
	return t.records(did, limit, "rev > ? ORDER BY rev, collection, rkey", string(since))
}

// ListBacklinks implements [storage.Repos].
func (t *tx) ListBacklinks(did syntax.DID, collection syntax.NSID, target string, limit int) ([]storage.Record, error) {
	return t.records(did, limit, "backlink = ? AND collection = ? ORDER BY rev, rkey", target, string(collection))
}

// ListCollections implements [storage.Repos].
func (t *tx) ListCollections(did syntax.DID) ([]syntax.NSID, error) {
	a, err := t.repo(did)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// The index leads from each to the next, past all records in between.
	var list []syntax.NSID
	last := ""
	for {
		r, ok, err := t.one("SELECT collection FROM records WHERE generation = ? AND collection > ? ORDER BY collection LIMIT 1", a.generation, last)
		if err != nil {
			return nil, err
		}
		if !ok {
			return list, nil
		}
		last = r.str(0)
		list = append(list, syntax.NSID(last))
	}
}

// SetRecordTakedown implements [storage.Repos].
func (t *tx) SetRecordTakedown(did syntax.DID, collection syntax.NSID, rkey syntax.RecordKey, ref string) error {
	if err := t.writable(); err != nil {
		return err
	}
	a, err := t.repo(did)
	if err != nil {
		return err
	}
	n, err := t.exec("UPDATE records SET takedown_ref = ? WHERE generation = ? AND collection = ? AND rkey = ?",
		optional(ref), a.generation, string(collection), string(rkey))
	if err == nil && n == 0 {
		err = storage.ErrNotFound
	}
	return err
}

// Block implements [storage.Repos].
func (t *tx) Block(did syntax.DID, c cid.Cid) ([]byte, error) {
	a, err := t.repo(did)
	if err != nil {
		return nil, err
	}
	raw := c.KeyString()
	recent, err := t.recentNodes(a)
	if err != nil {
		return nil, err
	}
	if i := findRecent(recent, raw); i >= 0 {
		return bytes.Clone(recent[i].data), nil
	}
	for _, sql := range []string{
		"SELECT data FROM nodes WHERE cid_key = ? AND cid = ?",
		"SELECT value FROM records WHERE cid_key = ? AND cid = ?",
	} {
		r, ok, err := t.one(sql, cidKey(a.generation, raw), []byte(raw))
		if err != nil {
			return nil, err
		}
		if ok {
			return r.bytes(0), nil
		}
	}
	r, ok, err := t.one("SELECT signed FROM generations WHERE id = ? AND head = ?", a.generation, []byte(raw))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, storage.ErrNotFound
	}
	return r.bytes(0), nil
}
