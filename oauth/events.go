package oauth

import (
	"context"
	"net/netip"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// An Event is something that a server is about to do, or has just done; its
// Kind says what. Fields that the event does not know are empty.
type Event struct {
	Kind       EventKind
	Client     string     // the client_id
	Account    syntax.DID // whose account it is
	Actor      syntax.DID // who acts; the same unless somebody acts for a group
	Identifier string     // what was entered to sign in
	Method     string     // how somebody signs in: "password" or the ID of a [SignInMethod]
	Session    string     // the ID, see [SessionInfo]
	Scope      string
	IP         netip.Addr
	UserAgent  string
}

// EventKind names a kind of [Event].
type EventKind string

// The kinds of events. Those of the first group can be refused; the others say
// what has happened.
const (
	EventRequest EventKind = "request" // a client pushes a request
	EventSignIn  EventKind = "signIn"  // somebody has entered a name and a password, not checked yet
	EventSignUp  EventKind = "signUp"  // somebody wants to make an account
	EventConsent EventKind = "consent" // somebody authorizes a client
	EventCreated EventKind = "created" // a session was made; refusing ends it at once
	EventRefresh EventKind = "refresh" // a session was renewed; refusing ends it at once

	EventSignInFailed EventKind = "signInFailed"
	EventSignedIn     EventKind = "signedIn"
	EventSignedUp     EventKind = "signedUp"
	EventEnded        EventKind = "ended" // a session has ended by revocation or replay
)

// Hook is called for each [Event], never inside a transaction, and from the
// goroutine of the request. If it returns an error for an event that can be
// refused, the request ends there: an [*Error] is the answer as it is, any other
// error is logged and answered without detail.
type Hook func(ctx context.Context, e Event) error
