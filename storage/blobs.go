package storage

import (
	"context"
	"crypto/sha256"
	"io"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Blobs is the role of [Tx] that holds the metadata of blobs. The bytes are in
// a [BlobStore], under a key that is made for one upload and never used again.
//
// A blob is found by its owner and CID; two accounts that upload the same
// bytes have two blobs. References hang on the owner and on an opaque URI of
// the thing that refers: the AT URI of a record (kept by Apply and Stage from
// [Record.Blobs]) or whatever SetBlobRefs was given.
type Blobs interface {
	// Blob returns the metadata of a blob, or [ErrNotFound].
	Blob(owner syntax.DID, c cid.Cid) (Blob, error)

	// PutBlob stores the metadata of a blob, replacing what is there. If the
	// replaced row has another Key, that key is released. It returns
	// [ErrNotFound] if there is no account.
	PutBlob(b Blob) error

	// DeleteBlob removes the metadata of a blob and releases its key.
	// Deleting one that is not there does nothing.
	DeleteBlob(owner syntax.DID, c cid.Cid) error

	// SetBlobRefs makes the blobs referred to by uri exactly these. Use it
	// for things that are not records of a repository.
	SetBlobRefs(owner syntax.DID, uri string, blobs []cid.Cid) error

	// BlobReferenced reports whether anything of the owner refers to the
	// blob, whether or not its bytes are stored.
	BlobReferenced(owner syntax.DID, c cid.Cid) (bool, error)

	// ListBlobRefs returns up to limit distinct CIDs that records of the
	// owner's repository with a Rev above since refer to, ascending by the
	// CID's string, after the given one.
	ListBlobRefs(owner syntax.DID, since syntax.TID, after string, limit int) ([]cid.Cid, error)

	// ListMissingBlobs returns up to limit references to blobs that are not
	// stored, one for each CID, ascending by the CID's string, after the
	// given one.
	ListMissingBlobs(owner syntax.DID, after string, limit int) ([]BlobRef, error)

	// ListTemporaryBlobs returns up to limit blobs of all accounts that are
	// Temporary and were created before the given time, oldest first.
	ListTemporaryBlobs(before time.Time, limit int) ([]Blob, error)

	// BlobKeyUsed reports whether the key belongs to a blob or waits in the
	// queue of released keys. A key that is neither is an orphan.
	BlobKeyUsed(key string) (bool, error)

	// ReleasedBlobs returns up to limit keys whose bytes are to be deleted.
	ReleasedBlobs(limit int) ([]string, error)

	// ForgetReleasedBlobs takes keys off the queue, after their bytes are
	// gone.
	ForgetReleasedBlobs(keys []string) error
}

// Blob is the metadata of a blob whose bytes are stored.
type Blob struct {
	Owner     syntax.DID
	CID       cid.Cid
	Key       string // in the BlobStore
	MimeType  string
	Size      int64
	CreatedAt time.Time  // kept to the millisecond
	Uploader  syntax.DID // who uploaded it; the owner unless somebody acted for it

	// Temporary is true from the upload until something refers to the blob.
	Temporary bool

	// Public is true once something public refers to the blob.
	Public bool

	TakedownRef string // empty: not taken down
}

// BlobRef is a reference to a blob.
type BlobRef struct {
	CID cid.Cid
	URI string // of what refers to it
}

// BlobStore holds the bytes of blobs. Its methods may be called concurrently.
// Keys are at most 200 bytes of [a-z0-9_-] in one or more segments separated
// by "/"; a key is written once.
type BlobStore interface {
	// Put reads r to its end and stores the bytes, durably, before it returns
	// their size and hash. If r fails, or ctx ends, it returns that error and
	// leaves nothing behind. A key that is there gives [ErrExists].
	Put(ctx context.Context, key string, r io.Reader) (BlobInfo, error)

	// Open returns the bytes from offset on, length of them (to the end, if
	// length is negative), or [ErrNotFound]. A range beyond the end is cut to
	// what is there. The caller closes the reader.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Delete removes the bytes. A key that is not there is no error.
	Delete(ctx context.Context, key string) error

	// List returns up to limit stored keys after the given one, in byte order.
	List(ctx context.Context, after string, limit int) ([]BlobFile, error)
}

// BlobInfo is what Put found in the bytes it stored.
type BlobInfo struct {
	Size   int64
	SHA256 [sha256.Size]byte
}

// BlobFile is an entry of [BlobStore.List].
type BlobFile struct {
	Key      string
	Size     int64
	Modified time.Time // when it was stored
}
