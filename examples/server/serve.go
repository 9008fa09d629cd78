package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

// maxLimitedKeys bounds the memory of the rate limiter.
const maxLimitedKeys = 100_000

// serve runs the server until ctx ends.
func serve(ctx context.Context, set *settings, warnings []string, stderr io.Writer) (err error) {
	log, err := newLogger(set, stderr)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	made, err := prepareData(set)
	if err != nil {
		return err
	}
	store, err := sqlite.Open(filepath.Join(set.dataDir, "pds.db"), sqlite.Options{Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	cfg, err := newConfig(set, store, log)
	if err != nil {
		return err
	}
	srv, err := pds.New(cfg)
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, set)
	if err != nil {
		return err
	}
	if set.development {
		greet(stderr, set, made)
	}
	log.Info("serving", "url", cfg.PublicURL, "port", set.port, "data", set.dataDir, "handles", cfg.HandleDomains)
	err = srv.Serve(ctx, listeners...)
	log.Info("stopped")
	return err
}

// newConfig puts the parts of the server together.
func newConfig(set *settings, store *sqlite.Store, log *slog.Logger) (pds.Config, error) {
	cfg := pds.Config{
		PublicURL:       set.publicURL(),
		Store:           store,
		ServiceDID:      set.serviceDID,
		HandleDomains:   set.handleDomains,
		AdminPassword:   set.adminPassword,
		Secret:          []byte(set.jwtSecret),
		InviteRequired:  set.invites,
		RefuseImports:   !set.acceptImports,
		DidDocInSession: set.didDocInSession,
		Info: pds.Info{
			Name: set.name, HomeURL: set.homeURL, PrivacyPolicy: set.privacyURL,
			TermsOfService: set.termsURL, Contact: set.contact,
		},
		AppView:        pds.Service{URL: set.appViewURL, DID: set.appViewDID},
		Crawlers:       set.crawlers,
		LimitBypassKey: set.bypassKey,
		TrustedProxies: set.bypassIPs,
		Limits:         pds.Limits{BlobBytes: set.blobBytes, ImportBytes: set.importBytes, BackfillWindow: set.backfill},
		Logger:         log,
		DevMode:        set.devMode,
		Version:        set.version,
	}
	if set.rateLimits {
		cfg.Limiter = xrpc.NewMemoryLimiter(store.Guard().Now, maxLimitedKeys)
	}
	master, made, err := pds.LoadMasterKey(filepath.Join(set.dataDir, "master.key"))
	if err != nil {
		return cfg, err
	}
	if made {
		log.Info("made a master key for signing keys: keep a copy of it apart from the data", "file", filepath.Join(set.dataDir, "master.key"))
	}
	if cfg.Keys, err = pds.SealedKeys(master); err != nil {
		return cfg, err
	}
	if set.blobDir == "" {
		set.blobDir = filepath.Join(set.dataDir, "blobs")
	}
	if cfg.Blobs, err = blobs.NewDisk(set.blobDir, blobs.DiskOptions{}); err != nil {
		return cfg, err
	}
	if set.smtpURL != "" {
		if cfg.Mailer, err = newSMTPMailer(set.smtpURL, set.from); err != nil {
			return cfg, err
		}
	} else if !set.development {
		log.Warn("no PDS_EMAIL_SMTP_URL: mail is not sent but written to the log, with the codes in it")
	}
	return cfg, addIdentity(&cfg, set, store)
}

// addIdentity sets up the PLC directory, the resolver and the transport.
func addIdentity(cfg *pds.Config, set *settings, store storage.Store) error {
	cfg.Transport = identity.NewTransport(identity.TransportConfig{
		AllowPrivate: set.devMode || set.noGuard,
		AllowHosts:   hostsOf(append([]string{set.plcURL, set.appViewURL}, set.crawlers...)),
	})
	var plc *identity.PLCClient
	var err error
	if set.plcURL == "" {
		directory, e := identity.NewMemoryPLC(identity.MemoryPLCConfig{Log: plcLog{storage.DocsOf(store)}, NoRateLimit: true})
		if e != nil {
			return e
		}
		plc = directory.Client()
	} else if plc, err = identity.NewPLCClient(set.plcURL, identity.NewClient(cfg.Transport, identity.ClientLimits{
		MaxBody: identity.MaxPLCBody,
	})); err != nil {
		return err
	}
	cfg.Registry = identity.NewPLCRegistry(plc, set.rotationKey, set.recoveryKey)
	resolver := identity.ResolverConfig{
		Transport: cfg.Transport, PLC: plc, AllowPrivate: set.devMode || set.noGuard,
		StaleTTL: set.staleTTL, MaxTTL: set.maxTTL, Timeout: set.resolverTimeout,
	}
	for _, ns := range set.backupDNS {
		resolver.BackupDNS = append(resolver.BackupDNS, nameServer(ns))
	}
	cfg.Directory, err = identity.NewResolver(resolver)
	return err
}

// nameServer returns a resolver that asks one server.
func nameServer(address string) *net.Resolver {
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, "53")
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
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
	if err != nil { // a machine without IPv6
		return []net.Listener{l4}, nil
	}
	return []net.Listener{l4, l6}, nil
}

func portError(err error, port string) error {
	return fmt.Errorf("cannot listen on port %s (another program may use it; PDS_PORT chooses another one): %w", port, err)
}

func newLogger(set *settings, w io.Writer) (*slog.Logger, error) {
	if set.logOff {
		return slog.New(slog.DiscardHandler), nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(set.logLevel)); err != nil {
		return nil, fmt.Errorf("LOG_LEVEL is malformed: %w", err)
	}
	opts := &slog.HandlerOptions{Level: level}
	if set.development {
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return slog.New(slog.NewJSONHandler(w, opts)), nil
}

func greet(w io.Writer, set *settings, made []string) {
	fmt.Fprintf(w, "pdskit development server: no PDS_* variable is set.\n\n")
	for _, m := range made {
		fmt.Fprintf(w, "  made %s\n", m)
	}
	fmt.Fprintf(w, `
  address   %[1]s
  handles   NAME.test
  data      %[2]s (delete it to start anew)
  accounts  no invite code needed; mail is shown in this log
  identity  an own PLC directory, kept in the data

Try:

  curl %[1]s/xrpc/com.atproto.server.describeServer
  curl -H 'Content-Type: application/json' %[1]s/xrpc/com.atproto.server.createAccount \
    -d '{"handle":"alice.test","email":"alice@example.com","password":"a long password"}'

`, set.publicURL(), set.dataDir)
}

// decodeKey reads a rotation key from its hexadecimal form.
func decodeKey(text string) (*atcrypto.PrivateKeyK256, error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return nil, errors.New("not hexadecimal")
	}
	return atcrypto.ParsePrivateBytesK256(raw)
}

// hostsOf returns the hosts of URLs that the operator has configured.
func hostsOf(urls []string) []string {
	var out []string
	for _, u := range urls {
		if h := hostOf(u); h != "" {
			out = append(out, h)
		}
	}
	return out
}
