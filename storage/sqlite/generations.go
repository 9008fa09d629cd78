package sqlite

import (
	"slices"
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

// addNode adds a tree node unless it is there.
func (g *generation) addNode(b storage.Block, rev string) error {
	raw := b.CID.KeyString()
	key := cidKey(raw)
	first, last := ids(g.id)
	n, err := g.t.exec(`INSERT INTO nodes (id, cid_key, rev, cid, data) SELECT ?,?,?,?,?
		WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE cid_key = ? AND id BETWEEN ? AND ? AND cid = ?)`,
		g.serial(), key, rev, []byte(raw), notNil(b.Data), key, first, last, []byte(raw))
	if err != nil || n == 0 {
		return err
	}
	g.nodes++
	g.bytes += int64(len(b.Data))
	_, dup, err := g.t.one("SELECT 1 FROM records WHERE cid_key = ? AND id BETWEEN ? AND ? AND cid = ?", key, first, last, []byte(raw))
	if dup {
		g.dups++
	}
	return err
}

// removeNode removes a tree node if it is there.
func (g *generation) removeNode(c cid.Cid) error {
	raw := c.KeyString()
	first, last := ids(g.id)
	r, found, err := g.t.one(`DELETE FROM nodes WHERE cid_key = ? AND id BETWEEN ? AND ? AND cid = ? RETURNING length(data)`,
		cidKey(raw), first, last, []byte(raw))
	if err != nil || !found {
		return err
	}
	g.nodes--
	g.bytes -= r.int(0)
	return g.lostCopy(raw)
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
// takedown stays with the path.
func (g *generation) putRecord(rec *storage.Record, rev string) error {
	_, takedown, err := g.removeRecord(rec.RecordPath)
	if err != nil {
		return err
	}
	raw := rec.CID.KeyString()
	dup, err := g.has(raw)
	if err != nil {
		return err
	}
	if dup {
		g.dups++
	}
	blobs := blobTexts(rec.Blobs)
	author := optional(string(rec.Author))
	if rec.Author == g.owner {
		author = nil
	}
	if rev < g.maxRev {
		g.ordered = false
	}
	g.maxRev = max(g.maxRev, rev)
	_, err = g.t.exec(`INSERT INTO records (id, generation, collection, rkey, rev, cid_key, cid, author, backlink, takedown_ref, blobs, value)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?)`,
		g.serial(), g.id, string(rec.Collection), string(rec.RKey), rev, cidKey(raw), []byte(raw),
		author, optional(rec.Backlink), optional(takedown), len(blobs), notNil(rec.Value))
	if err != nil {
		return err
	}
	g.count(rec.Collection, 1, int64(len(rec.Value)))
	for _, c := range blobs {
		if err := g.addRef(c, rec.RecordPath.String(), rev); err != nil {
			return err
		}
	}
	return nil
}

// removeRecord removes the record at a path, if there is one, and returns the
// mark of its takedown.
func (g *generation) removeRecord(p storage.RecordPath) (found bool, takedown string, err error) {
	r, found, err := g.t.one("SELECT id, cid, length(value), blobs, takedown_ref FROM records WHERE generation = ? AND collection = ? AND rkey = ?",
		g.id, string(p.Collection), string(p.RKey))
	if err != nil || !found {
		return false, "", err
	}
	if _, err := g.t.exec("DELETE FROM records WHERE id = ?", r.int(0)); err != nil {
		return false, "", err
	}
	g.count(p.Collection, -1, -r.int(2))
	if err := g.lostCopy(string(r.bytes(1))); err != nil {
		return false, "", err
	}
	if r.int(3) > 0 {
		err = g.removeRefs(p.String())
	}
	return true, r.str(4), err
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
	for _, b := range nodes {
		if err := g.addNode(b, ""); err != nil {
			return err
		}
	}
	for i := range records {
		if err := g.putRecord(&records[i], string(records[i].Rev)); err != nil {
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
