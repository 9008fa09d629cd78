package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/pdskit/pdskit/storage"
)

// Most tree nodes do not live long: the next commit replaces the root and the
// path below it. So the nodes of the last commits are kept together as one
// value of the generation's row, oldest first. A commit rewrites a few pages
// in place instead of changing an index at as many random places as it has
// nodes. Above maxRecent bytes the oldest get rows of their own, until
// keepRecent bytes are left: several at once, because they share pages.
const (
	maxRecent  = 12 << 10
	keepRecent = 6 << 10

	// The value is padded to a multiple of it: SQLite overwrites a row of the
	// same size in place.
	recentStep = 2 << 10
)

// recentNode is a node that has no row. Its fields share the memory of the
// value they were read from.
type recentNode struct {
	cid  []byte
	rev  []byte
	data []byte
}

func (n *recentNode) size() int {
	return len(n.cid) + len(n.rev) + len(n.data) + 3*binary.MaxVarintLen16
}

var (
	errRecent = errors.New("sqlite: the stored list of recent nodes is damaged")
	errNoCID  = errors.New("sqlite: a node has no CID")
)

// parseRecent reads what appendRecent wrote.
func parseRecent(b []byte) ([]recentNode, error) {
	var list []recentNode
	for len(b) > 0 && b[0] != 0 {
		var n recentNode
		for _, field := range []*[]byte{&n.cid, &n.rev, &n.data} {
			size, used := binary.Uvarint(b)
			if used <= 0 || size > uint64(len(b)-used) {
				return nil, errRecent
			}
			b = b[used:]
			*field, b = b[:size:size], b[size:]
		}
		if len(n.cid) == 0 {
			return nil, errRecent
		}
		list = append(list, n)
	}
	return list, nil
}

// appendRecent appends the stored form: for each node three byte strings, each
// after its length, then zeros.
func appendRecent(b []byte, list []recentNode) []byte {
	for i := range list {
		for _, field := range [][]byte{list[i].cid, list[i].rev, list[i].data} {
			b = binary.AppendUvarint(b, uint64(len(field)))
			b = append(b, field...)
		}
	}
	padding := (recentStep - len(b)%recentStep) % recentStep
	return append(b, make([]byte, padding)...)
}

// recentNodes returns the nodes without rows of the account's repository.
func (t *tx) recentNodes(a *accountRef) ([]recentNode, error) {
	if !a.hasRecent {
		r, found, err := t.one("SELECT recent FROM generations WHERE id = ?", a.generation)
		if err != nil {
			return nil, err
		}
		if found {
			if a.recent, err = parseRecent(r.bytes(0)); err != nil {
				return nil, err
			}
		}
		a.hasRecent = true
	}
	return a.recent, nil
}

// findRecent returns the index of a CID in the list, or -1.
func findRecent(list []recentNode, raw string) int {
	for i := range list {
		if string(list[i].cid) == raw {
			return i
		}
	}
	return -1
}

// spill gives rows to the oldest recent nodes if there are too many.
func (g *generation) spill() error {
	size := 0
	for i := range g.recent {
		size += g.recent[i].size()
	}
	if size <= maxRecent {
		return nil
	}
	n := 0
	for ; size > keepRecent; n++ {
		size -= g.recent[n].size()
	}
	err := g.insertNodes(g.recent[:n])
	g.recent = g.recent[n:]
	return err
}

// addRecent takes in the nodes of a commit.
func (g *generation) addRecent(nodes []storage.Block, rev string, known map[string]copies) error {
	for _, b := range nodes {
		if !b.CID.Defined() {
			return errNoCID
		}
		if n, ok := g.newNode(b, rev, known); ok {
			n.data = bytes.Clone(n.data) // it is kept
			g.recent = append(g.recent, n)
		}
	}
	return g.spill()
}
