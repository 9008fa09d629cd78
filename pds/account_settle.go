package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
)

// What becomes of sign-ups that were interrupted.

const (
	// pendingGrace is how old an unfinished sign-up must be before somebody
	// else than its own request touches it. It is longer than that request can
	// live.
	pendingGrace = 5 * time.Minute

	// settleBatch is how many unfinished sign-ups are looked at in one turn.
	settleBatch = 50
)

// docCreation is the kind of the documents that hold unfinished sign-ups; their
// key is the DID.
const docCreation = "creation"

// undoMode says what taking back a sign-up must do.
type undoMode string

const (
	undoPlain     undoMode = "plain"     // the DID was never registered
	undoTombstone undoMode = "tombstone" // it may have been: end it
)

// creationDoc is an unfinished sign-up.
type creationDoc struct {
	Op      *identity.Operation `json:"op"`
	Invite  string              `json:"invite,omitempty"`
	Started time.Time           `json:"started"`

	// Undo, if set, says that the sign-up has failed and is being taken back.
	// It can no longer be completed.
	Undo undoMode `json:"undo,omitempty"`
}

// errNotPending says that a sign-up is complete, or gone, or being undone.
var errNotPending = errors.New("pds: the sign-up is not pending any more")

// putCreation stores a creationDoc over old, which is zero for a new one.
func putCreation(tx storage.Tx, did syntax.DID, old storage.Doc, c creationDoc) error {
	value, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{Kind: docCreation, Key: string(did), Owner: did, Version: old.Version, Value: value})
	return err
}

// pendingAccount returns an unfinished sign-up, or errNotPending.
func pendingAccount(tx storage.Tx, did syntax.DID) (a storage.Account, d storage.Doc, c creationDoc, err error) {
	a, err = tx.Account(did)
	if err == nil && a.Pending {
		d, err = tx.GetDoc(docCreation, string(did))
	}
	switch {
	case errors.Is(err, storage.ErrNotFound) || err == nil && !a.Pending:
		return a, d, c, errNotPending
	case err != nil:
		return a, d, c, err
	}
	return a, d, c, json.Unmarshal(d.Value, &c)
}

// finishCreation completes a pending account whose DID is registered: it makes
// the repository, tells the network, and runs also, all in one Update. The
// signing key is read if it is nil.
func (s *Server) finishCreation(ctx context.Context, did syntax.DID, key atcrypto.PrivateKey, also func(storage.Tx, *storage.Account) error) (storage.Account, error) {
	var acct storage.Account
	err := s.inLane(ctx, did, func(ctx context.Context, w *writer) error {
		defer w.reset()
		if key == nil {
			var err error
			if key, err = w.signer(ctx); err != nil {
				return err
			}
		}
		first, err := s.firstCommit(ctx, did, key)
		if err != nil {
			return err
		}
		return s.store.Update(ctx, func(tx storage.Tx) error {
			a, _, c, err := pendingAccount(tx, did)
			if err != nil {
				return err
			}
			if c.Undo != "" {
				return errNotPending
			}
			a.Pending = false
			if a.Version, err = tx.PutAccount(a); err != nil {
				return err
			}
			if err := first.apply(tx, &a); err != nil {
				return err
			}
			if err := first.announce(tx, &a, cause{actor: did}); err != nil {
				return err
			}
			if err := tx.DeleteDoc(docCreation, string(did)); err != nil {
				return err
			}
			acct = a
			if also != nil {
				return also(tx, &a)
			}
			return nil
		})
	})
	return acct, err
}

// undoAfter takes a failed sign-up back, as far as that is possible now. What
// is not possible settlePendingAccounts does later.
func (s *Server) undoAfter(ctx context.Context, did syntax.DID, mode undoMode) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), creationTimeout)
	defer cancel()
	if err := s.undoCreation(ctx, did, mode); err != nil {
		s.log.WarnContext(ctx, "a failed sign-up could not be taken back yet", "did", did, "error", err)
	}
}

// undoCreation takes a pending account back: first it is marked, so that
// nobody completes it any more, then its DID is ended if it may have been
// registered, and at last everything that was reserved is released. Nothing
// happens if the account is not pending.
func (s *Server) undoCreation(ctx context.Context, did syntax.DID, mode undoMode) error {
	err := s.store.Update(ctx, func(tx storage.Tx) error {
		_, d, c, err := pendingAccount(tx, did)
		if err != nil {
			return err
		}
		if c.Undo == undoTombstone {
			mode = undoTombstone
		}
		c.Undo = mode
		return putCreation(tx, did, d, c)
	})
	if errors.Is(err, errNotPending) {
		return nil
	}
	if err != nil {
		return err
	}
	if mode == undoTombstone {
		reg, cancel := context.WithTimeout(ctx, registryTimeout)
		defer cancel()
		if err := s.cfg.Registry.Tombstone(reg, did); err != nil && !errors.Is(err, atid.ErrDIDNotFound) {
			return err
		}
	}
	return s.store.Update(ctx, func(tx storage.Tx) error {
		_, _, c, err := pendingAccount(tx, did)
		if errors.Is(err, errNotPending) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tx.DeleteAccount(did); err != nil || c.Invite == "" {
			return err
		}
		return returnInvite(tx, c.Invite, did)
	})
}

// settlePendingAccounts is the task that completes or takes back sign-ups that
// a crash or a silent PLC directory has interrupted.
func (s *Server) settlePendingAccounts(ctx context.Context) (more bool, err error) {
	var old []storage.Doc
	from := ""
	for {
		var docs []storage.Doc
		err := s.store.View(ctx, func(tx storage.Tx) (err error) {
			docs, err = tx.ScanDocs(docCreation, storage.Scan{From: from, Limit: settleBatch})
			return err
		})
		if err != nil {
			return false, err
		}
		old = append(old, docs...)
		if len(docs) < settleBatch {
			break
		}
		from = docs[len(docs)-1].Key + "\x00"
	}
	var failed []error
	for _, d := range old {
		if err := s.settle(ctx, d); err != nil {
			failed = append(failed, fmt.Errorf("sign-up of %s: %w", d.Key, err))
		}
	}
	return false, errors.Join(failed...)
}

// settle completes a sign-up if its DID is registered and takes it back if it
// is not.
func (s *Server) settle(ctx context.Context, d storage.Doc) error {
	var c creationDoc
	if err := json.Unmarshal(d.Value, &c); err != nil {
		return err
	}
	did := syntax.DID(d.Key)
	switch {
	case s.clock.Now().Sub(c.Started) < pendingGrace:
		return nil // its own request still works on it
	case c.Undo != "":
		return s.undoCreation(ctx, did, c.Undo)
	}
	reg, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	there, err := s.cfg.Registry.Exists(reg, did)
	if err != nil {
		return err
	}
	if !there {
		return s.undoCreation(ctx, did, undoPlain)
	}
	a, err := s.finishCreation(ctx, did, nil, nil)
	if errors.Is(err, errNotPending) {
		return nil
	}
	if err == nil {
		s.forgetIdentity(ctx, did, a.Handle)
		s.log.InfoContext(ctx, "an interrupted sign-up was completed", "did", did, "handle", a.Handle)
	}
	return err
}
