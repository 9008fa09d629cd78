package xrpc

import (
	"context"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Kind says by what kind of credential a caller is known.
type Kind int

// The kinds of credentials.
const (
	KindSession     Kind = iota + 1 // a session made with the account's password
	KindAppPassword                 // a session made with an app password
	KindOAuth                       // an OAuth access token
	KindService                     // a service token (inter-service JWT)
	KindAdmin                       // the server's administrator
	KindTicket                      // a ticket for one stream, made for another kind
)

func (k Kind) String() string {
	switch k {
	case KindSession:
		return "session"
	case KindAppPassword:
		return "app-password"
	case KindOAuth:
		return "oauth"
	case KindService:
		return "service"
	case KindAdmin:
		return "admin"
	case KindTicket:
		return "ticket"
	}
	return "none"
}

// A Caller is who makes a request. It is not to be changed once an
// authenticator has returned it.
type Caller struct {
	Account syntax.DID // whose account is used; empty for an administrator
	Actor   syntax.DID // who does it; the same unless somebody acts for a group
	Client  string     // OAuth client id, or name of the app password; may be empty
	Kind    Kind
	Origin  Kind     // of KindTicket: by what the caller was known who got the ticket
	Scopes  []string // as granted, in the language of the credential
	Detail  any      // the authenticator's own data
}

// OriginKind returns Kind, or Origin for a ticket: by what kind of credential
// the caller is here in the end.
func (c *Caller) OriginKind() Kind {
	if c.Kind == KindTicket {
		return c.Origin
	}
	return c.Kind
}

// An Authenticator knows one kind of credential. Authenticate returns nil, nil
// for a request that carries none of its kind; an *[Error] (such as
// [InvalidToken]) for a bad one; another error, which becomes a 500, if it
// could not decide. It must be safe for concurrent use. [MethodFrom] tells it
// the method; it must not read the body.
type Authenticator interface {
	Authenticate(r *http.Request) (*Caller, error)
}

// AuthenticatorFunc makes a function an [Authenticator].
type AuthenticatorFunc func(r *http.Request) (*Caller, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(r *http.Request) (*Caller, error) { return f(r) }

// A Check decides whether a caller may use a method. It returns nil or the
// error to be sent. [MethodFrom] and [RequestFrom] tell it more. For a
// subscription it is asked again while the stream is open, see [Server.Recheck].
type Check func(ctx context.Context, c *Caller) error

type access uint8

const (
	accessPublic access = iota + 1
	accessOptional
	accessRequired
)

// A Rule says who may call a method. The zero Rule is no rule: registering a
// method with it panics. Rules are made by [Public], [Optional] and
// [Required].
type Rule struct {
	access  access
	check   Check
	missing *Error
}

// Public is for methods that everybody may call. Credentials are not looked
// at, not even bad ones.
func Public() Rule { return Rule{access: accessPublic} }

// Optional is for methods that may be called without credentials. Bad ones
// are an error all the same. check, if not nil, sees callers only.
func Optional(check Check) Rule {
	return Rule{access: accessOptional, check: check}
}

// Required is for methods that need credentials. check may be nil: then every
// caller that an authenticator knows will do, of whatever kind.
func Required(check Check) Rule {
	return Rule{access: accessRequired, check: check}
}

// Missing returns a rule that answers with err instead of [AuthMissing] when
// there are no credentials.
func (r Rule) Missing(err *Error) Rule {
	r.missing = err
	return r
}

// IsPublic reports whether the rule looks at no credentials.
func (r Rule) IsPublic() bool { return r.access == accessPublic }

// apply authenticates a request and checks the rule.
func (r Rule) apply(ctx context.Context, req *http.Request, cfg *Config) (*Caller, error) {
	if r.access == accessPublic {
		return nil, nil
	}
	caller, err := authenticate(req, cfg.Authenticators)
	if err != nil {
		return nil, err
	}
	if caller == nil {
		switch {
		case req.Header.Get("Authorization") != "" && r.access == accessOptional:
			return nil, AuthRequired("unusable credentials")
		case req.Header.Get("Authorization") != "":
			return nil, InvalidToken("Unexpected authorization type")
		case r.access == accessOptional:
			return nil, nil
		case r.missing != nil:
			return nil, r.missing
		case cfg.Challenge != "":
			return nil, AuthMissing().WithHeader("WWW-Authenticate", cfg.Challenge)
		}
		return nil, AuthMissing()
	}
	if r.check != nil {
		if err := r.check(ctx, caller); err != nil {
			return nil, err
		}
	}
	return caller, nil
}

func authenticate(r *http.Request, list []Authenticator) (*Caller, error) {
	for _, a := range list {
		if c, err := a.Authenticate(r); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}
