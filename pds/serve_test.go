package pds_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// Server: graceful stop loses no acked write and closes subscribers with 1001.
func TestServeStopsGracefully(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	url := "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	second, err := pds.New(srv.Config) // the one that is stopped; the other serves on
	ok(t, err)
	go func() { served <- second.Serve(ctx, listener) }()

	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(url, "http")+"/xrpc/com.atproto.sync.subscribeRepos?cursor=0", nil)
	ok(t, err)
	defer conn.CloseNow()
	closed := make(chan error, 1)
	go func() {
		for {
			if _, _, err := conn.Read(context.WithoutCancel(t.Context())); err != nil {
				closed <- err
				return
			}
		}
	}()

	stopping := &pdstest.PDS{URL: url} // only for its Call
	var acked sync.Map
	var count atomic.Int32
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				rkey := fmt.Sprintf("k%d-%d", k, i)
				h := http.Header{"Authorization": {"Bearer " + alice.Access}}
				_, err := stopping.Call(context.WithoutCancel(t.Context()), http.MethodPost, createRecord, nil, h, map[string]any{
					"repo": alice.DID, "collection": noteCollection, "rkey": rkey, "record": map[string]any{"k": k},
				})
				if _, answered := errors.AsType[*pdstest.Error](err); answered {
					t.Errorf("%s: %v", rkey, err)
				}
				if err != nil {
					return // nobody listens any more
				}
				acked.Store(noteCollection+"/"+rkey, true)
				if count.Add(1) == 50 {
					stop()
				}
			}
		})
	}
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Serve does not end")
	}
	wg.Wait()
	if err := <-closed; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the subscriber was closed with %v", err)
	}
	tree := alice.Export().Records
	acked.Range(func(path, _ any) bool {
		if _, there := tree[path.(string)]; !there {
			t.Errorf("%s was acknowledged and is lost", path)
		}
		return true
	})
	consistent(t, alice)
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
}

func TestListenAndServe(t *testing.T) {
	t.Parallel()
	srv, err := pds.New(pdstest.New(t).Config)
	ok(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := srv.ListenAndServe(ctx, "127.0.0.1:0"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("stopped at once: %v", err)
	}
	if err := srv.ListenAndServe(t.Context(), "256.0.0.1:1"); err == nil {
		t.Error("a bad address")
	}
	// A listener that fails ends Serve with its error.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ok(t, listener.Close())
	if err := srv.Serve(t.Context(), listener); err == nil {
		t.Error("a closed listener")
	}
}

// Bug 23 of the field: two servers in one process share nothing.
func TestServersShareNothing(t *testing.T) {
	t.Parallel()
	one, two := pdstest.New(t), pdstest.New(t)
	a := one.CreateAccount("alice")
	b := two.CreateAccount("alice") // the same name, handle and address
	if a.DID == b.DID {
		t.Fatal("the same account")
	}
	for _, tt := range []struct {
		srv  *pdstest.PDS
		acct *pdstest.Account
	}{{one, b}, {two, a}} {
		stranger := *tt.acct
		stranger.PDS = tt.srv
		_, err := write(t, &stranger, createRecord, map[string]any{"collection": noteCollection, "record": map[string]any{}})
		var e *pdstest.Error
		if !errors.As(err, &e) || e.Status < 400 || e.Status > 403 {
			t.Errorf("a token of another server: %v", err)
		}
		if _, err := read(t, &stranger, noteCollection+"/x"); err == nil {
			t.Error("an account of another server")
		}
	}
	one.Handle() // no method: nothing registered anywhere
	var wg sync.WaitGroup
	for _, acct := range []*pdstest.Account{a, b} {
		wg.Go(func() {
			for i := range 20 {
				if _, err := callJSON(t.Context(), acct, createRecord, map[string]any{
					"repo": acct.DID, "collection": noteCollection, "rkey": fmt.Sprint(i), "record": map[string]any{"by": acct.DID},
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r1, r2 := a.Export().Records, b.Export().Records; len(r1) != 20 || len(r2) != 20 || maps.Equal(r1, r2) {
		t.Errorf("%d and %d records", len(r1), len(r2))
	}
	for _, ev := range append(allEvents(t, one), allEvents(t, two)...) {
		if ev.DID != a.DID && ev.DID != b.DID {
			t.Errorf("an event of %s", ev.DID)
		}
	}
}

// Bug 23 of the field: no files in the working directory.
func TestNoFilesInWorkingDirectory(t *testing.T) {
	list := func() (names []string) {
		entries, err := os.ReadDir(".")
		ok(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	t.Chdir(t.TempDir())
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	mustUpload(t, alice, "text/plain", "some text")
	ok(t, sendCAR(t, alice, newForeignRepo(t, alice.DID, someRecords(10)).car(t)))
	alice.Export()
	if got := list(); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// A test server is up in a moment, so that every test can have its own.
func TestStartTime(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("measures time")
	}
	var times []time.Duration
	for range 21 {
		t.Run("start", func(t *testing.T) {
			begin := time.Now()
			srv := pdstest.New(t)
			srv.Get("com.atproto.server.describeServer", "", nil, nil)
			times = append(times, time.Since(begin))
		})
	}
	times = times[1:] // the first one pays for what the process does once
	slices.Sort(times)
	t.Logf("from %v, median %v, to %v", times[0], times[len(times)/2], times[len(times)-1])
	// Of a busy machine only the faster ones tell anything.
	if fast := times[len(times)/4]; fast > 10*time.Millisecond {
		t.Errorf("three of four starts took %v or more", fast)
	}
}

// Middleware stands around everything that Serve serves.
func TestServeWithMiddleware(t *testing.T) {
	t.Parallel()
	cfg := pdstest.New(t).Config
	cfg.Middleware = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", "ours")
			next.ServeHTTP(w, r)
		})
	}
	srv, err := pds.New(cfg)
	ok(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, listener) }()
	resp, err := http.Get("http://" + listener.Addr().String() + "/xrpc/_health")
	ok(t, err)
	ok(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Server") != "ours" {
		t.Errorf("%s, Server %q", resp.Status, resp.Header.Get("Server"))
	}
	stop()
	ok(t, <-served)
}
