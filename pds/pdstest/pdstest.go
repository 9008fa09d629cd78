// Package pdstest runs a whole PDS inside a test: the server of package pds on
// a store in memory, with its own PLC directory, mailbox and clock, reachable
// over HTTP on a loopback address and closed with the test.
//
//	func TestPost(t *testing.T) {
//		srv := pdstest.New(t)
//		alice := srv.CreateAccount("alice")
//		client := alice.Client() // indigo's, signed in
//		...
//	}
//
// Nothing of it touches the network, a fixed port or a file outside the test's
// temporary folder, so any number run side by side under t.Parallel. Every
// commit is checked as a strict relay would (pds.Config.CheckCommits), and
// every answer against its lexicon.
package pdstest

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// AdminPassword is the administrator's password on every test server.
const AdminPassword = "test-admin"

// PDS is a running server.
type PDS struct {
	*pds.Server

	// URL is the public URL, "http://localhost:" and a free port.
	URL string

	// Config is what the server was made from.
	Config pds.Config

	PLC   *identity.MemoryPLC
	Mail  *Mailbox
	Clock *Clock

	t       testing.TB
	network *network
}

// New starts a server with its background work. Each adjust may change the
// configuration before the server is made, in which every required field is
// set: wrap the store or put in one of your own, which it does not close, add a
// lexicon, set a limit. Methods of your own are added to the PDS that it
// returns, before the first request. The server ends with the test.
func New(t testing.TB, adjust ...func(*pds.Config)) *PDS {
	t.Helper()
	n := &network{clock: NewClock()}
	plc, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{Clock: n.clock.Now, NoRateLimit: true})
	if err != nil {
		t.Fatalf("pdstest: %v", err)
	}
	n.plc = plc
	return n.start(t, adjust)
}

// Another starts a second server that shares the PLC directory and the clock
// of the first; the two resolve each other's accounts and handles.
func (p *PDS) Another(adjust ...func(*pds.Config)) *PDS {
	p.t.Helper()
	return p.network.start(p.t, adjust)
}

func (n *network) start(t testing.TB, adjust []func(*pds.Config)) *PDS {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("pdstest: %v", err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	must(err)
	p := &PDS{URL: "http://localhost:" + port, PLC: n.plc, Mail: new(Mailbox), Clock: n.clock, t: t, network: n}
	p.Mail.settle = p.RunJobs
	domain := n.join(p)

	rotation, err := atcrypto.GeneratePrivateKeyK256()
	must(err)
	keys, err := pds.SealedKeys(bytes.Repeat([]byte{7}, pds.MasterKeyBytes))
	must(err)
	directory, err := identity.NewResolver(identity.ResolverConfig{
		Transport: n, PLC: n.plc.Client(), DNS: n, AllowPrivate: true, Clock: n.clock.Now,
	})
	must(err)
	store, err := sqlite.OpenMemory(sqlite.Options{Clock: n.clock})
	must(err)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("pdstest: closing the store: %v", err)
		}
	})
	cfg := pds.Config{
		PublicURL:      p.URL,
		Store:          store,
		Blobs:          blobs.NewMemory(n.clock),
		Registry:       identity.NewPLCRegistry(n.plc.Client(), rotation, ""),
		Directory:      directory,
		Keys:           keys,
		Secret:         []byte("a secret of a test server"),
		HandleDomains:  []string{domain},
		AdminPassword:  AdminPassword,
		Mailer:         p.Mail,
		Transport:      n,
		Logger:         slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		DevMode:        true,
		ValidateOutput: true,
		CheckCommits:   true,
		Limits:         pds.Limits{LoginFloor: time.Millisecond, PasswordKiB: 64},
	}
	for _, a := range adjust {
		a(&cfg)
	}
	if _, guarded := storage.GuardOf(cfg.Store); !guarded && cfg.Clock == nil {
		cfg.Clock = n.clock
	}
	p.Config = cfg
	p.Server, err = pds.New(cfg)
	must(err)

	hs := &httptest.Server{Listener: listener, Config: &http.Server{Handler: p.Server}}
	hs.Start()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Shutdown(drain); err != nil {
			t.Errorf("pdstest: shutdown: %v", err)
		}
		hs.CloseClientConnections()
		hs.Close()
	})
	return p
}

// RunJobs does all jobs that are due by the test's clock, and returns when
// none is left and none runs any more. The server does them too, within a
// second; a test that cannot wait, or has moved the clock, calls RunJobs. Jobs
// that fail are due again later.
func (p *PDS) RunJobs() {
	p.t.Helper()
	if _, err := p.RunDueJobs(p.t.Context()); err != nil {
		p.t.Fatalf("pdstest: jobs: %v", err)
	}
}
