package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/metrics"
	"github.com/pdskit/pdskit/pds/smtpmail"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

// maxLimitedKeys bounds the memory of the rate limiter.
const maxLimitedKeys = 100_000

// serve runs the server until ctx ends.
func serve(ctx context.Context, set *settings, warnings []string, stderr io.Writer) (err error) {
	log := newLogger(set, stderr)
	for _, w := range warnings {
		log.Warn(w)
	}
	made, err := prepareData(set)
	if err != nil {
		return err
	}
	masterFile := filepath.Join(set.dataDir, "master.key")
	if exists(set.dataDir, "pds.db") && !exists(set.dataDir, "master.key") {
		return fmt.Errorf("%s is missing: without it no account of pds.db can write; put back the copy that you have of it", masterFile)
	}
	master, fresh, err := pds.LoadMasterKey(masterFile)
	if err != nil {
		return err
	}
	if fresh {
		made = append(made, masterFile)
	}
	store, err := sqlite.Open(filepath.Join(set.dataDir, "pds.db"), sqlite.Options{Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	tracer, flush, err := startTracing(ctx, set, log)
	if err != nil {
		return err
	}
	defer flush()
	identities := tracedIdentity(tracer, set, newTransport(set))
	plc, directory, err := openPLC(set, store, identities)
	if err != nil {
		return err
	}
	cfg, err := newConfig(set, store, master, plc, log)
	if err != nil {
		return err
	}
	if cfg.Directory, err = newResolver(set, identities, plc); err != nil {
		return err
	}
	cfg.Tracer = tracer
	counts := metrics.New()
	cfg.OnServed = counts.OnServed
	routes := http.NewServeMux()
	cfg.Middleware = func(next http.Handler) http.Handler {
		if directory != nil {
			next = withPLC(directory, next)
		}
		routes.Handle("/", next)
		// The hosts of handles have nothing of the server's but what it serves
		// there itself.
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			host = strings.ToLower(strings.TrimSuffix(host, "."))
			if host != set.hostname && isUnder(host, set.handleDomains) {
				next.ServeHTTP(w, r)
				return
			}
			routes.ServeHTTP(w, r)
		})
	}
	srv, err := pds.New(cfg)
	if err != nil {
		return err
	}
	shown, err := metricsHandler(counts, srv)
	if err != nil {
		return err
	}
	routes.Handle("GET /admin/metrics", srv.AdminOnly(shown))
	if set.adminPages {
		if err := handleAdminPages(routes, srv, set, log); err != nil {
			return err
		}
	}
	routes.Handle("POST /admin/backup", srv.AdminOnly(&backupRoute{srv: srv, set: set, store: store, blobs: cfg.Blobs}))
	if err := afterRestore(ctx, set, store, srv, log); err != nil {
		return err
	}
	listeners, err := listen(ctx, set)
	if err != nil {
		return err
	}
	if set.development {
		greet(stderr, set, made)
	} else if fresh {
		log.Info("made a master key, which seals signing keys: keep a copy of it apart from the data", "file", masterFile)
	}
	log.Info("serving", "url", cfg.PublicURL, "port", set.port, "data", set.dataDir, "handles", cfg.HandleDomains)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go watchStore(ctx, store, stop)
	if set.adminListen != "" {
		if err := serveMetrics(ctx, set.adminListen, shown, log); err != nil {
			return err
		}
	}
	err = srv.Serve(ctx, listeners...)
	log.Info("stopped")
	if cause := context.Cause(ctx); errors.Is(cause, sqlite.ErrPoisoned) {
		err = errors.Join(err, cause)
	}
	return err
}

// storeCheck is how often watchStore looks.
const storeCheck = time.Second

