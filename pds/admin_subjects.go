package pds

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// What moderation acts on: an account, a record or a blob.

// Types of subjects.
const (
	repoRefType     = "com.atproto.admin.defs#repoRef"
	strongRefType   = "com.atproto.repo.strongRef"
	repoBlobRefType = "com.atproto.admin.defs#repoBlobRef"
)

// subject is the union of the three references.
type subject struct {
	Type string `json:"$type"`
	DID  string `json:"did,omitempty"` // repoRef, repoBlobRef
	URI  string `json:"uri,omitempty"` // strongRef
	CID  string `json:"cid,omitempty"` // strongRef, repoBlobRef
}

// statusAttr is com.atproto.admin.defs#statusAttr.
type statusAttr struct {
	Applied bool   `json:"applied"`
	Ref     string `json:"ref,omitempty"`
}

func takedownAttr(ref string) *statusAttr { return &statusAttr{Applied: ref != "", Ref: ref} }

func errSubjectNotFound() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "NotFound", "Subject not found")
}

// parseSubject reads the union.
func parseSubject(raw json.RawMessage) (*subject, error) {
	sub := new(subject)
	if err := json.Unmarshal(raw, sub); err != nil {
		return nil, xrpc.InvalidRequest("Input/subject must be an object").WithCause(err)
	}
	switch sub.Type {
	case repoRefType, strongRefType, repoBlobRefType:
		return sub, nil
	}
	return nil, xrpc.InvalidRequest("Invalid subject (%s)", sub.Type)
}

// recordSubject takes a record's URI apart. The authority must be a DID.
func recordSubject(uri string) (did syntax.DID, path storage.RecordPath, err error) {
	u, err := syntax.ParseATURI(uri)
	if err == nil {
		did, err = u.Authority().AsDID()
	}
	path = storage.RecordPath{Collection: u.Collection(), RKey: u.RecordKey()}
	if err != nil || path.Collection == "" || path.RKey == "" {
		return "", path, xrpc.InvalidRequest("uri must name a record by the DID of its account").WithCause(err)
	}
	return did, path, nil
}

// subjectDID returns the account of a repoRef or repoBlobRef.
func subjectDID(text string) (syntax.DID, error) {
	did, err := syntax.ParseDID(text)
	if err != nil {
		return "", xrpc.InvalidRequest("did must be a DID").WithCause(err)
	}
	return did, nil
}

// subjectAccount returns an account in whatever state, or NotFound.
func subjectAccount(tx storage.Tx, did syntax.DID) (storage.Account, error) {
	a, err := findAccount(tx, string(did))
	if errors.Is(err, storage.ErrNotFound) {
		err = errSubjectNotFound()
	}
	return a, err
}

func subjectRecord(tx storage.Tx, did syntax.DID, path storage.RecordPath) (storage.Record, error) {
	if _, err := subjectAccount(tx, did); err != nil {
		return storage.Record{}, err
	}
	rec, err := tx.Record(did, path.Collection, path.RKey)
	if errors.Is(err, storage.ErrNotFound) {
		err = errSubjectNotFound()
	}
	return rec, err
}

func subjectBlob(tx storage.Tx, did syntax.DID, c cid.Cid) (storage.Blob, error) {
	if _, err := subjectAccount(tx, did); err != nil {
		return storage.Blob{}, err
	}
	b, err := tx.Blob(did, c)
	if errors.Is(err, storage.ErrNotFound) {
		err = errSubjectNotFound()
	}
	return b, err
}
