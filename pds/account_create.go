package pds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// How an account comes into being: one Update reserves its DID, handle,
// address and invite (the account is Pending and nothing of it is public), the
// PLC operation is submitted, and a second Update makes the account active,
// with its first commit and its events. What goes wrong in between is undone,
// or left to settlePendingAccounts if nobody knows whether the operation has
// arrived. An account that brings its DID needs no PLC operation and is made
// in a single Update.

const (
	// registryTimeout is how long a request to the PLC directory may take
	// while an account waits for it.
	registryTimeout = 20 * time.Second

	// creationTimeout is how long a sign-up goes on after its client has left.
	creationTimeout = time.Minute

	// migrationTTL is how long an account that brought its DID may stay
	// without being activated before it is deleted.
	migrationTTL = 3 * 24 * time.Hour
)

// NewAccount describes an account to be made.
type NewAccount struct {
	// Handle is required. Without a DID it must be under one of the server's
	// own domains.
	Handle string

	// DID, if set, is an identity that exists already. The caller has made
	// sure that whoever asks controls it. The account is created deactivated,
	// without any event, and is deleted after three days unless it is
	// activated; but it is active at once with the did:web of the server's own
	// host or of one under HandleDomains, whose document this server serves.
	// Empty: a new did:plc is made.
	DID syntax.DID

	// Email and Password may be empty: such an account belongs to a group, a
	// service or a login provider.
	Email    string
	Password string

	// InviteCode, if set, is used up by the account.
	InviteCode string

	// RecoveryKey is a did:key that the user holds. In a new identity it
	// outranks the keys of the server.
	RecoveryKey string

	// Services are further services in the document of a new identity, by name.
	Services map[string]identity.Service

	// AllowReserved lets the handle be a reserved one.
	AllowReserved bool
}

// CreateAccount makes an account on behalf of code in this process, also one
// without credentials. It is what com.atproto.server.createAccount calls, too,
// which checks more: that an invite code and an address are given, and that
// the caller controls the DID.
//
// It returns when the account is durable. Errors that a client would see are
// of type *[xrpc.Error], such as InvalidHandle, HandleNotAvailable,
// UnsupportedDomain, InvalidInviteCode and AlreadyExists. After an error
// nothing is left of the account, with one exception: if the PLC directory did
// not answer, the account stays invisible and reserved until [Server.Run] has
// found out what became of it, and may appear then.
func (s *Server) CreateAccount(ctx context.Context, a NewAccount) (storage.Account, error) {
	c, err := s.newCreation(ctx, a)
	if err != nil {
		return storage.Account{}, err
	}
	if err := s.create(ctx, c); err != nil {
		return storage.Account{}, err
	}
	return c.account, nil
}

// creation is an account on its way.
type creation struct {
	account    storage.Account
	inviteCode string
	key        atcrypto.PrivateKey
	keyRef     []byte
	op         *identity.Operation // nil if the DID was brought
	reserved   bool                // the key is a reserved one

	// also runs in the Update that completes the account.
	also func(tx storage.Tx, a *storage.Account) error
}

// newCreation checks everything about a new account that can be checked
// without changing anything, and makes its keys and identity.
func (s *Server) newCreation(ctx context.Context, a NewAccount) (*creation, error) {
	c := &creation{inviteCode: a.InviteCode}
	acct := &c.account
	var err error
	if a.Email != "" {
		if acct.Email, err = checkEmail(a.Email); err != nil {
			return nil, err
		}
	}
	if a.DID != "" {
		if _, err := syntax.ParseDID(string(a.DID)); err != nil || a.DID.Method() != "plc" && a.DID.Method() != "web" {
			return nil, xrpc.InvalidRequest("Input/did must be a did:plc or did:web").WithCause(err)
		}
	}
	if a.RecoveryKey != "" {
		if _, err := atcrypto.ParsePublicDIDKey(a.RecoveryKey); err != nil {
			return nil, xrpc.InvalidRequest("Input/recoveryKey must be a did:key").WithCause(err)
		}
	}
	if acct.Handle, err = s.checkHandle(ctx, a.Handle, a.DID, a.AllowReserved); err != nil {
		return nil, err
	}
	acct.DID = a.DID
	err = s.store.View(ctx, func(tx storage.Tx) error {
		if a.InviteCode != "" {
			if _, _, err := usableInvite(tx, a.InviteCode); err != nil {
				return err
			}
		}
		return checkNamesFree(tx, acct)
	})
	if err != nil {
		return nil, err
	}
	if a.Password != "" {
		if acct.PasswordHash, err = s.passwords.hash(ctx, a.Password); err != nil {
			return nil, err
		}
	}
	acct.CreatedAt = s.clock.Now().Truncate(time.Millisecond)
	if a.DID != "" {
		return c, s.bringIdentity(ctx, c)
	}
	return c, s.makeIdentity(ctx, c, &a)
}

