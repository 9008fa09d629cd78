package pds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// checkBlobs returns an error unless every blob that a record refers to is
// stored. Who acts for the account may use what is public already and what the
// same actor has uploaded. While a blob is temporary the reference must describe it truly;
// later references are not compared, since imported records may name another
// type.
func (w *writer) checkBlobs(op *preparedOp, batch *Batch) error {
	if len(op.Record.Blobs) == 0 {
		return nil
	}
	return w.view(w.ctx, func(tx storage.Tx) error {
		for _, ref := range op.Record.Blobs {
			b, err := tx.Blob(w.did, ref.CID)
			if errors.Is(err, storage.ErrNotFound) || err == nil && b.TakedownRef != "" {
				return errReferencedBlobNotFound(ref.CID)
			}
			if err != nil {
				return err
			}
			if b.Public && !b.Temporary {
				continue
			}
			used, err := tx.BlobReferenced(w.did, ref.CID)
			switch {
			case err != nil:
				return err
			case used: // by an imported record; the sweep has not noticed yet
				continue
			}
			if err := requirePublisher(tx, &b, batch.Actor); err != nil {
				return err
			}
			if !b.Temporary {
				continue
			}
			if b.MimeType != ref.MimeType {
				return xrpc.NewError(http.StatusBadRequest, "InvalidMimeType",
					fmt.Sprintf("Referenced Mimetype does not match stored blob. Expected: %s, Got: %s", b.MimeType, ref.MimeType))
			}
			if b.Size != ref.Size {
				return xrpc.NewError(http.StatusBadRequest, "InvalidSize",
					fmt.Sprintf("Referenced Size does not match stored blob. Expected: %d, Got: %d", b.Size, ref.Size))
			}
		}
		return nil
	})
}

func errReferencedBlobNotFound(c cid.Cid) *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "BlobNotFound", "Could not find blob: "+c.String())
}

// mayPublish reports whether somebody may have records of a blob's owner refer to
// it: what is public already, the owner all of its own, and who acts for the owner
// what the same actor has uploaded first (see docUploader for others). The
// administrator and the server, which have no DID, may.
func mayPublish(b *storage.Blob, actor syntax.DID) bool {
	return b.Public || actor == "" || actor == b.Owner || actor == b.Uploader
}

