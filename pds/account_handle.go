package pds

import (
	"context"
	"errors"
	"net/http"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// docHandleHold is the kind of the documents that hold a handle while the PLC
// directory is told of it, so that nobody else's document names it when the
// handle turns out to be taken. One has the handle as its key and the DID as
// its value; another, under the DID, keeps the changes of one account apart.
const docHandleHold = "handle-hold"

// handleHoldTTL is when a hold that a crash left behind ends. It is longer than
// a change can take.
const handleHoldTTL = 2 * time.Minute

// handleTimeout is how long a change of handle may take.
const handleTimeout = time.Minute

// checkHandleFree returns HandleNotAvailable if another account than did has
// the handle, in whatever state it is, or is about to get it.
func checkHandleFree(tx storage.Tx, h syntax.Handle, did syntax.DID) error {
	holder, err := tx.AccountByHandle(h)
	switch {
	case err == nil && holder.DID != did:
		return errHandleTaken(h)
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return err
	}
	d, err := tx.GetDoc(docHandleHold, string(h))
	switch {
	case err == nil && string(d.Value) != string(did):
		return errHandleTaken(h)
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return err
	}
	return nil
}

// setHandle gives an account another handle: in the PLC directory first, then
// here. The same handle again repairs the directory and tells the network once
// more. The document of a did:web must name the handle already. An
// administrator may also give reserved handles.
func (s *Server) setHandle(ctx context.Context, did syntax.DID, text string, admin bool, by cause) error {
	h, err := s.checkHandle(ctx, text, did, admin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handleTimeout)
	defer cancel()
	if err := s.askEarly(ctx, did, by, StatusChange{Action: StatusHandle, Handle: h}); err != nil {
		return err
	}
	old, err := s.holdHandle(ctx, did, h)
	if err != nil {
		return err
	}
	defer s.forgetIdentity(ctx, did, h, old)
	if err := s.publishHandle(ctx, did, h); err != nil {
		if refused, ok := errors.AsType[*xrpc.Error](err); ok && refused.Status < http.StatusInternalServerError {
			err = errors.Join(err, s.releaseHandle(ctx, did, h))
		}
		// Otherwise the directory may have the handle now: it stays reserved
		// for a while, so that the account can try again.
		return err
	}
	_, err = s.changeAccount(ctx, did, func(tx storage.Tx, a *storage.Account) error {
		a.Handle = h
		return errors.Join(dropHandleHold(tx, did, h), s.noteChange(ctx, tx, did, by, string(StatusHandle)))
	}, func(_ storage.Tx, a *storage.Account) ([]storage.Event, error) {
		return []storage.Event{by.event(did, eventIdentity, encodeIdentity(did, h))}, nil
	})
	if errors.Is(err, storage.ErrExists) {
		return errHandleTaken(h).WithCause(err)
	}
	return err
}

// holdHandle keeps a handle for an account, and other changes of the account's
// handle away. It returns the handle that the account has now.
func (s *Server) holdHandle(ctx context.Context, did syntax.DID, h syntax.Handle) (old syntax.Handle, err error) {
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		a, err := findAccount(tx, string(did))
		if errors.Is(err, storage.ErrNotFound) {
			return errAccountNotFound()
		}
		if err != nil {
			return err
		}
		old = a.Handle
		if err := checkHandleFree(tx, h, did); err != nil {
			return err
		}
		held, err := tx.GetDoc(docHandleHold, string(did))
		if err == nil && string(held.Value) != string(h) {
			return xrpc.InvalidRequest("Another change of the handle is under way")
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		for key, value := range map[string]string{string(h): string(did), string(did): string(h)} {
			if err := s.putHandleHold(tx, key, value, did); err != nil {
				return err
			}
		}
		return nil
	})
	return old, err
}

func (s *Server) putHandleHold(tx storage.Docs, key, value string, owner syntax.DID) error {
	d, err := tx.GetDoc(docHandleHold, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{
		Kind: docHandleHold, Key: key, Owner: owner, Version: d.Version, Value: []byte(value),
		Expires: s.clock.Now().Add(handleHoldTTL),
	})
	return err
}

func dropHandleHold(tx storage.Docs, did syntax.DID, h syntax.Handle) error {
	return errors.Join(tx.DeleteDoc(docHandleHold, string(h)), tx.DeleteDoc(docHandleHold, string(did)))
}

func (s *Server) releaseHandle(ctx context.Context, did syntax.DID, h syntax.Handle) error {
	return s.store.Update(ctx, func(tx storage.Tx) error { return dropHandleHold(tx, did, h) })
}

// publishHandle puts a handle into the account's identity, or checks that it is
// there.
func (s *Server) publishHandle(ctx context.Context, did syntax.DID, h syntax.Handle) error {
	return s.publishIdentity(ctx, did,
		func(op *identity.Operation) { op.SetHandle(h) },
		func(id *atid.Identity) error {
			if declared, err := id.DeclaredHandle(); err != nil || declared.Normalize() != h {
				return xrpc.InvalidRequest("DID is not properly configured for handle")
			}
			return nil
		})
}
