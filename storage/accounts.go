package storage

import (
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Accounts is the role of [Tx] that holds accounts. Rows of an account hang on
// an internal number, never on the DID, so that a DID that comes back after a
// deletion never meets leftovers.
type Accounts interface {
	// Account returns the account of did, or [ErrNotFound].
	Account(did syntax.DID) (Account, error)

	// AccountByHandle returns the account that holds the handle, in whatever
	// state the account is, or [ErrNotFound].
	AccountByHandle(handle syntax.Handle) (Account, error)

	// AccountByEmail returns the account that holds the address, compared
	// byte by byte, or [ErrNotFound].
	AccountByEmail(email string) (Account, error)

	// PutAccount stores a. With a.Version zero it creates the account and
	// returns [ErrExists] if the DID is taken; otherwise a.Version must be
	// the stored one, else [ErrConflict]. A handle or e-mail address that
	// another account holds gives [ErrExists]. It returns the new version,
	// which is higher than every version that this DID ever had, across
	// deletions.
	PutAccount(a Account) (version int64, err error)

	// DeleteAccount makes the account invisible to every method from now on,
	// with its repository, its blobs' metadata and all documents it owns, and
	// frees its DID, handle and address. The rows are collected by
	// [Store.Maintain], which releases the blob keys (see
	// [Blobs.ReleasedBlobs]). Events are left alone, see [Events.HideEvents].
	// It returns [ErrNotFound] if there is no account.
	DeleteAccount(did syntax.DID) error

	// ListAccounts returns up to limit accounts after the cursor, in order of
	// (CreatedAt in milliseconds, DID). The zero cursor starts at the
	// beginning. Its cost does not grow with the number of accounts.
	ListAccounts(after AccountCursor, limit int) ([]Account, error)

	// Usage returns the totals of an account, kept current by the Updates
	// that change them; [ErrNotFound] without an account.
	Usage(did syntax.DID) (Usage, error)
}

// Account is one account of the server. An account without PasswordHash is
// normal: it belongs to a group, a service or an external login.
type Account struct {
	DID    syntax.DID
	Handle syntax.Handle // normalised; empty if the account has none
	Email  string        // normalised by the caller; empty if there is none

	EmailConfirmedAt time.Time // zero: not confirmed
	PasswordHash     string    // encoded with its parameters; empty: no password
	CreatedAt        time.Time // kept to the millisecond

	// Pending marks an account whose creation has reserved its names but is
	// not complete. Nothing of it is public.
	Pending bool

	DeactivatedAt time.Time // zero: not deactivated
	DeleteAfter   time.Time // zero: never; when a deactivated account is to be deleted
	TakedownRef   string    // empty: not taken down

	// TokensAfter refuses every token issued before it. Zero refuses none.
	TokensAfter time.Time

	// KeyID names the signing key that commits must be signed with.
	KeyID string

	// InvitesDisabled says that the account may not make invite codes.
	InvitesDisabled bool

	// Version is raised by every PutAccount. Commits name the version they
	// were checked against, see [Commit].
	Version int64
}

// Active reports whether the account is complete, neither deactivated nor
// taken down.
func (a *Account) Active() bool {
	return !a.Pending && a.DeactivatedAt.IsZero() && a.TakedownRef == ""
}

// AccountCursor is a position in the list of accounts: just after the account
// with this creation time, in milliseconds since 1970, and DID.
type AccountCursor struct {
	CreatedAt int64
	DID       syntax.DID
}

// Cursor is the position just after the account.
func (a *Account) Cursor() AccountCursor {
	return AccountCursor{a.CreatedAt.UnixMilli(), a.DID}
}

// Usage holds the totals of one account.
type Usage struct {
	Records         int64 // records in the repository
	RepoBlocks      int64 // distinct blocks: commit, tree nodes, records
	RepoBytes       int64 // bytes of tree nodes and record values
	Blobs           int64 // blobs whose bytes are stored
	BlobBytes       int64
	ReferencedBlobs int64 // distinct blob CIDs that something refers to, stored or not
}
