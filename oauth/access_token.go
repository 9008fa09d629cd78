package oauth

import (
	"context"
	"crypto/subtle"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// typAccess is the type of access tokens, RFC 9068 section 2.1.
const typAccess = "at+jwt"

// accessClaims are the claims of an access token, RFC 9068 section 2.2.
type accessClaims struct {
	Issuer   string           `json:"iss"`
	Subject  syntax.DID       `json:"sub"`
	Audience string           `json:"aud"`
	IssuedAt jose.NumericDate `json:"iat"`
	Expires  jose.NumericDate `json:"exp"`
	ID       string           `json:"jti"`
	ClientID string           `json:"client_id"`
	Session  string           `json:"sid"`             // of this server
	Scope    string           `json:"scope,omitempty"` // only with Config.Stateless
	Actor    *actorClaim      `json:"act,omitempty"`   // RFC 8693 section 4.1: who acts for the subject
	Confirm  *confirmClaim    `json:"cnf"`             // RFC 7800
}

type actorClaim struct {
	Subject syntax.DID `json:"sub"`
}

type confirmClaim struct {
	JKT string `json:"jkt"` // RFC 9449 section 6.1
}

// mint signs an access token for a session, which notes it.
func (s *Server) mint(ctx context.Context, sess *session, now time.Time) (string, error) {
	signer, err := s.signer(ctx)
	if err != nil {
		return "", err
	}
	claims := accessClaims{
		Issuer:   s.cfg.Issuer,
		Subject:  sess.Account,
		Audience: s.cfg.Audience,
		IssuedAt: jose.NewNumericDate(now),
		ID:       randomID(prefixToken, sizeID),
		ClientID: sess.ClientID,
		Session:  sess.ID,
		Confirm:  &confirmClaim{JKT: sess.JKT},
	}
	life := s.cfg.Limits.AccessTTL
	if s.cfg.Stateless {
		life = s.cfg.Limits.StatelessTTL
		claims.Scope = sess.scope()
	}
	// Whole seconds, as the token says it, and not longer than the session.
	sess.TokenExpires = earlier(now.Add(life), sess.lasts()).Truncate(time.Second)
	claims.Expires = jose.NewNumericDate(sess.TokenExpires)
	if sess.Actor != sess.Account {
		claims.Actor = &actorClaim{Subject: sess.Actor}
	}
	token, err := jose.Sign(signer, typAccess, claims)
	if err == nil && len(token) > MaxJWTBytes {
		return "", errorf(codeInvalidScope, "the scope is too long for an access token")
	}
	sess.TokenHash = hash(token)
	return token, err
}

// sameHash reports whether a stored hash is that of a secret.
func sameHash(stored, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(stored), []byte(hash(secret))) == 1
}

// parseAccessToken takes an access token of ours apart and returns the session
// that it names. Nothing of it is verified. It is nil for anything else.
func parseAccessToken(token string) (parsed *jose.Token, sessionID string) {
	parsed, err := jose.Parse(token, MaxJWTBytes)
	if err != nil || parsed.Header.Typ != typAccess {
		return nil, ""
	}
	var claims struct {
		Session string `json:"sid"`
	}
	if err := jose.DecodeJSON(parsed.Claims, &claims); err != nil || !isSessionID(claims.Session) {
		return nil, ""
	}
	return parsed, claims.Session
}