// bringIdentity prepares an account whose DID exists already: it waits for
// its owner to import the repository and to point the DID document here.
func (s *Server) bringIdentity(ctx context.Context, c *creation) (err error) {
	now := c.account.CreatedAt
	if !s.servesDocument(c.account.DID) {
		c.account.DeactivatedAt, c.account.DeleteAfter = now, now.Add(migrationTTL)
	}
	c.account.TokensAfter = now // tokens of an account that the DID had here before are dead
	c.key, c.keyRef, err = s.reservedKey(ctx, c.account.DID)
	if errors.Is(err, storage.ErrNotFound) {
		c.key, c.keyRef, err = s.cfg.Keys.Generate(ctx)
	} else {
		c.reserved = err == nil
	}
	if err != nil {
		return err
	}
	c.account.KeyID, err = keyIDOf(c.key)
	return err
}

// servesDocument reports whether this server serves the document of a DID, and
// so answers for its account without asking anybody.
func (s *Server) servesDocument(did syntax.DID) bool {
	host, web := strings.CutPrefix(string(did), "did:web:")
	if !web {
		return false
	}
	host = strings.ReplaceAll(host, "%3A", ":")
	return host == s.public.Host || s.isHandleHost(host)
}

// makeIdentity makes a signing key and signs the operation of a new did:plc.
func (s *Server) makeIdentity(ctx context.Context, c *creation, a *NewAccount) (err error) {
	if c.key, c.keyRef, err = s.cfg.Keys.Generate(ctx); err != nil {
		return err
	}
	pub, err := c.key.PublicKey()
	if err != nil {
		return err
	}
	c.account.KeyID = pub.DIDKey()
	c.account.DID, c.op, err = s.cfg.Registry.New(ctx, identity.NewIdentity{
		Handle: c.account.Handle, SigningKey: pub, PDS: s.public.String(), RecoveryKey: a.RecoveryKey,
		Services: a.Services,
	})
	return err
}

// checkNamesFree returns the client's error if DID, handle or address of a new
// account are in use, by an account in whatever state.
func checkNamesFree(tx storage.Tx, a *storage.Account) error {
	if a.DID != "" {
		_, err := tx.Account(a.DID)
		if err == nil {
			return xrpc.NewError(http.StatusBadRequest, "AlreadyExists", "Repo already exists")
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	if err := checkHandleFree(tx, a.Handle, a.DID); err != nil {
		return err
	}
	if a.Email == "" {
		return nil
	}
	_, err := tx.AccountByEmail(a.Email)
	switch {
	case err == nil:
		return errEmailTaken(a.Email)
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	return nil
}

// create carries a creation out. Once something is reserved it goes on even if
// the client leaves.
func (s *Server) create(ctx context.Context, c *creation) error {
	_, err := s.askPolicy(ctx, &Write{Account: c.account.DID, Status: &StatusChange{Action: StatusCreate, Account: c.account}})
	if err != nil {
		return err
	}
	if c.op == nil {
		return s.createBrought(ctx, c)
	}
	did := c.account.DID
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), creationTimeout)
	defer cancel()
	if err := s.reserve(ctx, c); err != nil {
		if !isRefusal(err) && !errors.Is(err, storage.ErrConflict) {
			s.undoAfter(ctx, did, undoPlain) // it may be there
		}
		return err
	}
	if err := s.submit(ctx, did, c.op); err != nil {
		switch submitOutcome(err) {
		case notRegistered:
			s.undoAfter(ctx, did, undoPlain)
			return plcFailure(err)
		default:
			if there, e := s.cfg.Registry.Exists(ctx, did); e != nil || !there {
				s.log.WarnContext(ctx, "a sign-up waits for the PLC directory", "did", did, "error", err)
				return plcFailure(err)
			}
		}
	}
	acct, err := s.finishCreation(ctx, did, c.key, c.also)
	if err == nil {
		c.account = acct
		s.forgetIdentity(ctx, did, acct.Handle)
		return nil
	}
	if s.isComplete(ctx, c) {
		return nil
	}
	s.undoAfter(ctx, did, undoTombstone)
	return err
}

// isComplete reports whether a creation has succeeded after all, which an error
// of the store leaves open.
func (s *Server) isComplete(ctx context.Context, c *creation) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), creationTimeout)
	defer cancel()
	var stored storage.Account
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		stored, err = tx.Account(c.account.DID)
		return err
	})
	if err != nil || stored.Pending || stored.KeyID != c.account.KeyID {
		return false
	}
	c.account = stored
	return true
}

