package repo

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atdata"
)

// DecodeJSON decodes one JSON value of the data model, strictly: integers must
// be exact and at most [MaxInteger] in size (1.0, 1e3 and -0 count as
// integers), keys unique, strings valid Unicode, {"$link"} and {"$bytes"} and
// typed blob references well formed, at most [MaxJSONBytes] and [MaxDepth]. The
// value shares no memory with data; what types it is made of is said in the
// package comment. A blob reference of either form becomes an [atdata.Blob] (of
// size -1 if it is a legacy one). Errors are [*DataError] values with an offset.
func DecodeJSON(data []byte) (any, error) {
	d := jsonDecoder{}
	return d.decode(data)
}

// jsonDecoder builds a value and its DAG-CBOR encoding in one pass. Strings
// are parts of one copy of the input, unless they contain escapes.
type jsonDecoder struct {
	text string
	pos  int

	out   []byte // DAG-CBOR of what has been read
	pairs []pair // of the objects that are being read, innermost last
	items []any  // of the arrays that are being read, innermost last
	tmp   []byte // room for strings with escapes, and for sorting
	blobs []BlobRef

	defaultType string // becomes the $type of an outermost object without one
}

// pair is a key of an object that is being read, with its value and the range
// in out that both take.
type pair struct {
	key        string
	value      any
	start, end int
}

// fail returns an error at the given offset.
func (d *jsonDecoder) fail(at int, reason error, detail string) error {
	return &DataError{Offset: at, Reason: reason, Detail: detail}
}

func (d *jsonDecoder) decode(data []byte) (any, error) {
	if len(data) > MaxJSONBytes {
		return nil, d.fail(MaxJSONBytes, ErrTooLarge, "")
	}
	d.text = string(data)
	d.out = make([]byte, 0, len(data)+64)
	d.pairs = make([]pair, 0, 16)
	v, err := d.value(1)
	if err != nil {
		return nil, err
	}
	if d.space(); d.pos < len(d.text) {
		return nil, d.fail(d.pos, ErrSyntax, "bytes behind the value")
	}
	return v, nil
}

// space skips white space.
func (d *jsonDecoder) space() {
	for d.pos < len(d.text) {
		switch d.text[d.pos] {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return
		}
	}
}

// next skips white space and returns the byte behind it without reading it;
// zero at the end of the input.
func (d *jsonDecoder) next() byte {
	d.space()
	if d.pos == len(d.text) {
		return 0
	}
	return d.text[d.pos]
}

// value reads the next value. A container there has the given depth.
func (d *jsonDecoder) value(depth int) (any, error) {
	switch c := d.next(); c {
	case '{':
		return d.object(depth)
	case '[':
		return d.array(depth)
	case '"':
		s, err := d.str()
		if err != nil {
			return nil, err
		}
		d.out = appendText(d.out, s)
		return s, nil
	case 't':
		return true, d.word("true", cborTrue)
	case 'f':
		return false, d.word("false", cborFalse)
	case 'n':
		return nil, d.word("null", cborNull)
	default:
		if c == '-' || ('0' <= c && c <= '9') {
			v, err := d.number()
			if err != nil {
				return nil, err
			}
			d.out = appendInt(d.out, v)
			return v, nil
		}
		if c == 0 && d.pos == len(d.text) {
			return nil, d.fail(d.pos, ErrSyntax, "unexpected end")
		}
		return nil, d.fail(d.pos, ErrSyntax, "unexpected character")
	}
}

// word reads a literal and appends its simple value.
func (d *jsonDecoder) word(w string, simple byte) error {
	if !strings.HasPrefix(d.text[d.pos:], w) {
		return d.fail(d.pos, ErrSyntax, "unexpected character")
	}
	d.pos += len(w)
	d.out = appendSimple(d.out, simple)
	return nil
}

// array reads an array; the opening bracket is next.
func (d *jsonDecoder) array(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, d.fail(d.pos, ErrTooDeep, "")
	}
	d.pos++
	start := len(d.out)
	d.out = append(d.out, 0) // a head of one byte will mostly do
	base := len(d.items)
	if d.next() == ']' {
		d.pos++
	} else {
		for {
			v, err := d.value(depth + 1)
			if err != nil {
				return nil, err
			}
			d.items = append(d.items, v)
			c := d.next()
			d.pos++
			if c == ']' {
				break
			}
			if c != ',' {
				return nil, d.fail(d.pos-1, ErrSyntax, "expected comma or bracket")
			}
		}
	}
	list := append(make([]any, 0, len(d.items)-base), d.items[base:]...)
	d.items = d.items[:base]
	var room [9]byte
	head := appendHead(room[:0], cborArray, uint64(len(list)))
	d.out = slices.Replace(d.out, start, start+1, head...)
	return list, nil
}