// checkImportedBlobs returns an error if an imported record refers to a blob that
// is there and that the actor may not publish.
func (s *Server) checkImportedBlobs(ctx context.Context, did, actor syntax.DID, blobs []cid.Cid) error {
	if len(blobs) == 0 || actor == did {
		return nil
	}
	return s.store.View(ctx, func(tx storage.Tx) error {
		for _, c := range blobs {
			b, err := tx.Blob(did, c)
			if errors.Is(err, storage.ErrNotFound) { // it is uploaded later
				continue
			}
			if err != nil {
				return err
			}
			used, err := tx.BlobReferenced(did, c)
			if err == nil && !used {
				err = requirePublisher(tx, &b, actor)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// docUploader is the kind of the documents that remember who, besides the first,
// has uploaded a blob that is not public, and so may publish it.
const docUploader = "blob-uploader"

func uploaderKey(owner syntax.DID, c cid.Cid, actor syntax.DID) string {
	return string(owner) + "/" + c.String() + "/" + string(actor)
}

// noteUploader remembers for Limits.TemporaryBlob that somebody else, too, has
// uploaded a blob.
func (s *Server) noteUploader(tx storage.Docs, b *storage.Blob) error {
	key := uploaderKey(b.Owner, b.CID, b.Uploader)
	d, err := tx.GetDoc(docUploader, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{
		Kind: docUploader, Key: key, Owner: b.Owner, Version: d.Version, Expires: s.clock.Latest().Add(s.cfg.Limits.TemporaryBlob),
	})
	return err
}

// requirePublisher returns the client's error unless somebody may publish a blob.
func requirePublisher(tx storage.Docs, b *storage.Blob, actor syntax.DID) error {
	if mayPublish(b, actor) {
		return nil
	}
	_, err := tx.GetDoc(docUploader, uploaderKey(b.Owner, b.CID, actor))
	if errors.Is(err, storage.ErrNotFound) {
		return errReferencedBlobNotFound(b.CID)
	}
	return err
}

// forgetBlobs notes the blobs of a stored record that is replaced or deleted.
// A record written by this same batch has none stored.
func (w *writer) forgetBlobs(ch *change, path storage.RecordPath) error {
	if _, written := ch.overlay[path.String()]; written {
		return nil
	}
	if err := w.drain(); err != nil {
		return err
	}
	return w.view(w.ctx, func(tx storage.Tx) error {
		rec, err := tx.Record(w.did, path.Collection, path.RKey)
		if err != nil {
			return err
		}
		blobs, err := recordBlobs(rec.Value)
		ch.oldBlobs = append(ch.oldBlobs, blobs...)
		return err
	})
}

// replaceBacklinks deletes older records that point at the same target.
func (w *writer) replaceBacklinks(ch *change, op *preparedOp) error {
	if err := w.drain(); err != nil {
		return err
	}
	return w.view(w.ctx, func(tx storage.Tx) error {
		older, err := tx.ListBacklinks(w.did, op.Collection, op.backlink, maxBacklinks)
		if err != nil {
			return err
		}
		for _, rec := range older {
			path := rec.RecordPath.String()
			if _, written := ch.overlay[path]; written || rec.RecordPath == op.path {
				continue
			}
			ch.overlay[path] = cid.Undef
			ch.writes = append(ch.writes, repo.Write{Path: path})
			old, err := repo.RecordFromCBOR(rec.Value)
			if err != nil {
				return err
			}
			ch.oldBlobs = append(ch.oldBlobs, blobCIDs(old)...)
			if ch.asked != nil {
				ch.asked.Ops = append(ch.asked.Ops, WriteOp{
					Action: Delete, Collection: rec.Collection, RKey: rec.RKey, Previous: old, PreviousAuthor: rec.Author,
				})
			}
		}
		return nil
	})
}

// dropUnwrittenBlobs leaves in ch.newBlobs only blobs of records that are
// there after the whole batch, and counts the others as left behind.
func (w *writer) dropUnwrittenBlobs(ch *change) {
	if len(ch.newBlobs) == 0 {
		return
	}
	kept := ch.newBlobs[:0]
	for _, c := range ch.newBlobs {
		used := false
		for path, rec := range ch.records {
			if ch.overlay[path] != rec.CID {
				continue
			}
			for _, b := range rec.Blobs {
				used = used || b == c
			}
		}
		if used {
			kept = append(kept, c)
		}
	}
	ch.newBlobs = kept
}

// upgradeProfileBlobs turns legacy references of a profile's avatar and banner
// into current ones, as putRecord does for old clients. The size comes from
// the stored blob.
func (s *Server) upgradeProfileBlobs(ctx context.Context, did syntax.DID, rec *repo.Record) (*repo.Record, error) {
	value := maps.Clone(rec.Value)
	changed := false
	for _, field := range []string{"avatar", "banner"} {
		old, ok := value[field].(atdata.Blob)
		if !ok || old.Size >= 0 {
			continue // nothing, or a reference of today: legacy ones have no size
		}
		var stored storage.Blob
		err := s.store.View(ctx, func(tx storage.Tx) (err error) {
			stored, err = tx.Blob(did, old.Ref.CID())
			return err
		})
		if errors.Is(err, storage.ErrNotFound) {
			return nil, errBlobNotFound()
		}
		if err != nil {
			return nil, err
		}
		old.Size = stored.Size
		value[field] = old
		changed = true
	}
	if !changed {
		return rec, nil
	}
	out, err := repo.RecordFromValue(value, "app.bsky.actor.profile")
	if err != nil {
		return nil, xrpc.InvalidRequest(err.Error()).WithCause(err)
	}
	return out, nil
}
