package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// A change of signing key happens in the account's lane, so that no commit is
// signed with the old key once the identity names the new one: the identity is
// changed first, then one Update stores the key with a commit that it signs.

// docKeyChange is the kind of the documents that hold the key, a
// reservedKeyDoc, that an account is about to get; their key is the DID. It is
// there until the change is complete or known to have failed.
const docKeyChange = "key-change"

// keyChangeTimeout is how long a change of signing key may take.
const keyChangeTimeout = time.Minute

// keyChangeBatch is how many interrupted changes one turn of the task finishes.
const keyChangeBatch = 50

// setSigningKey gives an account a key that was reserved for it. The key that
// it has already repairs its identity and tells the network once more.
func (s *Server) setSigningKey(ctx context.Context, did syntax.DID, key string, by cause) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyChangeTimeout)
	defer cancel()
	if err := s.askEarly(ctx, did, by, StatusChange{Action: StatusKey}); err != nil {
		return err
	}
	a, err := s.beginKeyChange(ctx, did, key)
	if err != nil {
		return err
	}
	if a.KeyID != key {
		return s.finishKeyChange(ctx, did, by)
	}
	if err := s.publishSigningKey(ctx, did, key); err != nil {
		return err
	}
	return s.announceIdentity(ctx, &a, by)
}

// beginKeyChange turns the reservation of a key into a change that is under
// way, unless the account has the key or is getting it already.
func (s *Server) beginKeyChange(ctx context.Context, did syntax.DID, key string) (a storage.Account, err error) {
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		a, err = findAccount(tx, string(did))
		if errors.Is(err, storage.ErrNotFound) {
			return errAccountNotFound()
		}
		if err != nil || a.KeyID == key {
			return err
		}
		switch pending, err := getKeyChange(tx, did); {
		case err == nil && pending.Key != key:
			return xrpc.InvalidRequest("Another change of the signing key is under way")
		case err == nil || !errors.Is(err, storage.ErrNotFound):
			return err
		}
		for _, name := range []string{string(did), key} { // as reserveKey names them
			reserved, err := getReservedKey(tx, name)
			if errors.Is(err, storage.ErrNotFound) || err == nil && reserved.Key != key {
				continue
			}
			if err != nil {
				return err
			}
			value, err := json.Marshal(reserved)
			if err != nil {
				return err
			}
			if _, err := tx.PutDoc(storage.Doc{Kind: docKeyChange, Key: string(did), Owner: did, Value: value}); err != nil {
				return err
			}
			return tx.DeleteDoc(docReservedKey, name)
		}
		return xrpc.InvalidRequest("The signing key is not reserved here for the account: com.atproto.server.reserveSigningKey makes one")
	})
	return a, err
}

// getKeyChange returns the change that is under way, or storage.ErrNotFound.
func getKeyChange(tx storage.Docs, did syntax.DID) (*reservedKeyDoc, error) {
	d, err := tx.GetDoc(docKeyChange, string(did))
	if err != nil {
		return nil, err
	}
	r := new(reservedKeyDoc)
	return r, json.Unmarshal(d.Value, r)
}

// finishKeyChange completes the change that is under way, if there is one. If
// the identity cannot be changed there is none any more.
func (s *Server) finishKeyChange(ctx context.Context, did syntax.DID, by cause) error {
	var handle syntax.Handle
	defer func() { s.forgetIdentity(ctx, did, handle) }()
	return s.inLane(ctx, did, func(ctx context.Context, w *writer) error {
		defer w.reset()
		var next *reservedKeyDoc
		err := s.store.View(ctx, func(tx storage.Tx) (err error) {
			next, err = getKeyChange(tx, did)
			return err
		})
		if errors.Is(err, storage.ErrNotFound) {
			return nil // somebody else was faster
		}
		if err != nil {
			return err
		}
		if w.key, err = s.cfg.Keys.Open(ctx, next.Ref); err != nil {
			return fmt.Errorf("new signing key of %s: %w", did, err)
		}
		if err := s.publishSigningKey(ctx, did, next.Key); err != nil {
			if refused, ok := errors.AsType[*xrpc.Error](err); ok && refused.Status < http.StatusInternalServerError {
				err = errors.Join(err, s.abandonKeyChange(ctx, did, next))
			}
			// Otherwise the directory may have the key now: the task goes on.
			return err
		}
		handle = w.account.Handle
		head, err := w.signCommit(ctx, w.head.Data, repo.NextRev(w.head.Rev, s.clock.Now(), s.clockID))
		if err != nil {
			return err
		}
		return s.storeSigningKey(ctx, w, next, head, by)
	})
}

