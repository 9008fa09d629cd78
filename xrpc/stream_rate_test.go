package xrpc_test

import (
	"context"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/xrpc"
)

func TestIntake(t *testing.T) {
	t.Parallel()
	at := func(ms ...int) (out []time.Time) {
		for _, m := range ms {
			out = append(out, time.Unix(1_700_000_000, 0).Add(time.Duration(m)*time.Millisecond))
		}
		return out
	}
	for _, c := range []struct {
		name  string
		rate  int
		times []time.Time
		want  int
	}{
		{"all at once", 3, at(0, 0, 0, 0), 3},
		{"as many again in the next second", 3, at(0, 0, 0, 1000, 1000, 1000, 1000), 6},
		{"as they should be", 2, at(0, 500, 1000, 1500, 2000, 2500, 3000), 7},
		{"slightly faster", 2, at(0, 0, 499, 600), 2},
		{"time off is not saved up", 2, at(0, 60_000, 60_000, 60_000), 3},
		{"a clock that stands still", 1, at(0, 0), 1},
	} {
		if got := xrpc.Intake(c.rate, c.times...); got != c.want {
			t.Errorf("%s: %d messages are let through, not %d", c.name, got, c.want)
		}
	}
}

// A client that sends too much is cut off, whether the handler listens or not.
func TestStreamRate(t *testing.T) {
	checkLeaks(t)
	for name, handler := range map[string]func(context.Context, *liveParams, *xrpc.Stream) error{
		"deaf": func(ctx context.Context, _ *liveParams, _ *xrpc.Stream) error { <-ctx.Done(); return nil },
		"listening": func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
			for {
				if _, err := s.Receive(ctx); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, _ := dial(t, newServer(t, xrpc.Config{Stream: xrpc.StreamConfig{MaxRate: 5}}, live(xrpc.Public(), handler)), "/xrpc/"+liveNSID, "xrpc.v1.json")
			for range 5 {
				if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"$type":"message","payload":{"$type":"com.example.live#a"}}`)); err != nil {
					t.Fatal(err)
				}
			}
			for range 100 { // until it is closed
				if conn.Write(t.Context(), websocket.MessageText, []byte(`{"$type":"message","payload":{"$type":"com.example.live#a"}}`)) != nil {
					break
				}
			}
			if got, want := next(t, conn), `{"$type":"error","error":"RateLimitExceeded","message":"Too many messages"}`; got != want {
				t.Errorf("frame %s", got)
			}
			if got := next(t, conn); got != "close 1008 RateLimitExceeded" {
				t.Error(got)
			}
		})
	}
	if _, err := xrpc.NewServer(xrpc.Config{Stream: xrpc.StreamConfig{MaxRate: -1}}); err == nil {
		t.Error("a negative rate is accepted")
	}
}
