package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// Config says what a [Server] is made of. The first group is required; for
// everything else the zero value is the default that its comment names.
type Config struct {
	// Issuer is the address under which browsers and apps reach the server,
	// such as "https://auth.example.com": scheme and host, no path. Plain http
	// needs DevMode and a loopback host.
	Issuer string

	// Store keeps requests, sessions, devices and consents.
	Store storage.DocStore

	// Accounts is the table of users.
	Accounts Accounts

	// Secret protects cookies, nonces and refresh tokens and seals the signing
	// key, by keys that are derived from it: at least [MinSecretBytes] bytes.
	// Changing it ends all sessions.
	Secret []byte

	// Resource is the address of what the tokens open: scheme and host, no
	// path. Default: Issuer.
	Resource string

	// Audience is the claim "aud" of access tokens: the DID of a PDS. Default:
	// Resource.
	Audience string

	// Key signs access tokens; its curve is P-256. Default: one that is made at
	// first use and kept in Store, sealed by Secret.
	Key *ecdsa.PrivateKey

	// OldKeys are keys that were Key before. They stay published, and good for
	// tokens that they have signed.
	OldKeys []*ecdsa.PublicKey

	// Stateless puts the scope into access tokens and shortens their life, for
	// resources elsewhere that verify them by [NewVerifier].
	Stateless bool

	// Replicated says that several processes serve this issuer on one store:
	// nonces then come from Secret and the names of all DPoP proofs go to the
	// store. Default: both live in this process, and proofs from before a
	// restart are refused.
	Replicated bool

	// Transport fetches client metadata. Default: identity.NewTransport with
	// its guard against private addresses.
	Transport http.RoundTripper

	// ClientPolicy says what is thought of a client. Default: every client is
	// Untrusted.
	ClientPolicy ClientPolicy

	// Clients are metadata documents of clients that need no address of their
	// own: JSON as the draft of client ID metadata documents describes it. Their
	// client_id begins with neither "http:" nor "https:".
	Clients []json.RawMessage

	// RefuseLoopbackClients turns off the clients "http://localhost" that
	// developers use.
	RefuseLoopbackClients bool

	// Lexicons finds permission sets. Default: none; scopes "include:" are then
	// refused.
	Lexicons Lexicons

	// Scopes is the language of scopes. Default: that of the protocol.
	Scopes *scope.Grammar

	// UI renders the pages. Default: that of package oauth/ui.
	UI ui.UI

	// SecondFactor asks for more than a password. Default: nothing more.
	SecondFactor SecondFactor

	// SignInMethods are ways to sign in besides the password.
	SignInMethods []SignInMethod

	// Hook is told what happens and may refuse it. Default: nothing.
	Hook Hook

	// Limiter counts requests. Default: in memory, see [NewMemoryLimiter].
	Limiter Limiter

	// ClientIP returns where a request comes from. Default: its RemoteAddr,
	// which is wrong behind a proxy.
	ClientIP func(*http.Request) netip.Addr

	// DPoPAtToken lets clients push a request without a DPoP key; the token
	// request then says which. The specification wants the key from the start.
	DPoPAtToken bool

	// RefreshGrace answers a refresh that is repeated within ten seconds, by
	// the same client and key, as it was answered before. Otherwise it ends the
	// session, as the specification wants it.
	RefreshGrace bool

	// Limits bounds sizes, counts and times.
	Limits Limits

	// Clock is the time. The store should use the same. Default: time.Now.
	Clock func() time.Time

	// Logger receives what goes wrong. Default: nothing is logged.
	Logger *slog.Logger

	// DevMode allows plain http and private addresses. Never use it on a public
	// network.
	DevMode bool
}

// Lexicons finds permission sets, to which scopes "include:" refer. Its method
// may be called concurrently; the server keeps what it returns for an hour, and
// for 90 days if it fails.
type Lexicons interface {
	// PermissionSet returns the lexicon of a permission set as JSON, resolved
	// anew.
	PermissionSet(ctx context.Context, nsid syntax.NSID) ([]byte, error)
}

