package oauth

import (
	"context"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Accounts is the table of users: the one thing that an embedder has to write.
// Its methods may be called concurrently, and never inside a transaction of the
// store.
//
// What else an account system can do it says by implementing further interfaces
// on the same value: [SignUps], [PasswordResets], [Reactivations], and those of
// the account manager. A page whose interface is missing does not exist.
type Accounts interface {
	// Account returns an account as it is now, or [ErrAccountNotFound]. It is
	// asked whenever something is granted: at consent, for each code and at
	// each refresh.
	Account(ctx context.Context, did syntax.DID) (Account, error)

	// SignIn checks what somebody has entered: a handle, an e-mail address or a
	// DID, and the password. It returns [ErrWrongCredentials] for an unknown
	// identifier and for a wrong password alike, after the same time, and
	// [ErrBusy] if it cannot check at the moment. A password made for one app
	// (an "app password") is a wrong one here. A deactivated account may sign
	// in; of one that was taken down it returns the Account, whose Status the
	// server looks at.
	SignIn(ctx context.Context, identifier, password string) (Account, error)
}

// Account is what the server knows of somebody.
type Account struct {
	DID            syntax.DID
	Handle         syntax.Handle // syntax.HandleInvalid if there is none that works
	Email          string        // may be empty
	EmailConfirmed bool
	Status         Status
}

// Status is what may be done with an account.
type Status int

// The statuses of accounts.
const (
	// Active accounts may sign in and authorize apps.
	Active Status = iota
	// Deactivated accounts may sign in; they are asked to reactivate before
	// they authorize anything. Their sessions go on.
	Deactivated
	// TakenDown accounts may do nothing.
	TakenDown
	// Guest is somebody whose account is on another server, and who has proved
	// it by a [SignInMethod]. A guest is not remembered on a device, and may do
	// nothing here but act for others, see [Delegates].
	Guest
)

// mayAct reports whether somebody of this status may act for another account.
func (s Status) mayAct() bool { return s == Active || s == Guest }

// String returns the name of the status, such as "active".
func (s Status) String() string {
	switch s {
	case Active:
		return "active"
	case Deactivated:
		return "deactivated"
	case TakenDown:
		return "takendown"
	case Guest:
		return "guest"
	}
	return "unknown"
}

// Errors of [Accounts]. They may be wrapped.
var (
	// ErrAccountNotFound is for a DID that has no account.
	ErrAccountNotFound = errors.New("oauth: account not found")
	// ErrWrongCredentials is for an unknown identifier or a wrong password.
	ErrWrongCredentials = errors.New("oauth: wrong identifier or password")
	// ErrBusy is for a check that cannot be made at the moment. The user may
	// try again.
	ErrBusy = errors.New("oauth: too busy")
)

// Errors of [SignUps], [PasswordResets] and the account manager. They may be
// wrapped; their texts are not shown.
var (
	// ErrHandleTaken is for a handle that another account has, or that is
	// reserved.
	ErrHandleTaken = errors.New("oauth: handle is taken")
	// ErrHandleInvalid is for a handle that accounts cannot have.
	ErrHandleInvalid = errors.New("oauth: handle is not allowed")
	// ErrEmailTaken is for an address that another account has.
	ErrEmailTaken = errors.New("oauth: e-mail address is taken")
	// ErrEmailInvalid is for an address that accounts cannot have.
	ErrEmailInvalid = errors.New("oauth: e-mail address is not allowed")
	// ErrInviteInvalid is for an invite code that is unknown or used up.
	ErrInviteInvalid = errors.New("oauth: invite code is not valid")
	// ErrPasswordWeak is for a new password that is too short, too long or too
	// easy to guess.
	ErrPasswordWeak = errors.New("oauth: password is not allowed")
	// ErrCodeInvalid is for a code out of a mail that is wrong, used or too old.
	ErrCodeInvalid = errors.New("oauth: code is not valid")
)

// SignUps is implemented by [Accounts] where people can make accounts.
type SignUps interface {
	// HandleDomains are the domains of new handles, each with a leading dot;
	// the first is the default, also for names that somebody enters without a
	// domain to sign in.
	HandleDomains() []string

	// InviteRequired reports whether a new account needs an invite code.
	InviteRequired() bool

	// CheckHandle returns nil if a new account could have the handle, or
	// ErrHandleTaken or ErrHandleInvalid.
	CheckHandle(ctx context.Context, handle syntax.Handle) error

	// SignUp makes an account, or returns one of the errors of this package
	// whose name says what is wrong.
	SignUp(ctx context.Context, a NewAccount) (Account, error)
}

// NewAccount is what somebody has entered to make an account.
type NewAccount struct {
	Handle   syntax.Handle
	Email    string // lower-case
	Password string
	Invite   string
	Locale   string // of the page, such as "en"

	// Answers are what was entered into the fields of [SignUpFields], by name.
	Answers map[string]string
}

// SignUpFields is implemented by [SignUps] that ask for more: a captcha, say, or
// consent to terms.
type SignUpFields interface {
	// SignUpFields returns the fields, with their texts in the language of the
	// page. SignUp gets what was entered; [ErrCodeInvalid] says that it is
	// wrong.
	SignUpFields(ctx context.Context, locale string) ([]StepField, error)

	// SignUpTerms returns the addresses of terms and privacy policy, which may
	// be empty. If one is not, a new account has to agree.
	SignUpTerms(locale string) (terms, policy string)
}

// PasswordResets is implemented by [Accounts] where a forgotten password can be
// replaced by means of a mail.
type PasswordResets interface {
	// RequestPasswordReset sends a code if there is an account with this
	// address. Whether there is one must not show in the error, nor in the time
	// it takes.
	RequestPasswordReset(ctx context.Context, email string) error

	// ResetPassword sets the password of the account for which the code was
	// made, and ends its sessions, those of this server included, see
	// [Server.EndSessions]. Errors are ErrCodeInvalid and ErrPasswordWeak.
	ResetPassword(ctx context.Context, code, password string) error
}

// Reactivations is implemented by [Accounts] where accounts can be deactivated.
type Reactivations interface {
	// Reactivate makes a deactivated account active.
	Reactivate(ctx context.Context, did syntax.DID) error
}