// object reads an object; the opening brace is next.
func (d *jsonDecoder) object(depth int) (any, error) {
	at := d.pos
	d.pos++
	base, start := len(d.pairs), len(d.out)
	d.out = append(d.out, 0) // a head of one byte will mostly do
	if d.next() == '}' {
		d.pos++
		return d.finish(at, base, start, depth)
	}
	for {
		if d.next() != '"' {
			return nil, d.fail(d.pos, ErrSyntax, "expected a key")
		}
		p := pair{start: len(d.out)}
		var err error
		if p.key, err = d.str(); err != nil {
			return nil, err
		}
		reserved := reservedKey(p.key)
		if depth > MaxDepth && reserved == nil {
			return nil, d.fail(at, ErrTooDeep, "")
		}
		if d.next() != ':' {
			return nil, d.fail(d.pos, ErrSyntax, "expected a colon")
		}
		d.pos++
		if reserved != nil && d.next() != '"' { // also bounds the depth
			return nil, d.fail(at, reserved, "not a string")
		}
		d.out = appendText(d.out, p.key)
		if p.value, err = d.value(depth + 1); err != nil {
			return nil, err
		}
		p.end = len(d.out)
		d.pairs = append(d.pairs, p)
		c := d.next()
		d.pos++
		if c == '}' {
			return d.finish(at, base, start, depth)
		}
		if c != ',' {
			return nil, d.fail(d.pos-1, ErrSyntax, "expected comma or brace")
		}
	}
}

// finish turns the pairs above base into a value. Their encodings stand in out
// behind the byte at start. The object began at offset at.
func (d *jsonDecoder) finish(at, base, start, depth int) (any, error) {
	typeName := any("") // the value of $type
	hasType := false
	for i := base; i < len(d.pairs); i++ {
		p := &d.pairs[i]
		if p.key == "" || p.key[0] != '$' {
			continue
		}
		if reservedKey(p.key) != nil {
			v, err := d.special(at, start, d.pairs[base:])
			d.pairs = d.pairs[:base]
			return v, err
		}
		if p.key == keyType {
			typeName, hasType = p.value, true
		}
	}
	if depth > MaxDepth {
		return nil, d.fail(at, ErrTooDeep, "")
	}
	if depth == 1 && d.defaultType != "" && !hasType {
		p := pair{key: keyType, value: d.defaultType, start: len(d.out)}
		d.out = appendText(appendText(d.out, keyType), d.defaultType)
		p.end = len(d.out)
		d.pairs = append(d.pairs, p)
		typeName, hasType = p.value, true
	}
	m, err := d.assemble(at, start, d.pairs[base:])
	if err != nil {
		return nil, err
	}
	d.pairs = d.pairs[:base]
	if name, ok := typeName.(string); !hasType && len(m) != 2 || ok && name != "" && name != typeBlob {
		return m, nil // most objects; spares looking keys up
	}
	v, reason, detail := typed(m)
	if reason != nil {
		return nil, d.fail(at, reason, detail)
	}
	if b, ok := v.(atdata.Blob); ok {
		d.blobs = append(d.blobs, blobRef(b))
	}
	return v, nil
}

// assemble makes a map of the pairs and writes head and pairs, in canonical
// order, to out from start on.
func (d *jsonDecoder) assemble(at, start int, pairs []pair) (map[string]any, error) {
	byKey := func(a, b pair) int { return compareKeys(a.key, b.key) }
	sorted := slices.IsSortedFunc(pairs, byKey)
	if !sorted {
		slices.SortFunc(pairs, byKey)
	}
	m := make(map[string]any, len(pairs))
	for i := range pairs {
		if i > 0 && pairs[i-1].key == pairs[i].key {
			return nil, d.fail(at, ErrDuplicateKey, pairs[i].key)
		}
		m[pairs[i].key] = pairs[i].value
	}
	if sorted && len(pairs) < 24 {
		appendHead(d.out[:start], cborMap, uint64(len(pairs)))
		return m, nil
	}
	if start == 0 { // the outermost object: leave slack and scraps behind
		d.tmp, d.out = d.out, make([]byte, 0, len(d.out)+8)
	} else {
		d.tmp = append(d.tmp[:0], d.out[start:]...)
	}
	d.out = appendHead(d.out[:start], cborMap, uint64(len(pairs)))
	for i := range pairs {
		d.out = append(d.out, d.tmp[pairs[i].start-start:pairs[i].end-start]...)
	}
	return m, nil
}

// special turns an object with a $link or $bytes key into what it stands for.
func (d *jsonDecoder) special(at, start int, pairs []pair) (any, error) {
	reason := ErrLink
	if pairs[0].key == keyBytes {
		reason = ErrBytes
	}
	s, ok := pairs[0].value.(string)
	if len(pairs) != 1 || !ok {
		return nil, d.fail(at, reason, "need exactly one field")
	}
	d.out = d.out[:start]
	if reason == ErrLink {
		c, err := parseCID(s)
		if err != nil {
			return nil, d.fail(at, ErrLink, err.Error())
		}
		d.out = appendLink(d.out, c.KeyString())
		return atdata.CIDLink(c), nil
	}
	b, ok := decodeBase64(s)
	if !ok {
		return nil, d.fail(at, ErrBytes, "not base64")
	}
	d.out = appendByteString(d.out, b)
	return atdata.Bytes(b), nil
}

// decodeBase64 decodes base64 with or without padding. It refuses line breaks
// and trailing bits that are not zero.
func decodeBase64(s string) ([]byte, bool) {
	enc := base64.RawStdEncoding
	if strings.HasSuffix(s, "=") {
		enc = base64.StdEncoding
	}
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := enc.Strict().DecodeString(s)
	if b == nil {
		b = []byte{}
	}
	return b, err == nil
}
