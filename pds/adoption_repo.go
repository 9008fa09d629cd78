package pds

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// chooseHead verifies the signed commit, or makes a new one in its place.
func (w *adoptedWriter) chooseHead() error {
	in := &w.in.Repo
	data, err := in.Block(in.Head)
	if errors.Is(err, repo.ErrBlockNotFound) {
		return newFault(FaultRepository, "the head %s is not there", in.Head)
	}
	if err != nil {
		return err
	}
	if repo.CIDOf(data) != in.Head {
		return newFault(FaultRepository, "the head %s is damaged", in.Head)
	}
	commit, err := repo.ParseCommit(data)
	if err != nil {
		return newFault(FaultRepository, "the head %s is malformed: %v", in.Head, err)
	}
	if commit.DID != w.in.DID {
		return newFault(FaultRepository, "the head %s is of the repository of %s", in.Head, commit.DID)
	}
	pub, err := w.in.Key.PublicKey()
	if err != nil {
		return newFault(FaultKey, "the signing key is malformed: %v", err)
	}
	if commit.Verify(pub) != nil {
		if in.Foreign == nil {
			return newFault(FaultKey, "the head %s is not signed by the key %s", in.Head, w.account.KeyID)
		}
		if err := in.Foreign(w.ctx, pub); err != nil {
			return err
		}
	} else if commit.Rev == in.Rev {
		w.head = storage.Head{CID: in.Head, Rev: commit.Rev, Data: commit.Data, Commit: data}
		return nil
	}
	signed := repo.Commit{
		DID: commit.DID, Version: repo.CommitVersion, Data: commit.Data,
		Rev: repo.NextRev(max(commit.Rev, in.Rev), w.a.clock.Now(), 0),
	}
	if err := signed.Sign(w.in.Key); err != nil {
		return newFault(FaultKey, "the head cannot be signed: %v", err)
	}
	block, err := signed.Block()
	if err != nil {
		return err
	}
	w.head = storage.Head{CID: block.CID, Rev: signed.Rev, Data: signed.Data, Commit: block.Data}
	w.counts.Resigned = true
	return nil
}

// stage verifies the tree and all records, and writes them.
func (w *adoptedWriter) stage() error {
	w.stager = stager{
		ctx: w.ctx, did: w.in.DID, complete: w.complete,
		block: func(c cid.Cid) ([]byte, error) {
			if err := w.ctx.Err(); err != nil {
				return nil, err
			}
			return w.in.Repo.Block(c)
		},
	}
	if !w.a.cfg.VerifyOnly {
		w.stager.store = w.a.cfg.Store
	}
	err := w.stager.stage(w.head.Data)
	if w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	if refused, ok := errors.AsType[*xrpc.Error](err); ok {
		return newFault(FaultRepository, "%s", refused.Message)
	}
	return err
}

// complete fills in a record that is being staged.
func (w *adoptedWriter) complete(r *storage.Record) error {
	rev, takedown, err := w.in.Repo.Record(r.RecordPath)
	if err != nil {
		return err
	}
	if rev == "" || rev > w.head.Rev {
		rev = w.head.Rev
	}
	r.Rev, r.Author = rev, w.in.DID
	if takedown != "" {
		w.hidden = append(w.hidden, hiddenRecord{r.RecordPath, takedown})
	}
	for _, c := range r.Blobs {
		w.refs[c] = false
	}
	w.counts.Records++
	return nil
}

// copyBlobs copies the bytes of blobs, and what is known of them.
func (w *adoptedWriter) copyBlobs() error {
	if w.in.Blobs != nil {
		for b, err := range w.in.Blobs {
			if err == nil {
				err = w.ctx.Err()
			}
			if err == nil {
				err = w.copyBlob(&b)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, seen := range w.refs {
		if !seen {
			w.counts.Missing++
		}
	}
	return nil
}

func (w *adoptedWriter) copyBlob(in *AdoptedBlob) error {
	_, referenced := w.refs[in.CID]
	if referenced {
		w.refs[in.CID] = true // its source claims to have it
	}
	old := w.a.clock.Now().Add(-w.a.cfg.Limits.TemporaryBlob)
	if !referenced && in.TakedownRef == "" && in.CreatedAt.Before(old) {
		w.counts.LeftOut++
		return nil
	}
	b := storage.Blob{
		Owner: w.in.DID, Uploader: w.in.DID, CID: in.CID, MimeType: mediaType(in.MimeType), CreatedAt: in.CreatedAt,
		Temporary: !referenced && in.TakedownRef == "", Public: referenced, TakedownRef: in.TakedownRef,
	}
	if !w.a.cfg.VerifyOnly {
		known, err := w.knownBlob(&b)
		if known || err != nil {
			return err
		}
	}
	bytes, err := in.Open()
	if errors.Is(err, fs.ErrNotExist) {
		w.counts.fault(FaultBlobMissing, "blob %s is listed, and its bytes are not there", in.CID)
		return nil
	}
	if err != nil {
		w.counts.fault(FaultBlobDamaged, "blob %s cannot be read: %v", in.CID, err)
		return nil
	}
	defer bytes.Close()
	from := &blobSource{r: bytes}
	b.Key = newBlobKey(b.Owner)
	info, err := w.putBlob(b.Key, from)
	switch {
	case from.err != nil:
		w.counts.fault(FaultBlobDamaged, "blob %s cannot be read: %v", in.CID, from.err)
		return nil
	case err != nil:
		return err
	case repo.RawCID(info.SHA256) != in.CID:
		w.counts.fault(FaultBlobDamaged, "the bytes of blob %s are those of %s", in.CID, repo.RawCID(info.SHA256))
		return w.dropBlob(b.Key)
	}
	b.Size = info.Size
	w.counts.Blobs++
	w.counts.BlobBytes += b.Size
	if w.a.cfg.VerifyOnly {
		return nil
	}
	return w.a.cfg.Store.Update(w.ctx, func(tx storage.Tx) error { return tx.PutBlob(b) })
}

// knownBlob reports whether an earlier attempt has copied a blob, and brings
// what is known of it up to date.
func (w *adoptedWriter) knownBlob(b *storage.Blob) (bool, error) {
	err := w.a.cfg.Store.Update(w.ctx, func(tx storage.Tx) error {
		old, err := tx.Blob(b.Owner, b.CID)
		if err != nil {
			return err
		}
		b.Key, b.Size = old.Key, old.Size
		return tx.PutBlob(*b)
	})
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	w.counts.Blobs++
	w.counts.BlobBytes += b.Size
	return err == nil, err
}

// putBlob stores bytes under a new key, or only reads them.
func (w *adoptedWriter) putBlob(key string, r io.Reader) (storage.BlobInfo, error) {
	if w.a.cfg.VerifyOnly {
		return hashBlob(r)
	}
	return w.a.cfg.Blobs.Put(w.ctx, key, r)
}

func (w *adoptedWriter) dropBlob(key string) error {
	if w.a.cfg.VerifyOnly {
		return nil
	}
	return w.a.cfg.Blobs.Delete(context.WithoutCancel(w.ctx), key)
}

// blobSource remembers an error of its reader, to tell it from one of the
// store that it is written to.
type blobSource struct {
	r   io.Reader
	err error
}

func (b *blobSource) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}
