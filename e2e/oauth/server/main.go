// Command server is a PDS as the world sees it, for tests in other languages:
// under public names and by https. It listens on one port of this machine for
// all names below oauth-test.dev, with a certificate of its own. Those of the
// PDS and of its PLC directory it serves itself; the others belong to apps and
// are passed on to local ports:
//
//	server -app app.oauth-test.dev=127.0.0.1:4000
//
// It prints one line of JSON, with the port and the certificate's authority,
// and serves until its standard input ends.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/totp"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// Names of the test's own internet.
const (
	domain  = "oauth-test.dev"
	pdsHost = "pds." + domain
	plcHost = "plc." + domain
)

func main() {
	apps := hosts{}
	flag.Var(apps, "app", "NAME=ADDRESS of an app (may be repeated)")
	flag.Parse()
	if err := run(context.Background(), apps, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// hosts says who answers for a name.
type hosts map[string]http.Handler

// String implements flag.Value.
func (hosts) String() string { return "" }

// Set implements flag.Value.
func (h hosts) Set(s string) error {
	name, address, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("%q is not NAME=ADDRESS", s)
	}
	h[name] = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	return nil
}

func (h hosts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler := h[r.Host]
	if handler == nil { // a handle
		handler = h[pdsHost]
	}
	handler.ServeHTTP(w, r)
}

func run(ctx context.Context, served hosts, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	leaf, err := ca.issue(domain, "*."+domain, "*."+pdsHost)
	if err != nil {
		return err
	}
	plc, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{NoRateLimit: true})
	if err != nil {
		return err
	}
	store, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	cfg, err := newConfig(store, plc, ca.transport(listener.Addr().String()))
	if err != nil {
		return err
	}
	srv, err := pds.New(cfg)
	if err != nil {
		return err
	}
	served[pdsHost], served[plcHost] = srv, plc

	hs := &http.Server{Handler: served, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = hs.Close() })
	failed := make(chan error, 1)
	go func() {
		failed <- hs.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{leaf}}))
	}()
	worked := make(chan error, 1)
	go func() { worked <- srv.Run(ctx) }()
	started := json.NewEncoder(out).Encode(map[string]any{
		"port": listener.Addr().(*net.TCPAddr).Port, "ca": string(ca.pem),
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in)
	}()
	select {
	case <-ended:
	case err = <-failed:
	}
	stop()
	return errors.Join(started, err, <-worked)
}

// newConfig puts the PDS together, with a second factor for those who want one,
// terms, and trust in the app at the name "trusted". Its mail goes to the log.
func newConfig(store *sqlite.Store, plc *identity.MemoryPLC, transport http.RoundTripper) (pds.Config, error) {
	rotation, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		return pds.Config{}, err
	}
	keys, err := pds.SealedKeys(pds.NewMasterKey())
	if err != nil {
		return pds.Config{}, err
	}
	directory, err := identity.NewResolver(identity.ResolverConfig{Transport: transport, PLC: plc.Client()})
	if err != nil {
		return pds.Config{}, err
	}
	secret := pds.NewMasterKey()
	factor, err := totp.New(totp.Config{Store: storage.DocsOf(store), Secret: secret, Issuer: pdsHost})
	if err != nil {
		return pds.Config{}, err
	}
	return pds.Config{
		PublicURL: "https://" + pdsHost,
		Store:     store,
		Blobs:     blobs.NewMemory(nil),
		Registry:  identity.NewPLCRegistry(plc.Client(), rotation, ""),
		Directory: directory,
		Keys:      keys,
		Secret:    secret,
		Info: pds.Info{
			Name: "Test Service", HomeURL: "https://" + domain,
			PrivacyPolicy: "https://" + domain + "/privacy", TermsOfService: "https://" + domain + "/terms",
		},
		OAuth: oauth.Config{
			SecondFactor: factor,
			ClientPolicy: func(_ context.Context, c oauth.ClientInfo) oauth.Trust {
				if strings.HasPrefix(c.ID, "https://trusted."+domain+"/") {
					return oauth.Trusted
				}
				return oauth.Untrusted
			},
		},
		Transport: transport,
		Logger:    slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	}, nil
}
