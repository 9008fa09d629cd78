package pds

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

// Lives of the service tokens that clients ask for.
const (
	defaultServiceTokenLife = time.Minute
	maxUnboundTokenLife     = time.Minute // of a token that is not bound to a method
)

type getServiceAuthParams struct {
	Aud string `json:"aud"`
	Exp *int64 `json:"exp"` // Unix seconds
	Lxm string `json:"lxm"`
}

type getServiceAuthOutput struct {
	Token string `json:"token"`
}

func (s *Server) getServiceAuth() xrpc.Method {
	rule := s.access(accessRule{scopes: standardAccess, takendown: true, oauthAny: true})
	return xrpc.Query("com.atproto.server.getServiceAuth", rule,
		func(ctx context.Context, p *getServiceAuthParams) (*getServiceAuthOutput, error) {
			if !isServiceAudience(p.Aud) {
				return nil, xrpc.InvalidRequest("Invalid params: aud must be a DID or a DID with a service fragment")
			}
			expires, err := serviceTokenExpiry(s.clock.Now(), p.Exp, p.Lxm)
			if err != nil {
				return nil, err
			}
			caller := xrpc.CallerFrom(ctx)
			account, err := s.accountOf(ctx, caller)
			if err != nil {
				return nil, err
			}
			if err := mayGetServiceToken(caller, account.TakedownRef != "", p.Lxm, p.Aud); err != nil {
				return nil, err
			}
			if err := s.mayActHere(caller, p.Lxm, p.Aud); err != nil {
				return nil, err
			}
			key, err := s.openSigningKey(ctx, account.DID, account.KeyID)
			if err != nil {
				return nil, err
			}
			token, err := s.signServiceToken(key, account.DID, p.Aud, p.Lxm, expires)
			if err != nil {
				return nil, err
			}
			return &getServiceAuthOutput{token}, nil
		})
}

// mayGetServiceToken checks what a caller may do elsewhere. Who is taken down
// may leave, that is create an account elsewhere, and nothing more.
func mayGetServiceToken(c *xrpc.Caller, takendown bool, lxm, aud string) error {
	session := c.Kind != xrpc.KindOAuth
	switch {
	case isProtected(lxm):
		return xrpc.InvalidRequest("cannot request a service auth token for the following protected method: %s", lxm)
	case (takendown || session && sessionScope(c) == scopeTakendown) && !strings.EqualFold(lxm, createAccountNSID):
		return errBadTokenScope()
	case session && sessionScope(c) == scopeAppPass && isPrivileged(lxm):
		return xrpc.InvalidRequest("insufficient access to request a service auth token for the following method: %s", lxm)
	case lxm == "":
		lxm = "*"
	}
	return requireRPC(c, lxm, aud)
}

// mayActHere checks that a token for this server itself gives a caller no more
// than the caller could do without it. The methods that a PDS has are about the
// token's own account, but for those that write records, see [Delegation]; all
// others ask who stands behind the account.
func (s *Server) mayActHere(c *xrpc.Caller, lxm, aud string) error {
	if !s.isAudience(aud) || ownedMethod(lxm) && !isRecordWrite(lxm) {
		return nil
	}
	return s.mayCallOwn(c, lxm)
}

// serviceTokenExpiry checks the expiry that a client asks for.
func serviceTokenExpiry(now time.Time, asked *int64, lxm string) (time.Time, error) {
	if asked == nil {
		return now.Add(defaultServiceTokenLife), nil
	}
	bad := func(message string) (time.Time, error) {
		return time.Time{}, xrpc.NewError(http.StatusBadRequest, "BadExpiration", message)
	}
	// Compared as seconds: the client's number may be any.
	seconds := now.Unix()
	switch {
	case *asked <= seconds:
		return bad("expiration is in past")
	case *asked > seconds+int64(maxServiceTokenLife/time.Second):
		return bad("cannot request a token with an expiration more than an hour in the future")
	case lxm == "" && *asked > seconds+int64(maxUnboundTokenLife/time.Second):
		return bad("cannot request a method-less token with an expiration more than a minute in the future")
	}
	return time.Unix(*asked, 0), nil
}

// isServiceAudience reports whether a service token may be meant for aud: a
// did:plc, or a did:web without a path and, but for localhost, without a port,
// which a fragment that names a service may follow.
func isServiceAudience(aud string) bool {
	did, fragment, split := strings.Cut(aud, "#")
	if split && !isFragment(fragment) {
		return false
	}
	parsed, err := syntax.ParseDID(did)
	if err != nil {
		return false
	}
	id := parsed.Identifier()
	switch parsed.Method() {
	case "plc":
		return isPLCIdentifier(id)
	case "web":
		if host, ok := strings.CutPrefix(id, "localhost"); ok {
			return host == "" || strings.HasPrefix(host, "%3A") && isDigits(host[len("%3A"):])
		}
		_, err := syntax.ParseHandle(id) // any host name with a dot
		return err == nil
	}
	return false
}

// isPLCIdentifier reports whether an identifier is that of a did:plc: 24
// characters of base32.
func isPLCIdentifier(id string) bool {
	return len(id) == 24 && onlyOf(id, func(c byte) bool { return 'a' <= c && c <= 'z' || '2' <= c && c <= '7' })
}

func isDigits(s string) bool {
	return onlyOf(s, func(c byte) bool { return '0' <= c && c <= '9' })
}

// isFragment reports whether a fragment is made of the characters that a URI
// has unescaped in that place.
func isFragment(s string) bool {
	return onlyOf(s, func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
	})
}

// onlyOf reports whether a string is not empty and has characters of one kind
// only.
func onlyOf(s string, kind func(c byte) bool) bool {
	for i := range len(s) {
		if !kind(s[i]) {
			return false
		}
	}
	return s != ""
}
