package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// SecondFactor is what somebody has to show beside the password: a code of an
// authenticator app, say, or one sent by mail. Package oauth/totp has one. Its
// methods may be called concurrently, and never inside a transaction of the
// store. It may implement [FactorManager] as well.
type SecondFactor interface {
	// Begin is called when somebody has proved to be the account otherwise. It
	// returns nil if this account needs nothing more.
	Begin(ctx context.Context, a FactorAttempt) (*Challenge, error)

	// Verify returns nil if answer is right for the challenge, and
	// [ErrCodeInvalid] if not. No answer may be accepted twice, not by
	// concurrent calls either. The server lets each challenge be answered
	// [MaxFactorTries] times at most, and counts failures as it counts wrong
	// passwords.
	Verify(ctx context.Context, c *Challenge, answer string) error
}

// ErrFactorLimit is for an account that has as many second factors as it may.
var ErrFactorLimit = errors.New("oauth: too many second factors")

// MaxFactorTries is how many answers a [Challenge] takes.
const MaxFactorTries = 5

// FactorAttempt says who is asked for a second factor.
type FactorAttempt struct {
	Account Account
	// Device names the browser. It stays the same for as long as the browser
	// keeps its cookies, and is no secret. Empty, with Locale, where there is
	// none: see [Server.CheckSecondFactor].
	Device string
	// Factor is the ID of the [FactorChoice] that was made, empty at first.
	Factor string
	// Locale is the language of the page, such as "en".
	Locale string
}

// Challenge asks for a second factor. The server keeps it for ten minutes; the
// browser sees Kind, Hint and Others alone.
type Challenge struct {
	Account syntax.DID     `json:"account"`
	Kind    string         `json:"kind"`           // a Factor constant of oauth/ui, or another that the UI has texts for
	Hint    string         `json:"hint,omitempty"` // such as the end of a phone number, in the page's language
	Others  []FactorChoice `json:"others,omitempty"`
	State   []byte         `json:"state,omitempty"` // of the SecondFactor alone; at most a few KB
}

// FactorChoice is another second factor that the account could use.
type FactorChoice struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
}

// FactorManager is implemented by a [SecondFactor] with which people enrol by
// themselves, in the account manager, by means of an authenticator app and
// recovery codes.
type FactorManager interface {
	// Factors returns what the account has.
	Factors(ctx context.Context, did syntax.DID) (Factors, error)

	// Enrol begins to add an authenticator app, in place of an addition that
	// was not finished. Until Confirm nothing changes for sign-in. The error may
	// be [ErrFactorLimit].
	Enrol(ctx context.Context, a Account) error

	// Confirm ends it with a first code of the app. It returns recovery codes
	// if the account has none yet. A wrong code is [ErrCodeInvalid].
	Confirm(ctx context.Context, did syntax.DID, name, code string) (recovery []string, err error)

	// Remove takes a factor away; one that is not there is no error. With the
	// last one the recovery codes go too.
	Remove(ctx context.Context, did syntax.DID, factor string) error

	// NewRecovery makes new recovery codes in place of the old ones.
	NewRecovery(ctx context.Context, did syntax.DID) ([]string, error)
}

// Factors are the second factors of an account.
type Factors struct {
	Enrolled     []Factor
	RecoveryLeft int        // recovery codes that can still be used
	Pending      *Enrolment // begun and not confirmed, nil if there is none
}

// Factor is an enrolled second factor.
type Factor struct {
	ID       string
	Kind     string
	Name     string
	Created  time.Time
	LastUsed time.Time // zero: never
}

// Enrolment is what an authenticator app has to be told.
type Enrolment struct {
	Secret string // base32
	URL    string // otpauth:
	QR     []byte // the URL as a PNG image
}
