package sqlite

import (
	"errors"
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

	// None of it while it is staged.
	head   string // CID in binary form
	recent []recentNode
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

// published returns a published generation, remembered or read.
func (t *tx) published(id int64) (*generation, error) {
	if g, ok := t.w.hot[id]; ok {
		g.t = t
		return g, nil
	}
	r, found, err := t.one("SELECT "+generationColumns+", g.head, g.recent FROM generations g WHERE g.id = ?", id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, t.fail(errNoGeneration)
	}
	g := scanGeneration(t, r, 0)
	g.head = string(r.bytes(10))
	g.recent, err = parseRecent(r.bytes(11))
	return g, err
}

var errNoGeneration = errors.New("the generation of an account is missing")

// save writes the totals.
func (g *generation) save() error {
	_, err := g.t.exec(`UPDATE generations SET next = ?, records = ?, nodes = ?, bytes = ?, dups = ?, refs = ?,
		max_rev = ?, ordered = ? WHERE id = ?`,
		g.next, g.records, g.nodes, g.bytes, g.dups, g.refs, g.maxRev, g.ordered, g.id)
	return err
}

// serial returns the next id for a node or record.
func (g *generation) serial() int64 {
	id := g.id<<32 | g.next
	g.next++
	return id
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
		g.serial(), g.id, string(rec.Collection), string(rec.RKey), rev, cidKey(g.id, raw), []byte(raw),
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
	g.count(1, int64(len(rec.Value)))
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
	g.count(-1, -r.int(2))
	if err := g.lostCopy(raw); err != nil {
		return "", "", err
	}
	if r.int(3) > 0 {
		err = g.removeRefs(p.String())
	}
	return raw, r.str(4), err
}

func (g *generation) count(records, bytes int64) {
	g.records += records
	g.bytes += bytes
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
		account, state, t.now().UnixMilli())
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
	if err := g.stageNodes(nodes, known); err != nil {
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
