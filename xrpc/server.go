package xrpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/klauspost/compress/gzip"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// Prefix is the path below which methods are.
const Prefix = "/xrpc/"

// Config says how a [Server] works. The zero Config is valid: a server with
// the built-in lexicons, without authenticators, limits or log.
type Config struct {
	// Catalog knows the schemas of methods. nil: the built-in ones. Methods
	// it does not know are served without validation by schema.
	Catalog *lexicons.Catalog

	// Authenticators are asked in order; the first that knows the
	// credential decides.
	Authenticators []Authenticator

	// Limiter counts for all limits. nil: in memory.
	Limiter Limiter

	// GlobalLimits hold for every request, proxied ones too, besides the
	// limits of a method.
	GlobalLimits []Limit

	// LimitBypassKey lifts all limits for requests that send it in the
	// header x-ratelimit-bypass. Empty: no key does.
	LimitBypassKey string

	// LimitBypassIPs lifts all limits for these clients.
	LimitBypassIPs []netip.Prefix

	// TrustedProxies are the peers whose X-Forwarded-For and X-Request-Id
	// are believed. nil: [PrivateProxies]; empty but not nil: nobody.
	TrustedProxies []netip.Prefix

	// Owned reports whether an NSID belongs to this server: if it is not
	// registered, it is answered with 501 and never passed to Fallback. The
	// NSID comes with its authority in lower case. nil: none is owned.
	Owned func(nsid string) bool

	// Renew, if set, looks at the caller of an open stream again, see
	// [Server.Recheck]: it returns the caller as its credential makes it now, or
	// the error that the stream ends with. It may be called concurrently.
	Renew func(ctx context.Context, c *Caller) (*Caller, error)

	// Challenge is the header WWW-Authenticate of answers to requests without
	// credentials, where a method needs some. Empty: none.
	Challenge string

	// Fallback gets requests for NSIDs that are neither registered nor
	// owned, of whatever verb; [MethodFrom] tells it the NSID. It uses
	// [Server.Authorize] and [RawBody]. An error that it returns is sent and
	// logged like that of a method; if the answer has begun, the connection is
	// cut. nil: they are answered with 501.
	Fallback func(w http.ResponseWriter, r *http.Request) error

	// Explain, if set, may turn what would be answered as InternalServerError into
	// an [Error] to be sent and logged in its place. What it returns as it is, is
	// answered so.
	Explain func(err error) error

	// MaxJSONBody, MaxTextBody and MaxUploadBody limit inputs of methods
	// that set no limit of their own, in bytes: JSON, text, and the rest.
	// 0: [DefaultMaxJSONBody], [DefaultMaxTextBody], [DefaultMaxUploadBody].
	MaxJSONBody, MaxTextBody, MaxUploadBody int64

	// BodyIdle is how long a client may take for one part of an upload or of
	// a streamed output. 0: [DefaultBodyIdle].
	BodyIdle time.Duration

	// GzipLevel is the level of compression of answers, 1 to 9. 0: 1, the
	// fastest. Negative: answers are not compressed.
	GzipLevel int

	// Stream sets the limits of event streams.
	Stream StreamConfig

	// ValidateOutput checks every JSON output against its schema and
	// answers 500 if it does not fit. It is meant for tests.
	ValidateOutput bool

	// Logger gets one line per request, at level Info, or Error for a 500.
	// It never contains query strings, headers or bodies. nil: no log.
	Logger *slog.Logger

	// Clock is the time for limits and the log. nil: time.Now.
	Clock func() time.Time

	// OnServed, if set, is told of every request when it has been answered. It
	// may be called concurrently, and must not block.
	OnServed func(Served)

	// Trace, if set, is called for every request for an NSID, before anything
	// is done for it. known reports whether there is such a method. The request
	// goes on with the context that Trace returns, which is made from ctx;
	// ended is called when the request has been answered. Neither may block.
	Trace func(ctx context.Context, nsid string, known bool) (traced context.Context, ended func(Served))
}

// Served is a request that has been answered.
type Served struct {
	// Method is the NSID, if the server has such a method; else it is empty:
	// what clients make up must not fill memory.
	Method syntax.NSID

	Status int           // zero: the connection ended before an answer
	Took   time.Duration // until the end of the answer; of a subscription, until its end

	Error string // name of the error that it failed with, even if the client was not told; empty: none
}

// A Server serves methods over HTTP. It is an http.Handler for [Prefix] and
// everything below. All its methods are safe for concurrent use.
type Server struct {
	cfg       Config // fixed at creation, like the following 5 fields
	catalog   *lexicons.Catalog
	limiter   Limiter
	log       *slog.Logger
	now       func() time.Time
	gzipLevel int // 0: none
	streams   *streamSet

	mu      sync.RWMutex // guards following field
	methods map[string]*binding
}

var _ http.Handler = (*Server)(nil)

