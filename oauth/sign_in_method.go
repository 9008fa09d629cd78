package oauth

import (
	"context"
	"net/netip"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// SignInMethod is a further way in beside the password: a code sent by mail,
// another identity provider. Each is a button on the sign-in page. What follows
// is a row of steps; each step is a form that this server shows, or a visit to
// another site that sends the browser back. Its methods may be called
// concurrently, and never inside a transaction of the store. An account's
// [SecondFactor] is asked for as after a password.
type SignInMethod interface {
	// ID names the method in forms and logs. It is fixed, and made of lower-case
	// letters, digits and hyphens.
	ID() string

	// Title is what the button says, in the language of the page, such as "en".
	Title(locale string) string

	// Begin returns the first step.
	Begin(ctx context.Context, a SignInAttempt) (*SignInStep, error)

	// Continue takes what came back for a step: the fields of its form, or the
	// query with which the other site sent the browser back. It returns who has
	// signed in; or, with a DID that is empty, the next step, which may be the
	// same one with a Problem. On [ErrCodeInvalid] the server shows the form
	// again; a step takes [MaxFactorTries] answers at most. A step with a Problem
	// says that the answer was wrong as well, and is counted like that.
	Continue(ctx context.Context, a SignInAttempt, state []byte, values url.Values) (syntax.DID, *SignInStep, error)
}

// SignInAttempt is somebody's attempt to sign in by a [SignInMethod].
type SignInAttempt struct {
	// State is random: that of the step which is to be returned. A site to which
	// the browser is sent by it hands it back as the parameter "state".
	State string
	// Callback is the URL at which the other site has to send the browser back.
	// It is the same for all attempts by this method.
	Callback string
	// LoginHint is the handle or the DID of the only account that may sign in,
	// if there is such a restriction. The server sees to it.
	LoginHint string
	// Device names the browser, as in [FactorAttempt].
	Device string
	Locale string
	IP     netip.Addr
}

// SignInStep is a step of a [SignInMethod]. It has either Fields or Redirect.
type SignInStep struct {
	// State is kept by the server and handed to Continue. The browser never sees
	// it. At most a few KB.
	State []byte `json:"state,omitempty"`

	// Account is who tries to sign in, if the method knows. Wrong answers are
	// then counted for the account, as wrong passwords are.
	Account syntax.DID `json:"account,omitempty"`

	// Redirect is an https URL to which the browser is sent.
	Redirect string `json:"redirect,omitempty"`

	// Title, Text, the texts of Fields and Problem are in the language of the
	// page. They are shown as text, never as markup.
	Title   string      `json:"title,omitempty"`
	Text    string      `json:"text,omitempty"`
	Problem string      `json:"problem,omitempty"` // why the step is asked for again
	Fields  []StepField `json:"fields,omitempty"`
}

// StepField is an input of a [SignInStep].
type StepField struct {
	Name         string `json:"name"`           // lower-case letters and "_"; not one that the server uses itself: account, csrf, request, client_id, step
	Kind         string `json:"kind,omitempty"` // a Kind constant of oauth/ui; empty: text
	Label        string `json:"label,omitempty"`
	Hint         string `json:"hint,omitempty"`
	Autocomplete string `json:"autocomplete,omitempty"` // of HTML; empty: off
	Required     bool   `json:"required,omitempty"`
}
