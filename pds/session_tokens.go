package pds

import (
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Scopes of session tokens.
const (
	scopeAccess            = "com.atproto.access"
	scopeAppPassPrivileged = "com.atproto.appPassPrivileged"
	scopeAppPass           = "com.atproto.appPass"
	scopeTakendown         = "com.atproto.takendown"
	scopeSignupQueued      = "com.atproto.signupQueued"
	scopeRefresh           = "com.atproto.refresh"
)

// sessionClaims are the claims of a session token, access or refresh.
type sessionClaims struct {
	Scope    string     `json:"scope"`
	Audience string     `json:"aud"`
	Subject  syntax.DID `json:"sub"`
	IssuedAt int64      `json:"iat"` // Unix seconds
	Expires  int64      `json:"exp"` // Unix seconds
	ID       string     `json:"jti,omitempty"`

	// Session is the key of the session of an access token. Tokens of other
	// servers are without it, and those of no session.
	Session string `json:"sid,omitempty"`

	// Epoch is the account's TokensAfter in Unix milliseconds when the token
	// was made, 0 for none. Tokens of other servers are without it.
	Epoch *int64 `json:"epoch,omitempty"`

	// Claims of other kinds of tokens, which a session token must not have.
	Lxm any `json:"lxm,omitempty"`
	Cnf any `json:"cnf,omitempty"`
}

func errBadTokenScope() *xrpc.Error { return xrpc.InvalidToken("Bad token scope") }

func errTokenUnverified() *xrpc.Error { return xrpc.InvalidToken("Token could not be verified") }

// errTokenRevoked is for a token that was good once.
func errTokenRevoked() *xrpc.Error {
	return xrpc.NewError(400, "ExpiredToken", "Token has been revoked")
}

// sessionHeader is the header of a session token.
type sessionHeader struct {
	Typ string `json:"typ"`
	Alg string `json:"alg"`
}

// parseSessionToken verifies a session token of the given type, all but its
// expiry. Whatever is wrong, the client gets the same answer.
func (s *Server) parseSessionToken(token, typ string) (*sessionClaims, error) {
	t, err := parseJWT(token)
	if err != nil {
		return nil, errTokenUnverified().WithCause(err)
	}
	if err := t.verifyHS256(s.cfg.Secret); err != nil {
		return nil, errTokenUnverified().WithCause(err)
	}
	if t.header.Typ != typ {
		return nil, xrpc.InvalidToken("Invalid token type")
	}
	c := new(sessionClaims)
	if err := t.claims(c); err != nil {
		return nil, errTokenUnverified().WithCause(err)
	}
	_, err = syntax.ParseDID(string(c.Subject))
	switch {
	case err != nil, c.Audience != string(s.cfg.ServiceDID), c.Expires <= 0:
		return nil, errTokenUnverified()
	case c.Lxm != nil, c.Cnf != nil:
		return nil, xrpc.InvalidToken("Malformed token")
	case typ == typRefresh && (c.ID == "" || len(c.ID) > maxSessionID):
		return nil, errTokenUnverified()
	}
	return c, nil
}

// epochOf is the epoch of the tokens that an account gets now.
func epochOf(a *storage.Account) int64 {
	if a.TokensAfter.IsZero() {
		return 0
	}
	return a.TokensAfter.UnixMilli()
}

// outdated reports whether the account's tokens have been ended since the
// token was made. The epoch that ours carry decides even within one
// millisecond; the time of others is in seconds, and one that was made in the
// second of the change is refused.
func (c *sessionClaims) outdated(a *storage.Account) bool {
	epoch := epochOf(a)
	if c.Epoch != nil {
		return *c.Epoch != epoch
	}
	return epoch != 0 && c.IssuedAt*1000 < epoch
}

// endTokens makes all tokens of an account invalid that were made before. The
// caller stores the account; see also endSessions.
func (s *Server) endTokens(a *storage.Account) {
	now := s.clock.Now().Truncate(time.Millisecond)
	if !now.After(a.TokensAfter) {
		now = a.TokensAfter.Add(time.Millisecond)
	}
	a.TokensAfter = now
}

// sessionTokens is the pair of tokens that a client gets.
type sessionTokens struct {
	Access, Refresh string
}

// signTokens makes the tokens of a session: one for calls with the scope, one
// for getting new tokens with the id.
func (s *Server) signTokens(a *storage.Account, scope, id string) (t sessionTokens, err error) {
	now := s.clock.Now()
	epoch := epochOf(a)
	claims := sessionClaims{
		Scope: scope, Audience: string(s.cfg.ServiceDID), Subject: a.DID, Epoch: &epoch,
		IssuedAt: now.Unix(), Expires: now.Add(s.cfg.Limits.AccessTTL).Unix(),
	}
	if scope != scopeTakendown {
		claims.Session, _ = sessionID(id)
	}
	if t.Access, err = s.signSessionToken(typAccess, &claims); err != nil {
		return t, err
	}
	claims.Scope, claims.ID, claims.Session = scopeRefresh, id, ""
	claims.Expires = s.refreshExpiry().Unix()
	t.Refresh, err = s.signSessionToken(typRefresh, &claims)
	return t, err
}

func (s *Server) signSessionToken(typ string, claims *sessionClaims) (string, error) {
	return signJWT(sessionHeader{typ, "HS256"}, claims, func(input []byte) ([]byte, error) {
		return hmacSHA256(s.cfg.Secret, string(input)), nil
	})
}