// abandonKeyChange turns a change back into the reservation of its key, so that
// it can be tried again.
func (s *Server) abandonKeyChange(ctx context.Context, did syntax.DID, next *reservedKeyDoc) error {
	value, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx storage.Tx) error {
		if err := tx.DeleteDoc(docKeyChange, string(did)); err != nil {
			return err
		}
		_, err := tx.PutDoc(storage.Doc{
			Kind: docReservedKey, Key: next.Key, Expires: s.clock.Now().Add(s.cfg.Limits.ReservedKey), Value: value,
		})
		return err
	})
}

// storeSigningKey stores an account's new key with the commit that it signs,
// and announces both.
func (s *Server) storeSigningKey(ctx context.Context, w *writer, next *reservedKeyDoc, head storage.Head, by cause) error {
	base, version := w.head.CID, w.account.Version
	return s.store.Update(ctx, func(tx storage.Tx) error {
		a, err := tx.Account(w.did)
		if errors.Is(err, storage.ErrNotFound) || err == nil && a.Version != version {
			return fmt.Errorf("%w: the account has changed", storage.ErrConflict)
		}
		if err != nil {
			return err
		}
		a.KeyID = next.Key
		if a.Version, err = tx.PutAccount(a); err != nil {
			return err
		}
		if err := putSigningKey(tx, a.DID, next.Ref); err != nil {
			return err
		}
		if err := tx.DeleteDoc(docKeyChange, string(a.DID)); err != nil {
			return err
		}
		commit := storage.Commit{DID: a.DID, Base: base, AccountVersion: a.Version, KeyID: a.KeyID, Head: head}
		if err := tx.Apply(&commit); err != nil {
			return err
		}
		if err := tx.Append(by.event(a.DID, eventIdentity, encodeIdentity(a.DID, a.Handle))); err != nil || !a.Active() {
			return err
		}
		return tx.Append(by.event(a.DID, eventSync, encodeSync(a.DID, head)))
	})
}

// publishSigningKey puts a key into the account's identity, or checks that it
// is there.
func (s *Server) publishSigningKey(ctx context.Context, did syntax.DID, key string) error {
	return s.publishIdentity(ctx, did,
		func(op *identity.Operation) { op.VerificationMethods[identity.KeyAtproto] = key },
		func(id *atid.Identity) error {
			if named, err := id.PublicKey(); err != nil || named.DIDKey() != key {
				return xrpc.InvalidRequest("DID document does not name the signing key")
			}
			return nil
		})
}

// publishIdentity changes the identity of an account; one that is not the
// server's to change it resolves and checks instead.
func (s *Server) publishIdentity(ctx context.Context, did syntax.DID, change func(*identity.Operation), check func(*atid.Identity) error) error {
	if did.Method() == "plc" {
		ctx, cancel := context.WithTimeout(ctx, registryTimeout)
		defer cancel()
		err := s.cfg.Registry.Update(ctx, did, func(op *identity.Operation) error {
			change(op)
			return nil
		})
		if err != nil {
			return plcFailure(err)
		}
		return nil
	}
	if s.servesDocument(did) {
		return nil // it says what the account says
	}
	id, err := s.cfg.Directory.Refresh(ctx, did)
	if err != nil {
		return xrpc.InvalidRequest("Could not resolve DID").WithCause(err)
	}
	return check(id)
}

// finishKeyChanges is the task that completes changes of signing keys that a
// crash or a silent PLC directory has interrupted.
func (s *Server) finishKeyChanges(ctx context.Context) (more bool, err error) {
	var docs []storage.Doc
	err = s.store.View(ctx, func(tx storage.Tx) (err error) {
		docs, err = tx.ScanDocs(docKeyChange, storage.Scan{Limit: keyChangeBatch})
		return err
	})
	if err != nil {
		return false, err
	}
	var failed []error
	for _, d := range docs {
		if err := s.finishKeyChange(ctx, syntax.DID(d.Key), cause{}); err != nil {
			failed = append(failed, fmt.Errorf("signing key of %s: %w", d.Key, err))
		}
	}
	return false, errors.Join(failed...)
}