// watchStore ends the server when the store can only be reopened, after an fsync
// that failed: whatever supervises the process then starts it again.
func watchStore(ctx context.Context, store storage.Store, stop context.CancelCauseFunc) {
	tick := time.NewTicker(storeCheck)
	defer tick.Stop()
	for {
		err := store.View(ctx, func(tx storage.Tx) error {
			_, err := tx.LastSeq()
			return err
		})
		if errors.Is(err, sqlite.ErrPoisoned) {
			stop(fmt.Errorf("the server must be started again: %w", err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// newConfig puts the parts of the server together.
func newConfig(set *settings, store *sqlite.Store, master []byte, plc *identity.PLCClient, log *slog.Logger) (pds.Config, error) {
	cfg := pds.Config{
		PublicURL:       set.publicURL(),
		Store:           store,
		Registry:        identity.NewPLCRegistry(plc, set.rotationKey, set.recoveryKey),
		ServiceDID:      set.serviceDID,
		HandleDomains:   set.handleDomains,
		AdminPassword:   set.adminPassword,
		Secret:          []byte(set.jwtSecret),
		InviteRequired:  set.invites,
		SignInAlerts:    set.signInAlerts,
		InviteInterval:  set.inviteInterval,
		InviteEpoch:     set.inviteEpoch,
		RefuseImports:   !set.acceptImports,
		DidDocInSession: set.didDocInSession,
		Info: pds.Info{
			Name: set.name, HomeURL: set.homeURL, PrivacyPolicy: set.privacyURL,
			TermsOfService: set.termsURL, SupportURL: set.supportURL, Contact: set.contact, Colors: set.colors,
		},
		OAuth:           oauth.Config{ClientPolicy: set.trust},
		Transport:       newTransport(set),
		AppView:         set.appView,
		ImageURLPattern: set.imageURLs,
		ModService:      set.modService,
		ReportService:   set.reportService,
		KeepReports:     set.adminPages,
		Crawlers:        set.crawlers,
		LimitBypassKey:  set.bypassKey,
		LimitBypassIPs:  set.bypassIPs,
		TrustedProxies:  set.bypassIPs,
		Limits: pds.Limits{
			BlobBytes: set.blobBytes, ImportBytes: set.importBytes, BackfillWindow: set.backfill,
			ProxyHeaderTime: set.proxyHeaderTime, ProxyIdle: set.proxyIdle, ProxyBytes: set.proxyBytes, ProxyRetries: set.proxyRetries,
		},
		Logger:  log,
		DevMode: set.devMode,
		Version: set.version,
	}
	var err error
	if cfg.Keys, err = pds.SealedKeys(master); err != nil {
		return cfg, err
	}
	if cfg.Blobs, err = blobs.NewDisk(set.blobDir, blobs.DiskOptions{}); err != nil {
		return cfg, err
	}
	if set.rateLimits {
		cfg.Limiter = xrpc.NewMemoryLimiter(store.Guard().Now, maxLimitedKeys)
	}
	mailer, err := newMailer(set.smtpURL, set.from)
	if err != nil {
		return cfg, err
	}
	moderation, err := newMailer(set.modSMTPURL, set.modFrom)
	if err != nil {
		return cfg, err
	}
	if mailer != nil { // a nil *Mailer would be a Mailer
		cfg.Mailer = mailer
	}
	if moderation != nil {
		cfg.ModerationMailer = moderation
	}
	if set.smtpURL == "" && !set.development {
		log.Warn("no PDS_EMAIL_SMTP_URL: mail is not sent but written to the log, with the codes in it")
	}
	return cfg, nil
}

// trust says what is thought of an app.
func (s *settings) trust(_ context.Context, c oauth.ClientInfo) oauth.Trust {
	if slices.Contains(s.trustedClients, c.ID) {
		return oauth.Trusted
	}
	return oauth.Untrusted
}

// newMailer returns what sends mail by a server, or nil without one.
func newMailer(smtpURL, from string) (*smtpmail.Mailer, error) {
	if smtpURL == "" {
		return nil, nil
	}
	return smtpmail.New(smtpmail.Config{URL: smtpURL, From: from})
}

// newTransport returns what all requests to others go through.
func newTransport(set *settings) http.RoundTripper {
	return identity.NewTransport(identity.TransportConfig{
		AllowPrivate: set.devMode || set.noGuard,
		AllowHosts:   hostsOf(append([]string{set.plcURL, set.appView.URL, set.modService.URL, set.reportService.URL}, set.crawlers...)),
	})
}

// openPLC returns the PLC directory that the configuration names. In
// development it is one in this process, returned too, with its log in the
// store.
func openPLC(set *settings, store storage.Store, transport http.RoundTripper) (*identity.PLCClient, *identity.MemoryPLC, error) {
	if set.plcURL == "" {
		directory, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{Log: plcLog{storage.DocsOf(store)}, NoRateLimit: true})
		if err != nil {
			return nil, nil, err
		}
		return directory.Client(), directory, nil
	}
	client, err := identity.NewPLCClient(set.plcURL, identity.NewClient(transport, identity.ClientLimits{MaxBody: identity.MaxPLCBody}))
	return client, nil, err
}

func newResolver(set *settings, transport http.RoundTripper, plc *identity.PLCClient) (*identity.Resolver, error) {
	cfg := identity.ResolverConfig{
		Transport: transport, PLC: plc, AllowPrivate: set.devMode || set.noGuard,
		StaleTTL: set.staleTTL, MaxTTL: set.maxTTL, Timeout: set.resolverTimeout,
	}
	for _, address := range set.backupDNS {
		cfg.BackupDNS = append(cfg.BackupDNS, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}})
	}
	return identity.NewResolver(cfg)
}

// listen opens the port: on loopback alone in development, else everywhere.
func listen(ctx context.Context, set *settings) ([]net.Listener, error) {
	port := strconv.Itoa(set.port)
	var lc net.ListenConfig
	if !set.development {
		l, err := lc.Listen(ctx, "tcp", ":"+port)
		if err != nil {
			return nil, portError(err, port)
		}
		return []net.Listener{l}, nil
	}
	l4, err := lc.Listen(ctx, "tcp4", "127.0.0.1:"+port)
	if err != nil {
		return nil, portError(err, port)
	}
	l6, err := lc.Listen(ctx, "tcp6", "[::1]:"+port)
	switch {
	case errors.Is(err, syscall.EADDRINUSE): // "localhost" would lead to somebody else
		return nil, errors.Join(portError(err, port), l4.Close())
	case err != nil: // a machine without IPv6
		return []net.Listener{l4}, nil
	}
	return []net.Listener{l4, l6}, nil
}

func portError(err error, port string) error {
	return fmt.Errorf("cannot listen on port %s (is another server running? PDS_PORT chooses another port, in development with PDS_DEV_MODE=true): %w", port, err)
}

func newLogger(set *settings, w io.Writer) *slog.Logger {
	if set.logOff {
		return slog.New(slog.DiscardHandler)
	}
	opts := &slog.HandlerOptions{Level: set.logLevel}
	if set.development {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}
