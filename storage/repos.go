package storage

import (
	"iter"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Repos is the role of [Tx] that holds repositories: the signed commit, the
// nodes of the tree, and the records, whose values are the record blocks.
type Repos interface {
	// Head returns the current commit of did's repository, or [ErrNotFound].
	Head(did syntax.DID) (Head, error)

	// Apply moves the head of a repository. It is the only way in which a
	// head moves. See [Commit] for what it checks; if a check fails it
	// returns [ErrConflict] and the transaction must not go on.
	Apply(c *Commit) error

	// Record returns a record with its value, or [ErrNotFound].
	Record(did syntax.DID, collection syntax.NSID, rkey syntax.RecordKey) (Record, error)

	// ListRecords returns the records of a collection in the byte order of
	// their keys, or in reverse. Records that are taken down are included.
	ListRecords(did syntax.DID, collection syntax.NSID, r Range) ([]Record, error)

	// ListRecordsSince returns up to limit records whose Rev is above since,
	// in ascending order of (Rev, collection, key).
	ListRecordsSince(did syntax.DID, since syntax.TID, limit int) ([]Record, error)

	// ListBacklinks returns up to limit records of the collection whose
	// Backlink equals target, oldest Rev first.
	ListBacklinks(did syntax.DID, collection syntax.NSID, target string, limit int) ([]Record, error)

	// ListCollections returns the collections that hold at least one record,
	// in byte order. Its cost does not grow with the number of records.
	ListCollections(did syntax.DID) ([]syntax.NSID, error)

	// SetRecordTakedown marks a record as taken down, or, with an empty ref,
	// as restored. The record stays in the tree, in proofs and in exports.
	// It returns [ErrNotFound] if there is no such record. The mark leaves
	// with the record.
	SetRecordTakedown(did syntax.DID, collection syntax.NSID, rkey syntax.RecordKey, ref string) error

	// Block returns the block with this CID of did's repository: the current
	// commit, a node of its tree or a record; [ErrNotFound] otherwise.
	Block(did syntax.DID, c cid.Cid) ([]byte, error)

	// Export yields every block of the repository that is newer than since
	// (all, if since is empty): the commit first, then tree nodes and records
	// in descending order of the rev that brought them, each CID once. The
	// memory it needs does not grow with the repository. An error ends the
	// sequence. Without a repository the only element is [ErrNotFound].
	Export(did syntax.DID, since syntax.TID) iter.Seq2[Block, error]

	// NewGeneration begins an unpublished generation of did's repository, to
	// be filled by Stage and published by Apply. It returns [ErrNotFound] if
	// there is no account. Generations that were not published when a store
	// with a single process opens are dropped; others are abandoned, and
	// collected, after [GenerationTTL].
	NewGeneration(did syntax.DID) (Generation, error)

	// Stage adds nodes and records to an unpublished generation; what is
	// there already is replaced. It returns [ErrNotFound] if there is no such
	// unpublished generation.
	Stage(g Generation, nodes []Block, records []Record) error

	// DropGeneration forgets an unpublished generation; its rows are
	// collected later. Dropping one that is not there does nothing.
	DropGeneration(g Generation) error
}

// Generation names a set of staged repository rows. Zero names none.
type Generation int64

// Block is a block of a repository.
type Block struct {
	CID  cid.Cid
	Data []byte
}

// Head is the current commit of a repository.
type Head struct {
	CID    cid.Cid    // of the signed commit
	Rev    syntax.TID // of the commit
	Data   cid.Cid    // root node of the tree
	Commit []byte     // the signed commit as a DAG-CBOR block
}

// Commit is what Apply stores: a new head with all that it changes.
//
// Apply compares Base with the stored head, and AccountVersion and KeyID with
// the stored account, and returns [ErrConflict] if one differs or the account
// is gone. So a commit that was prepared against an older state, for an
// account that has changed its status since, or with a retired key, can never
// be stored.
type Commit struct {
	DID syntax.DID

	Base           cid.Cid // CID of the head that the commit follows; cid.Undef: the first one
	AccountVersion int64
	KeyID          string

	Head Head

	NewNodes []Block   // tree nodes that the commit adds; ones that are there already are ignored
	OldNodes []cid.Cid // tree nodes that are no longer reachable
	Puts     []Record  // records created or replaced; their Rev is that of the head
	Deletes  []RecordPath

	// Generation, if not zero, is an unpublished generation whose rows
	// replace everything in the repository. NewNodes, OldNodes, Puts and
	// Deletes are then empty. An unknown generation gives [ErrNotFound].
	Generation Generation
}

// RecordPath is the place of a record in a repository.
type RecordPath struct {
	Collection syntax.NSID
	RKey       syntax.RecordKey
}

// String returns "collection/rkey", the record's key in the tree.
func (p RecordPath) String() string { return string(p.Collection) + "/" + string(p.RKey) }

// Record is a record as stored.
type Record struct {
	RecordPath

	CID    cid.Cid
	Rev    syntax.TID // of the commit that brought this version
	Author syntax.DID // who acted; the repository's DID unless somebody acted for it
	Value  []byte     // DAG-CBOR, the record's block

	// Backlink is the target by which ListBacklinks finds the record; empty
	// for most. What it holds is up to the caller.
	Backlink string

	// Blobs are the blobs that the record refers to, without duplicates. They
	// count as references of the record's AT URI, see [Blobs]. Records that a
	// store returns leave it nil.
	Blobs []cid.Cid

	// TakedownRef is set by SetRecordTakedown; Apply and Stage ignore it.
	TakedownRef string
}

// Range selects part of an ordered list.
type Range struct {
	After   string // exclusive bound in the direction of travel; empty: from the start
	Reverse bool   // descending
	Limit   int    // at most so many
}
