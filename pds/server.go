package pds

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/internal/lane"
	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Server is a personal data server. It is an http.Handler, works as soon as
// [New] has returned, and may be used concurrently. Several may live in one
// process. The work that goes on between requests is done by [Server.Run].
type Server struct {
	// fixed at creation
	cfg     Config
	public  *url.URL
	store   storage.Store
	blobs   storage.BlobStore
	clock   *storage.Guard
	log     *slog.Logger
	clockID uint   // of this process's TIDs
	process string // its name among those that serve the same store

	// own are the methods with the rules of this package, see
	// authenticateSession. Requests only read it.
	own sync.Map

	releasing sync.RWMutex // held to delete bytes of blobs; for reading, to keep them

	observing sync.Mutex // guards following 2 fields
	observers []namedObserver
	observer  func(namedObserver) // starts one; nil while Run does not run

	oauth     *oauth.Server // nil without OAuth, like the next
	verifier  *oauth.Verifier
	xrpc      *xrpc.Server
	mux       http.Handler
	lanes     *lane.Group[syntax.DID, writer]
	turns     *lane.Group[docID, struct{}] // of those who have met in Update
	tids      tidClock
	jobs      *jobs.Queue
	mails     *mailTemplates
	passwords *passwordHasher
	firehose  *firehose
	live      *live.Hub
	exports   *spoolPool
	imports   chan struct{}    // one element for each import that runs
	importing sync.Map         // of syntax.DID: the accounts whose imports run
	running   sync.Map         // of runningCall: what code of the embedder has not returned from
	seldom    xrpc.Limiter     // of work that strangers can cause: lookups after bad signatures, notes of refusals
	calls     *callSlots       // of other services
	merges    *callSlots       // of answers that are merged
	lexicons  *foreignLexicons // nil: nobody can be asked
	counts    counters
	totals    sharedTotals
	draining  atomic.Bool // Shutdown has begun
	tracer    tracer
}

// New makes a server from a configuration. It returns an error that names the
// field if one is missing or wrong. It does no network I/O and starts nothing.
func New(cfg Config) (*Server, error) {
	public, err := cfg.check()
	if err != nil {
		return nil, err
	}
	cfg = cfg.traced()
	cfg.Store = storage.Retrying(cfg.Store)
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails
	s := &Server{
		cfg: cfg, public: public, store: cfg.Store, blobs: cfg.Blobs, clock: cfg.Clock.(*storage.Guard), log: cfg.Logger,
		clockID:   uint(binary.BigEndian.Uint16(id[:])) % 1024,
		lanes:     lane.New[syntax.DID, writer](cfg.Limits.IdleLanes, cfg.Limits.LaneQueue),
		turns:     lane.New[docID, struct{}](0, math.MaxInt), // whoever waits is a request
		jobs:      jobs.New(storage.DocsOf(cfg.Store), cfg.Clock.(*storage.Guard), cfg.Logger),
		process:   newProcessName(),
		passwords: newPasswordHasher(cfg.Limits),
		exports:   newSpoolPool(cfg.Limits.Exports, cfg.Limits.SpoolMemory, cfg.Limits.SpoolDisk),
		imports:   make(chan struct{}, cfg.Limits.Imports),
		seldom:    xrpc.NewMemoryLimiter(cfg.Clock.Now, maxRefreshedDIDs),
		merges:    newCallSlots(maxMerges, maxMergesEach),
		calls:     newCallSlots(cfg.Limits.ProxyCalls, cfg.Limits.ProxyCallsEach),
		tracer:    tracer{cfg.Tracer},
	}
	s.firehose = newFirehose(s.store, s.clock, s.log, cfg.Limits, s.tracer)
	if s.live, err = live.New(live.Config{
		Store: storage.DocsOf(s.store), Clock: s.clock, Logger: s.log, Limits: cfg.Live,
	}); err != nil {
		return nil, fmt.Errorf("pds: Config.Live: %w", err)
	}
	if s.lexicons, err = s.newForeignLexicons(); err != nil {
		return nil, err
	}
	if !cfg.WithoutOAuth {
		if s.oauth, err = s.newOAuth(); err != nil {
			return nil, err
		}
		s.verifier = s.oauth.Verifier()
	}
	if s.xrpc, err = s.newXRPC(); err != nil {
		return nil, err
	}
	for _, methods := range [][]xrpc.Method{
		s.serverMethods(), s.repoMethods(), s.syncMethods(), s.identityMethods(), s.adminMethods(), s.actorMethods(),
		s.moderationMethods(), s.tempMethods(), s.viewMethods(),
	} {
		s.xrpc.Handle(methods...)
		for _, m := range methods {
			s.own.Store(m.NSID(), true)
		}
	}
	if s.mails, err = loadMailTemplates(MailTemplates(), cfg.MailTemplates); err != nil {
		return nil, fmt.Errorf("pds: Config.MailTemplates: %w", err)
	}
	for _, h := range s.jobHandlers() {
		if err := s.jobs.Handle(s.tracer.traceJob(h)); err != nil {
			return nil, err
		}
	}
	s.mux = s.routes()
	return s, nil
}

