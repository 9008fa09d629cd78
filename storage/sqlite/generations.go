package sqlite

import (
	"slices"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

// States of a generation.
const (
	staged    = 0
	published = 1
	dropped   = 2
)

// generation is a row of generations under change: its totals are counted in
// memory and written once.
type generation struct {
	t       *tx
	id      int64
	account int64
	owner   syntax.DID // whose author column is NULL

	next, records, nodes, bytes, dups, refs int64

	maxRev  string
	ordered bool

	collections map[syntax.NSID]int64 // changes of the number of records
}

const generationColumns = "g.id, g.account, g.next, g.records, g.nodes, g.bytes, g.dups, g.refs, g.max_rev, g.ordered"

// scanGeneration reads generationColumns from column i on.
func scanGeneration(t *tx, r *rows, i int) *generation {
	return &generation{
		t:  t,
		id: r.int(i), account: r.int(i + 1), next: r.int(i + 2),
		records: r.int(i + 3), nodes: r.int(i + 4), bytes: r.int(i + 5), dups: r.int(i + 6), refs: r.int(i + 7),
		maxRev: r.str(i + 8), ordered: r.bool(i + 9),
	}
}

// save writes the totals.
func (g *generation) save() error {
	_, err := g.t.exec(`UPDATE generations SET next = ?, records = ?, nodes = ?, bytes = ?, dups = ?, refs = ?,
		max_rev = ?, ordered = ? WHERE id = ?`,
		g.next, g.records, g.nodes, g.bytes, g.dups, g.refs, g.maxRev, g.ordered, g.id)
	if err != nil {
		return err
	}
	return g.saveCollections()
}

func (g *generation) saveCollections() error {
	for nsid, n := range g.collections {
		var err error
		switch {
		case n > 0:
			_, err = g.t.exec(`INSERT INTO collections (generation, nsid, records) VALUES (?,?,?)
				ON CONFLICT DO UPDATE SET records = records + excluded.records`, g.id, string(nsid), n)
		case n < 0:
			_, err = g.t.exec("UPDATE collections SET records = records + ? WHERE generation = ? AND nsid = ?", n, g.id, string(nsid))
			if err == nil {
				_, err = g.t.exec("DELETE FROM collections WHERE generation = ? AND nsid = ? AND records = 0", g.id, string(nsid))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// serial returns the next id for a node or record.
func (g *generation) serial() int64 {
	id := g.id<<32 | g.next
	g.next++
	return id
}

// addNodes adds the tree nodes that are not there. Known holds the CIDs of
// rows that are there already, see [generation.known].
func (g *generation) addNodes(nodes []storage.Block, rev string, known map[string]copies) error {
	fresh := make([]any, 0, min(len(nodes), nodesPerInsert)*5)
	flush := func() error {
		if len(fresh) == 0 {
			return nil
		}
		_, err := g.t.exec(insertNodes[len(fresh)/5], fresh...)
		fresh = fresh[:0]
		return err
	}
	for _, b := range nodes {
		raw := b.CID.KeyString()
		have := known[raw]
		if have.node {
			continue
		}
		if have.records > 0 {
			g.dups++
		}
		have.node = true
		known[raw] = have
		g.nodes++
		g.bytes += int64(len(b.Data))
		fresh = append(fresh, g.serial(), cidKey(raw), rev, []byte(raw), notNil(b.Data))
		if len(fresh) == nodesPerInsert*5 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// nodesPerInsert is how many nodes one statement inserts at most.
const nodesPerInsert = 16

// insertNodes are the statements that insert so many nodes.
var insertNodes = func() (sql [nodesPerInsert + 1]string) {
	for n := 1; n <= nodesPerInsert; n++ {
		sql[n] = "INSERT INTO nodes (id, cid_key, rev, cid, data) VALUES (?,?,?,?,?)" + strings.Repeat(", (?,?,?,?,?)", n-1)
	}
	return sql
}()

// removeNodes removes the tree nodes that are there.
func (g *generation) removeNodes(nodes []cid.Cid) error {
	if len(nodes) == 0 {
		return nil
	}
	first, last := ids(g.id)
	want := make(map[string]bool, len(nodes))
	var list keyList
	for _, c := range nodes {
		want[c.KeyString()] = true
		list.add(c.KeyString())
	}
	var gone []string
	err := g.t.each(func(r *rows) bool {
		raw := string(r.bytes(0))
		if !want[raw] {
			return true // it shares the number with another CID
		}
		gone = append(gone, raw)
		list.remove(r.int(2))
		g.nodes--
		g.bytes -= r.int(1)
		return true
	}, "SELECT cid, length(data), id FROM nodes WHERE cid_key IN (SELECT value FROM json_each(?)) AND id BETWEEN ? AND ?",
		list.json(), first, last)
	if err != nil {
		return err
	}
	if _, err := g.t.exec("DELETE FROM nodes WHERE id IN (SELECT value FROM json_each(?))", list.removed()); err != nil {
		return err
	}
	if g.dups > 0 {
		for _, raw := range gone {
			if err := g.lostCopy(raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// copies says how often a CID is there.
type copies struct {
	node    bool
	records int
}

// known finds which of these blocks and records are there already.
func (g *generation) known(nodes []storage.Block, records []storage.Record) (map[string]copies, error) {
	known := make(map[string]copies)
	if len(nodes)+len(records) == 0 {
		return known, nil
	}
	var list keyList
	for _, b := range nodes {
		list.add(b.CID.KeyString())
	}
	for i := range records {
		list.add(records[i].CID.KeyString())
	}
	first, last := ids(g.id)
	err := g.t.each(func(r *rows) bool {
		raw := string(r.bytes(1))
		have := known[raw]
		if r.bool(0) {
			have.records++
		} else {
			have.node = true
		}
		known[raw] = have
		return true
	}, `SELECT 0, cid FROM nodes WHERE cid_key IN (SELECT value FROM json_each(?)) AND id BETWEEN ? AND ?
		UNION ALL SELECT 1, cid FROM records WHERE cid_key IN (SELECT value FROM json_each(?)) AND id BETWEEN ? AND ?`,
		list.json(), first, last, list.json(), first, last)
	return known, err
}

// keyList builds the JSON arrays by which one statement finds many rows.
type keyList struct{ keys, ids []byte }

func appendJSON(to []byte, n int64) []byte {
	if len(to) == 0 {
		to = append(to, '[')
	} else {
		to = append(to, ',')
	}
	return strconv.AppendInt(to, n, 10)
}

func (l *keyList) add(raw string)  { l.keys = appendJSON(l.keys, cidKey(raw)) }
func (l *keyList) remove(id int64) { l.ids = appendJSON(l.ids, id) }
func (l *keyList) json() string    { return closed(l.keys) }
func (l *keyList) removed() string { return closed(l.ids) }

func closed(list []byte) string {
	if len(list) == 0 {
		return "[]"
	}
	return string(list) + "]"
}

// lostCopy corrects dups after a row with this CID was removed.
func (g *generation) lostCopy(raw string) error {
	if g.dups == 0 {
		return nil
	}
	dup, err := g.has(raw)
	if dup {
		g.dups--
	}
	return err
}

// has reports whether there is a row with this CID.
func (g *generation) has(raw string) (bool, error) {
	first, last := ids(g.id)
	key := cidKey(raw)
	_, found, err := g.t.one(`SELECT 1 FROM records WHERE cid_key = ? AND id BETWEEN ? AND ? AND cid = ?
		UNION ALL SELECT 1 FROM nodes WHERE cid_key = ? AND id BETWEEN ? AND ? AND cid = ? LIMIT 1`,
		key, first, last, []byte(raw), key, first, last, []byte(raw))
	return found, err
}

// putRecord stores a record, replacing what is at its path. The mark of a
// takedown stays with the path. Known is kept current.
func (g *generation) putRecord(rec *storage.Record, rev string, known map[string]copies) error {
	raw := rec.CID.KeyString()
	blobs := blobTexts(rec.Blobs)
	author := optional(string(rec.Author))
	if rec.Author == g.owner {
		author = nil
	}
	if rev < g.maxRev {
		g.ordered = false
	}
	g.maxRev = max(g.maxRev, rev)
	args := []any{
		g.serial(), g.id, string(rec.Collection), string(rec.RKey), rev, cidKey(raw), []byte(raw),
		author, optional(rec.Backlink), nil, len(blobs), notNil(rec.Value),
	}
	const insert = `INSERT INTO records (id, generation, collection, rkey, rev, cid_key, cid, author, backlink, takedown_ref, blobs, value)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (generation, collection, rkey) DO NOTHING`
	n, err := g.t.exec(insert, args...)
	if err != nil {
		return err
	}
	if n == 0 {
		old, takedown, err := g.removeRecord(rec.RecordPath)
		if err != nil {
			return err
		}
		if have := known[old]; have.records > 0 {
			have.records--
			known[old] = have
		}
		args[9] = optional(takedown)
		if _, err := g.t.exec(insert, args...); err != nil {
			return err
		}
	}
	have := known[raw]
	if have.node || have.records > 0 {
		g.dups++
	}
	have.records++
	known[raw] = have
	g.count(rec.Collection, 1, int64(len(rec.Value)))
	for _, c := range blobs {
		if err := g.addRef(c, rec.String(), rev); err != nil {
			return err
		}
	}
	return nil
}

// removeRecord removes the record at a path, if there is one, and returns its
// binary CID and the mark of its takedown.
func (g *generation) removeRecord(p storage.RecordPath) (raw, takedown string, err error) {
	r, found, err := g.t.one("SELECT id, cid, length(value), blobs, takedown_ref FROM records WHERE generation = ? AND collection = ? AND rkey = ?",
		g.id, string(p.Collection), string(p.RKey))
	if err != nil || !found {
		return "", "", err
	}
	if _, err := g.t.exec("DELETE FROM records WHERE id = ?", r.int(0)); err != nil {
		return "", "", err
	}
	raw = string(r.bytes(1))
	g.count(p.Collection, -1, -r.int(2))
	if err := g.lostCopy(raw); err != nil {
		return "", "", err
	}
	if r.int(3) > 0 {
		err = g.removeRefs(p.String())
	}
	return raw, r.str(4), err
}

func (g *generation) count(collection syntax.NSID, records, bytes int64) {
	g.records += records
	g.bytes += bytes
	if g.collections == nil {
		g.collections = make(map[syntax.NSID]int64)
	}
	g.collections[collection] += records
}

// blobTexts returns the distinct CIDs as text.
func blobTexts(blobs []cid.Cid) []string {
	list := make([]string, len(blobs))
	for i, c := range blobs {
		list[i] = c.String()
	}
	slices.SortFunc(list, strings.Compare)
	return slices.Compact(list)
}

// NewGeneration implements [storage.Repos].
func (t *tx) NewGeneration(did syntax.DID) (storage.Generation, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	a, err := t.account(did)
	if err != nil {
		return 0, err
	}
	id, err := t.insertGeneration(a.id, staged)
	return storage.Generation(id), err
}

func (t *tx) insertGeneration(account int64, state int) (int64, error) {
	r, _, err := t.one("INSERT INTO generations (account, state, created_at) VALUES (?,?,?) RETURNING id",
		account, state, t.now.UnixMilli())
	if err != nil {
		return 0, err
	}
	return r.int(0), nil
}

// stagedGeneration finds an unpublished generation.
func (t *tx) stagedGeneration(id storage.Generation) (*generation, error) {
	r, ok, err := t.one("SELECT "+generationColumns+`, a.did FROM generations g JOIN accounts a ON a.id = g.account
		WHERE g.id = ? AND g.state = 0`, int64(id))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, storage.ErrNotFound
	}
	g := scanGeneration(t, r, 0)
	g.owner = syntax.DID(r.str(10))
	return g, nil
}

// Stage implements [storage.Repos].
func (t *tx) Stage(id storage.Generation, nodes []storage.Block, records []storage.Record) error {
	if err := t.writable(); err != nil {
		return err
	}
	g, err := t.stagedGeneration(id)
	if err != nil {
		return err
	}
	known, err := g.known(nodes, records)
	if err != nil {
		return err
	}
	if err := g.addNodes(nodes, "", known); err != nil {
		return err
	}
	for i := range records {
		if err := g.putRecord(&records[i], string(records[i].Rev), known); err != nil {
			return err
		}
	}
	return g.save()
}

// DropGeneration implements [storage.Repos].
func (t *tx) DropGeneration(id storage.Generation) error {
	_, err := t.exec("UPDATE generations SET state = 2 WHERE id = ? AND state = 0", int64(id))
	return err
}
