package repo

import (
	"bytes"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/repo/mst"
	"github.com/ipfs/go-cid"
)

// A node is a map of two fields: "e", the keys in order, and "l", the subtree
// before the first of them. An entry of "e" is a map of four: "p", how many
// bytes the key shares with the one before it; "k", the rest of the key; "v",
// the value; "t", the subtree behind the key. The constants are the encoded
// heads of these, which never vary.
const (
	nodeHead   = "\xa2\x61e"
	nodeLeft   = "\x61l"
	entryKey   = "\xa4\x61k"
	entryShare = "\x61p"
	entryRight = "\x61t"
	entryValue = "\x61v"

	minEntryBytes = 3 + 1 + 2 + 1 + 2 + 1 + 2 + 41 // an entry with an empty "k"
	noHeight      = -1
)

// errNode returns an error about the node c.
func errNode(c cid.Cid, format string, args ...any) error {
	return fmt.Errorf("%w: node %s: %s", ErrInvalidTree, c, fmt.Sprintf(format, args...))
}

// span is an open interval of keys; nil means no bound.
type span struct{ low, high []byte }

// decodeNode decodes the node c and checks everything that can be known
// without its children: hash, canonical encoding, order, prefixes, the height
// of each key, that all keys lie within bounds. The height is that of the node,
// or noHeight for a root, which alone may be empty.
func decodeNode(c cid.Cid, data []byte, height int, within span) (*mst.Node, error) {
	if len(data) > MaxNodeBytes {
		return nil, errNode(c, "%d bytes", len(data))
	}
	if err := checkBlock(c, data); err != nil {
		return nil, err
	}
	p := nodeParser{r: cborReader{data: data}}
	n, err := p.parse()
	if err != nil {
		return nil, errNode(c, "%s", err)
	}
	n.CID = &c
	return n, checkNode(c, n, height, within)
}

// nodeParser reads the encoding of a node.
type nodeParser struct {
	r     cborReader
	cids  []cid.Cid // one array for all links of the node
	arena []byte    // one array for its keys, while they fit
}

func (p *nodeParser) parse() (*mst.Node, error) {
	if err := p.expect(nodeHead); err != nil {
		return nil, err
	}
	start := p.r.pos
	major, arg, err := p.r.head()
	if err != nil {
		return nil, err
	}
	if major != cborArray {
		return nil, p.r.fail(start, ErrSyntax, "entries are no array")
	}
	count, err := p.r.count(start, arg, minEntryBytes)
	if err != nil {
		return nil, err
	}
	if count > MaxNodeEntries {
		return nil, p.r.fail(start, ErrTooLarge, "too many entries")
	}
	p.cids = make([]cid.Cid, 0, 2*count+1)
	p.arena = make([]byte, 0, p.r.left()/2)
	n := &mst.Node{Entries: make([]mst.NodeEntry, 1, 2*count+1)}
	var prev []byte
	for range count {
		key, value, right, err := p.entry(prev)
		if err != nil {
			return nil, err
		}
		n.Entries = append(n.Entries, mst.NodeEntry{Key: key, Value: value})
		if right != nil {
			n.Entries = append(n.Entries, mst.NodeEntry{ChildCID: right})
		}
		prev = key
	}
	if err := p.expect(nodeLeft); err != nil {
		return nil, err
	}
	left, err := p.linkOrNull()
	if err != nil {
		return nil, err
	}
	if p.r.left() > 0 {
		return nil, p.r.fail(p.r.pos, ErrSyntax, "bytes behind the node")
	}
	if left != nil {
		n.Entries[0].ChildCID = left
	} else {
		n.Entries = n.Entries[1:]
	}
	return n, nil
}

// entry reads one entry; prev is the key before it.
func (p *nodeParser) entry(prev []byte) (key []byte, value, right *cid.Cid, err error) {
	if err = p.expect(entryKey); err != nil {
		return
	}
	start := p.r.pos
	major, length, err := p.r.head()
	if err != nil {
		return
	}
	if major != cborBytes || length > MaxKeyBytes {
		err = p.r.fail(start, ErrSyntax, "key is no byte string, or too long")
		return
	}
	rest, err := p.r.take(start, length)
	if err != nil {
		return
	}
	if err = p.expect(entryShare); err != nil {
		return
	}
	start = p.r.pos
	major, share, err := p.r.head()
	if err != nil {
		return
	}
	if major != cborUint || share > uint64(len(prev)) {
		err = p.r.fail(start, ErrSyntax, "prefix is longer than the key before")
		return
	}
	from := len(p.arena)
	p.arena = append(append(p.arena, prev[:share]...), rest...)
	key = p.arena[from:len(p.arena):len(p.arena)]
	if mst.CountPrefixLen(prev, key) != int(share) {
		err = p.r.fail(start, ErrNotCanonical, "prefix is not the longest")
		return
	}
	if bytes.Compare(prev, key) >= 0 {
		err = p.r.fail(start, ErrKeyOrder, "")
		return
	}
	if err = checkKey(key); err != nil {
		return
	}
	if err = p.expect(entryRight); err != nil {
		return
	}
	if right, err = p.linkOrNull(); err != nil {
		return
	}
	if err = p.expect(entryValue); err != nil {
		return
	}
	start = p.r.pos
	if value, err = p.linkOrNull(); err == nil && value == nil {
		err = p.r.fail(start, ErrLink, "value is missing")
	}
	return
}