// newXRPC makes the part that serves methods, yet without any.
func (s *Server) newXRPC() (*xrpc.Server, error) {
	cfg := &s.cfg
	var trace func(context.Context, string, bool) (context.Context, func(xrpc.Served))
	if cfg.Tracer != nil {
		trace = s.tracer.traceCall
	}
	streams := cfg.Stream
	streams.WriteTimeout = cfg.Limits.writeTimeout()
	return xrpc.NewServer(xrpc.Config{
		Catalog:        cfg.Catalog,
		Authenticators: slices.Concat(cfg.Authenticators, s.authenticators()),
		Limiter:        cfg.Limiter,
		GlobalLimits:   cfg.globalLimits(),
		LimitBypassKey: cfg.LimitBypassKey,
		LimitBypassIPs: cfg.LimitBypassIPs,
		BodyIdle:       cfg.Limits.MediaUploadIdle,
		Logger:         cfg.Logger,
		TrustedProxies: append(xrpc.PrivateProxies(), cfg.TrustedProxies...),
		Stream:         streams,
		Owned:          s.owned,
		Renew:          s.renew,
		Challenge:      s.challenge(),
		Fallback:       s.proxy,
		Explain:        explain,
		ValidateOutput: cfg.ValidateOutput,
		Clock:          s.clock.Now,
		OnServed:       cfg.OnServed,
		Trace:          trace,
	})
}

// Handle adds methods, whose rules get the callers that the package comment
// names. It panics if one is registered already; see [Server.Replace].
func (s *Server) Handle(methods ...xrpc.Method) { s.xrpc.Handle(methods...) }

// Replace adds a method in place of the one with the same NSID, and panics if
// there is none. The new one has no rule or limit of the old one. Requests that
// run go on with the old one.
func (s *Server) Replace(m xrpc.Method) {
	s.own.Delete(m.NSID()) // first, so that nobody gets the new one by the old rules
	s.xrpc.Replace(m)
}

// PublicURL returns the address under which clients reach the server: scheme
// and host, without a slash at its end.
func (s *Server) PublicURL() string { return s.public.String() }

// Methods returns all methods, in order of their NSIDs.
func (s *Server) Methods() []xrpc.Method { return s.xrpc.Methods() }

// Verify checks every method against its lexicon, if Config.Catalog has one,
// which otherwise happens at the first request. Call it in a test of a program
// that adds methods.
func (s *Server) Verify() error { return s.xrpc.Verify() }

// ServeHTTP serves XRPC and the other routes of a PDS.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer xrpc.BoundDrain(w, r, s.cfg.Limits.MediaUploadIdle)
	s.mux.ServeHTTP(w, r)
}

// Limits of the HTTP server that ListenAndServe runs. There is no limit on the
// time of a whole request, since exports and event streams are long; the
// methods bound what they read and write.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 90 * time.Second
	maxHeaderBytes    = 64 << 10
)

// ListenAndServe serves on a TCP address and runs the background work until
// ctx ends, then shuts down: it takes no new requests, closes event streams
// with code 1001, waits up to Limits.DrainTime for requests, and returns nil.
func (s *Server) ListenAndServe(ctx context.Context, addr string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return s.Serve(ctx, l)
}

// Serve is like ListenAndServe, on listeners that exist already. It closes
// them.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	var handler http.Handler = s
	if s.cfg.Middleware != nil {
		handler = s.cfg.Middleware(handler)
	}
	hs := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	failed := make(chan error, len(listeners)+1)
	for _, l := range listeners {
		wg.Go(func() {
			if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	wg.Go(func() {
		if err := s.Run(run); err != nil {
			failed <- err
		}
	})
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Limits.DrainTime)
	defer cancel()
	if e := errors.Join(s.Shutdown(drain), hs.Shutdown(drain)); e != nil {
		hs.Close()
		s.log.Warn("shutdown did not finish in time", "error", e)
	}
	stop()
	wg.Wait()
	return err
}

// Shutdown lets /xrpc/_ready answer that the server takes no more requests,
// ends event streams with code 1001 and waits for them, as long as ctx lives,
// then ends all subscriptions of topics. It ends neither other requests nor Run.
//
// A program that serves the Server itself, behind middleware or beside other
// routes, does what Serve does: it calls Run in a goroutine; sets the
// ReadHeaderTimeout of its http.Server, but no ReadTimeout or WriteTimeout,
// which would cut uploads and streams; and at the end calls Shutdown,
// http.Server.Shutdown (which leaves streams alone) and then ends Run. See the
// example.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	defer s.live.Close()
	return s.xrpc.Shutdown(ctx)
}
