package pds

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// sweepBatch is how many blobs one step of a sweep looks at.
const sweepBatch = 200

// orphanAge is how old bytes without metadata must be before they count as
// left behind rather than as an upload that is under way.
const orphanAge = 24 * time.Hour

// KeepBlobs lets this server delete no bytes of blobs that the metadata of
// this moment, or of a later one, names, until release is called. A backup
// holds it from before it copies the metadata until it has copied the bytes.
// Everything else goes on; what is to be deleted waits. Several may hold it
// at a time.
func (s *Server) KeepBlobs() (release func()) {
	s.releasing.RLock()
	return sync.OnceFunc(s.releasing.RUnlock)
}

// deleteReleasedBlobs deletes the bytes that transactions have released.
func (s *Server) deleteReleasedBlobs(ctx context.Context) (more bool, err error) {
	if !s.releasing.TryLock() {
		return false, nil // somebody keeps them
	}
	defer s.releasing.Unlock()
	var keys []string
	err = s.store.View(ctx, func(tx storage.Tx) error {
		keys, err = tx.ReleasedBlobs(sweepBatch)
		return err
	})
	if err != nil || len(keys) == 0 {
		return false, err
	}
	for _, key := range keys {
		if err := s.blobs.Delete(ctx, key); err != nil {
			return false, fmt.Errorf("blob %s: %w", key, err)
		}
	}
	s.counts.deletedBlobs.Add(int64(len(keys)))
	err = s.store.Update(ctx, func(tx storage.Tx) error { return tx.ForgetReleasedBlobs(keys) })
	return len(keys) == sweepBatch, err
}

// sweepTemporaryBlobs removes uploads that nothing has referred to in time.
// One that something refers to after all, by an import, becomes permanent.
func (s *Server) sweepTemporaryBlobs(ctx context.Context) (more bool, err error) {
	before := s.clock.Now().Add(-s.cfg.Limits.TemporaryBlob)
	swept := int64(0)
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		swept = 0
		old, err := tx.ListTemporaryBlobs(before, sweepBatch)
		if err != nil {
			return err
		}
		more = len(old) == sweepBatch
		for _, b := range old {
			used, err := tx.BlobReferenced(b.Owner, b.CID)
			if err != nil {
				return err
			}
			if used {
				b.Temporary, b.Public = false, true
				err = tx.PutBlob(b)
			} else {
				err = tx.DeleteBlob(b.Owner, b.CID)
				swept++
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.counts.sweptUploads.Add(swept)
	}
	return more, err
}

// sweepOrphanedBlobs deletes bytes that no metadata names: what a crash left
// between storing the bytes of an upload and storing its metadata. It never
// meets bytes that KeepBlobs keeps: a key is orphaned only after it has been
// released and its bytes deleted.
func (s *Server) sweepOrphanedBlobs(ctx context.Context) (bool, error) {
	before := s.clock.Now().Add(-orphanAge)
	after := ""
	for {
		files, err := s.blobs.List(ctx, after, sweepBatch)
		if err != nil || len(files) == 0 {
			return false, err
		}
		for _, f := range files {
			after = f.Key
			if f.Modified.After(before) {
				continue
			}
			var used bool
			err := s.store.View(ctx, func(tx storage.Tx) error {
				used, err = tx.BlobKeyUsed(f.Key)
				return err
			})
			if err != nil {
				return false, err
			}
			if used {
				continue
			}
			if err := s.blobs.Delete(ctx, f.Key); err != nil {
				return false, fmt.Errorf("blob %s: %w", f.Key, err)
			}
			s.counts.orphanedBlobs.Add(1)
			s.log.InfoContext(ctx, "deleted bytes of an upload that was never completed", "key", f.Key, "size", f.Size)
		}
	}
}
