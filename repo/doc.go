// Package repo holds the data structures of an atproto repository as pure
// functions over bytes: the data model with its JSON and DAG-CBOR forms, CIDs,
// the Merkle search tree, signed commits, CAR files and record proofs. It does
// no I/O of its own; blocks come in through a [BlockSource] and go out as
// [Block] values, so that any store can sit below it.
//
// # A write
//
//	rec, err := repo.RecordFromJSON(body, "app.bsky.feed.post")
//	// ...
//	tree := repo.LoadTree(head.Data, blocks)
//	diff, err := tree.Apply([]repo.Write{{Path: path, CID: rec.CID}})
//	// ...
//	c := repo.Commit{DID: did, Data: diff.Root, Rev: repo.NextRev(head.Rev, now, clockID)}
//	err = c.Sign(key)
//	block, err := c.Block()
//	// store diff.NewNodes, drop diff.OldNodes, send block + diff.Proof + rec
//
// # Data model
//
// One strict decoder per form: [DecodeJSON] and [DecodeCBOR] return
// map[string]any, []any, string, int64, bool, nil, [atdata.CIDLink],
// [atdata.Bytes] and [atdata.Blob]. Both refuse what the other form cannot
// hold, so that every accepted value has exactly one DAG-CBOR encoding and
// survives any number of round trips. Errors are [*DataError] values that match
// the sentinels of this package.
//
// # Tree
//
// A [Tree] loads only the nodes that an operation touches and keeps them, so
// that an owner of a busy repository can hold on to it; see [Tree.Nodes]. The
// nodes and their mutation are indigo's (package mst); loading, checking,
// encoding and the difference between two trees are done here. Every block that
// is loaded is checked against its CID and against the rules of the tree.
//
// # Limits
//
// All limits are constants of this package: [MaxRecordBytes], [MaxJSONBytes],
// [MaxCBORBytes], [MaxDepth], [MaxInteger], [MaxCIDBytes], [MaxKeyBytes],
// [MaxNodeEntries], [MaxCommitBytes] and the defaults of [CARLimits].
//
// Nothing in this package is safe for concurrent use unless it says so;
// functions without a receiver are.
package repo
