package oauth

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth/internal/dpop"
	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
)

// VerifierConfig says what a [Verifier] for a server elsewhere is made of. The
// first group is required.
type VerifierConfig struct {
	// Issuer is the authorization server whose tokens are good, and no other:
	// scheme and host.
	Issuer string

	// Resource is the address under which clients reach the resource: scheme
	// and host.
	Resource string

	// Audience is what the claim "aud" of the tokens must be. Default: Resource.
	Audience string

	// Store and Secret are for several processes that serve one resource: they
	// share the nonces and remember used proofs together. Default: both live in
	// this process.
	Store  storage.DocStore
	Secret []byte

	// Scopes is the language of scopes. Default: that of the protocol.
	Scopes *scope.Grammar

	// Transport fetches the keys of the issuer. Default: identity.NewTransport
	// with its guard against private addresses.
	Transport http.RoundTripper

	// NonceRotation and ReplayEntries are as in [Limits].
	NonceRotation time.Duration
	ReplayEntries int

	// Clock is the time. Default: time.Now.
	Clock func() time.Time

	// DevMode allows plain http and private addresses.
	DevMode bool
}

// maxClockAhead is how far the clock of another issuer may be ahead.
const maxClockAhead = 30 * time.Second

// remoteAlgs are the algorithms of access tokens that others have signed.
var remoteAlgs = []string{jose.ES256, "ES256K"}

// NewVerifier returns a verifier of tokens that a server elsewhere has signed,
// with the scope in them, see Config.Stateless. It sees that a session has ended
// when its token expires. It does no I/O; the keys are fetched when they are
// needed.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	for _, origin := range []struct{ name, value string }{{"Issuer", cfg.Issuer}, {"Resource", cfg.Resource}} {
		if err := checkOrigin(origin.value, cfg.DevMode); err != nil {
			return nil, fmt.Errorf("oauth: VerifierConfig.%s: %w", origin.name, err)
		}
	}
	if (cfg.Store == nil) != (cfg.Secret == nil) {
		return nil, errors.New("oauth: VerifierConfig.Store and Secret go together")
	}
	if cfg.Secret != nil && len(cfg.Secret) < MinSecretBytes {
		return nil, fmt.Errorf("oauth: VerifierConfig.Secret has fewer than %d bytes", MinSecretBytes)
	}
	or(&cfg.Audience, cfg.Resource)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Transport == nil {
		cfg.Transport = identity.NewTransport(identity.TransportConfig{AllowPrivate: cfg.DevMode})
	}
	var nonceSecret [32]byte
	rand.Read(nonceSecret[:]) // never fails
	if cfg.Secret != nil {
		nonceSecret = derive(cfg.Secret, labelNonce)
	}
	nonces, err := dpop.NewNonces(nonceSecret, cfg.NonceRotation)
	if err != nil {
		return nil, fmt.Errorf("oauth: VerifierConfig.NonceRotation: %w", err)
	}
	remote := &remoteIssuer{
		cfg:  cfg,
		http: identity.NewClient(cfg.Transport, identity.ClientLimits{MaxBody: maxRemoteBody}),
	}
	v := &Verifier{
		resource: cfg.Resource,
		clock:    cfg.Clock,
		checker:  &dpop.Checker{Algs: signingAlgs, Nonces: nonces, Clock: cfg.Clock},
		scopes:   cfg.Scopes,
		find:     remote.find,
		once:     onceInMemory(cfg.ReplayEntries),
	}
	if cfg.Store != nil {
		v.once = onceInStore(cfg.Store)
	}
	return v, nil
}

// remoteClaims are the claims of an access token.
type remoteClaims struct {
	Issuer   string            `json:"iss"`
	Subject  string            `json:"sub"`
	Audience json.RawMessage   `json:"aud"`
	IssuedAt *jose.NumericDate `json:"iat"`
	Expires  *jose.NumericDate `json:"exp"`
	ClientID string            `json:"client_id"`
	Session  string            `json:"sid"`
	Scope    string            `json:"scope"`
	Actor    *struct {
		Subject string `json:"sub"`
	} `json:"act"`
	Confirm *struct {
		JKT string `json:"jkt"`
	} `json:"cnf"`
}

// find verifies a token.
func (i *remoteIssuer) find(ctx context.Context, token string, now time.Time) (*grantedToken, error) {
	parsed, err := jose.Parse(token, MaxJWTBytes)
	if err != nil || parsed.Header.Typ != typAccess || parsed.Header.KeyID == "" {
		return nil, errInvalidToken("the access token is malformed")
	}
	key, err := i.key(ctx, parsed.Header.KeyID, now)
	if err != nil {
		return nil, err
	}
	if key == nil || parsed.Verify(key, remoteAlgs) != nil {
		return nil, errInvalidToken("the signature of the access token is not valid")
	}
	var claims remoteClaims
	if err := jose.DecodeJSON(parsed.Claims, &claims); err != nil {
		return nil, errInvalidToken("the access token is malformed")
	}
	subject, badSubject := syntax.ParseDID(claims.Subject)
	actor := subject
	var badActor error
	if claims.Actor != nil {
		actor, badActor = syntax.ParseDID(claims.Actor.Subject)
	}
	switch {
	case claims.Issuer != i.cfg.Issuer:
		return nil, errInvalidToken("the access token is of another issuer")
	case !isAudience(claims.Audience, i.cfg.Audience):
		return nil, errInvalidToken("the access token is for another resource")
	case badSubject != nil || badActor != nil || claims.ClientID == "" || claims.Expires == nil || claims.IssuedAt == nil:
		return nil, errInvalidToken("the access token is malformed")
	case claims.IssuedAt.Time().Sub(now) > maxClockAhead:
		return nil, errInvalidToken("the access token is not valid yet")
	case claims.Confirm == nil || !isSHA256(claims.Confirm.JKT):
		return nil, errInvalidToken("the access token is bound to no DPoP key")
	}
	return &grantedToken{
		Token: Token{Account: subject, Actor: actor, Client: claims.ClientID, Session: claims.Session, Expires: claims.Expires.Time()},
		jkt:   claims.Confirm.JKT,
		scope: claims.Scope,
	}, nil
}

// isAudience reports whether a claim "aud", a text or a list of one, is want.
func isAudience(claim json.RawMessage, want string) bool {
	var one string
	var list []string
	switch {
	case json.Unmarshal(claim, &one) == nil:
		return one == want
	case json.Unmarshal(claim, &list) == nil:
		return len(list) == 1 && list[0] == want
	}
	return false
}
