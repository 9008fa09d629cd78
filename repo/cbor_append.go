package repo

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/ipfs/go-cid"
)

// AppendCBOR appends the canonical DAG-CBOR encoding of a value to dst. Besides
// what [DecodeJSON] returns it takes every integer type, [cid.Cid], []byte,
// []string and [encoding.TextMarshaler] (the identifiers of package syntax),
// so that programs can build records from their own variables. Anything else,
// floating point numbers included, gives an error; errors are [*DataError]
// values with the path of the offending value. Without an error the appended
// bytes decode again. The caller must not change the value meanwhile.
func AppendCBOR(dst []byte, v any) ([]byte, error) { return appendValue(dst, v, 1) }

func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return appendSimple(dst, cborNull), nil
	case bool:
		if v {
			return appendSimple(dst, cborTrue), nil
		}
		return appendSimple(dst, cborFalse), nil
	case string:
		return appendString(dst, v)
	case int64:
		return appendSafeInt(dst, v)
	case int:
		return appendSafeInt(dst, int64(v))
	case map[string]any:
		return appendMap(dst, v, depth)
	case []any:
		return appendList(dst, v, depth, appendValue)
	case []string:
		return appendList(dst, v, depth, func(dst []byte, s string, _ int) ([]byte, error) { return appendString(dst, s) })
	case atdata.CIDLink:
		return appendCID(dst, v.CID())
	case cid.Cid:
		return appendCID(dst, v)
	case atdata.Bytes:
		return appendByteString(dst, v), nil
	case []byte:
		return appendByteString(dst, v), nil
	case atdata.Blob:
		return appendBlob(dst, v, depth)
	case encoding.TextMarshaler:
		b, err := v.MarshalText()
		if err != nil {
			return dst, &DataError{Offset: -1, Reason: ErrUnsupported, Detail: err.Error()}
		}
		return appendString(dst, string(b))
	}
	return appendOther(dst, v)
}

// appendOther appends the rarer integer types and refuses the rest.
func appendOther(dst []byte, v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return appendSafeInt(dst, rv.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if rv.Uint() > MaxInteger {
			return dst, &DataError{Offset: -1, Reason: ErrInteger}
		}
		return appendSafeInt(dst, int64(rv.Uint()))
	case reflect.Float32, reflect.Float64:
		return dst, &DataError{Offset: -1, Reason: ErrFloat}
	}
	return dst, &DataError{Offset: -1, Reason: ErrUnsupported, Detail: fmt.Sprintf("%T", v)}
}

func appendString(dst []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return dst, &DataError{Offset: -1, Reason: ErrString}
	}
	return appendText(dst, s), nil
}

func appendSafeInt(dst []byte, v int64) ([]byte, error) {
	if v > MaxInteger || v < -MaxInteger {
		return dst, &DataError{Offset: -1, Reason: ErrInteger}
	}
	return appendInt(dst, v), nil
}

func appendCID(dst []byte, c cid.Cid) ([]byte, error) {
	if !c.Defined() || c.ByteLen() > MaxCIDBytes {
		return dst, &DataError{Offset: -1, Reason: ErrLink, Detail: "undefined, or too long"}
	}
	return appendLink(dst, c.KeyString()), nil
}

// appendBlob appends a blob reference, of the legacy form if its size is below
// zero. The keys stand in canonical order.
func appendBlob(dst []byte, b atdata.Blob, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return dst, &DataError{Offset: -1, Reason: ErrTooDeep}
	}
	ref := b.Ref.CID()
	if !ref.Defined() || ref.ByteLen() > MaxCIDBytes || b.Size > MaxInteger || !utf8.ValidString(b.MimeType) {
		return dst, &DataError{Offset: -1, Reason: ErrBlob}
	}
	if b.Size < 0 {
		dst = appendHead(dst, cborMap, 2)
		dst = appendText(appendText(dst, keyCID), ref.String())
		return appendText(appendText(dst, keyMimeType), b.MimeType), nil
	}
	dst = appendHead(dst, cborMap, 4)
	dst = appendLink(appendText(dst, keyRef), ref.KeyString())
	dst = appendInt(appendText(dst, keySize), b.Size)
	dst = appendText(appendText(dst, keyType), typeBlob)
	return appendText(appendText(dst, keyMimeType), b.MimeType), nil
}

func appendList[T any](dst []byte, list []T, depth int, item func([]byte, T, int) ([]byte, error)) ([]byte, error) {
	if depth > MaxDepth {
		return dst, &DataError{Offset: -1, Reason: ErrTooDeep}
	}
	dst = appendHead(dst, cborArray, uint64(len(list)))
	var err error
	for i, v := range list {
		if dst, err = item(dst, v, depth+1); err != nil {
			return dst, within(err, strconv.Itoa(i))
		}
	}
	return dst, nil
}

func appendMap(dst []byte, m map[string]any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return dst, &DataError{Offset: -1, Reason: ErrTooDeep}
	}
	var room [16]string
	keys := room[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	if err := checkMeaning(m); err != nil {
		return dst, err
	}
	dst = appendHead(dst, cborMap, uint64(len(keys)))
	var err error
	for _, k := range keys {
		if reason := reservedKey(k); reason != nil {
			return dst, &DataError{Offset: -1, Path: "/" + k, Reason: reason, Detail: "use the type for it"}
		}
		if dst, err = appendString(dst, k); err != nil {
			return dst, within(err, k)
		}
		if dst, err = appendValue(dst, m[k], depth+1); err != nil {
			return dst, within(err, k)
		}
	}
	return dst, nil
}

// checkMeaning refuses maps with a bad $type, and maps that would come back as
// a malformed blob.
func checkMeaning(m map[string]any) error {
	t, ok := m[keyType]
	if !ok && len(m) != 2 {
		return nil
	}
	if ok && t != typeBlob {
		switch t := t.(type) {
		case string:
			if t != "" {
				return nil
			}
		case encoding.TextMarshaler:
			if b, err := t.MarshalText(); err == nil && len(b) > 0 && string(b) != typeBlob {
				return nil
			}
		}
		return &DataError{Offset: -1, Path: "/" + keyType, Reason: ErrType}
	}
	flat := make(map[string]any, len(m))
	for k, v := range m {
		switch v := v.(type) {
		case cid.Cid:
			flat[k] = atdata.CIDLink(v)
		case int:
			flat[k] = int64(v)
		default:
			flat[k] = v
		}
	}
	if _, reason, detail := typed(flat); reason != nil {
		return &DataError{Offset: -1, Reason: reason, Detail: detail}
	}
	return nil
}

// within puts a key or index in front of the path of an error.
func within(err error, name string) error {
	if e, ok := err.(*DataError); ok {
		e.Path = "/" + name + e.Path
	}
	return err
}
