package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Limits of the transport, the same for every client over it.
const (
	// DialTimeout is the longest that one connection may take to open,
	// name lookup included.
	DialTimeout = 10 * time.Second
	// TLSTimeout is the longest that a TLS handshake may take.
	TLSTimeout = 10 * time.Second
	// MaxHeaderBytes is the most that the header of an answer may hold.
	MaxHeaderBytes = 64 << 10
	// MaxStreamBuffer is how much of an answer an HTTP/2 connection holds that
	// nobody has read yet: what a slow reader costs.
	MaxStreamBuffer = 128 << 10

	maxIdleConns        = 128
	maxIdleConnsPerHost = 8
	idleConnTimeout     = 90 * time.Second
)

var (
	// ErrBlockedAddress says that a name or address leads to something other
	// than a public unicast address. The connection was not opened.
	ErrBlockedAddress = errors.New("identity: address is not public")
	// ErrBlockedURL says that a URL may not be fetched whatever its address:
	// it is not https, has no host, or carries a user name.
	ErrBlockedURL = errors.New("identity: URL is not allowed")
)

// TransportConfig says where a transport may connect. Its zero value allows
// https to public addresses and nothing else.
type TransportConfig struct {
	// AllowHosts lists hosts that the operator configured (PLC directory, app
	// view, crawlers): "host" for any port or "host:port". They may be private
	// and plain http. Case does not matter; IPv6 literals take brackets when
	// they have a port.
	AllowHosts []string
	// AllowPrivate lifts the guard altogether: http and private addresses are
	// fine everywhere. It is for dev mode and tests.
	AllowPrivate bool
	// TLS is the client's TLS configuration; it is cloned. Nil means the
	// system's roots and TLS 1.2 or newer.
	TLS *tls.Config
	// Resolver looks up the names to dial. Nil means net.DefaultResolver. The
	// address it gives is still checked.
	Resolver *net.Resolver
	// DialContext opens connections instead of the guarded dialler, which then
	// checks nothing: the embedder's function answers for the addresses. The
	// https rule stays. Nil means the guarded dialler.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// NewTransport returns the guarded transport that all fetching of a server
// shares. Its connection pool belongs to it; http.Client.CloseIdleConnections
// works. It is safe for concurrent use.
func NewTransport(cfg TransportConfig) http.RoundTripper {
	allow := newHostSet(cfg.AllowHosts)
	tlsConfig := cfg.TLS.Clone() // nil stays nil
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	dial := cfg.DialContext
	if dial == nil {
		dial = guardedDial(cfg, allow)
	}
	return &guardedTransport{
		allow:        allow,
		allowPrivate: cfg.AllowPrivate,
		base: &http.Transport{
			Proxy:                  nil, // the environment must not decide where requests go
			DialContext:            dial,
			TLSClientConfig:        tlsConfig,
			TLSHandshakeTimeout:    TLSTimeout,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           maxIdleConns,
			MaxIdleConnsPerHost:    maxIdleConnsPerHost,
			IdleConnTimeout:        idleConnTimeout,
			MaxResponseHeaderBytes: MaxHeaderBytes,
			HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: MaxStreamBuffer},
		},
	}
}

// guardedDial returns the dial function of a transport: plain for allowed
// hosts, else with a check of the address that the socket is about to use.
func guardedDial(cfg TransportConfig, allow hostSet) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: DialTimeout, Resolver: cfg.Resolver}
	if cfg.AllowPrivate {
		return plain.DialContext
	}
	// Any port: the addresses are what protects the operator's network, and
	// services of the network do run on other ports than 443.
	guard := ssrf.New(ssrf.WithAnyPort())
	guarded := &net.Dialer{
		Timeout:  DialTimeout,
		Resolver: cfg.Resolver,
		Control: func(network, address string, c syscall.RawConn) error {
			if err := guard.Safe(network, address, c); err != nil {
				return fmt.Errorf("%w: %w", ErrBlockedAddress, err)
			}
			return nil
		},
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if allow.hasAddr(addr) {
			return plain.DialContext(ctx, network, addr)
		}
		return guarded.DialContext(ctx, network, addr)
	}
}

// guardedTransport checks the URL of each request, redirects included, before
// the base transport sees it.
type guardedTransport struct {
	// Fixed at creation.
	base         *http.Transport
	allow        hostSet
	allowPrivate bool
}

var _ http.RoundTripper = (*guardedTransport)(nil)

// RoundTrip implements http.RoundTripper.
func (t *guardedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.check(req); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return t.base.RoundTrip(req)
}

// CloseIdleConnections closes the pool's unused connections.
func (t *guardedTransport) CloseIdleConnections() { t.base.CloseIdleConnections() }

func (t *guardedTransport) check(req *http.Request) error {
	u := req.URL
	switch {
	case u == nil || u.Hostname() == "":
		return fmt.Errorf("%w: no host", ErrBlockedURL)
	case u.User != nil:
		return fmt.Errorf("%w: user name in URL", ErrBlockedURL)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (t.allowPrivate || t.allow.has(u.Hostname(), u.Port(), "80")):
		return nil
	}
	return fmt.Errorf("%w: scheme %q of %q", ErrBlockedURL, u.Scheme, u.Host)
}

// hostSet holds allowed hosts: "host" for any port, "host:port" for one.
type hostSet map[string]struct{}

func newHostSet(hosts []string) hostSet {
	set := make(hostSet, len(hosts))
	for _, h := range hosts {
		h = strings.ToLower(strings.TrimSpace(h))
		if host, port, err := net.SplitHostPort(h); err == nil {
			h = net.JoinHostPort(host, port)
		} else {
			h = strings.Trim(h, "[]")
		}
		if h != "" {
			set[h] = struct{}{}
		}
	}
	return set
}

func (s hostSet) has(host, port, defaultPort string) bool {
	if len(s) == 0 {
		return false
	}
	host = strings.ToLower(host)
	if port == "" {
		port = defaultPort
	}
	if _, ok := s[host]; ok {
		return true
	}
	_, ok := s[net.JoinHostPort(host, port)]
	return ok
}

func (s hostSet) hasAddr(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	return err == nil && s.has(host, port, "")
}
