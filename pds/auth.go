package pds

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// adminUser is the user name of the administrator.
const adminUser = "admin"

// credential is what an authenticator of this package knows about a caller. It
// is the Detail of the xrpc.Caller.
type credential struct {
	// scope is that of a session token, one of the scope constants; empty
	// for other credentials.
	scope string

	// account is the account of a session, as it was when the request began.
	// Refresh tokens and service tokens come without.
	account *storage.Account

	basis   basis          // of all but refresh tokens and the administrator's password
	refresh *sessionClaims // of a refresh token
	granted *scope.Set     // to an OAuth caller
	service *serviceClaims // of a service token, verified
}

// GrantedScopes returns what an OAuth caller may do.
func (c *credential) GrantedScopes() *scope.Set { return c.granted }

// credentialOf returns what this package knows about a caller, never nil.
// Callers of foreign authenticators have an empty credential.
func credentialOf(c *xrpc.Caller) *credential {
	if cred, ok := c.Detail.(*credential); ok {
		return cred
	}
	return new(credential)
}

// authenticators returns the built-in ones.
func (s *Server) authenticators() []xrpc.Authenticator {
	return []xrpc.Authenticator{xrpc.AuthenticatorFunc(s.authenticate)}
}

// authenticate knows the administrator's password, session tokens, refresh
// tokens, service tokens, the access tokens of OAuth, and tickets. Which of the
// tokens is expected depends on the method: a token of another kind is as good
// as none.
func (s *Server) authenticate(r *http.Request) (*xrpc.Caller, error) {
	ctx := r.Context()
	if len(r.Header.Values("Authorization")) == 0 {
		return s.authenticateTicket(r)
	}
	scheme, value, ok := parseAuthorization(r.Header.Values("Authorization"))
	if !ok {
		return nil, nil
	}
	nsid := xrpc.MethodFrom(ctx)
	switch scheme {
	case "basic":
		return s.authenticateAdmin(r, value)
	case "dpop":
		if s.oauth == nil {
			return nil, nil
		}
		return s.authenticateOAuth(r)
	case "bearer":
		switch kind := s.bearerOf(nsid); {
		case kind == bearerService || kind != bearerSession && hasIssuer(value):
			return s.authenticateService(ctx, value, nsid)
		case nsid == refreshSessionNSID || nsid == deleteSessionNSID:
			return s.authenticateRefresh(value, nsid)
		}
		return s.authenticateSession(ctx, value, nsid)
	}
	return nil, nil
}

// parseAuthorization takes an Authorization header apart: the scheme in lower
// case and the credentials. It reports false for a request without one and for
// a malformed one.
func parseAuthorization(values []string) (scheme, value string, ok bool) {
	if len(values) != 1 {
		return "", "", false
	}
	scheme, value, _ = strings.Cut(values[0], " ")
	value = strings.Trim(value, " ")
	if scheme == "" || value == "" || strings.ContainsAny(value, " \t") {
		return "", "", false
	}
	return strings.ToLower(scheme), value, true
}

// authenticateAdmin checks user name and password of HTTP Basic
// authentication in constant time, unless its sender has given too many wrong
// ones.
func (s *Server) authenticateAdmin(r *http.Request, value string) (*xrpc.Caller, error) {
	if err := s.countAdminFailure(r, 0); err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(value)
	user, password, _ := strings.Cut(string(raw), ":") // the password may hold colons
	if right := s.IsAdminPassword(password); err != nil || !right || user != adminUser {
		_ = s.countAdminFailure(r, 1) // it refuses nothing
		return nil, xrpc.AuthRequired("")
	}
	return &xrpc.Caller{Kind: xrpc.KindAdmin, Detail: new(credential)}, nil
}

// HasAdminPassword reports whether there is an administrator's password.
func (s *Server) HasAdminPassword() bool { return s.cfg.AdminPassword != "" }

// IsAdminPassword reports, in constant time, whether a password is that of the
// administrator. Without one it never is. It counts no failures: whoever offers
// a form for it has to bound them.
func (s *Server) IsAdminPassword(password string) bool {
	want, got := sha256.Sum256([]byte(s.cfg.AdminPassword)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && s.HasAdminPassword()
}

// authenticateSession checks an access token and the account it is for. That of
// an app password ends with it, and with its session.
//
// Of the tokens that give less than a session, and of accounts that are taken
// down, only the server's own methods get to know, whose rules look at that:
// see [accessRule]. For methods that were added or replaced they are no good.
func (s *Server) authenticateSession(ctx context.Context, token, nsid string) (*xrpc.Caller, error) {
	claims, err := s.parseSessionToken(token, typAccess)
	if err != nil {
		return nil, err
	}
	if s.clock.Now().Unix() >= claims.Expires {
		return nil, xrpc.ExpiredToken()
	}
	kind := xrpc.KindSession
	switch claims.Scope {
	case scopeAccess:
	case scopeAppPass, scopeAppPassPrivileged:
		kind = xrpc.KindAppPassword
	case scopeTakendown, scopeSignupQueued:
		if !s.isOwn(nsid) {
			return nil, errBadTokenScope()
		}
	default:
		return nil, errBadTokenScope()
	}
	account, err := s.callerAccount(ctx, claims.Subject)
	if err != nil {
		return nil, err
	}
	outdated := claims.outdated(account)
	switch {
	case account.TakedownRef != "" && (outdated || !s.isOwn(nsid)):
		return nil, errAccountTakedown()
	case outdated:
		return nil, errTokenRevoked()
	}
	basis := claims.basis()
	if kind == xrpc.KindAppPassword {
		err := s.store.View(ctx, func(tx storage.Tx) error { return basis.sessionLasts(tx, account) })
		if err != nil {
			return nil, err
		}
	}
	return &xrpc.Caller{
		Account: account.DID, Actor: account.DID, Kind: kind, Scopes: []string{claims.Scope},
		Detail: &credential{scope: claims.Scope, account: account, basis: basis},
	}, nil
}

// isOwn reports whether a method is one of this package, not added or replaced.
func (s *Server) isOwn(nsid string) bool {
	_, own := s.own.Load(nsid)
	return own
}

// authenticateRefresh checks a refresh token. deleteSession takes expired ones
// as well. The account and the session are looked at by the method.
func (s *Server) authenticateRefresh(token, nsid string) (*xrpc.Caller, error) {
	claims, err := s.parseSessionToken(token, typRefresh)
	if err != nil {
		return nil, err
	}
	if claims.Scope != scopeRefresh {
		return nil, errBadTokenScope()
	}
	if s.clock.Now().Unix() >= claims.Expires && nsid != deleteSessionNSID {
		return nil, xrpc.ExpiredToken()
	}
	return &xrpc.Caller{
		Account: claims.Subject, Actor: claims.Subject, Kind: xrpc.KindSession, Scopes: []string{scopeRefresh},
		Detail: &credential{scope: scopeRefresh, refresh: claims},
	}, nil
}

// callerAccount reads the account of a caller, or returns the error for one
// that is gone.
func (s *Server) callerAccount(ctx context.Context, did syntax.DID) (*storage.Account, error) {
	var a storage.Account
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		a, err = tx.Account(did)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) || err == nil && a.Pending {
		return nil, errAccountNotFound()
	}
	if err != nil {
		return nil, err
	}
	return &a, nil
}
