package repo

import (
	"github.com/bluesky-social/indigo/atproto/atdata"
)

// DecodeCBOR decodes one value of strict DAG-CBOR: lengths and integers in
// their shortest form, keys unique and in canonical order, valid UTF-8, no
// floating point numbers, no tag but links, nothing behind the value, at most
// [MaxCBORBytes] and [MaxDepth]. The value shares no memory with data; what
// types it is made of is said in the package comment. A blob reference of
// either form becomes an [atdata.Blob] (of size -1 if it is a legacy one).
// Errors are [*DataError] values with an offset.
func DecodeCBOR(data []byte) (any, error) {
	v, _, err := decodeCBOR(data, MaxCBORBytes)
	return v, err
}

// decodeCBOR also returns the blob references in the value.
func decodeCBOR(data []byte, limit int) (any, []BlobRef, error) {
	if len(data) > limit {
		return nil, nil, &DataError{Offset: limit, Reason: ErrTooLarge}
	}
	d := cborDecoder{r: cborReader{data: data}, text: string(data)}
	v, err := d.value(1)
	if err != nil {
		return nil, nil, err
	}
	if d.r.left() > 0 {
		return nil, nil, d.r.fail(d.r.pos, ErrSyntax, "bytes behind the value")
	}
	return v, d.blobs, nil
}

// cborDecoder builds values. Strings are parts of one copy of the input.
type cborDecoder struct {
	r     cborReader
	text  string
	blobs []BlobRef
}

// value reads the next value. A container there has the given depth.
func (d *cborDecoder) value(depth int) (any, error) {
	r := &d.r
	start := r.pos
	major, arg, err := r.head()
	if err != nil {
		return nil, err
	}
	switch major {
	case cborUint, cborNegInt:
		return asAny(r.integer(start, major, arg))
	case cborBytes:
		b, err := r.take(start, arg)
		if err != nil {
			return nil, err
		}
		return atdata.Bytes(append(make([]byte, 0, len(b)), b...)), nil
	case cborText:
		if _, err := r.text(start, arg); err != nil {
			return nil, err
		}
		return d.text[r.pos-int(arg) : r.pos], nil
	case cborTag:
		b, err := r.link(start, arg)
		if err != nil {
			return nil, err
		}
		c, err := castCID(b)
		if err != nil {
			return nil, r.fail(start, ErrLink, err.Error())
		}
		return atdata.CIDLink(c), nil
	case cborSimple:
		if arg == cborNull {
			return nil, nil
		}
		return arg == cborTrue, nil
	}
	if depth > MaxDepth {
		return nil, r.fail(start, ErrTooDeep, "")
	}
	if major == cborArray {
		return d.array(start, arg, depth)
	}
	return d.object(start, arg, depth)
}

// asAny passes an integer or its error on.
func asAny(v int64, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// array reads the items of an array whose head was read at start.
func (d *cborDecoder) array(start int, arg uint64, depth int) (any, error) {
	n, err := d.r.count(start, arg, 1)
	if err != nil {
		return nil, err
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// object reads the pairs of a map whose head was read at start.
func (d *cborDecoder) object(start int, arg uint64, depth int) (any, error) {
	n, err := d.r.count(start, arg, 2)
	if err != nil {
		return nil, err
	}
	m := make(map[string]any, min(n, 1024))
	var prev []byte
	plain := n != 2 // whether the object cannot have a meaning of its own
	for i := range n {
		at := d.r.pos
		key, err := d.r.mapKey(prev, i == 0)
		if err != nil {
			return nil, err
		}
		if reason := reservedKey(key); reason != nil {
			return nil, d.r.fail(at, reason, "reserved key in a map")
		}
		name := d.text[d.r.pos-len(key) : d.r.pos]
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		m[name] = v
		prev = key
		if name == keyType {
			t, ok := v.(string)
			plain = ok && t != "" && t != typeBlob
		}
	}
	if plain {
		return m, nil
	}
	v, reason, detail := typed(m)
	if reason != nil {
		return nil, d.r.fail(start, reason, detail)
	}
	if b, ok := v.(atdata.Blob); ok {
		d.blobs = append(d.blobs, blobRef(b))
	}
	return v, nil
}

// reservedKey returns the reason why a DAG-CBOR map cannot have the key, which
// in JSON would make it a link or a byte string; nil if it can.
func reservedKey[T []byte | string](key T) error {
	switch {
	case len(key) == 0 || key[0] != '$':
	case string(key) == keyLink:
		return ErrLink
	case string(key) == keyBytes:
		return ErrBytes
	}
	return nil
}
