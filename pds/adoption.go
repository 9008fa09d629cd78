package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// AdoptedDeletionGrace is how long an adopted account that is to be deleted
// stays at least: the server that it comes from may never have deleted any.
const AdoptedDeletionGrace = 7 * 24 * time.Hour

// AdoptionConfig says where an [Adoption] writes.
type AdoptionConfig struct {
	// Store, Blobs and Keys are those of the server that is to be. No server
	// uses them meanwhile. Required, unless VerifyOnly is set.
	Store storage.Store
	Blobs storage.BlobStore
	Keys  Keys

	// Limits are those of the server: of sessions, temporary blobs and
	// reserved keys, which are left out beyond them. Default: as in Config.
	Limits Limits

	// VerifyOnly reads and verifies everything and writes nothing.
	VerifyOnly bool
}

// Adoption takes over what another server has stored: accounts with their
// repositories as they are, signed commit and all, so that nobody who follows
// them sees a break; keys, passwords, sessions, invites, the log of events.
// Package pds/adopt does all of it for the reference server.
//
// Its methods verify what they are given. An error that matches an
// [*AdoptionFault] says that the source is at fault: the account, invite or key
// has been left out, and the next one can be tried. Any other error is one of
// the store. What was begun when that happened is not visible to any server,
// and done again when the same method is called again. The methods are not
// for concurrent use.
type Adoption struct {
	cfg   AdoptionConfig
	clock *storage.Guard
	jobs  *jobs.Queue
}

// NewAdoption returns an Adoption. It reads and writes nothing yet.
func NewAdoption(cfg AdoptionConfig) (*Adoption, error) {
	cfg.Limits.setDefaults()
	a := &Adoption{cfg: cfg}
	if cfg.VerifyOnly {
		a.clock = storage.NewGuard(storage.SystemClock(), time.Time{})
		return a, nil
	}
	if cfg.Store == nil || cfg.Blobs == nil || cfg.Keys == nil {
		return nil, errors.New("pds: AdoptionConfig.Store, Blobs and Keys are required")
	}
	guard, ok := storage.GuardOf(cfg.Store)
	if !ok {
		guard = storage.NewGuard(storage.SystemClock(), time.Time{})
	}
	a.clock, a.jobs = guard, jobs.New(storage.DocsOf(cfg.Store), guard, slog.New(slog.DiscardHandler))
	return a, nil
}

// AdoptionFaultKind names what can be wrong with something that is adopted.
type AdoptionFaultKind string

// The kinds of faults. Of an account that has one of the first four, nothing
// has been adopted.
const (
	FaultAccount     AdoptionFaultKind = "account"      // what the source says of it is malformed or cannot be read
	FaultNames       AdoptionFaultKind = "names"        // another account has the handle or the address
	FaultKey         AdoptionFaultKind = "signing-key"  // missing, or not the one that signed the head
	FaultRepository  AdoptionFaultKind = "repository"   // commit, tree or a record
	FaultBlobMissing AdoptionFaultKind = "blob-missing" // the bytes are not there
	FaultBlobDamaged AdoptionFaultKind = "blob-damaged" // the bytes are others, or cannot be read
	FaultDocument    AdoptionFaultKind = "document"     // a handle, preference, session, app password, invite or reserved key
	FaultEvent       AdoptionFaultKind = "event"        // an entry of the log
)

// AdoptionFault is something wrong with what is to be adopted.
type AdoptionFault struct {
	Kind   AdoptionFaultKind
	Detail string
}

// Error returns kind and detail.
func (f *AdoptionFault) Error() string { return string(f.Kind) + ": " + f.Detail }

func newFault(kind AdoptionFaultKind, format string, args ...any) *AdoptionFault {
	return &AdoptionFault{kind, fmt.Sprintf(format, args...)}
}

// AdoptedAccount is an account as another server has it.
type AdoptedAccount struct {
	DID              syntax.DID
	Handle           syntax.Handle // empty: none
	Email            string        // empty: none
	EmailConfirmedAt time.Time
	PasswordHash     string // argon2id as PHC string, or the reference server's "salt:scrypt"; empty: none
	CreatedAt        time.Time
	DeactivatedAt    time.Time // zero: not deactivated
	DeleteAfter      time.Time // of a deactivated account; see AdoptedDeletionGrace
	TakedownRef      string
	InvitesDisabled  bool

	// Arriving says that the account was made for a DID from elsewhere and has
	// never been active on the source.
	Arriving bool

	// Key is the signing key.
	Key atcrypto.PrivateKeyExportable

	Repo AdoptedRepo

	// Blobs are all that the source stores. May be nil. An error ends the
	// account.
	Blobs iter.Seq2[AdoptedBlob, error]

	Preferences  []json.RawMessage
	AppPasswords []AdoptedAppPassword
	Sessions     []AdoptedSession
	MailTokens   []AdoptedMailToken
}