// expect reads the given bytes.
func (p *nodeParser) expect(s string) error {
	if p.r.left() < len(s) || string(p.r.data[p.r.pos:p.r.pos+len(s)]) != s {
		return p.r.fail(p.r.pos, ErrSyntax, "unexpected field")
	}
	p.r.pos += len(s)
	return nil
}

// linkOrNull reads a link, or null for nil.
func (p *nodeParser) linkOrNull() (*cid.Cid, error) {
	start := p.r.pos
	major, arg, err := p.r.head()
	if err != nil {
		return nil, err
	}
	if major == cborSimple && arg == cborNull {
		return nil, nil
	}
	if major != cborTag {
		return nil, p.r.fail(start, ErrLink, "")
	}
	b, err := p.r.link(start, arg)
	if err != nil {
		return nil, err
	}
	if !isPlainCID(b) {
		return nil, p.r.fail(start, ErrLink, "not a CID of atproto")
	}
	c, err := cid.Cast(b)
	if err != nil {
		return nil, p.r.fail(start, ErrLink, err.Error())
	}
	p.cids = append(p.cids, c)
	return &p.cids[len(p.cids)-1], nil
}

// checkNode sets the height of a decoded node and checks its keys.
func checkNode(c cid.Cid, n *mst.Node, height int, within span) error {
	root := height == noHeight
	if len(n.Entries) == 0 {
		if !root {
			return errNode(c, "empty")
		}
		return nil
	}
	var low, high []byte // first and last key
	for i := range n.Entries {
		e := &n.Entries[i]
		if !e.IsValue() {
			continue
		}
		h := mst.HeightForKey(e.Key)
		if height == noHeight {
			height = h
		}
		if h != height {
			return errNode(c, "key of height %d in a node of height %d", h, height)
		}
		if low == nil {
			low = e.Key
		}
		high = e.Key
	}
	if height == noHeight {
		return errNode(c, "root without keys above another node")
	}
	if height == 0 && len(n.Entries) > 0 {
		for i := range n.Entries {
			if n.Entries[i].IsChild() {
				return errNode(c, "subtree below height 0")
			}
		}
	}
	if low != nil && (within.low != nil && bytes.Compare(low, within.low) <= 0 ||
		within.high != nil && bytes.Compare(high, within.high) >= 0) {
		return errNode(c, "keys out of order")
	}
	n.Height = height
	return nil
}

// appendNode appends the encoding of a node whose children all have a CID.
func appendNode(dst []byte, n *mst.Node) ([]byte, error) {
	count := 0
	for i := range n.Entries {
		e := &n.Entries[i]
		switch {
		case e.IsValue() && !e.IsChild():
			count++
		case e.ChildCID == nil || e.IsValue() || (i > 0 && n.Entries[i-1].IsChild()):
			return dst, fmt.Errorf("%w: malformed entry", ErrInvalidTree)
		}
	}
	if count > MaxNodeEntries {
		return dst, fmt.Errorf("%w: node with %d keys", ErrTooLarge, count)
	}
	dst = appendHead(append(dst, nodeHead...), cborArray, uint64(count))
	entries := n.Entries
	var left *cid.Cid
	if len(entries) > 0 && entries[0].IsChild() {
		left = entries[0].ChildCID
		entries = entries[1:]
	}
	var prev []byte
	for i := range entries {
		e := &entries[i]
		if e.IsChild() {
			continue
		}
		share := mst.CountPrefixLen(prev, e.Key)
		dst = appendByteString(append(dst, entryKey...), e.Key[share:])
		dst = appendHead(append(dst, entryShare...), cborUint, uint64(share))
		var right *cid.Cid
		if i+1 < len(entries) && entries[i+1].IsChild() {
			right = entries[i+1].ChildCID
		}
		dst = appendLinkOrNull(append(dst, entryRight...), right)
		dst = appendLink(append(dst, entryValue...), e.Value.KeyString())
		prev = e.Key
	}
	return appendLinkOrNull(append(dst, nodeLeft...), left), nil
}

func appendLinkOrNull(dst []byte, c *cid.Cid) []byte {
	if c == nil {
		return appendSimple(dst, cborNull)
	}
	return appendLink(dst, c.KeyString())
}
