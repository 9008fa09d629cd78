package pds

import (
	"context"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// Bounds of one staging transaction, far below those of storage: whoever else
// writes waits for it.
const (
	stageRows  = 200
	stageBytes = 2 << 20
)

// stager verifies a tree and writes it into an unpublished generation, in
// small transactions.
type stager struct {
	ctx   context.Context
	store storage.Store // nil: the tree is only verified
	did   syntax.DID
	block repo.BlockSource

	// complete fills in what the tree does not say of a record: its Rev, its
	// Author. It may look at the rest.
	complete func(*storage.Record) error

	generation storage.Generation

	nodes   []storage.Block
	records []storage.Record
	rows    int
	bytes   int
}

// stage walks the tree, which verifies it, and writes it out in chunks.
func (st *stager) stage(root cid.Cid) error {
	if st.store != nil {
		err := st.store.Update(st.ctx, func(tx storage.Tx) (err error) {
			st.generation, err = tx.NewGeneration(st.did)
			return err
		})
		if errors.Is(err, storage.ErrNotFound) {
			return errAccountNotFound()
		}
		if err != nil {
			return err
		}
	}
	var failed error // of our own, not of the tree
	err := repo.WalkTree(root, st.block,
		func(path string, value cid.Cid) error {
			failed = st.record(path, value)
			return failed
		},
		func(b repo.Block) error {
			st.nodes = append(st.nodes, storage.Block{CID: b.CID, Data: append([]byte(nil), b.Data...)})
			failed = st.added(1, len(b.Data))
			return failed
		})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return errImport(err, "Invalid repo: %v", err)
	}
	return st.flush()
}

// record stages one record.
func (st *stager) record(path string, value cid.Cid) error {
	place, err := splitPath(path)
	if err != nil {
		return errImport(err, "Could not parse record at '%s'", path)
	}
	data, err := st.block(value)
	if errors.Is(err, repo.ErrBlockNotFound) {
		return errImport(err, "Could not find record at '%s'", path)
	}
	if err != nil {
		return err
	}
	rec, err := repo.RecordFromCBOR(data)
	if err != nil || rec.CID != value {
		return errImport(err, "Could not parse record at '%s'", path)
	}
	stored := storage.Record{
		RecordPath: place, CID: value, Value: data,
		Backlink: backlinkOf(place.Collection, rec.Value), Blobs: blobCIDs(rec),
	}
	if err := st.complete(&stored); err != nil {
		return err
	}
	st.records = append(st.records, stored)
	return st.added(1+len(stored.Blobs), len(data))
}

func (st *stager) added(rows, size int) error {
	st.rows += rows
	st.bytes += size
	if st.rows < stageRows && st.bytes < stageBytes {
		return nil
	}
	return st.flush()
}

func (st *stager) flush() error {
	var err error
	if st.store != nil {
		err = st.store.Update(st.ctx, func(tx storage.Tx) error {
			return tx.Stage(st.generation, st.nodes, st.records)
		})
	}
	st.nodes, st.records, st.rows, st.bytes = st.nodes[:0], st.records[:0], 0, 0
	if errors.Is(err, storage.ErrNotFound) {
		return errAccountNotFound() // the account was deleted meanwhile
	}
	return err
}

// drop forgets a generation that was not published. A store that fails here
// drops it by itself in time.
func (st *stager) drop() error {
	if st.generation == 0 {
		return nil
	}
	return st.store.Update(context.WithoutCancel(st.ctx), func(tx storage.Tx) error {
		return tx.DropGeneration(st.generation)
	})
}