// AdoptedRepo is the repository of an account.
type AdoptedRepo struct {
	Head cid.Cid    // the signed commit
	Rev  syntax.TID // as the source gives it out

	// Block returns blocks, or repo.ErrBlockNotFound.
	Block repo.BlockSource

	// Record returns the rev that brought a record, and the mark of its
	// takedown. An empty rev stands for that of the head.
	Record func(storage.RecordPath) (rev syntax.TID, takedown string, err error)

	// Foreign is asked if the head is not signed by the account's key, as
	// that of a repository that was imported and never written to. If it
	// returns nil, the head gets a new signature. nil refuses.
	Foreign func(ctx context.Context, key atcrypto.PublicKey) error

	// Announce tells the followers of an active account the state of its
	// repository, by a #sync event: because the log of the source did not.
	Announce bool
}

// AdoptedBlob is a blob of an account.
type AdoptedBlob struct {
	CID         cid.Cid
	MimeType    string
	CreatedAt   time.Time
	TakedownRef string

	// Open returns the bytes, or an error that matches fs.ErrNotExist.
	Open func() (io.ReadCloser, error)
}

// AdoptedAppPassword is an app password.
type AdoptedAppPassword struct {
	Name       string
	Hash       string // of the kinds of AdoptedAccount.PasswordHash
	Privileged bool
	CreatedAt  time.Time
}

// AdoptedSession is a session by its refresh token, which is good here if the
// secret of the tokens is the same.
type AdoptedSession struct {
	TokenID     string // the token's jti
	AppPassword string // the name of the one that it was made with; empty: none
	Privileged  bool
	Expires     time.Time
}

// AdoptedMailToken is a code that was sent by mail.
type AdoptedMailToken struct {
	Purpose   string // "confirm_email" and so on, as in com.atproto.server
	Token     string
	Requested time.Time
}

// AdoptedCounts says how much of an account was adopted, or verified.
type AdoptedCounts struct {
	Records   int64
	Blobs     int64 // those included that an earlier, interrupted attempt has copied
	BlobBytes int64

	// Missing are blobs that records refer to and that the source does not
	// claim to have.
	Missing int64

	// LeftOut are uploads that nothing has referred to in time, and sessions
	// above the limit.
	LeftOut int64

	// Resigned says that the repository has a new head, by the account's key.
	Resigned bool

	// Faults are those that did not keep the account from being adopted.
	Faults []*AdoptionFault
}

func (c *AdoptedCounts) fault(kind AdoptionFaultKind, format string, args ...any) {
	c.Faults = append(c.Faults, newFault(kind, format, args...))
}

