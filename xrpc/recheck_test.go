package xrpc_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/xrpc"
)

// guarded is a server with a stream whose callers are looked at by functions that
// a test can change.
type guarded struct {
	*xrpc.Server
	url   string
	renew atomic.Pointer[func(context.Context, *xrpc.Caller) (*xrpc.Caller, error)]
	check atomic.Pointer[xrpc.Check]
}

func newGuarded(t *testing.T, cfg xrpc.Config) *guarded {
	t.Helper()
	checkLeaks(t)
	g := new(guarded)
	cfg.Authenticators = []xrpc.Authenticator{xrpc.AuthenticatorFunc(func(r *http.Request) (*xrpc.Caller, error) {
		who := syntax.DID(r.Header.Get("Authorization"))
		return &xrpc.Caller{Account: "did:web:group.test", Actor: who, Kind: xrpc.KindOAuth}, nil
	})}
	cfg.Renew = func(ctx context.Context, c *xrpc.Caller) (*xrpc.Caller, error) {
		if f := g.renew.Load(); f != nil {
			return (*f)(ctx, c)
		}
		return c, nil
	}
	var err error
	if g.Server, err = xrpc.NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	g.Handle(live(xrpc.Required(func(ctx context.Context, c *xrpc.Caller) error {
		if f := g.check.Load(); f != nil {
			return (*f)(ctx, c)
		}
		return nil
	}), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
		if err := s.Send(ctx, "#event", liveEvent{1, "hello"}); err != nil {
			return err
		}
		<-ctx.Done()
		return errors.New("a handler's last words")
	}))
	g.url = serve(t, g).URL + "/xrpc/" + liveNSID
	return g
}

// open opens a stream and waits for its first frame.
func (g *guarded) open(t *testing.T, who string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), g.url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {who}}, Subprotocols: []string{"xrpc.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	if got, want := next(t, conn), `{"$type":"message","payload":{"$type":"com.example.live#event","seq":1,"text":"hello"}}`; got != want {
		t.Fatalf("first frame %s", got)
	}
	return conn
}

func wantCut(t *testing.T, conn *websocket.Conn, name, message string) {
	t.Helper()
	if got, want := next(t, conn), `{"$type":"error","error":"`+name+`","message":"`+message+`"}`; got != want {
		t.Errorf("frame %s, want %s", got, want)
	}
	if got, want := next(t, conn), "close 1008 "+name; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRecheckEndsStreams(t *testing.T) {
	g := newGuarded(t, xrpc.Config{})
	alice, bob := g.open(t, "did:web:alice.test"), g.open(t, "did:web:bob.test")

	// Nobody is cut who may go on.
	g.Recheck("did:web:group.test", "did:web:nobody.test")

	// The credential decides first, and gives the rule the caller of now.
	renewed := func(_ context.Context, c *xrpc.Caller) (*xrpc.Caller, error) {
		if c.Actor == "did:web:alice.test" {
			return nil, xrpc.NewError(400, "ExpiredToken", "Token has been revoked")
		}
		next := *c
		next.Scopes = []string{"narrow"}
		return &next, nil
	}
	g.renew.Store(&renewed)
	g.Recheck("did:web:alice.test")
	wantCut(t, alice, "ExpiredToken", "Token has been revoked")

	check := xrpc.Check(func(ctx context.Context, c *xrpc.Caller) error {
		if xrpc.MethodFrom(ctx) != liveNSID || xrpc.CallerFrom(ctx) != c || xrpc.RequestFrom(ctx).URL.Path != "/xrpc/"+liveNSID {
			t.Errorf("the rule is asked with %v %v", xrpc.MethodFrom(ctx), xrpc.CallerFrom(ctx))
		}
		return xrpc.Forbidden("banned, with " + c.Scopes[0])
	})
	g.check.Store(&check)
	g.Recheck("did:web:group.test") // by account
	wantCut(t, bob, "Forbidden", "banned, with narrow")
}

func TestRecheckFailures(t *testing.T) {
	for name, fail := range map[string]func(){
		"panic": func() { panic("a secret") },
		"none":  func() {},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t, xrpc.Config{})
			conn := g.open(t, "did:web:alice.test")
			check := xrpc.Check(func(context.Context, *xrpc.Caller) error {
				fail()
				return errors.New("the store is out of order: a secret")
			})
			g.check.Store(&check)
			g.Recheck("did:web:alice.test")
			wantCut(t, conn, "InternalServerError", "Internal Server Error")
		})
	}
}

// What ends between authentication and the first look is found at once, without
// anybody's call, and so is what another process has changed, in time.
func TestRecheckByItself(t *testing.T) {
	g := newGuarded(t, xrpc.Config{Stream: xrpc.StreamConfig{Recheck: 20 * time.Millisecond}})
	asked := make(chan struct{}, 3)
	count := func(_ context.Context, c *xrpc.Caller) (*xrpc.Caller, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		return c, nil
	}
	g.renew.Store(&count)
	conn := g.open(t, "did:web:alice.test")
	for range 3 {
		<-asked
	}
	gone := func(context.Context, *xrpc.Caller) (*xrpc.Caller, error) { return nil, xrpc.AuthRequired("gone") }
	g.renew.Store(&gone)
	wantCut(t, conn, "AuthenticationRequired", "gone")

	early := newGuarded(t, xrpc.Config{})
	early.renew.Store(&gone)
	late, _, err := websocket.Dial(t.Context(), early.url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"did:web:alice.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = late.CloseNow() })
	frame := next(t, late)
	for !strings.HasPrefix(frame, "close ") {
		frame = next(t, late)
	}
	if frame != "close 1008 AuthenticationRequired" {
		t.Error(frame)
	}
}

func TestRecheckConfig(t *testing.T) {
	t.Parallel()
	if _, err := xrpc.NewServer(xrpc.Config{Stream: xrpc.StreamConfig{Recheck: -1}}); err == nil {
		t.Error("a negative time is accepted")
	}
}

func TestSubprotocols(t *testing.T) {
	t.Parallel()
	var got []string
	h := http.Header{"Sec-Websocket-Protocol": {"xrpc.v1.json,  a.b ", "c"}}
	for name := range xrpc.Subprotocols(h) {
		got = append(got, name)
	}
	if len(got) != 3 || got[0] != "xrpc.v1.json" || got[1] != "a.b" || got[2] != "c" {
		t.Errorf("%q", got)
	}
	for range xrpc.Subprotocols(h) {
		break
	}
}
