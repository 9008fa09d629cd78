package pds

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/gabriel-vasile/mimetype"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type uploadBlobOutput struct {
	Blob blobView `json:"blob"`
}

// blobView is a reference to a blob as the data model has it.
type blobView struct {
	Type     string   `json:"$type"` // "blob"
	Ref      linkView `json:"ref"`
	MimeType string   `json:"mimeType"`
	Size     int64    `json:"size"`
}

type linkView struct {
	Link string `json:"$link"`
}

func (s *Server) uploadBlob() xrpc.Method {
	return xrpc.ProcedureBody("com.atproto.repo.uploadBlob", s.uploadRule(),
		func(ctx context.Context, up *xrpc.Upload) (*uploadBlobOutput, error) {
			caller := xrpc.CallerFrom(ctx)
			b, err := s.storeBlob(ctx, caller.Account, cause{caller.Actor, caller.Client}, up)
			if err != nil {
				return nil, err
			}
			if a := credentialOf(caller).account; a != nil && !a.DeactivatedAt.IsZero() {
				if err := s.extendMigration(ctx, caller.Account); err != nil {
					return nil, err
				}
			}
			return &uploadBlobOutput{blobView{"blob", linkView{b.CID.String()}, b.MimeType, b.Size}}, nil
		}).WithMaxBody(s.cfg.Limits.BlobBytes).WithLimits(s.uploadLimits()...)
}

// sniffBytes is how much of a blob is looked at to tell its type.
const sniffBytes = 3072

// sniffType returns the media type that the first bytes show, or else the one
// that the client names. Text of any kind has no telling bytes.
func sniffType(head []byte, contentType string) string {
	found := mimetype.Detect(head)
	telling := true
	for m := found; m != nil; m = m.Parent() {
		telling = telling && !m.Is("text/plain")
	}
	if telling && !found.Is("application/octet-stream") {
		name, _, _ := strings.Cut(found.String(), ";")
		return name
	}
	return mediaType(contentType)
}

// newBlobKey makes the key of one upload. It begins with a hash of the owner,
// so that a store on disk spreads its files.
func newBlobKey(owner syntax.DID) string {
	sum := sha256.Sum256([]byte(owner))
	return hex.EncodeToString(sum[:8]) + "/" + strings.ToLower(rand.Text())
}

// storeBlob stores the bytes of an upload and then its metadata. If the
// account has the blob already, the new bytes are dropped again.
func (s *Server) storeBlob(ctx context.Context, owner syntax.DID, by cause, up *xrpc.Upload) (storage.Blob, error) {
	body := bufio.NewReaderSize(up.Reader, sniffBytes)
	head, err := body.Peek(sniffBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return storage.Blob{}, err
	}
	b := storage.Blob{
		Owner: owner, Uploader: by.actor, Key: newBlobKey(owner), CreatedAt: s.clock.Now(),
		MimeType: sniffType(head, up.ContentType),
	}
	info, err := s.blobs.Put(ctx, b.Key, body)
	if errors.Is(err, context.DeadlineExceeded) {
		return storage.Blob{}, xrpc.NewError(http.StatusGatewayTimeout, "UpstreamTimeout",
			"Operation timed out, please try again.").WithCause(err)
	}
	if isDiskFull(err) {
		return storage.Blob{}, errNoRoom(err)
	}
	if err != nil {
		return storage.Blob{}, err
	}
	b.CID, b.Size = repo.RawCID(info.SHA256), info.Size

	var stored storage.Blob
	began := false
	put := func(ctx context.Context, state *State) error {
		return s.updateWith(ctx, state, func(tx storage.Tx) (err error) {
			began = true
			if err := state.apply(tx); err != nil {
				return err
			}
			if stored, err = s.putUpload(tx, b); err != nil {
				return err
			}
			return s.noteChange(ctx, tx, owner, by, ChangeUpload)
		})
	}
	if s.cfg.Policy == nil {
		err = put(ctx, nil)
	} else {
		err = s.inLane(ctx, owner, func(ctx context.Context, w *writer) error {
			began = false
			state, err := s.askPolicy(ctx, &Write{
				Account: owner, Actor: by.actor, Client: by.client,
				Upload: &UploadedBlob{CID: b.CID, MimeType: b.MimeType, Size: b.Size},
			})
			if err != nil {
				return err
			}
			return put(ctx, state)
		})
	}
	known := err == nil || !began || isRefusal(err) || errors.Is(err, storage.ErrFull)
	if known && (err != nil || stored.Key != b.Key) {
		// If the fate of the metadata is not known, it may name these bytes;
		// if it does not, the search for orphans finds them.
		if err := s.blobs.Delete(context.WithoutCancel(ctx), b.Key); err != nil {
			s.log.WarnContext(ctx, "deleting the bytes of an upload failed", "error", err)
		}
	}
	return stored, err
}

// errNoRoom is for what the disk has no room for, and of which nothing remains.
func errNoRoom(cause error) error {
	return xrpc.NewError(http.StatusInsufficientStorage, "InsufficientStorage", "The server has no room for it").WithCause(cause)
}

// explain names errors of the store that clients get.
func explain(err error) error {
	if errors.Is(err, storage.ErrFull) {
		return errNoRoom(err)
	}
	return err
}

// isDiskFull reports whether the system had no room for a file.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// putUpload stores the metadata of an upload and returns what is now stored.
func (s *Server) putUpload(tx storage.Tx, b storage.Blob) (storage.Blob, error) {
	old, err := tx.Blob(b.Owner, b.CID)
	if err == nil && !mayPublish(&old, b.Uploader) {
		if err := s.noteUploader(tx, &b); err != nil {
			return storage.Blob{}, err
		}
	}
	switch {
	case err == nil && old.TakedownRef != "":
		return storage.Blob{}, xrpc.InvalidRequest("Blob has been takendown, cannot re-upload")
	case err == nil && !old.Temporary:
		return old, nil
	case err == nil:
		old.CreatedAt, old.MimeType = b.CreatedAt, b.MimeType
		return old, tx.PutBlob(old)
	case !errors.Is(err, storage.ErrNotFound):
		return storage.Blob{}, err
	}
	used, err := tx.BlobReferenced(b.Owner, b.CID)
	if err != nil {
		return storage.Blob{}, err
	}
	b.Temporary, b.Public = !used, used
	err = tx.PutBlob(b)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.Blob{}, errAccountNotFound()
	}
	return b, err
}
