package xrpc_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/xrpc"
)

// TestStreamsPerClient: one client cannot take all streams; one that is not
// known, such as a proxy that names nobody, is not counted.
func TestStreamsPerClient(t *testing.T) {
	for _, known := range []bool{true, false} {
		cfg := xrpc.Config{Stream: xrpc.StreamConfig{MaxPerClient: 1}}
		if known {
			cfg.TrustedProxies = []netip.Prefix{}
		}
		srv := newServer(t, cfg, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
			<-ctx.Done()
			return nil
		}))
		hs := serve(t, srv)
		first, _, err := websocket.Dial(t.Context(), hs.URL+"/xrpc/"+liveNSID, nil)
		if err != nil {
			t.Fatal(err)
		}
		second, res, err := websocket.Dial(t.Context(), hs.URL+"/xrpc/"+liveNSID, nil)
		if refused := err != nil && res.StatusCode == 429; refused != known {
			t.Errorf("known %t: the second stream: %v", known, err)
		}
		if err == nil {
			_ = second.CloseNow()
		}
		_ = first.Close(websocket.StatusNormalClosure, "")
		deadline := time.Now().Add(10 * time.Second)
		for {
			again, res, err := websocket.Dial(t.Context(), hs.URL+"/xrpc/"+liveNSID, nil)
			if err == nil {
				_ = again.CloseNow()
				break
			}
			if res == nil || res.StatusCode != 429 || time.Now().After(deadline) {
				t.Fatalf("after the first has left: %v", err)
			}
		}
	}
}

func TestStreamLimits(t *testing.T) {
	entered := make(chan struct{}, 10)
	srv := newServer(t, xrpc.Config{Stream: xrpc.StreamConfig{MaxMessage: 100, MaxStreams: 2}},
		live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
			entered <- struct{}{}
			<-ctx.Done()
			return nil
		}))
	a, _ := dial(t, srv, "/xrpc/"+liveNSID)
	b, _ := dial(t, srv, "/xrpc/"+liveNSID)
	<-entered
	<-entered
	hs := serve(t, srv)
	_, res, err := websocket.Dial(t.Context(), hs.URL+"/xrpc/"+liveNSID, nil)
	if err == nil || res.StatusCode != 503 {
		t.Errorf("a third stream: %v", err)
	}
	if err := a.Write(t.Context(), websocket.MessageBinary, make([]byte, 100)); err != nil {
		t.Error(err)
	}
	if err := b.Write(t.Context(), websocket.MessageBinary, make([]byte, 101)); err != nil {
		t.Error(err)
	}
	if got := next(t, b); !strings.HasPrefix(got, "close 1009 ") {
		t.Errorf("a large message: %s", got)
	}
}

func TestShutdown(t *testing.T) {
	checkLeaks(t)
	var wg sync.WaitGroup
	wg.Add(3)
	srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
		wg.Done()
		<-ctx.Done()
		return ctx.Err()
	}))
	hs := serve(t, srv)
	var closes sync.WaitGroup
	for range 3 {
		conn, _, err := websocket.Dial(t.Context(), hs.URL+"/xrpc/"+liveNSID, nil)
		if err != nil {
			t.Fatal(err)
		}
		closes.Go(func() {
			if got := next(t, conn); !strings.HasPrefix(got, "close 1001 ") {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	closes.Wait()
	if _, res, err := websocket.Dial(t.Context(), hs.URL+"/xrpc/"+liveNSID, nil); err == nil || res.StatusCode != 503 {
		t.Errorf("after shutdown: %v", err)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestShutdownDeadline: a client that does not answer the close is cut off.
func TestShutdownDeadline(t *testing.T) {
	entered := make(chan struct{})
	srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
		close(entered)
		<-ctx.Done()
		return nil
	}))
	dial(t, srv, "/xrpc/"+liveNSID) // never reads
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestStreamPing: a client that answers stays, one that is silent goes.
func TestStreamPing(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 2)
	srv := newServer(t, xrpc.Config{Stream: xrpc.StreamConfig{PingInterval: 300 * time.Millisecond}},
		live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil
		}))
	hs := serve(t, srv)
	pings := make(chan struct{}, 100)
	conn, _, err := websocket.Dial(t.Context(), hs.URL+"/xrpc/"+liveNSID, &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool {
			pings <- struct{}{}
			return true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := conn.CloseRead(t.Context())
	for range 4 {
		<-pings
	}
	if ctx.Err() != nil || len(ended) > 0 {
		t.Error("a client that answers has been dropped")
	}
	_ = conn.CloseNow()
	if <-ended == nil {
		t.Error("a stream to a client that is gone ends without an error")
	}

	dial(t, srv, "/xrpc/"+liveNSID) // answers nothing, since it does not read
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the stream of a silent client ends without an error")
		}
	case <-time.After(30 * time.Second):
		t.Error("a silent client is not dropped")
	}
}

// TestSlowReader: a frame that nobody takes ends the stream.
func TestSlowReader(t *testing.T) {
	ended := make(chan error, 1)
	frame := bytes.Repeat([]byte("x"), 1<<20)
	srv := newServer(t, xrpc.Config{Stream: xrpc.StreamConfig{WriteTimeout: 50 * time.Millisecond}},
		live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
			for {
				if err := s.SendFrames(ctx, frame); err != nil {
					ended <- err
					return err
				}
			}
		}))
	dial(t, srv, "/xrpc/"+liveNSID)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the stream of a slow client ends without an error")
		}
	case <-time.After(30 * time.Second):
		t.Error("the stream does not end")
	}
}

// TestClientGone: the context ends when the client leaves, politely or not.
func TestClientGone(t *testing.T) {
	for name, leave := range map[string]func(*websocket.Conn){
		"close": func(c *websocket.Conn) { _ = c.Close(websocket.StatusNormalClosure, "") },
		"cut":   func(c *websocket.Conn) { _ = c.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
				<-ctx.Done()
				ended <- s.SendFrames(context.WithoutCancel(ctx), []byte("x"))
				return nil
			}))
			conn, _ := dial(t, srv, "/xrpc/"+liveNSID)
			leave(conn)
			if err := <-ended; err == nil {
				t.Error("a frame went to nobody")
			}
		})
	}
}

func TestStreamClose(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
		s.Close(xrpc.NewError(400, "ConsumerTooSlow", "too slow"))
		if err := s.SendFrames(ctx, []byte("x")); err == nil {
			t.Error("a frame after the close")
		}
		return errors.New("does not matter")
	}))
	conn, _ := dial(t, srv, "/xrpc/"+liveNSID)
	isErrorFrame(t, next(t, conn), "ConsumerTooSlow", "too slow")
	if got := next(t, conn); got != "close 1008 ConsumerTooSlow" {
		t.Error(got)
	}
}

// TestLongStream: timeouts of the http.Server do not end streams.
func TestLongStream(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range 5 {
			<-tick.C
			if err := s.SendFrames(ctx, []byte("x")); err != nil {
				return err
			}
		}
		return nil
	}))
	hs := serve(t, srv, func(s *http.Server) { s.WriteTimeout, s.ReadTimeout = 10*time.Millisecond, 10*time.Millisecond })
	conn, _, err := websocket.Dial(t.Context(), hs.URL+"/xrpc/"+liveNSID, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for range 5 {
		if got := next(t, conn); got != "78" {
			t.Fatal(got)
		}
	}
}
