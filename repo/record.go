package repo

import (
	"maps"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Record is a record in all the forms that a write needs.
type Record struct {
	// Value is the record as the data model has it; see [DecodeJSON].
	Value map[string]any

	// Type is the record's $type; empty only if it came from DAG-CBOR and has
	// none. It is not checked to be an NSID.
	Type string

	// CBOR is the record's block and CID its name.
	CBOR []byte
	CID  cid.Cid

	// Blobs are the blob references in the record, one for each place where
	// one stands; the same blob may occur more than once.
	Blobs []BlobRef
}

// RecordFromJSON reads a record from JSON as [DecodeJSON] does and encodes it.
// A record without $type gets defaultType, unless that is empty too, which is
// an error. The encoding may have [MaxRecordBytes]. Errors are [*DataError]
// values.
func RecordFromJSON(data []byte, defaultType syntax.NSID) (*Record, error) {
	d := jsonDecoder{defaultType: string(defaultType)}
	v, err := d.decode(data)
	if err != nil {
		return nil, err
	}
	rec, err := newRecord(v, d.out, d.blobs)
	if err == nil && rec.Type == "" {
		return nil, &DataError{Offset: 0, Reason: ErrType, Detail: "missing"}
	}
	return rec, err
}

// RecordFromValue makes a record from a value in memory. It takes what
// [AppendCBOR] takes, is otherwise like [RecordFromJSON], and neither changes
// nor keeps v.
func RecordFromValue(v map[string]any, defaultType syntax.NSID) (*Record, error) {
	if _, ok := v[keyType]; !ok {
		if defaultType == "" {
			return nil, &DataError{Offset: -1, Path: "/" + keyType, Reason: ErrType, Detail: "missing"}
		}
		named := make(map[string]any, len(v)+1)
		maps.Copy(named, v)
		named[keyType] = string(defaultType)
		v = named
	}
	data, err := AppendCBOR(nil, v)
	if err != nil {
		return nil, err
	}
	return RecordFromCBOR(data)
}

// RecordFromCBOR reads a record from its block as [DecodeCBOR] does. The block
// may have [MaxRecordBytes]; the record keeps data, which the caller must not
// change any more.
func RecordFromCBOR(data []byte) (*Record, error) {
	v, blobs, err := decodeCBOR(data, MaxRecordBytes)
	if err != nil {
		return nil, err
	}
	return newRecord(v, data, blobs)
}

// newRecord checks what is common to all forms.
func newRecord(v any, data []byte, blobs []BlobRef) (*Record, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, &DataError{Offset: 0, Reason: ErrNotObject}
	}
	if len(data) > MaxRecordBytes {
		return nil, &DataError{Offset: -1, Reason: ErrTooLarge}
	}
	name, _ := m[keyType].(string) // typed has checked it
	return &Record{Value: m, Type: name, CBOR: data, CID: CIDOf(data), Blobs: blobs}, nil
}
