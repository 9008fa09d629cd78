package pds

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// stillAuthorized returns an error if what the caller of a method, or of the
// account manager, was let in by has ended since the request began: the owner may
// have set a new password to keep others out. It is called in the transaction
// that changes the account.
func stillAuthorized(ctx context.Context, tx storage.Docs, a *storage.Account) error {
	if c := xrpc.CallerFrom(ctx); c != nil {
		if began := credentialOf(c).account; began != nil && began.DID == a.DID && epochOf(began) != epochOf(a) {
			return errTokenRevoked()
		}
	}
	return oauth.StillSignedIn(ctx, tx)
}

// changeAccount changes an account's row in its lane. In one Update change
// edits the row and what belongs to it, the row is stored, and the events that
// announce returns are appended; announce sees the stored row and may be nil.
func (s *Server) changeAccount(ctx context.Context, did syntax.DID,
	change func(tx storage.Tx, a *storage.Account) error,
	announce func(tx storage.Tx, a *storage.Account) ([]storage.Event, error),
) (storage.Account, error) {
	return s.changeStatus(ctx, did, "", cause{}, change, announce)
}

// changeStatus is changeAccount for the changes that the policy decides about,
// which is all that have an action.
func (s *Server) changeStatus(ctx context.Context, did syntax.DID, action StatusAction, by cause,
	change func(tx storage.Tx, a *storage.Account) error,
	announce func(tx storage.Tx, a *storage.Account) ([]storage.Event, error),
) (storage.Account, error) {
	defer s.Recheck(did)
	var stored storage.Account
	err := s.inLane(ctx, did, func(ctx context.Context, w *writer) error {
		defer w.reset()
		var state *State
		if action != "" {
			var err error
			if state, err = w.askAboutStatus(ctx, by, StatusChange{Action: action}); err != nil {
				return err
			}
		}
		return s.updateWith(ctx, state, func(tx storage.Tx) error {
			a, err := tx.Account(did)
			if errors.Is(err, storage.ErrNotFound) || err == nil && a.Pending {
				return errAccountNotFound()
			}
			if err != nil {
				return err
			}
			if err := stillAuthorized(ctx, tx, &a); err != nil {
				return err
			}
			if err := change(tx, &a); err != nil {
				return err
			}
			if a.Version, err = tx.PutAccount(a); err != nil {
				return err
			}
			stored = a
			if err := state.apply(tx); err != nil {
				return err
			}
			if action == StatusActivate || action == StatusDeactivate { // a takedown is not done for the account
				if err := s.noteChange(ctx, tx, did, by, string(action)); err != nil {
					return err
				}
			}
			if announce == nil {
				return nil
			}
			events, err := announce(tx, &a)
			if err != nil {
				return err
			}
			for _, e := range events {
				if err := tx.Append(e); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return stored, err
}

// announceStatus is the event of every change of status.
func announceStatus(by cause) func(storage.Tx, *storage.Account) ([]storage.Event, error) {
	return func(_ storage.Tx, a *storage.Account) ([]storage.Event, error) {
		return []storage.Event{by.event(a.DID, eventAccount, encodeAccount(a.DID, statusOf(a)))}, nil
	}
}

// announceActivation tells consumers all they need to take up an account.
func announceActivation(by cause) func(storage.Tx, *storage.Account) ([]storage.Event, error) {
	return func(tx storage.Tx, a *storage.Account) ([]storage.Event, error) {
		head, err := tx.Head(a.DID)
		if err != nil {
			return nil, err
		}
		return []storage.Event{
			by.event(a.DID, eventAccount, encodeAccount(a.DID, statusOf(a))),
			by.event(a.DID, eventIdentity, encodeIdentity(a.DID, a.Handle)),
			by.event(a.DID, eventSync, encodeSync(a.DID, head)),
		}, nil
	}
}

// activate makes an account active, after its identity has been found to point
// here. An account that is active already is announced again; one that is
// taken down is refused.
func (s *Server) activate(ctx context.Context, did syntax.DID, by cause) error {
	acct, err := s.accountByIdentifier(ctx, did.String())
	if err != nil {
		return err
	}
	if acct.TakedownRef != "" {
		return xrpc.NewError(http.StatusBadRequest, "AccountNotFound", "user not found")
	}
	if err := s.checkIdentityPointsHere(ctx, &acct); err != nil {
		return err
	}
	_, err = s.changeStatus(ctx, did, StatusActivate, by, func(tx storage.Tx, a *storage.Account) error {
		if a.TakedownRef != "" || a.KeyID != acct.KeyID {
			return xrpc.InvalidRequest("The account has changed in the meantime, try again")
		}
		a.DeactivatedAt, a.DeleteAfter = time.Time{}, time.Time{}
		if err := s.scheduleDeletion(tx, a); err != nil {
			return err
		}
		return tx.DeleteDoc(docMigration, string(did))
	}, announceActivation(by))
	return err
}

// deactivate hides an account. If deleteAfter is not zero, the account is
// deleted some time after it, unless it has been activated again.
func (s *Server) deactivate(ctx context.Context, did syntax.DID, deleteAfter time.Time, dropCredentials bool, by cause) error {
	_, err := s.changeStatus(ctx, did, StatusDeactivate, by, func(tx storage.Tx, a *storage.Account) error {
		a.DeactivatedAt, a.DeleteAfter = s.clock.Now(), deleteAfter
		if dropCredentials {
			if err := dropAppPasswords(tx, did); err != nil {
				return err
			}
			if err := s.endOAuth(tx, did); err != nil {
				return err
			}
		}
		return s.scheduleDeletion(tx, a)
	}, announceStatus(by))
	if err == nil && dropCredentials {
		s.forgetConsents(ctx, did)
	}
	return err
}

// forgetConsents removes what an account has agreed to that apps may do, after
// its sessions have ended.
func (s *Server) forgetConsents(ctx context.Context, did syntax.DID) {
	if s.oauth == nil {
		return
	}
	if err := s.oauth.Forget(context.WithoutCancel(ctx), did); err != nil {
		s.log.WarnContext(ctx, "what an account had agreed to was not forgotten", "did", did, "error", err)
	}
}

// takeDown takes an account down under a reference, or, with an empty one,
// restores it. A takedown ends all sessions.
func (s *Server) takeDown(ctx context.Context, did syntax.DID, ref string, by cause) error {
	action := StatusTakedown
	if ref == "" {
		action = StatusRestore
	}
	_, err := s.changeStatus(ctx, did, action, by, func(tx storage.Tx, a *storage.Account) error {
		a.TakedownRef = ref
		if ref == "" {
			return nil
		}
		return s.endSessions(tx, a)
	}, announceStatus(by))
	return err
}

// dropAppPasswords removes an account's app passwords and ends the sessions
// that were made with them.
func dropAppPasswords(tx storage.Docs, did syntax.DID) error {
	docs, err := tx.ScanOwner(did, docAppPassword)
	if err != nil {
		return err
	}
	for _, d := range docs {
		_, name, _ := strings.Cut(d.Key, "/")
		if err := dropSessions(tx, did, name); err != nil {
			return err
		}
		if err := tx.DeleteDoc(docAppPassword, d.Key); err != nil {
			return err
		}
	}
	return nil
}

// checkIdentityPointsHere returns the client's error unless the account's
// identity, read anew, names this server, the account's signing key and, for a
// did:plc, the server's rotation key.
func (s *Server) checkIdentityPointsHere(ctx context.Context, a *storage.Account) error {
	var endpoint, signingKey string
	if a.DID.Method() == "plc" {
		op, err := s.lastOperation(ctx, a.DID)
		if err != nil {
			return err
		}
		if !s.hasServerKey(op) {
			return xrpc.InvalidRequest("Server rotation key not included in PLC DID data")
		}
		endpoint, signingKey = op.Services[identity.ServicePDS].Endpoint, op.VerificationMethods[identity.KeyAtproto]
	} else {
		id, err := s.cfg.Directory.Refresh(ctx, a.DID)
		if err != nil {
			return xrpc.InvalidRequest("Could not resolve DID").WithCause(err)
		}
		endpoint = id.PDSEndpoint()
		if key, err := id.PublicKey(); err == nil {
			signingKey = key.DIDKey()
		}
	}
	switch {
	case !s.isPublicURL(endpoint):
		return xrpc.InvalidRequest("DID document atproto_pds service endpoint does not match PDS public url")
	case signingKey != a.KeyID:
		return xrpc.InvalidRequest("DID document verification method does not match expected signing key")
	}
	return nil
}
