package repo

import (
	"encoding/base64"
	"strconv"
)

// CBORToJSON appends the JSON form of a DAG-CBOR value to dst, without building
// the value. It is as strict as [DecodeCBOR], except that it does not look into
// the meaning of $type and blob references. Keys keep their order, $bytes has
// no padding, and only what JSON demands is escaped.
func CBORToJSON(dst, data []byte) ([]byte, error) {
	if len(data) > MaxCBORBytes {
		return dst, &DataError{Offset: MaxCBORBytes, Reason: ErrTooLarge}
	}
	r := cborReader{data: data}
	out, err := r.appendJSON(dst, 1)
	if err != nil {
		return dst, err
	}
	if r.left() > 0 {
		return dst, r.fail(r.pos, ErrSyntax, "bytes behind the value")
	}
	return out, nil
}

// AppendJSON appends the JSON form of a value to dst. It takes what
// [AppendCBOR] takes and writes object keys in the order of DAG-CBOR.
func AppendJSON(dst []byte, v any) ([]byte, error) {
	data, err := AppendCBOR(nil, v)
	if err != nil {
		return dst, err
	}
	return CBORToJSON(dst, data)
}

// appendJSON transcodes the next value. A container there has the given depth.
func (r *cborReader) appendJSON(dst []byte, depth int) ([]byte, error) {
	start := r.pos
	major, arg, err := r.head()
	if err != nil {
		return dst, err
	}
	switch major {
	case cborUint, cborNegInt:
		v, err := r.integer(start, major, arg)
		return strconv.AppendInt(dst, v, 10), err
	case cborBytes:
		b, err := r.take(start, arg)
		if err != nil {
			return dst, err
		}
		dst = append(dst, `{"$bytes":"`...)
		dst = base64.RawStdEncoding.AppendEncode(dst, b)
		return append(dst, `"}`...), nil
	case cborText:
		b, err := r.text(start, arg)
		return appendJSONString(dst, b), err
	case cborTag:
		b, err := r.link(start, arg)
		if err != nil {
			return dst, err
		}
		dst = append(dst, `{"$link":"`...)
		if dst, err = appendCIDString(dst, b); err != nil {
			return dst, r.fail(start, ErrLink, err.Error())
		}
		return append(dst, `"}`...), nil
	case cborSimple:
		switch arg {
		case cborFalse:
			return append(dst, "false"...), nil
		case cborTrue:
			return append(dst, "true"...), nil
		}
		return append(dst, "null"...), nil
	}
	if depth > MaxDepth {
		return dst, r.fail(start, ErrTooDeep, "")
	}
	if major == cborArray {
		return r.appendJSONArray(dst, start, arg, depth)
	}
	return r.appendJSONObject(dst, start, arg, depth)
}

func (r *cborReader) appendJSONArray(dst []byte, start int, arg uint64, depth int) ([]byte, error) {
	n, err := r.count(start, arg, 1)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = r.appendJSON(dst, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (r *cborReader) appendJSONObject(dst []byte, start int, arg uint64, depth int) ([]byte, error) {
	n, err := r.count(start, arg, 2)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	var prev []byte
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		at := r.pos
		key, err := r.mapKey(prev, i == 0)
		if err != nil {
			return dst, err
		}
		if reason := reservedKey(key); reason != nil {
			return dst, r.fail(at, reason, "reserved key in a map")
		}
		dst = append(appendJSONString(dst, key), ':')
		if dst, err = r.appendJSON(dst, depth+1); err != nil {
			return dst, err
		}
		prev = key
	}
	return append(dst, '}'), nil
}

// appendJSONString appends a string whose bytes are valid UTF-8.
func appendJSONString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}