// NewServer checks cfg and returns a server without methods. It starts
// nothing.
func NewServer(cfg Config) (*Server, error) {
	if cfg.MaxJSONBody < 0 || cfg.MaxTextBody < 0 || cfg.MaxUploadBody < 0 {
		return nil, errors.New("xrpc: Config.MaxJSONBody, MaxTextBody and MaxUploadBody must not be negative")
	}
	if cfg.BodyIdle < 0 {
		return nil, errors.New("xrpc: Config.BodyIdle must not be negative")
	}
	if cfg.GzipLevel > gzip.BestCompression {
		return nil, fmt.Errorf("xrpc: Config.GzipLevel must be at most %d", gzip.BestCompression)
	}
	for _, l := range cfg.GlobalLimits {
		if err := l.validate(); err != nil {
			return nil, fmt.Errorf("xrpc: Config.GlobalLimits: %w", err)
		}
	}
	if slices.Contains(cfg.Authenticators, nil) {
		return nil, errors.New("xrpc: Config.Authenticators holds a nil")
	}
	cfg.MaxJSONBody = cmp.Or(cfg.MaxJSONBody, DefaultMaxJSONBody)
	cfg.MaxTextBody = cmp.Or(cfg.MaxTextBody, DefaultMaxTextBody)
	cfg.MaxUploadBody = cmp.Or(cfg.MaxUploadBody, DefaultMaxUploadBody)
	cfg.BodyIdle = cmp.Or(cfg.BodyIdle, DefaultBodyIdle)
	if cfg.TrustedProxies == nil {
		cfg.TrustedProxies = PrivateProxies()
	}
	if err := cfg.Stream.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		catalog:   cfg.Catalog,
		limiter:   cfg.Limiter,
		log:       cfg.Logger,
		now:       cfg.Clock,
		gzipLevel: max(cmp.Or(cfg.GzipLevel, gzip.BestSpeed), 0),
		streams:   newStreamSet(),
		methods:   make(map[string]*binding),
	}
	if s.catalog == nil {
		s.catalog = lexicons.New()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.limiter == nil {
		s.limiter = NewMemoryLimiter(s.now, 0)
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Handle registers methods. It panics if an NSID is registered already, or if
// a method is the zero Method.
func (s *Server) Handle(methods ...Method) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range methods {
		if m.nsid == "" {
			panic("xrpc: Handle of a zero Method") //nolint:forbidigo // at registration
		}
		if _, ok := s.methods[m.nsid]; ok {
			panic("xrpc: " + m.nsid + " is registered already, see Server.Replace") //nolint:forbidigo // at registration
		}
		s.methods[m.nsid] = &binding{server: s, method: m}
	}
}

// Replace registers m in place of the method of the same NSID. It panics if
// there is none. Requests that are under way end with the old one.
func (s *Server) Replace(m Method) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.methods[m.nsid]; !ok {
		panic(fmt.Sprintf("xrpc: Replace of %q, which is not registered", m.nsid)) //nolint:forbidigo // at registration
	}
	s.methods[m.nsid] = &binding{server: s, method: m}
}

// Methods returns all methods, in order of their NSIDs.
func (s *Server) Methods() []Method {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Method, 0, len(s.methods))
	for _, b := range s.methods {
		list = append(list, b.method)
	}
	slices.SortFunc(list, func(a, b Method) int { return strings.Compare(a.nsid, b.nsid) })
	return list
}

// Verify checks every method against its schema, which otherwise happens at
// the first request: the type (query, procedure, subscription), presence of
// input and output, and the types of parameters. Call it in a test.
func (s *Server) Verify() error {
	var errs []error
	for _, m := range s.Methods() {
		if b := s.binding(m.nsid); b != nil {
			errs = append(errs, b.bind())
		}
	}
	return errors.Join(errs...)
}

func (s *Server) binding(nsid string) *binding {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.methods[nsid]
}

// Authenticate asks the server's authenticators who makes a request, for
// routes beside the server. It returns nil, nil for a request without
// credentials, and an *[Error] for bad ones. Afterwards [CallerFrom] knows the
// caller, if the request has come through the server.
func (s *Server) Authenticate(r *http.Request) (*Caller, error) {
	return s.Authorize(r, Optional(nil))
}

// Authorize applies a rule to a request, for a [Config.Fallback]: it returns
// the caller, nil if the rule needs none, or the error to be sent. Afterwards
// [CallerFrom] knows the caller, if the request has come through the server.
func (s *Server) Authorize(r *http.Request, rule Rule) (*Caller, error) {
	caller, err := rule.apply(r.Context(), r, &s.cfg)
	if c := callFrom(r.Context()); c != nil && caller != nil {
		c.caller = caller
	}
	return caller, err
}

// Shutdown ends all streams with close code 1001, refuses new ones, and
// returns when their handlers have returned. If ctx ends first it cuts the
// connections and returns the error of ctx. Other requests are not touched:
// call it beside http.Server.Shutdown, which does not know of streams.
func (s *Server) Shutdown(ctx context.Context) error { return s.streams.shutdown(ctx) }

var errPath = InvalidRequest("invalid xrpc path")

// parsePath returns the NSID of a path, one trailing slash forgiven. The
// authority comes in lower case if it was not.
func (s *Server) parsePath(r *http.Request) (*binding, string, error) {
	path := r.URL.EscapedPath()
	name, ok := strings.CutPrefix(path, Prefix)
	if !ok {
		return nil, "", NewError(http.StatusNotFound, "", "")
	}
	name = strings.TrimSuffix(name, "/")
	if b := s.binding(name); b != nil {
		return b, name, nil
	}
	nsid, err := syntax.ParseNSID(name)
	if err != nil {
		return nil, "", errPath
	}
	name = nsid.Normalize().String()
	return s.binding(name), name, nil
}
