package sqlite

import (
	"iter"

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

	withoutDups = ` AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.cid_key = records.cid_key AND n.id BETWEEN ? AND ? AND n.cid = records.cid)`

	exportRecordsOnce = `SELECT rev, cid, value FROM records WHERE id BETWEEN ? AND ?
		AND NOT EXISTS (SELECT 1 FROM records o WHERE o.cid_key = records.cid_key AND o.id > records.id AND o.id <= ? AND o.cid = records.cid)` +
		withoutDups + " ORDER BY id DESC"
	exportRecordsSortedOnce = `SELECT rev, cid, value FROM records WHERE generation = ?
		AND NOT EXISTS (SELECT 1 FROM records o WHERE o.cid_key = records.cid_key AND o.id BETWEEN ? AND ? AND o.cid = records.cid
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
	first, last := ids(a.generation)
	base, dups, ordered := g.str(3), g.int(4) > 0, g.bool(5)

	nodesSQL, recordsSQL := exportNodes, exportRecords
	nodesArgs, args := []any{first, last}, []any{base, first, last}
	switch {
	case ordered && dups:
		recordsSQL, args = exportRecordsOnce, []any{first, last, last, first, last}
	case !ordered && dups:
		recordsSQL, args = exportRecordsSortedOnce, []any{a.generation, first, last, first, last}
	case !ordered:
		recordsSQL, args = exportRecordsSorted, []any{a.generation}
	}
	if !ordered {
		nodesSQL, nodesArgs = exportNodesSorted, append(nodesArgs, base)
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

	for nodes.more || records.more {
		from := nodes
		if !nodes.more || records.more && records.rev > nodes.rev {
			from = records
		}
		b, err := from.take()
		if err != nil {
			return err
		}
		if !yield(b) {
			return nil
		}
	}
	return nil
}

// stream is a query for rev, CID and bytes, newest rev first, that ends at
// revs that are not above since.
type stream struct {
	t     *tx
	r     *rows
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

func (s *stream) advance() error {
	if err := s.t.usable(); err != nil {
		s.more = false
		return err
	}
	s.more = s.r.next()
	if !s.more {
		return s.r.failure()
	}
	if s.rev = s.r.str(0); s.rev == "" {
		s.rev = s.base
	}
	if s.since != "" && s.rev <= s.since {
		s.more = false
	}
	return nil
}

// take returns the next block and moves on.
func (s *stream) take() (storage.Block, error) {
	c, err := parseCID(s.r.bytes(1))
	if err != nil {
		return storage.Block{}, err
	}
	b := storage.Block{CID: c, Data: s.r.bytes(2)}
	return b, s.advance()
}

// stop closes the query, unless the transaction has done so.
func (s *stream) stop() {
	for i, r := range s.t.open {
		if r == s.r {
			s.t.open = append(s.t.open[:i], s.t.open[i+1:]...)
			r.close()
			return
		}
	}
}
