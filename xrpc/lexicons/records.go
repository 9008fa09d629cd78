package lexicons

import (
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ValidateRecord checks a record against the schema of its collection. known
// is false if the catalog has no record schema of that NSID; such a record
// passes. The values of the record have the types of package atdata of
// indigo: map[string]any, []any, string, int64, bool, nil, atdata.Blob,
// atdata.Bytes, atdata.CIDLink. "$type" must be the NSID.
//
// It accepts and refuses what ValidateRecord of indigo's package lexicon
// does, except that "$type" values with and without "#main" are the same,
// that a record may stand in a union, and that errors tell the path. Zero
// flags mean strict datetimes and no blobs of the old form.
func (c *Catalog) ValidateRecord(record map[string]any, nsid string, flags Flags) (known bool, err error) {
	f, err := c.file(nsid)
	if err != nil {
		return false, err
	}
	if f == nil || f.record == nil {
		return false, nil
	}
	if t, ok := record["$type"].(string); !ok || t != nsid {
		return true, fail("$type must be %q", nsid)
	}
	return true, f.record.object.check(record, flags)
}

// CheckRecordKey checks a record key against what the schema of the
// collection says of keys: "tid", "nsid", "any", or "literal:" and the only
// key there is. known is as in [Catalog.ValidateRecord]; the syntax of record
// keys in general is not checked.
func (c *Catalog) CheckRecordKey(nsid, key string) (known bool, err error) {
	f, err := c.file(nsid)
	if err != nil {
		return false, err
	}
	if f == nil || f.record == nil {
		return false, nil
	}
	literal, isLiteral := strings.CutPrefix(f.record.key, "literal:")
	switch {
	case isLiteral && key != literal:
		return true, fail("record key must be %q", literal)
	case f.record.key == "tid":
		if _, err := syntax.ParseTID(key); err != nil {
			return true, fail("record key must be a TID")
		}
	case f.record.key == "nsid":
		if _, err := syntax.ParseNSID(key); err != nil {
			return true, fail("record key must be an NSID")
		}
	}
	return true, nil
}
