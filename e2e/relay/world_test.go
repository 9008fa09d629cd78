// Package relay_test follows our servers with indigo's relay, as strict as it
// can be set.
//
// It is a module of its own: the relay brings gorm, telemetry and many more
// modules that the SDK has no use for.
package relay_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/bluesky-social/indigo/cmd/relay/relay"
	"github.com/bluesky-social/indigo/cmd/relay/relay/models"
	"github.com/bluesky-social/indigo/cmd/relay/stream/eventmgr"
	"github.com/bluesky-social/indigo/cmd/relay/stream/persist/diskpersist"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	_ "modernc.org/sqlite"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// patience is how long events may take from our servers through the relay.
const patience = 20 * time.Second

// world is some servers, a relay that follows them, and what each has sent.
type world struct {
	t       *testing.T
	servers []*pdstest.PDS
	relay   *relay.Relay
	db      *gorm.DB
	log     logLines    // of the relay: warnings and errors
	sent    tape[event] // by our servers
	relayed tape[event] // by the relay

	refused   []refusal
	tolerated []string        // lines of the log that contain these are no complaints
	outdated  map[string]bool // handles that the relay cannot verify any more
	repeats   bool            // whether the relay may pass on an event again
}

// refusal is what the relay is right to refuse: events of an account from a
// server, from a position of the tape on.
type refusal struct {
	host string
	did  syntax.DID
	from int
	text string // in the relay's log
}

// newWorld starts a server and a relay that follows it.
func newWorld(t *testing.T) (*world, *pdstest.PDS) {
	srv := pdstest.New(t)
	w := newRelay(t, newDirectory(srv))
	w.follow(srv)
	return w, srv
}

// newRelay starts a relay that follows nobody yet and resolves identities by a
// directory.
func newRelay(t *testing.T, directory identity.Directory) *world {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, outdated: map[string]bool{}}
	// All of the relay logs by the default logger that it finds when it is
	// made, and much of what it objects to it only warns of.
	slog.SetDefault(slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelWarn})))

	dir := t.TempDir()
	// By the driver that our own store uses. That of the dialect needs cgo.
	dialect := &sqlite.Dialector{DriverName: "sqlite", DSN: filepath.Join(dir, "relay.db")}
	db, err := gorm.Open(dialect, &gorm.Config{
		SkipDefaultTransaction: true, TranslateError: true, Logger: logger.Discard,
	})
	must(err)
	conn, err := db.DB()
	must(err)
	conn.SetMaxOpenConns(1)
	w.db = db
	persister, err := diskpersist.NewDiskPersistence(dir, "", db, diskpersist.DefaultDiskPersistOptions())
	must(err)
	events := eventmgr.NewEventManager(persister)
	cfg := relay.DefaultRelayConfig()
	cfg.LenientSyncValidation = false
	cfg.SkipAccountHostCheck = false
	w.relay, err = relay.NewRelay(db, events, directory, cfg)
	must(err)
	persister.SetUidSource(w.relay)
	// The relay's own checker, but without the guard against loopback.
	checker := relay.NewHostClient("")
	checker.Client = &http.Client{Timeout: patience}
	w.relay.HostChecker = checker

	out, cancel, err := events.Subscribe(t.Context(), "test", nil, nil)
	must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for evt := range out {
			w.relayed.add(fromRelay(evt))
		}
	}()
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, host := range w.relay.Slurper.GetActiveSubHostnames() {
			_ = w.relay.Slurper.KillUpstreamConnection(ctx, host, false)
		}
		if err := w.relay.Slurper.Shutdown(); err != nil {
			t.Errorf("relay: %v", err)
		}
		cancel()
		<-done
		if err := events.Shutdown(ctx); err != nil {
			t.Errorf("relay: %v", err)
		}
		_ = conn.Close()
	})
	return w
}

// newDirectory resolves by the PLC directory of srv, and handles by those who
// serve them.
func newDirectory(srv *pdstest.PDS) identity.Directory {
	return newCachedDirectory(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "plc.test" {
			return srv.PLC.Transport().RoundTrip(r)
		}
		return srv.Config.Transport.RoundTrip(r)
	})
}

