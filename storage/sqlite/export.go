package sqlite

import (
	"bytes"
	"iter"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// Two ways to read the blocks of a generation, newest rev first. Mostly the
// ids rise with the revs, since every commit is above the one before; then the
// rows come as they lie. Only staged records with revs of their own may stand
// in another order, and must be sorted.
//
// A rev that is NULL stands for the rev of the import: most rows have it, and
// to read it as text again and again would cost.
//
// A CID that is both a node's and a record's is left to the node; of several
// records with one CID the newest is taken.
const (
	exportNodes         = "SELECT nullif(rev, ''), cid, data FROM nodes WHERE id BETWEEN ? AND ? ORDER BY id DESC"
	exportNodesSorted   = "SELECT nullif(rev, ''), cid, data FROM nodes WHERE id BETWEEN ? AND ? ORDER BY CASE rev WHEN '' THEN ? ELSE rev END DESC"
	exportRecords       = "SELECT nullif(rev, ?), cid, value FROM records WHERE id BETWEEN ? AND ? ORDER BY id DESC"
	exportRecordsSorted = "SELECT rev, cid, value FROM records WHERE generation = ? ORDER BY rev DESC"

	withoutDups = ` AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.cid_key = records.cid_key AND n.cid = records.cid)`

	exportRecordsOnce = `SELECT rev, cid, value FROM records WHERE id BETWEEN ? AND ?
		AND NOT EXISTS (SELECT 1 FROM records o WHERE o.cid_key = records.cid_key AND o.id > records.id AND o.cid = records.cid)` +
		withoutDups + " ORDER BY id DESC"
	exportRecordsSortedOnce = `SELECT rev, cid, value FROM records WHERE generation = ?
		AND NOT EXISTS (SELECT 1 FROM records o WHERE o.cid_key = records.cid_key AND o.cid = records.cid
			AND (o.rev, o.id) > (records.rev, records.id))` +
		withoutDups + " ORDER BY rev DESC"
)

// Export implements [storage.Repos].
func (t *tx) Export(did syntax.DID, since syntax.TID) iter.Seq2[storage.Block, error] {
	return func(yield func(storage.Block, error) bool) {
		if err := t.export(did, string(since), func(b storage.Block) bool { return yield(b, nil) }); err != nil {
			yield(storage.Block{}, err)
		}
	}
}

func (t *tx) export(did syntax.DID, since string, yield func(storage.Block) bool) error {
	a, err := t.repo(did)
	if err != nil {
		return err
	}
	g, ok, err := t.one("SELECT rev, head, signed, base_rev, dups, ordered FROM generations WHERE id = ?", a.generation)
	if err != nil {
		return err
	}
	if !ok {
		return storage.ErrNotFound
	}
	if g.str(0) <= since && since != "" {
		return nil
	}
	head, err := parseCID(g.bytes(1))
	if err != nil {
		return err
	}
	if !yield(storage.Block{CID: head, Data: g.bytes(2)}) {
		return nil
	}
	recent, err := t.recentNodes(a)
	if err != nil {
		return err
	}
	first, last := ids(a.generation)
	base, dups, ordered := g.str(3), g.int(4) > 0, g.bool(5)

	nodesSQL, recordsSQL := exportNodes, exportRecords
	nodesArgs, args := []any{first, last}, []any{base, first, last}
	switch {
	case ordered && dups:
		recordsSQL, args = exportRecordsOnce, []any{first, last}
	case !ordered && dups:
		recordsSQL, args = exportRecordsSortedOnce, []any{a.generation}
	case !ordered:
		recordsSQL, args = exportRecordsSorted, []any{a.generation}
	}
	if !ordered {
		nodesSQL, nodesArgs = exportNodesSorted, append(nodesArgs, base)
	}
	newest, err := t.streamRecent(since, recent)
	if err != nil {
		return err
	}
	nodes, err := t.stream(since, base, nodesSQL, nodesArgs...)
	if err != nil {
		return err
	}
	defer nodes.stop()
	records, err := t.stream(since, base, recordsSQL, args...)
	if err != nil {
		return err
	}
	defer records.stop()

	for {
		var from *stream
		for _, s := range []*stream{newest, nodes, records} {
			if s.more && (from == nil || s.rev > from.rev) {
				from = s
			}
		}
		if from == nil {
			return nil
		}
		b, err := from.take()
		if err != nil {
			return err
		}
		if from == records && dups && findRecent(recent, b.CID.KeyString()) >= 0 {
			continue
		}
		if !yield(b) {
			return nil
		}
	}
}

// stream yields blocks, newest rev first, down to revs that are not above
// since. It reads a query for rev, CID and bytes, or a list.
type stream struct {
	t     *tx
	r     *rows        // nil: a list
	list  []recentNode // from the next block on
	since string
	base  string // the rev that NULL stands for
	more  bool
	rev   string // of the next block, if there is more
}

func (t *tx) stream(since, base, sql string, args ...any) (*stream, error) {
	if err := t.usable(); err != nil {
		return nil, err
	}
	r, err := t.c.query(sql, args...)
	if err != nil {
		return nil, t.fail(err)
	}
	t.open = append(t.open, r)
	s := &stream{t: t, r: r, since: since, base: base}
	return s, s.advance()
}

// streamRecent streams nodes that have no rows.
func (t *tx) streamRecent(since string, recent []recentNode) (*stream, error) {
	list := slices.Clone(recent)
	slices.Reverse(list)
	slices.SortStableFunc(list, func(x, y recentNode) int { return bytes.Compare(y.rev, x.rev) })
	s := &stream{t: t, list: list, since: since}
	return s, s.advance()
}

// advance finds out whether there is a next block, and its rev.
func (s *stream) advance() error {
	s.more = false
	if err := s.t.usable(); err != nil {
		return err
	}
	if s.r == nil {
		if len(s.list) == 0 {
			return nil
		}
		s.rev = string(s.list[0].rev)
	} else {
		if !s.r.next() {
			return s.r.failure()
		}
		if s.rev = s.r.str(0); s.rev == "" {
			s.rev = s.base
		}
	}
	s.more = s.since == "" || s.rev > s.since
	return nil
}

// take returns the next block and moves on.
func (s *stream) take() (storage.Block, error) {
	var raw, data []byte
	if s.r == nil {
		raw, data = s.list[0].cid, bytes.Clone(s.list[0].data)
		s.list = s.list[1:]
	} else {
		raw, data = s.r.bytes(1), s.r.bytes(2)
	}
	c, err := parseCID(raw)
	if err != nil {
		return storage.Block{}, err
	}
	return storage.Block{CID: c, Data: data}, s.advance()
}

// stop closes the query, unless the transaction has done so.
func (s *stream) stop() {
	if i := slices.Index(s.t.open, s.r); i >= 0 {
		s.t.open = slices.Delete(s.t.open, i, i+1)
		s.r.close()
	}
}
