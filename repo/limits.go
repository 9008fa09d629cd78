package repo

// Limits of the data model.
const (
	// MaxRecordBytes is the largest DAG-CBOR encoding of a record.
	MaxRecordBytes = 1_000_000

	// MaxJSONBytes is the largest JSON document that [DecodeJSON] reads.
	MaxJSONBytes = 2 << 20

	// MaxCBORBytes is the largest DAG-CBOR document that [DecodeCBOR] and
	// [CBORToJSON] read; records are limited further by [MaxRecordBytes].
	MaxCBORBytes = 5 << 20

	// MaxDepth is the greatest number of objects and arrays inside each other,
	// the outermost included. Links and byte strings are no containers.
	MaxDepth = 32

	// MaxInteger is the largest integer, and its negative the smallest: the
	// range in which a JSON number of any implementation is exact.
	MaxInteger = 1<<53 - 1

	// MaxCIDBytes is the largest binary form of a CID in a link.
	MaxCIDBytes = 100
)

// Limits of the tree.
const (
	// MaxKeyBytes is the longest key ("collection/rkey") in a tree.
	MaxKeyBytes = 1024

	// MaxNodeEntries is the largest number of keys in one node of a tree, as
	// other implementations have it. Honest trees hold about four.
	MaxNodeEntries = 8192

	// MaxNodeBytes is the largest encoding of a node.
	MaxNodeBytes = 2 << 20
)

// MaxCommitBytes is the largest encoding of a commit.
const MaxCommitBytes = 16 << 10