// newCachedDirectory resolves as a relay does, cache included, and verifies
// handles besides. Requests for the PLC directory go to plc.test.
func newCachedDirectory(network roundTripper) identity.Directory {
	base := &identity.BaseDirectory{
		PLCURL:                "http://plc.test",
		SkipDNSDomainSuffixes: []string{".test"},
		HTTPClient:            http.Client{Transport: network},
	}
	return identity.NewCacheDirectory(base, 1000, 24*time.Hour, 2*time.Minute, 5*time.Minute)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hostname is the name by which the relay knows a server.
func hostname(srv *pdstest.PDS) string { return strings.TrimPrefix(srv.Config.PublicURL, "http://") }

// follow makes the relay read all events of a server, and records them.
func (w *world) follow(srv *pdstest.PDS) {
	w.t.Helper()
	// Without a cursor the relay would get the events from whenever its
	// connection happens to be there. The lowest that it sends is 1, which is
	// in the future of a server where nothing has happened.
	srv.CreateAccount("somebody")
	w.subscribe(hostname(srv))
	w.servers = append(w.servers, srv)
	events, err := srv.Subscribe(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			ev, err := events.Next(w.t.Context())
			if err != nil {
				return
			}
			w.sent.add(fromServer(hostname(srv), ev))
		}
	}()
	w.t.Cleanup(func() {
		events.Close()
		<-done
	})
}

// subscribe makes the relay read all events of a host.
func (w *world) subscribe(hostname string) {
	w.t.Helper()
	if err := w.db.Create(&models.Host{
		Hostname: hostname, NoSSL: true, Status: models.HostStatusActive,
		Trusted: true, AccountLimit: 1_000_000, LastSeq: 1,
	}).Error; err != nil {
		w.t.Fatal(err)
	}
	if err := w.relay.SubscribeToHost(w.t.Context(), hostname, true, true); err != nil {
		w.t.Fatal(err)
	}
}

// refuse says that the relay is right to refuse what srv sends of an account
// from now on, with text in its log.
func (w *world) refuse(srv *pdstest.PDS, did syntax.DID, text string) {
	w.refused = append(w.refused, refusal{hostname(srv), did, len(w.sent.all()), text})
}

// settle waits until all events have passed the relay. It fails the test
// unless they came out as they went in, the relay complained of nothing, and
// its state is that of our servers.
func (w *world) settle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	last := w.lastSeqs()
	sent, err := w.sent.wait(ctx, func(events []event) bool {
		seen := map[string]bool{}
		for _, ev := range events {
			seen[ev.host] = seen[ev.host] || ev.seq >= last[ev.host]
		}
		for host := range last {
			if !seen[host] {
				return false
			}
		}
		return true
	})
	if err != nil {
		w.t.Fatalf("the firehose does not bring the last event: %d events, %v", len(sent), err)
	}
	accepted, refusals := w.sort(sent)
	relayed, err := w.relayed.wait(ctx, func(events []event) bool { return len(w.once(events)) >= len(accepted) })
	relayed = w.once(relayed)
	if err != nil {
		w.t.Errorf("the relay passed on %d of %d events", len(relayed), len(accepted))
	}
	lines, err := w.log.wait(ctx, func(lines []string) bool {
		_, missing := w.explain(lines, refusals)
		return len(missing) == 0
	})
	if err != nil {
		w.t.Errorf("the relay should have refused %d events", len(refusals))
	}
	unexplained, _ := w.explain(lines, refusals)
	if n := len(unexplained); n > 0 {
		w.t.Errorf("the relay has %d complaints, at first:\n%s", n, strings.Join(unexplained[:min(n, 5)], "\n"))
	}
	w.compareEvents(accepted, relayed)
	w.compareState(accepted)
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// once leaves out what the relay has passed on before, if it may do that.
func (w *world) once(events []event) []event {
	if !w.repeats {
		return events
	}
	seen := map[event]bool{}
	return slices.DeleteFunc(slices.Clone(events), func(ev event) bool {
		ev.seq = 0
		again := seen[ev]
		seen[ev] = true
		return again
	})
}

// lastSeqs returns the last sequence number of each server.
func (w *world) lastSeqs() map[string]int64 {
	w.t.Helper()
	last := map[string]int64{}
	for _, srv := range w.servers {
		err := srv.Config.Store.View(w.t.Context(), func(tx storage.Tx) (err error) {
			last[hostname(srv)], err = tx.LastSeq()
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return last
}

// sort divides events into those that the relay is to pass on, as it is to
// pass them on, and what its log is to say of the others.
func (w *world) sort(events []event) (accepted []event, refusals []string) {
next:
	for i, ev := range events {
		for _, r := range w.refused {
			if i >= r.from && ev.host == r.host && ev.did == r.did {
				refusals = append(refusals, r.text)
				continue next
			}
		}
		if handle, ok := strings.CutPrefix(ev.text, "#identity "); ok && w.outdated[handle] {
			ev.text = "#identity "
		}
		accepted = append(accepted, ev)
	}
	return accepted, refusals
}
