package oauth

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// The interfaces of this file are optional abilities of [Accounts] that the
// account manager uses. A section of it exists if its interface is implemented.
// The server has made sure that the account is signed in on the device, and,
// for what changes credentials, that its password was entered lately. Errors
// that are not named here are logged and answered without detail.
//
// Between these checks and the change somebody may set a new password by mail,
// so as to keep others out. An account system whose documents are in the
// server's store calls [StillSignedIn] in the transaction that makes the change.

// Errors of the account manager. They may be wrapped.
var (
	// ErrHandleUnproven is for a handle whose domain does not name the account.
	ErrHandleUnproven = errors.New("oauth: handle does not point to the account")
	// ErrNameTaken is for an app password with the name of another.
	ErrNameTaken = errors.New("oauth: name is taken")
	// ErrNameInvalid is for a name that an app password cannot have.
	ErrNameInvalid = errors.New("oauth: name is not allowed")
	// ErrSignedOut is for a change by who was signed in when it began and is no
	// more, see [StillSignedIn].
	ErrSignedOut = errors.New("oauth: signed out in the meantime")
)

// EmailManager changes and confirms the e-mail address.
type EmailManager interface {
	// RequestEmailChange prepares a change. If the present address is confirmed
	// it sends a code there and returns true: ChangeEmail needs it.
	RequestEmailChange(ctx context.Context, did syntax.DID) (codeSent bool, err error)

	// ChangeEmail sets the address, which is in lower case. Errors are
	// [ErrCodeInvalid], [ErrEmailTaken] and [ErrEmailInvalid].
	ChangeEmail(ctx context.Context, did syntax.DID, email, code string) error

	// RequestEmailConfirmation sends a code to the present address.
	RequestEmailConfirmation(ctx context.Context, did syntax.DID) error

	// ConfirmEmail takes that code, or returns [ErrCodeInvalid].
	ConfirmEmail(ctx context.Context, did syntax.DID, code string) error
}

// HandleManager changes the handle.
type HandleManager interface {
	// ChangeableDomains are the domains, each with a leading dot, below which
	// an account may choose a name.
	ChangeableDomains() []string

	// ChangeHandle sets the handle: below one of the domains, or any other
	// domain that names the account. Errors are [ErrHandleTaken],
	// [ErrHandleInvalid] and [ErrHandleUnproven].
	ChangeHandle(ctx context.Context, did syntax.DID, handle syntax.Handle) error
}

// PasswordChanger changes the password.
type PasswordChanger interface {
	// ChangePassword sets the password, and ends the account's sessions, those
	// of this server included, see [Server.EndSessions]. The server has checked
	// the present one. The error is [ErrPasswordWeak].
	ChangePassword(ctx context.Context, did syntax.DID, password string) error
}

// AppPasswordManager keeps passwords for single apps.
type AppPasswordManager interface {
	// AppPasswords lists them by name.
	AppPasswords(ctx context.Context, did syntax.DID) ([]AppPassword, error)

	// CreateAppPassword makes one and returns the password, which is shown once.
	// Errors are [ErrNameTaken] and [ErrNameInvalid].
	CreateAppPassword(ctx context.Context, did syntax.DID, name string, privileged bool) (password string, err error)

	// RevokeAppPassword ends one and its sessions; one that is not there is no
	// error.
	RevokeAppPassword(ctx context.Context, did syntax.DID, name string) error
}

// AppPassword is a password for one app.
type AppPassword struct {
	Name       string
	Privileged bool // may also read and write direct messages
	Created    time.Time
}

// LegacySessions are sessions that were made with a password rather than by
// this server. The account manager lists them beside the app passwords.
type LegacySessions interface {
	// LegacySessions lists them, newest first.
	LegacySessions(ctx context.Context, did syntax.DID) ([]LegacySession, error)

	// EndLegacySession ends one; one that is not there is no error.
	EndLegacySession(ctx context.Context, did syntax.DID, id string) error
}

// LegacySession is a session that was made with a password. Fields that are not
// known are empty.
type LegacySession struct {
	ID          string
	AppPassword string // its name; empty: the account's own password
	UserAgent   string
	IP          string
	Created     time.Time
	LastUsed    time.Time
	Expires     time.Time
}

// Deactivator takes accounts offline. [Reactivations] is the way back.
type Deactivator interface {
	// Deactivate takes the account offline and ends its sessions, those of this
	// server included, see [Server.EndSessions].
	Deactivate(ctx context.Context, did syntax.DID) error
}

// Deleter deletes accounts.
type Deleter interface {
	// RequestDeletion sends a code to the account's address.
	RequestDeletion(ctx context.Context, did syntax.DID) error

	// Delete deletes the account for good, or returns [ErrCodeInvalid]. The
	// server has checked the password, and ends the sessions afterwards.
	Delete(ctx context.Context, did syntax.DID, code string) error
}

// Exporter hands out what an account has stored.
type Exporter interface {
	// Exports lists the files that there are.
	Exports(ctx context.Context, did syntax.DID) ([]Export, error)

	// OpenExport opens one of them by its Code. The server closes it.
	OpenExport(ctx context.Context, did syntax.DID, code string) (io.ReadCloser, error)
}

// Export is a file that an [Exporter] offers.
type Export struct {
	Code      string // "archive", "repo" or "blobs", or another that the UI has texts for
	FileName  string // such as "repo.car"
	MediaType string
	Size      int64 // bytes; 0: not known
}
