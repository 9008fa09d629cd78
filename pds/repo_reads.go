package pds

import (
	"context"
	"errors"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// What getRecord and listRecords share.

// findAccount returns the account of a DID or handle, or storage.ErrNotFound.
// Accounts whose creation is not complete are not found.
func findAccount(tx storage.Accounts, identifier string) (storage.Account, error) {
	var a storage.Account
	id, err := syntax.ParseAtIdentifier(identifier)
	if err != nil {
		return a, storage.ErrNotFound
	}
	if did, e := id.AsDID(); e == nil {
		a, err = tx.Account(did)
	} else if h, e := id.AsHandle(); e == nil {
		a, err = tx.AccountByHandle(h.Normalize())
	}
	if err == nil && a.Pending {
		return storage.Account{}, storage.ErrNotFound
	}
	return a, err
}

// accountByIdentifier returns the account of a DID or handle in its own View,
// or the error for an account that is not here.
func (s *Server) accountByIdentifier(ctx context.Context, identifier string) (a storage.Account, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		a, err = findAccount(tx, identifier)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return a, errAccountNotFound()
	}
	return a, err
}

func errRecordNotFound(uri string) *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "RecordNotFound", "Could not locate record: "+uri)
}

// recordView is a record as an answer shows it.
type recordView struct {
	uri   string
	cid   string
	value []byte // DAG-CBOR
}

func viewRecord(did syntax.DID, rec *storage.Record) recordView {
	return recordView{"at://" + string(did) + "/" + rec.RecordPath.String(), rec.CID.String(), rec.Value}
}

// AppendJSON writes {uri, cid, value}. URIs of stored records need no escapes.
func (v *recordView) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"uri":"`...)
	dst = append(dst, v.uri...)
	dst = append(dst, `","cid":"`...)
	dst = append(dst, v.cid...)
	dst = append(dst, `","value":`...)
	dst, err := repo.CBORToJSON(dst, v.value)
	return append(dst, '}'), err
}
