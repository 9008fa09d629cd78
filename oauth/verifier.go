package oauth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
)

// A Verifier says what a request to a protected resource may do, by its access
// token and DPoP proof. [Server.Verifier] returns one that asks the server's own
// store, [NewVerifier] one for a server elsewhere. It may be used concurrently.
type Verifier struct {
	// Fixed at creation.
	resource string // origin
	clock    func() time.Time
	checker  *dpop.Checker
	scopes   *scope.Grammar
	// find returns what the session or the signature of a token says.
	find func(ctx context.Context, token string, now time.Time) (*grantedToken, error)
	// once notes the use of a proof: dpop.ErrReplayed, dpop.ErrFull, or an error
	// of the store.
	once func(ctx context.Context, p *dpop.Proof, now time.Time) error
}

// Token is what an access token allows to whom.
type Token struct {
	Account syntax.DID // whose account is used
	Actor   syntax.DID // who uses it; the same unless somebody acts for a group
	Client  string     // the client_id
	Session string     // the ID, see [SessionInfo]
	Scope   *scope.Set // what it allows; it does not change
	Expires time.Time
}

// grantedToken is a Token with the key that it is bound to.
type grantedToken struct {
	Token
	jkt   string
	scope string
}

// Verifier returns a verifier for resources in the same program. It sees at once
// when a session has ended.
func (s *Server) Verifier() *Verifier {
	return &Verifier{
		resource: s.cfg.Resource, clock: s.cfg.Clock, checker: s.checker, scopes: s.cfg.Scopes,
		find: s.findToken, once: s.onceAtResource,
	}
}

// findToken looks an access token up. The session keeps the hash of the token
// that is good now: no signature has to be checked.
func (s *Server) findToken(ctx context.Context, token string, now time.Time) (*grantedToken, error) {
	parsed, id := parseAccessToken(token)
	if parsed == nil {
		return nil, errInvalidToken("the access token is malformed")
	}
	sess, err := s.findSession(ctx, id, now)
	switch {
	case err != nil:
		return nil, err
	case !sameHash(sess.TokenHash, token):
		return nil, errInvalidToken("the access token is not valid, or not any more")
	}
	return &grantedToken{Token: sess.token(), jkt: sess.JKT, scope: sess.scope()}, nil
}

// findSession looks a session up that an access token belongs to.
func (s *Server) findSession(ctx context.Context, id string, now time.Time) (*session, error) {
	var sess session
	err := s.view(ctx, func(docs storage.Docs) error {
		_, err := loadSession(docs, id, now, &sess)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errInvalidToken("the access token was revoked")
	}
	return &sess, err
}

// token describes the access token that is good now, but for its scope.
func (s *session) token() Token {
	return Token{Account: s.Account, Actor: s.Actor, Client: s.ClientID, Session: s.ID, Expires: s.TokenExpires}
}

// Current returns what a session allows at the moment, which is what its last
// access token says, expired or not: for a stream that a token has opened and
// that may go on for longer. The error is an [*Error] if the session has ended.
func (s *Server) Current(ctx context.Context, session string) (*Token, error) {
	sess, err := s.findSession(ctx, session, s.now())
	if err != nil {
		return nil, err
	}
	token := sess.token()
	token.Scope, err = s.cfg.Scopes.ParseGranted(sess.scope())
	return &token, err
}

// onceInMemory returns a function that notes the use of proofs in this process.
func onceInMemory(capacity int) func(context.Context, *dpop.Proof, time.Time) error {
	replays := dpop.NewReplayCache(capacity)
	return func(_ context.Context, p *dpop.Proof, now time.Time) error { return replays.Once(p.JKT, p.JTI, now) }
}

// onceInStore returns a function that notes it for all processes on a store.
func onceInStore(store storage.DocStore) func(context.Context, *dpop.Proof, time.Time) error {
	return func(ctx context.Context, p *dpop.Proof, now time.Time) error {
		err := storage.Retry(ctx, store, func(docs storage.Docs) error { return onceProven(docs, p, now) })
		if errors.Is(err, errSeen) {
			return dpop.ErrReplayed
		}
		return err
	}
}

// Verify says what a request may do. It returns nil and no error if the request
// has no Authorization header, or one of another scheme than DPoP, which other
// ways to authenticate look at. Else an error is an [*Error], or one of the store
// or the network, which deserves a status of 500.
//
// The path of r.URL must be the one that the client has used: nobody may have
// stripped a prefix of it.
//
// Before it answers, in either case, the resource calls SetNonce and, for an
// [*Error], Challenge.
func (v *Verifier) Verify(r *http.Request) (*Token, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return nil, nil
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	switch {
	case len(headers) > 1:
		return nil, errBadRequest("there is more than one Authorization header")
	case !strings.EqualFold(scheme, "DPoP"):
		return nil, nil
	case token == "" || strings.ContainsAny(token, " \t,"):
		return nil, errBadRequest("the Authorization header is malformed")
	case len(token) > MaxJWTBytes:
		return nil, errInvalidToken("the access token is malformed")
	}
	now := v.clock()
	granted, err := v.find(r.Context(), token, now)
	switch {
	case err != nil:
		return nil, err
	case !now.Before(granted.Expires):
		return nil, errInvalidToken("the access token has expired")
	}
	if err := v.checkProof(r, token, granted.jkt, now); err != nil {
		return nil, err
	}
	granted.Token.Scope, err = v.scopes.ParseGranted(granted.scope)
	return &granted.Token, err
}

// checkProof checks the DPoP proof of a request that comes with a token.
func (v *Verifier) checkProof(r *http.Request, token, jkt string, now time.Time) error {
	address := v.resource + r.URL.EscapedPath()
	proof, err := v.checker.Check(r, address, dpop.TokenHash(token))
	switch bad, ok := errors.AsType[*dpop.Error](err); {
	case ok:
		return &Error{Status: http.StatusUnauthorized, Code: bad.Code, Description: bad.Description}
	case err != nil:
		return err
	case proof == nil:
		return errInvalidProof("the DPoP proof is missing")
	case proof.JKT != jkt:
		return errInvalidToken("the access token belongs to another DPoP key")
	}
	switch err := v.once(r.Context(), proof, now); {
	case errors.Is(err, dpop.ErrReplayed):
		return errInvalidProof("the DPoP proof was used before")
	case errors.Is(err, dpop.ErrFull):
		return &Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Description: "too many requests"}
	default:
		return err
	}
}

// SetNonce gives the client a nonce for its next proof. It belongs to every
// answer of the resource, those without error included, as well as the headers
// "Cache-Control: private" and "Vary: Authorization".
func (v *Verifier) SetNonce(h http.Header) { h.Set(headerNonce, v.checker.Nonces.Next(v.clock())) }

// Challenge sets the header WWW-Authenticate for an error of Verify, or for a
// request without token if err is nil. Any other error sets nothing.
func (v *Verifier) Challenge(h http.Header, err error) {
	challenge := `DPoP algs="` + strings.Join(signingAlgs, " ") + `"`
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok || e.status() != http.StatusUnauthorized {
			return
		}
		challenge += `, error="` + plain(e.Code) + `", error_description="` + plain(e.Description) + `"`
	}
	h.Set("WWW-Authenticate", challenge)
}

func errInvalidToken(description string) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: codeInvalidToken, Description: description}
}

func errInvalidProof(description string) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: codeInvalidProof, Description: description}
}

func errBadRequest(description string) *Error {
	return &Error{Code: codeInvalidRequest, Description: description}
}
