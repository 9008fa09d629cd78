package pds

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	// maxFaults is how many faults of one account CheckAccount names.
	maxFaults = 20

	// checkedBlobs is how many references to blobs are read at a time.
	checkedBlobs = 500
)

// AccountCheck is what [CheckAccount] found.
type AccountCheck struct {
	DID     syntax.DID `json:"did"`
	Key     string     `json:"key"`     // did:key of the account's signing key
	Records int64      `json:"records"` // leaves of the tree
	Blobs   int64      `json:"blobs"`   // stored ones that records refer to

	// Missing are blobs that records refer to and that were never here, as
	// after an import whose blobs have not been uploaded yet.
	Missing int64 `json:"missing"`

	// Faults say, in words, what is damaged: the first 20.
	Faults []string `json:"faults"`
}

func (c *AccountCheck) fault(format string, args ...any) {
	if len(c.Faults) < maxFaults {
		c.Faults = append(c.Faults, fmt.Sprintf(format, args...))
	}
}

// CheckAccount verifies what is stored of an account, from its signed commit down:
// the signature by the account's key, every node of the tree, every record, and
// that the bytes of each blob that records refer to are there; with readBlobs
// also that they are the right ones. It reads the whole repository in one View,
// so it takes time in proportion; a server may serve the store meanwhile. Damage
// is in the result; an error means that the check could not be made, and
// matches storage.ErrNotFound if there is no such account.
func CheckAccount(ctx context.Context, store storage.Store, blobs storage.BlobStore, did syntax.DID, readBlobs bool) (*AccountCheck, error) {
	c := &AccountCheck{DID: did, Faults: []string{}}
	err := store.View(ctx, func(tx storage.Tx) error {
		a, err := tx.Account(did)
		if err != nil {
			return err
		}
		c.Key = a.KeyID
		head, err := tx.Head(did)
		if errors.Is(err, storage.ErrNotFound) {
			return nil // on its way here, without a repository yet
		}
		if err != nil {
			return err
		}
		return c.repository(ctx, tx, &a, &head)
	})
	if err != nil {
		return nil, err
	}
	return c, c.blobs(ctx, store, blobs, readBlobs)
}

// repository checks commit, tree and records.
func (c *AccountCheck) repository(ctx context.Context, tx storage.Tx, a *storage.Account, head *storage.Head) error {
	commit, err := repo.ParseCommit(head.Commit)
	switch {
	case err != nil:
		c.fault("the commit is malformed: %v", err)
		return nil
	case repo.CIDOf(head.Commit) != head.CID || commit.DID != a.DID || commit.Rev != head.Rev || commit.Data != head.Data:
		c.fault("the commit %s is not the one that is stored as head", head.CID)
	}
	key, err := atcrypto.ParsePublicDIDKey(a.KeyID)
	if err == nil {
		err = commit.Verify(key)
	}
	if err != nil {
		c.fault("the commit is not signed by the account's key %s: %v", a.KeyID, err)
	}
	block := func(b cid.Cid) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return tx.Block(a.DID, b)
	}
	err = repo.WalkTree(commit.Data, block, func(path string, value cid.Cid) error {
		c.Records++
		p, err := splitPath(path)
		if err != nil {
			c.fault("the tree holds a malformed path %q", path)
			return nil
		}
		rec, err := tx.Record(a.DID, p.Collection, p.RKey)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			c.fault("record %s is in the tree and not stored", path)
		case err != nil:
			return err
		case rec.CID != value || repo.CIDOf(rec.Value) != value:
			c.fault("record %s is not the one in the tree", path)
		}
		return ctx.Err()
	}, nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.fault("the tree cannot be read: %v", err)
		return nil
	}
	u, err := tx.Usage(a.DID)
	if err == nil && u.Records != c.Records {
		c.fault("%d records are stored and %d are in the tree", u.Records, c.Records)
	}
	return err
}

// blobs checks the blobs that records refer to, and reads bytes outside of
// transactions.
func (c *AccountCheck) blobs(ctx context.Context, store storage.Store, from storage.BlobStore, read bool) error {
	for after := ""; ; {
		var refs []cid.Cid
		var stored []storage.Blob
		err := store.View(ctx, func(tx storage.Tx) (err error) {
			stored = nil
			if refs, err = tx.ListBlobRefs(c.DID, "", after, checkedBlobs); err != nil {
				return err
			}
			for _, ref := range refs {
				b, err := tx.Blob(c.DID, ref)
				if errors.Is(err, storage.ErrNotFound) {
					c.Missing++
					continue
				}
				if err != nil {
					return err
				}
				stored = append(stored, b)
			}
			return nil
		})
		if err != nil || len(refs) == 0 {
			return err
		}
		after = refs[len(refs)-1].String()
		for i := range stored {
			c.Blobs++
			if err := c.blob(ctx, store, from, &stored[i], read); err != nil {
				return err
			}
		}
	}
}

func (c *AccountCheck) blob(ctx context.Context, store storage.Store, from storage.BlobStore, b *storage.Blob, read bool) error {
	size := int64(0)
	if read {
		size = -1
	}
	r, err := from.Open(ctx, b.Key, 0, size)
	if errors.Is(err, storage.ErrNotFound) {
		// It may have been deleted since it was listed.
		err = store.View(ctx, func(tx storage.Tx) error {
			now, err := tx.Blob(c.DID, b.CID)
			if err == nil && now.Key == b.Key {
				c.fault("the bytes of blob %s are gone", b.CID)
			}
			return err
		})
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	defer r.Close() // it was only read
	if !read {
		return nil
	}
	hash := sha256.New()
	n, err := io.Copy(hash, r)
	if err != nil {
		return err
	}
	if n != b.Size || repo.RawCID([sha256.Size]byte(hash.Sum(nil))) != b.CID {
		c.fault("the bytes of blob %s are not the right ones: %d bytes, %d were stored", b.CID, n, b.Size)
	}
	return nil
}

// serveCheck checks one account for an administrator.
func (s *Server) serveCheck(w http.ResponseWriter, r *http.Request) error {
	did, err := syntax.ParseDID(r.URL.Query().Get("did"))
	if err != nil {
		return xrpc.InvalidRequest("The parameter did must be a DID")
	}
	c, err := CheckAccount(r.Context(), s.store, s.blobs, did, r.URL.Query().Get("blobs") == "true")
	if errors.Is(err, storage.ErrNotFound) {
		return errAccountNotFound()
	}
	if err == nil {
		writeJSON(w, http.StatusOK, c)
	}
	return err
}