// ClientPolicy says what is thought of a client. It is called for each request
// that concerns one, concurrently.
type ClientPolicy func(ctx context.Context, c ClientInfo) Trust

// Trust is what is thought of a client.
type Trust int

// The degrees of trust.
const (
	// Untrusted clients are shown by the host of their client_id, never by the
	// name and logo that they give themselves.
	Untrusted Trust = iota
	// Trusted clients are shown by name and logo.
	Trusted
	// FirstParty clients are trusted, belong to the operator, and have the
	// lifetimes of confidential clients.
	FirstParty
	// Denied clients get nothing.
	Denied
)

// ClientInfo is what a client says about itself. Nothing of it is verified but
// the ID, and that the client controls it, if it is an https address.
type ClientInfo struct {
	ID           string // the client_id
	Loopback     bool   // a program in development, "http://localhost"
	Confidential bool   // it authenticates by a key
	Name         string
	URL          string
	LogoURL      string
	TermsURL     string
	PolicyURL    string
}

// withDefaults returns the configuration with its defaults, or says which field
// is wrong.
func (c Config) withDefaults() (Config, error) {
	var err error
	switch {
	case c.Store == nil:
		return c, errors.New("oauth: Config.Store is missing")
	case c.Accounts == nil:
		return c, errors.New("oauth: Config.Accounts is missing")
	case len(c.Secret) < MinSecretBytes:
		return c, fmt.Errorf("oauth: Config.Secret has fewer than %d bytes", MinSecretBytes)
	case c.Key != nil && c.Key.Curve != elliptic.P256():
		return c, errors.New("oauth: Config.Key is not on the curve P-256")
	}
	if err = checkOrigin(c.Issuer, c.DevMode); err != nil {
		return c, fmt.Errorf("oauth: Config.Issuer: %w", err)
	}
	if c.Resource == "" {
		c.Resource = c.Issuer
	} else if err = checkOrigin(c.Resource, c.DevMode); err != nil {
		return c, fmt.Errorf("oauth: Config.Resource: %w", err)
	}
	for _, key := range c.OldKeys {
		if key == nil || key.Curve != elliptic.P256() {
			return c, errors.New("oauth: a key of Config.OldKeys is not on the curve P-256")
		}
	}
	if err := c.Limits.check(); err != nil {
		return c, err
	}
	c.Limits = c.Limits.withDefaults()
	or(&c.Audience, c.Resource)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Transport == nil {
		c.Transport = identity.NewTransport(identity.TransportConfig{AllowPrivate: c.DevMode})
	}
	if c.ClientPolicy == nil {
		c.ClientPolicy = func(context.Context, ClientInfo) Trust { return Untrusted }
	}
	if c.Limiter == nil {
		c.Limiter = NewMemoryLimiter(c.Clock, 0)
	}
	if c.UI == nil {
		if c.UI, err = ui.New(ui.Options{}); err != nil {
			return c, fmt.Errorf("oauth: %w", err)
		}
	}
	if c.ClientIP == nil {
		c.ClientIP = remoteAddr
	}
	return c, nil
}

// checkOrigin returns nil for an origin as it is written in metadata: an https
// address without path, query, user name or default port, in lower case, or an
// http one of a loopback host if that is allowed.
func checkOrigin(s string, devMode bool) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%q is not an address such as https://auth.example.com", s)
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && devMode && isLoopback(u.Hostname()):
	default:
		return fmt.Errorf("%q is not https, or http on a loopback host in DevMode", s)
	}
	port := u.Port()
	if s != u.Scheme+"://"+strings.ToLower(u.Host) || strings.HasSuffix(u.Host, ":") ||
		u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return fmt.Errorf("%q is more than scheme and host, or not in lower case, or has the default port", s)
	}
	return nil
}

// isLoopback reports whether a host, without brackets, is this computer by its
// name or number.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func remoteAddr(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(host)
	return addr.Unmap()
}
