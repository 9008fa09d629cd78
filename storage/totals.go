package storage

import "context"

// Totaler is a [Store] that can say how much it holds. It is found by [As]; a
// store without it is complete.
type Totaler interface {
	// Totals returns the totals of all accounts, which may be some seconds
	// old. Its cost may grow with the number of accounts, not with that of
	// records.
	Totals(ctx context.Context) (Totals, error)
}

// Totals is how much a store holds.
type Totals struct {
	Accounts       int64 `json:"accounts"`
	Records        int64 `json:"records"`
	RepoBytes      int64 `json:"repoBytes"` // of tree nodes and record values
	Blobs          int64 `json:"blobs"`     // whose bytes are stored
	BlobBytes      int64 `json:"blobBytes"`
	TemporaryBlobs int64 `json:"temporaryBlobs"` // of these, uploads that nothing refers to yet
	StoreBytes     int64 `json:"storeBytes"`     // that the store itself takes on its disk

	// Done by Maintain since the store was opened.
	ExpiredDocs   int64 `json:"expiredDocs"`   // documents removed after their time
	CollectedRows int64 `json:"collectedRows"` // of deleted accounts and of repositories that were replaced
}
