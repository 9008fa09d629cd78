package repo

import (
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/ipfs/go-cid"
)

// Keys and values with a meaning in the data model.
const (
	keyType     = "$type"
	keyLink     = "$link"
	keyBytes    = "$bytes"
	keyRef      = "ref"
	keyMimeType = "mimeType"
	keySize     = "size"
	keyCID      = "cid"
	typeBlob    = "blob"
)

// legacyBlobSize is the size by which indigo marks a blob of the legacy form.
const legacyBlobSize = -1

// BlobRef is a reference to a blob, found anywhere in a record.
type BlobRef struct {
	CID      cid.Cid
	MimeType string
	Size     int64 // in bytes; -1 in the legacy form

	// Legacy says that the reference has the form {cid, mimeType}, which new
	// records must not contain.
	Legacy bool
}

// blobRef describes a blob as the data model holds it.
func blobRef(b atdata.Blob) BlobRef {
	return BlobRef{CID: b.Ref.CID(), MimeType: b.MimeType, Size: b.Size, Legacy: b.Size < 0}
}

// typed applies the rules for objects with a meaning to a decoded object: it
// checks $type and returns a blob in place of an object that describes one. If
// reason is not nil the object is malformed.
func typed(m map[string]any) (v any, reason error, detail string) { //nolint:staticcheck // ST1008: reason is an answer, not a failure
	if t, ok := m[keyType]; ok {
		name, ok := t.(string)
		if !ok || name == "" {
			return nil, ErrType, "not a string, or empty"
		}
		if name != typeBlob {
			return m, nil, ""
		}
		b, detail := typedBlob(m)
		if detail != "" {
			return nil, ErrBlob, detail
		}
		return b, nil, ""
	}
	if len(m) != 2 {
		return m, nil, ""
	}
	mime, ok1 := m[keyMimeType].(string)
	link, ok2 := m[keyCID].(string)
	if !ok1 || !ok2 {
		return m, nil, ""
	}
	c, err := parseCID(link)
	if err != nil { // two fields that happen to have these names
		return m, nil, ""
	}
	if c.String() != link {
		return nil, ErrBlob, "CID of a legacy blob is not in canonical form"
	}
	return atdata.Blob{Ref: atdata.CIDLink(c), MimeType: mime, Size: legacyBlobSize}, nil, ""
}

// typedBlob reads an object whose $type is "blob". A detail that is not empty
// says what is wrong with it.
func typedBlob(m map[string]any) (b atdata.Blob, detail string) {
	if len(m) != 4 {
		return b, "need exactly $type, ref, mimeType and size"
	}
	var ok bool
	if b.Ref, ok = m[keyRef].(atdata.CIDLink); !ok {
		return b, "ref is no link"
	}
	if b.MimeType, ok = m[keyMimeType].(string); !ok {
		return b, "mimeType is no string"
	}
	if b.Size, ok = m[keySize].(int64); !ok || b.Size < 0 {
		return b, "size is no length"
	}
	return b, ""
}
