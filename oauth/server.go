package oauth

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/clients"
	"github.com/pdskit/pdskit/oauth/internal/dpop"
)

// Server is an authorization server. It is an http.Handler, safe for concurrent
// use, and starts nothing in the background: what expires in the store is
// removed by the store.
type Server struct {
	// Fixed at creation.
	cfg     Config // with defaults
	mux     *http.ServeMux
	clients *clients.Resolver
	sets    *permissionSets
	nonces  *dpop.Nonces
	checker *dpop.Checker
	// onceAtResource notes the use of a proof for the resource.
	onceAtResource func(context.Context, *dpop.Proof, time.Time) error

	refreshKey [32]byte
	csrfKey    [32]byte
	sleep      func(context.Context, time.Duration) // see pad; replaced in tests

	key signingKey
}

// New makes a server of cfg, or says which field is wrong. It does no I/O.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.sets = newPermissionSets(s)
	s.clients, err = clients.New(clients.Config{
		Transport:  cfg.Transport,
		Registered: cfg.Clients,
		NoLoopback: cfg.RefuseLoopbackClients,
		TTL:        cfg.Limits.ClientCache,
		Clock:      cfg.Clock,
	})
	if err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	s.refreshKey, s.csrfKey = derive(cfg.Secret, labelRefresh), derive(cfg.Secret, labelCSRF)
	s.sleep = sleepFor
	nonceSecret := derive(cfg.Secret, labelNonce)
	if !cfg.Replicated {
		// The names of proofs for the resource are kept in memory. After a
		// restart, when they are forgotten, no proof from before may be good.
		rand.Read(nonceSecret[:]) // never fails
	}
	if s.nonces, err = dpop.NewNonces(nonceSecret, cfg.Limits.NonceRotation); err != nil {
		return nil, fmt.Errorf("oauth: Config.Limits.NonceRotation: %w", err)
	}
	s.checker = &dpop.Checker{Algs: signingAlgs, Nonces: s.nonces, Clock: cfg.Clock}
	s.onceAtResource = onceInMemory(cfg.Limits.ReplayEntries)
	if cfg.Replicated {
		s.onceAtResource = onceInStore(cfg.Store)
	}

	s.mux.Handle(pathProtectedResource, s.endpoint(http.MethodGet, s.serveResourceMetadata))
	s.mux.Handle(pathServerMetadata, s.endpoint(http.MethodGet, s.serveMetadata))
	s.mux.Handle(pathJWKS, s.endpoint(http.MethodGet, s.serveKeys))
	s.mux.Handle(pathPAR, s.endpoint(http.MethodPost, s.push))
	s.mux.Handle(pathToken, s.endpoint(http.MethodPost, s.token))
	s.mux.Handle(pathRevoke, s.endpoint(http.MethodPost, s.revoke))
	s.pages(s.mux)
	return s, nil
}

// Handles reports whether a path is one of the server's, for programs that
// serve other things beside it.
func (s *Server) Handles(path string) bool {
	switch path {
	case pathProtectedResource, pathServerMetadata, pathChangePassword, "/account":
		return true
	}
	return strings.HasPrefix(path, "/oauth/") || strings.HasPrefix(path, "/account/")
}

// Paths of the server. The pages add their own below /oauth/ and /account/.
const (
	pathProtectedResource = "/.well-known/oauth-protected-resource"
	pathServerMetadata    = "/.well-known/oauth-authorization-server"
	pathChangePassword    = "/.well-known/change-password"
	pathJWKS              = "/oauth/jwks"
	pathPAR               = "/oauth/par"
	pathAuthorize         = "/oauth/authorize"
	pathToken             = "/oauth/token"
	pathRevoke            = "/oauth/revoke"
)

// ServeHTTP serves the protocol and the pages.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.isOwnHost(r) {
		http.NotFound(w, r)
		return
	}
	s.mux.ServeHTTP(w, s.withOrigin(r))
}

// withOrigin returns a request whose context knows where it comes from.
func (s *Server) withOrigin(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), originKey{}, origin{s.cfg.ClientIP(r), r.UserAgent()}))
}

// origin is where a request comes from.
type origin struct {
	IP        netip.Addr
	UserAgent string
}

type originKey struct{}

// originOf returns where the request of a context comes from.
func originOf(ctx context.Context) origin {
	o, _ := ctx.Value(originKey{}).(origin)
	return o
}

// now is the time.
func (s *Server) now() time.Time { return s.cfg.Clock() }

// hook tells the embedder of an event, and returns the embedder's refusal.
func (s *Server) hook(ctx context.Context, e Event) error {
	if s.cfg.Hook == nil {
		return nil
	}
	o := originOf(ctx)
	e.IP, e.UserAgent = o.IP, o.UserAgent
	return s.cfg.Hook(ctx, e)
}

// tell tells the embedder of an event that cannot be refused.
func (s *Server) tell(ctx context.Context, e Event) {
	if err := s.hook(ctx, e); err != nil {
		s.cfg.Logger.WarnContext(ctx, "oauth: the hook failed", "event", e.Kind, "error", err)
	}
}

// limited returns how long a client has to wait that has used up one of the
// rates, or zero.
func (s *Server) limited(ctx context.Context, bucket, key string, rate Rate) time.Duration {
	if rate.Points < 0 {
		return 0
	}
	wait, err := s.cfg.Limiter.Take(ctx, bucket, key, rate)
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "oauth: the rate limiter failed", "error", err)
		return 0
	}
	return wait
}
