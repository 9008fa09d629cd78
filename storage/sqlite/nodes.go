package sqlite

import (
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

// newNode counts a node that a commit or an import brings. The second result
// is false if it is there already. Known is kept current.
func (g *generation) newNode(b storage.Block, rev string, known map[string]copies) (recentNode, bool) {
	raw := b.CID.KeyString()
	have := known[raw]
	if have.node {
		return recentNode{}, false
	}
	if have.records > 0 {
		g.dups++
	}
	have.node = true
	known[raw] = have
	g.nodes++
	g.bytes += int64(len(b.Data))
	return recentNode{cid: []byte(raw), rev: []byte(rev), data: b.Data}, true
}

// stageNodes adds the nodes of an import, whose rev is not known yet.
func (g *generation) stageNodes(nodes []storage.Block, known map[string]copies) error {
	list := make([]recentNode, 0, len(nodes))
	for _, b := range nodes {
		if n, ok := g.newNode(b, "", known); ok {
			list = append(list, n)
		}
	}
	return g.insertNodes(list)
}

const (
	maxInsert   = 16 // rows of one INSERT
	nodeColumns = 5
)

// insertNodes gives rows to nodes.
func (g *generation) insertNodes(list []recentNode) error {
	args := make([]any, 0, min(len(list), maxInsert)*nodeColumns)
	for len(list) > 0 {
		n := min(len(list), maxInsert)
		args = args[:0]
		for _, node := range list[:n] {
			args = append(args, g.serial(), cidKey(g.id, node.cid), string(node.rev), node.cid, notNil(node.data))
		}
		if _, err := g.t.exec(insertNodesSQL[n], args...); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// insertNodesSQL are the statements that insert so many nodes.
var insertNodesSQL = func() (sql [maxInsert + 1]string) {
	for n := 1; n <= maxInsert; n++ {
		sql[n] = "INSERT INTO nodes (id, cid_key, rev, cid, data) VALUES (?,?,?,?,?)" + strings.Repeat(", (?,?,?,?,?)", n-1)
	}
	return sql
}()

// removeNodes removes the tree nodes that are there.
func (g *generation) removeNodes(nodes []cid.Cid) error {
	for _, c := range nodes {
		raw := c.KeyString()
		var size int64
		if i := findRecent(g.recent, raw); i >= 0 {
			size = int64(len(g.recent[i].data))
			g.recent = append(g.recent[:i], g.recent[i+1:]...)
		} else {
			r, found, err := g.t.one("SELECT id, length(data) FROM nodes WHERE cid_key = ? AND cid = ?", cidKey(g.id, raw), []byte(raw))
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if _, err := g.t.exec("DELETE FROM nodes WHERE id = ?", r.int(0)); err != nil {
				return err
			}
			size = r.int(1)
		}
		g.nodes--
		g.bytes -= size
		if err := g.lostCopy(raw); err != nil {
			return err
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
	known := make(map[string]copies, len(nodes)+len(records))
	keys := make([]any, 0, len(nodes)+len(records))
	asked := make(map[int64]bool, len(nodes)+len(records))
	look := func(c cid.Cid) {
		raw := c.KeyString()
		if findRecent(g.recent, raw) >= 0 {
			known[raw] = copies{node: true}
		}
		if key := cidKey(g.id, raw); !asked[key] {
			asked[key] = true
			keys = append(keys, key)
		}
	}
	for i := range nodes {
		look(nodes[i].CID)
	}
	for i := range records {
		look(records[i].CID)
	}
	for len(keys) > 0 {
		n := min(len(keys), maxKnown)
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
		}, knownSQL[n], append(keys[:n:n], keys[:n]...)...)
		if err != nil {
			return nil, err
		}
		keys = keys[n:]
	}
	return known, nil
}

// maxKnown is how many CIDs one statement looks for.
const maxKnown = 16

// knownSQL are the statements that look for so many CIDs.
var knownSQL = func() (sql [maxKnown + 1]string) {
	for n := 1; n <= maxKnown; n++ {
		values := "(VALUES (?)" + strings.Repeat(",(?)", n-1) + ")"
		sql[n] = "SELECT 0, cid FROM " + values + " CROSS JOIN nodes WHERE cid_key = column1" +
			" UNION ALL SELECT 1, cid FROM " + values + " CROSS JOIN records WHERE cid_key = column1"
	}
	return sql
}()

// lostCopy corrects dups after a node or record with this CID was removed.
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

// has reports whether there is a node or record with this CID.
func (g *generation) has(raw string) (bool, error) {
	if findRecent(g.recent, raw) >= 0 {
		return true, nil
	}
	key := cidKey(g.id, raw)
	_, found, err := g.t.one(`SELECT 1 FROM records WHERE cid_key = ? AND cid = ?
		UNION ALL SELECT 1 FROM nodes WHERE cid_key = ? AND cid = ? LIMIT 1`,
		key, []byte(raw), key, []byte(raw))
	return found, err
}
