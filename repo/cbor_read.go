package repo

import (
	"fmt"
	"unicode/utf8"
)

// Major types of CBOR.
const (
	cborUint   = 0
	cborNegInt = 1
	cborBytes  = 2
	cborText   = 3
	cborArray  = 4
	cborMap    = 5
	cborTag    = 6
	cborSimple = 7
)

// Simple values, and the one tag, of DAG-CBOR.
const (
	cborFalse   = 20
	cborTrue    = 21
	cborNull    = 22
	cborLinkTag = 42
)

// cborReader reads the items of strict DAG-CBOR from a slice.
type cborReader struct {
	data []byte
	pos  int
}

// fail returns an error at the given offset.
func (r *cborReader) fail(at int, reason error, detail string) error {
	return &DataError{Offset: at, Reason: reason, Detail: detail}
}

// left is the number of bytes that have not been read.
func (r *cborReader) left() int { return len(r.data) - r.pos }

// head reads the head of an item: its major type and its argument in the
// shortest form. For simple values the argument is the value.
func (r *cborReader) head() (major byte, arg uint64, err error) {
	start := r.pos
	if start >= len(r.data) {
		return 0, 0, r.fail(start, ErrSyntax, "unexpected end")
	}
	b := r.data[start]
	r.pos++
	major, info := b>>5, b&0x1f
	if info < 24 {
		if major == cborSimple && (info < cborFalse || info > cborNull) {
			return 0, 0, r.fail(start, ErrSyntax, "simple value")
		}
		return major, uint64(info), nil
	}
	if major == cborSimple {
		if info >= 25 && info <= 27 {
			return 0, 0, r.fail(start, ErrFloat, "")
		}
		return 0, 0, r.fail(start, ErrSyntax, "simple value")
	}
	if info > 27 {
		return 0, 0, r.fail(start, ErrNotCanonical, "indefinite length or reserved head")
	}
	size := 1 << (info - 24)
	if r.left() < size {
		return 0, 0, r.fail(start, ErrSyntax, "unexpected end")
	}
	for _, c := range r.data[r.pos : r.pos+size] {
		arg = arg<<8 | uint64(c)
	}
	r.pos += size
	least := uint64(24)
	if size > 1 {
		least = 1 << (size * 4)
	}
	if arg < least {
		return 0, 0, r.fail(start, ErrNotCanonical, "number is not in its shortest form")
	}
	return major, arg, nil
}

// take returns the next n bytes, where n is the argument of a head at start.
func (r *cborReader) take(start int, n uint64) ([]byte, error) {
	if n > uint64(r.left()) {
		return nil, r.fail(start, ErrSyntax, "unexpected end")
	}
	b := r.data[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b, nil
}

// text returns the bytes of a text string whose head was read at start.
func (r *cborReader) text(start int, n uint64) ([]byte, error) {
	b, err := r.take(start, n)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(b) {
		return nil, r.fail(start, ErrString, "")
	}
	return b, nil
}

// integer turns the head of an integer into its value.
func (r *cborReader) integer(start int, major byte, arg uint64) (int64, error) {
	if major == cborUint {
		if arg > MaxInteger {
			return 0, r.fail(start, ErrInteger, "")
		}
		return int64(arg), nil
	}
	if arg > MaxInteger-1 {
		return 0, r.fail(start, ErrInteger, "")
	}
	return -1 - int64(arg), nil
}

// link reads the content of a tag, whose head was read at start: the binary
// form of a CID.
func (r *cborReader) link(start int, tag uint64) ([]byte, error) {
	if tag != cborLinkTag {
		return nil, r.fail(start, ErrSyntax, fmt.Sprintf("tag %d", tag))
	}
	major, n, err := r.head()
	if err != nil {
		return nil, err
	}
	if major != cborBytes || n < 2 || n > MaxCIDBytes+1 {
		return nil, r.fail(start, ErrLink, "")
	}
	b, err := r.take(start, n)
	if err != nil {
		return nil, err
	}
	if b[0] != 0 {
		return nil, r.fail(start, ErrLink, "multibase prefix is not zero")
	}
	return b[1:], nil
}

// count checks the number of items that a head announces against what the
// remaining bytes can hold, at least size bytes each.
func (r *cborReader) count(start int, n uint64, size int) (int, error) {
	if n > uint64(r.left()/size) {
		return 0, r.fail(start, ErrSyntax, "more items than bytes")
	}
	return int(n), nil
}

// mapKey reads a key of a map and checks that it stands behind prev; first says
// that there is none before it.
func (r *cborReader) mapKey(prev []byte, first bool) ([]byte, error) {
	start := r.pos
	major, n, err := r.head()
	if err != nil {
		return nil, err
	}
	if major != cborText {
		return nil, r.fail(start, ErrSyntax, "key is no text")
	}
	key, err := r.text(start, n)
	if err != nil {
		return nil, err
	}
	if !first {
		switch c := compareKeys(prev, key); {
		case c == 0:
			return nil, r.fail(start, ErrDuplicateKey, string(key))
		case c > 0:
			return nil, r.fail(start, ErrKeyOrder, string(key))
		}
	}
	return key, nil
}

// compareKeys orders the keys of a map as DAG-CBOR does: shorter ones first,
// then by bytes.
func compareKeys[A, B []byte | string](a A, b B) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	for i := 0; i < len(a); i++ {
		if a[i] != b[i] {
			return int(a[i]) - int(b[i])
		}
	}
	return 0
}

// appendHead appends the shortest head for a major type and argument.
func appendHead(dst []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < 24:
		return append(dst, major|byte(arg))
	case arg < 1<<8:
		return append(dst, major|24, byte(arg))
	case arg < 1<<16:
		return append(dst, major|25, byte(arg>>8), byte(arg))
	case arg < 1<<32:
		return append(dst, major|26, byte(arg>>24), byte(arg>>16), byte(arg>>8), byte(arg))
	}
	return append(dst, major|27, byte(arg>>56), byte(arg>>48), byte(arg>>40), byte(arg>>32),
		byte(arg>>24), byte(arg>>16), byte(arg>>8), byte(arg))
}

// appendText appends a text string.
func appendText(dst []byte, s string) []byte {
	return append(appendHead(dst, cborText, uint64(len(s))), s...)
}

// appendByteString appends a byte string.
func appendByteString(dst, b []byte) []byte {
	return append(appendHead(dst, cborBytes, uint64(len(b))), b...)
}

// appendInt appends an integer.
func appendInt(dst []byte, v int64) []byte {
	if v < 0 {
		return appendHead(dst, cborNegInt, uint64(-1-v))
	}
	return appendHead(dst, cborUint, uint64(v))
}

// appendSimple appends false, true or null.
func appendSimple(dst []byte, v byte) []byte { return append(dst, cborSimple<<5|v) }

// appendLink appends a link: tag 42 around the binary form of a CID, given as
// string or bytes.
func appendLink[T []byte | string](dst []byte, c T) []byte {
	dst = appendHead(dst, cborTag, cborLinkTag)
	dst = appendHead(dst, cborBytes, uint64(len(c)+1))
	return append(append(dst, 0), c...)
}