// Has reports whether an account is there and complete.
func (a *Adoption) Has(ctx context.Context, did syntax.DID) (bool, error) {
	if a.cfg.VerifyOnly {
		return false, nil
	}
	complete := false
	err := a.cfg.Store.View(ctx, func(tx storage.Tx) error {
		acct, err := tx.Account(did)
		complete = err == nil && !acct.Pending
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = nil
	}
	return complete, err
}

// Account adopts one account. It becomes visible when all of it is here. One
// that is here already gives storage.ErrExists. The counts are never nil; they
// hold what was found before an error.
func (a *Adoption) Account(ctx context.Context, in *AdoptedAccount) (*AdoptedCounts, error) {
	counts := &AdoptedCounts{}
	w := &adoptedWriter{a: a, ctx: ctx, in: in, counts: counts, refs: map[cid.Cid]bool{}}
	return counts, w.adopt()
}

// adoptedWriter adopts one account.
type adoptedWriter struct {
	a      *Adoption
	ctx    context.Context
	in     *AdoptedAccount
	counts *AdoptedCounts

	account storage.Account
	base    cid.Cid // head of an earlier attempt
	head    storage.Head
	stager  stager
	refs    map[cid.Cid]bool // blobs that records refer to: whether they are stored
	hidden  []hiddenRecord
}

type hiddenRecord struct {
	path storage.RecordPath
	ref  string
}

func (w *adoptedWriter) adopt() (err error) {
	defer func() {
		if err != nil && !w.a.cfg.VerifyOnly {
			err = errors.Join(err, w.giveUp(err))
		}
	}()
	if err := w.describe(); err != nil {
		return err
	}
	if err := w.chooseHead(); err != nil {
		return err
	}
	if !w.a.cfg.VerifyOnly {
		if err := w.reserve(); err != nil {
			return err
		}
	}
	if err := w.stage(); err != nil {
		return err
	}
	if err := w.copyBlobs(); err != nil {
		return err
	}
	docs, err := w.documents()
	if err != nil || w.a.cfg.VerifyOnly {
		return err
	}
	if err := w.putDocs(docs); err != nil {
		return err
	}
	return w.publish()
}

// giveUp removes what was begun: all of it if the source is at fault, else only
// what the next attempt cannot use.
func (w *adoptedWriter) giveUp(cause error) error {
	if _, ok := errors.AsType[*AdoptionFault](cause); !ok {
		return w.stager.drop()
	}
	return w.a.cfg.Store.Update(context.WithoutCancel(w.ctx), func(tx storage.Tx) error {
		acct, err := tx.Account(w.in.DID)
		if errors.Is(err, storage.ErrNotFound) || err == nil && !acct.Pending {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.DeleteAccount(w.in.DID)
	})
}

// describe makes the account's row.
func (w *adoptedWriter) describe() error {
	in := w.in
	if _, err := syntax.ParseDID(string(in.DID)); err != nil {
		return newFault(FaultAccount, "%q is no DID", in.DID)
	}
	if in.Key == nil {
		return newFault(FaultKey, "there is no signing key")
	}
	keyID, err := keyIDOf(in.Key)
	if err != nil {
		return newFault(FaultKey, "the signing key is malformed: %v", err)
	}
	w.account = storage.Account{
		DID: in.DID, PasswordHash: in.PasswordHash, CreatedAt: in.CreatedAt, DeactivatedAt: in.DeactivatedAt,
		TakedownRef: in.TakedownRef, KeyID: keyID, InvitesDisabled: in.InvitesDisabled, Pending: true,
	}
	if in.Handle != "" {
		if w.account.Handle, err = normalizeHandle(string(in.Handle)); err != nil {
			w.counts.fault(FaultDocument, "the handle %q is malformed and was left out", in.Handle)
		}
	}
	if in.Email != "" {
		// What an older server took as an address stays one.
		if w.account.Email, err = normalizeEmail(in.Email); err != nil {
			w.account.Email = normalizeIdentifier(in.Email)
		}
		w.account.EmailConfirmedAt = in.EmailConfirmedAt
	}
	if !in.DeactivatedAt.IsZero() && !in.DeleteAfter.IsZero() {
		w.account.DeleteAfter = in.DeleteAfter
		if earliest := w.a.clock.Now().Add(AdoptedDeletionGrace); in.DeleteAfter.Before(earliest) {
			w.account.DeleteAfter = earliest
		}
	}
	return nil
}

// reserve makes the account, pending, or finds the one of an earlier attempt.
func (w *adoptedWriter) reserve() error {
	err := w.a.cfg.Store.Update(w.ctx, func(tx storage.Tx) error {
		old, err := tx.Account(w.in.DID)
		switch {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return err
		case !old.Pending:
			return storage.ErrExists
		}
		w.base = cid.Undef
		if head, err := tx.Head(w.in.DID); err == nil {
			w.base = head.CID
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		w.account.Version = old.Version
		version, err := tx.PutAccount(w.account)
		if errors.Is(err, storage.ErrExists) {
			return newFault(FaultNames, "another account has the handle %q or the address %q", w.account.Handle, w.account.Email)
		}
		w.account.Version = version
		return err
	})
	return err
}

// publish makes the account visible.
func (w *adoptedWriter) publish() error {
	store := w.a.cfg.Store
	err := store.Update(w.ctx, func(tx storage.Tx) error {
		return tx.Apply(&storage.Commit{
			DID: w.in.DID, Base: w.base, AccountVersion: w.account.Version, KeyID: w.account.KeyID,
			Head: w.head, Generation: w.stager.generation,
		})
	})
	if err != nil {
		return err
	}
	w.stager.generation = 0 // it is the repository now
	for rest := w.hidden; len(rest) > 0; {
		n := min(len(rest), stageRows)
		err := store.Update(w.ctx, func(tx storage.Tx) error {
			for _, h := range rest[:n] {
				if err := tx.SetRecordTakedown(w.in.DID, h.path.Collection, h.path.RKey, h.ref); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return store.Update(w.ctx, func(tx storage.Tx) error {
		acct := w.account
		acct.Pending = false
		if _, err := tx.PutAccount(acct); err != nil {
			return err
		}
		if !acct.DeleteAfter.IsZero() {
			if err := scheduleDeletion(tx, w.a.jobs, &acct); err != nil {
				return err
			}
		}
		if acct.Active() && (w.in.Repo.Announce || w.counts.Resigned) {
			return tx.Append(cause{}.event(acct.DID, eventSync, encodeSync(acct.DID, w.head)))
		}
		return nil
	})
}