// reserve stores the account as pending, so that nobody else can take its
// names, and all that is needed to complete it later.
func (s *Server) reserve(ctx context.Context, c *creation) error {
	return s.store.Update(ctx, func(tx storage.Tx) error {
		pending := c.account
		pending.Pending = true
		if err := s.putNewAccount(tx, c, &pending); err != nil {
			return err
		}
		return putCreation(tx, pending.DID, storage.Doc{}, creationDoc{
			Op: c.op, Invite: c.inviteCode, Started: c.account.CreatedAt,
		})
	})
}

// putNewAccount stores the row and the key of a new account and takes its
// invite.
func (s *Server) putNewAccount(tx storage.Tx, c *creation, a *storage.Account) error {
	if err := checkNamesFree(tx, a); err != nil {
		return err
	}
	version, err := tx.PutAccount(*a)
	if err != nil {
		return err
	}
	a.Version = version
	if c.inviteCode != "" {
		if err := useInvite(tx, c.inviteCode, a.DID, s.clock.Now()); err != nil {
			return err
		}
	}
	return putSigningKey(tx, a.DID, c.keyRef)
}

// createBrought makes an account that brings its DID: everything in one
// Update, silently unless it is active.
func (s *Server) createBrought(ctx context.Context, c *creation) error {
	first, err := s.firstCommit(ctx, c.account.DID, c.key)
	if err != nil {
		return err
	}
	var acct storage.Account
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		acct = c.account
		if err := s.putNewAccount(tx, c, &acct); err != nil {
			return err
		}
		if !acct.Active() {
			if err := markMigration(tx, acct.DID); err != nil {
				return err
			}
		}
		if err := s.scheduleDeletion(tx, &acct); err != nil {
			return err
		}
		if err := first.apply(tx, &acct); err != nil {
			return err
		}
		if acct.Active() {
			if err := first.announce(tx, &acct, cause{actor: acct.DID}); err != nil {
				return err
			}
		}
		if c.reserved {
			if err := s.dropReservedKey(tx, acct.DID); err != nil {
				return err
			}
		}
		if c.also != nil {
			return c.also(tx, &acct)
		}
		return nil
	})
	switch {
	case err == nil:
		c.account = acct
	case !isRefusal(err) && s.isComplete(ctx, c):
		err = nil
	}
	return err
}

// submit sends the operation of a new identity.
func (s *Server) submit(ctx context.Context, did syntax.DID, op *identity.Operation) error {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	return s.cfg.Registry.Submit(ctx, did, op)
}

// outcome says what is known after a Submit that failed.
type outcome int

const (
	unknownOutcome outcome = iota // the operation may have arrived, or may still
	notRegistered                 // it has not been taken and never will
)

func submitOutcome(err error) outcome {
	if answer, ok := errors.AsType[*identity.PLCError](err); ok && answer.Status < http.StatusInternalServerError {
		return notRegistered
	}
	if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Op == "dial" {
		return notRegistered
	}
	return unknownOutcome
}

// plcFailure turns an error of the Registry into the client's error.
func plcFailure(err error) error {
	answer, answered := errors.AsType[*identity.PLCError](err)
	switch {
	case answered && answer.Status < http.StatusInternalServerError:
		return xrpc.InvalidRequest("%s", answer.Message).WithCause(err)
	case errors.Is(err, context.DeadlineExceeded):
		return xrpc.NewError(http.StatusGatewayTimeout, "UpstreamTimeout", "The PLC directory did not answer in time").WithCause(err)
	case errors.Is(err, identity.ErrPLCUnavailable):
		return xrpc.NewError(http.StatusBadGateway, "UpstreamFailure", "The PLC directory is not available").WithCause(err)
	case errors.Is(err, atid.ErrDIDNotFound):
		return xrpc.InvalidRequest("DID not registered").WithCause(err)
	case errors.Is(err, identity.ErrTombstoned):
		return xrpc.InvalidRequest("DID is tombstoned").WithCause(err)
	case errors.Is(err, identity.ErrInvalidOperation), errors.Is(err, identity.ErrOperationTooLarge):
		return xrpc.InvalidRequest("Invalid operation: %s", strings.TrimPrefix(err.Error(), "identity: ")).WithCause(err)
	case errors.Is(err, identity.ErrNotRotationKey):
		return xrpc.InvalidRequest("Server rotation key not included in PLC DID data").WithCause(err)
	}
	return fmt.Errorf("PLC directory: %w", err)
}

// forgetIdentity makes the directory look anew at an identity that has
// changed.
func (s *Server) forgetIdentity(ctx context.Context, did syntax.DID, handles ...syntax.Handle) {
	_ = s.cfg.Directory.Purge(ctx, did.AtIdentifier())
	for _, h := range handles {
		if h != "" {
			_ = s.cfg.Directory.Purge(ctx, h.AtIdentifier())
		}
	}
}
