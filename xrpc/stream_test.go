package xrpc_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/pdskit/pdskit/xrpc"
)

const liveNSID = "com.example.live"

type liveParams struct {
	Cursor *int64 `json:"cursor"`
}

type liveEvent struct {
	Seq  int64  `json:"seq"`
	Text string `json:"text"`
}

func live(rule xrpc.Rule, fn func(context.Context, *liveParams, *xrpc.Stream) error) xrpc.Method {
	return xrpc.Subscription(liveNSID, rule, fn)
}

// serve starts a server. Before the test ends all its handlers have returned,
// those of streams too, for which net/http does not wait.
func serve(t *testing.T, h http.Handler, set ...func(*http.Server)) *httptest.Server {
	t.Helper()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1)
		defer wg.Done()
		h.ServeHTTP(w, r)
	}))
	for _, f := range set {
		f(srv.Config)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// dial opens a stream of the handler's server.
func dial(t *testing.T, h http.Handler, path string, protocols ...string) (*websocket.Conn, *http.Response) {
	t.Helper()
	conn, res, err := websocket.Dial(t.Context(), serve(t, h).URL+path, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, res
}

// next reads a frame; for a closed stream it returns "close CODE REASON".
func next(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	kind, data, err := conn.Read(ctx)
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		return fmt.Sprintf("close %d %s", e.Code, e.Reason)
	}
	if err != nil {
		return err.Error()
	}
	if kind == websocket.MessageBinary {
		return hex.EncodeToString(data)
	}
	return string(data)
}

const errorHeaderHex = "a1626f7020" // {op: -1}

// checkLeaks looks for goroutines when everything else is cleaned up. It finds those
// of all tests, so a test that calls it must not be parallel.
func checkLeaks(t *testing.T) {
	current := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, current) })
}

// isErrorFrame checks a CBOR error frame.
func isErrorFrame(t *testing.T, frame, name, message string) {
	t.Helper()
	raw, err := hex.DecodeString(strings.TrimPrefix(frame, errorHeaderHex))
	if err != nil || !strings.HasPrefix(frame, errorHeaderHex) {
		t.Errorf("no error frame: %s", frame)
		return
	}
	body, err := atdata.UnmarshalCBOR(raw)
	if err != nil || body["error"] != name || body["message"] != message {
		t.Errorf("error frame %v, %v, want %s: %s", body, err, name, message)
	}
}

func TestFrames(t *testing.T) {
	if got := hex.EncodeToString(xrpc.EncodeMessageHeader("#commit")); got != "a261746723636f6d6d6974626f7001" {
		t.Errorf("header %s", got)
	}
	isErrorFrame(t, hex.EncodeToString(xrpc.EncodeErrorFrame("FutureCursor", "Cursor in the future.")), "FutureCursor", "Cursor in the future.")
	if got := hex.EncodeToString(xrpc.EncodeErrorFrame("E", "")); got != "a1626f7020"+"a1"+"656572726f72"+"6145" {
		t.Errorf("error without message %s", got)
	}
	for _, n := range []int{23, 24, 255, 256, 65535, 65536} {
		text := strings.Repeat("m", n)
		isErrorFrame(t, hex.EncodeToString(xrpc.EncodeErrorFrame("E", text)), "E", text)
	}
	for _, tt := range []struct {
		p     xrpc.Protocol
		t     string
		event any
		want  string
	}{
		{xrpc.ProtocolCBOR, "#e", liveEvent{1, "x"}, "a2617462" + "2365" + "626f7001" + "a2" + "63736571" + "01" + "6474657874" + "6178"},
		{xrpc.ProtocolCBOR, liveNSID + "#e", ownCBOR{}, "a26174622365626f7001a0"},
		{xrpc.ProtocolJSON, "#e", liveEvent{1, "x"}, `{"$type":"message","payload":{"$type":"com.example.live#e","seq":1,"text":"x"}}`},
		{xrpc.ProtocolJSON, "com.other.live#e", struct{}{}, `{"$type":"message","payload":{"$type":"com.other.live#e"}}`},
		{xrpc.ProtocolJSON, "#e", map[string]string{"$type": "com.example.live#e"}, `{"$type":"message","payload":{"$type":"com.example.live#e"}}`},
	} {
		frame, err := xrpc.EncodeFrame(tt.p, liveNSID, tt.t, tt.event)
		got := string(frame)
		if tt.p == xrpc.ProtocolCBOR {
			got = hex.EncodeToString(frame)
		}
		if err != nil || got != tt.want {
			t.Errorf("%s %s %v: %s, %v", tt.p, tt.t, tt.event, got, err)
		}
	}
	for _, event := range []any{5, []int{1}, "x", nil, 1.5, map[string]float64{"a": 1.5}} {
		for _, p := range []xrpc.Protocol{xrpc.ProtocolCBOR, xrpc.ProtocolJSON} {
			frame, err := xrpc.EncodeFrame(p, liveNSID, "#e", event)
			if _, isMap := event.(map[string]float64); err == nil && !(isMap && p == xrpc.ProtocolJSON) {
				t.Errorf("%s %v: %q", p, event, frame)
			}
		}
	}
}

type ownCBOR struct{}

func (ownCBOR) AppendCBOR(dst []byte) ([]byte, error) { return append(dst, 0xa0), nil }

func TestStreamSends(t *testing.T) {
	checkLeaks(t)
	srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(ctx context.Context, p *liveParams, s *xrpc.Stream) error {
		if xrpc.MethodFrom(ctx) != liveNSID {
			t.Error("MethodFrom")
		}
		return s.Send(ctx, "#e", liveEvent{*p.Cursor, string(s.Protocol())})
	}))
	srv.Handle(xrpc.Subscription("com.example.liveJson", xrpc.Public(), func(ctx context.Context, _ *xrpc.None, s *xrpc.Stream) error {
		return s.Send(ctx, "#e", liveEvent{Text: string(s.Protocol())})
	}))
	const (
		asCBOR = "a26174622365626f7001a26373657107647465787" + "46c787270632e76302e63626f72"
		asJSON = `{"$type":"message","payload":{"$type":"com.example.live#e","seq":7,"text":"xrpc.v1.json"}}`
	)
	for _, tt := range []struct {
		path      string
		protocols []string
		chosen    string
		frame     string
	}{
		{liveNSID + "?cursor=7", nil, "", asCBOR},
		{liveNSID + "?cursor=7", []string{"other"}, "", asCBOR},
		{liveNSID + "?cursor=7", []string{"xrpc.v1.json"}, "xrpc.v1.json", asJSON},
		{liveNSID + "?cursor=7", []string{"xrpc.v1.cbor", "xrpc.v1.json", "xrpc.v0.cbor"}, "xrpc.v1.json", asJSON},
		{liveNSID + "?cursor=7", []string{"xrpc.v0.cbor", "xrpc.v1.json"}, "xrpc.v0.cbor", asCBOR},
		{"com.example.liveJson", nil, "", `{"$type":"message","payload":{"$type":"com.example.liveJson#e","seq":0,"text":"xrpc.v1.json"}}`},
	} {
		conn, res := dial(t, srv, "/xrpc/"+tt.path, tt.protocols...)
		if got := res.Header.Get("Sec-WebSocket-Protocol"); got != tt.chosen {
			t.Errorf("%v: chosen %q", tt.protocols, got)
		}
		if got := next(t, conn); got != tt.frame {
			t.Errorf("%s %v: got %s", tt.path, tt.protocols, got)
		}
		if got := next(t, conn); got != "close 1000 " {
			t.Errorf("%v: %s", tt.protocols, got)
		}
	}
}

func TestStreamErrors(t *testing.T) {
	checkLeaks(t)
	future := xrpc.NewError(400, "FutureCursor", "Cursor in the future.")
	for name, tt := range map[string]struct {
		rule          xrpc.Rule
		query         string
		err           error
		name, message string
	}{
		"handler":  {xrpc.Public(), "", future, "FutureCursor", "Cursor in the future."},
		"wrapped":  {xrpc.Public(), "", fmt.Errorf("x: %w", future), "FutureCursor", "Cursor in the future."},
		"internal": {xrpc.Public(), "", errors.New("secret"), "InternalServerError", "Internal Server Error"},
		"panic":    {xrpc.Public(), "?cursor=13", nil, "InternalServerError", "Internal Server Error"},
		"auth":     {xrpc.Required(nil), "", nil, "AuthMissing", "Authentication Required"},
		"params":   {xrpc.Public(), "?cursor=x", nil, "InvalidRequest", "invalid parameters: cursor: must be an integer"},
		"long":     {xrpc.Public(), "", xrpc.NewError(400, strings.Repeat("N", 200), "m"), strings.Repeat("N", 200), "m"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, xrpc.Config{}, live(tt.rule, func(_ context.Context, p *liveParams, _ *xrpc.Stream) error {
				if p.Cursor != nil && *p.Cursor == 13 {
					panic("secret")
				}
				return tt.err
			}))
			conn, _ := dial(t, srv, "/xrpc/"+liveNSID+tt.query)
			isErrorFrame(t, next(t, conn), tt.name, tt.message)
			if got, want := next(t, conn), "close 1008 "+tt.name[:min(len(tt.name), 123)]; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			conn, _ = dial(t, srv, "/xrpc/"+liveNSID+tt.query, "xrpc.v1.json")
			want := fmt.Sprintf(`{"$type":"error","error":%q,"message":%q}`, tt.name, tt.message)
			if got := next(t, conn); got != want {
				t.Errorf("JSON: %s", got)
			}
		})
	}
}

func TestStreamRateLimit(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(context.Context, *liveParams, *xrpc.Stream) error { return nil }).
		WithLimits(xrpc.Limit{Points: 1, Window: time.Hour}))
	conn, _ := dial(t, srv, "/xrpc/"+liveNSID)
	if got := next(t, conn); got != "close 1000 " {
		t.Error(got)
	}
	conn, _ = dial(t, srv, "/xrpc/"+liveNSID)
	isErrorFrame(t, next(t, conn), "RateLimitExceeded", "Rate Limit Exceeded")
	if got := next(t, conn); got != "close 1008 RateLimitExceeded" {
		t.Error(got)
	}
}

func TestStreamHandshake(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(context.Context, *liveParams, *xrpc.Stream) error { return nil }))
	upgrade := []string{"Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for name, tt := range map[string]struct {
		verb   string
		header []string
		status int
		error  string
	}{
		"plain":   {"GET", nil, 426, "UpgradeRequired"},
		"half":    {"GET", upgrade[:1], 426, "UpgradeRequired"},
		"version": {"GET", append([]string{"Sec-WebSocket-Version: 8"}, upgrade[:2]...), 400, "InvalidRequest"},
		"no key":  {"GET", upgrade[:3], 400, "InvalidRequest"},
		"POST":    {"POST", upgrade, 400, "InvalidRequest"},
		"HEAD":    {"HEAD", upgrade, 400, "InvalidRequest"},
	} {
		res := request{verb: tt.verb, target: "/xrpc/" + liveNSID, header: tt.header}.send(t, srv)
		if body := readAll(t, res.Body); res.StatusCode != tt.status || !strings.Contains(body, tt.error) {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
	}
}

func TestStreamReceives(t *testing.T) {
	type result struct {
		msg *xrpc.Message
		err error
	}
	results := make(chan result, 100)
	srv := newServer(t, xrpc.Config{}, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
		for {
			m, err := s.Receive(ctx)
			results <- result{m, err}
			if e, ok := errors.AsType[*xrpc.Error](err); err != nil && (!ok || e == nil) {
				return nil
			}
		}
	}))
	bin := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	jsonFrame := func(s string) []byte { return []byte(s) }
	for _, tt := range []struct {
		protocol string
		kind     websocket.MessageType
		frame    []byte
		want     string // type and body; or the error's name
	}{
		{"xrpc.v1.json", websocket.MessageText, jsonFrame(`{"$type":"message","payload":{"$type":"com.example.live#join","room":1}}`), `#join {"$type":"com.example.live#join","room":1}`},
		{"xrpc.v1.json", websocket.MessageText, jsonFrame(`{"$type":"message","payload":{"$type":"com.other.live#join"}}`), `com.other.live#join {"$type":"com.other.live#join"}`},
		{"xrpc.v1.json", websocket.MessageText, jsonFrame(`{"$type":"error","error":"Sorry","message":"m"}`), "Sorry"},
		{"xrpc.v1.json", websocket.MessageText, jsonFrame(`{"$type":"message","payload":{}}`), "InvalidRequest"},
		{"xrpc.v1.json", websocket.MessageText, jsonFrame(`{"$type":"message"}`), "InvalidRequest"},
		{"xrpc.v1.json", websocket.MessageText, jsonFrame(`{"$type":5}`), "InvalidRequest"},
		{"xrpc.v1.json", websocket.MessageText, jsonFrame(`nonsense`), "InvalidRequest"},
		{"xrpc.v1.json", websocket.MessageBinary, jsonFrame(`{"$type":"message","payload":{"$type":"a#b"}}`), "InvalidRequest"},
		{"xrpc.v0.cbor", websocket.MessageBinary, bin("a26174622365626f7001" + "a163736571" + "01"), `#e {"seq":1}`},
		{"xrpc.v0.cbor", websocket.MessageBinary, bin("a2626f70016174622365" + "a163736571" + "01"), `#e {"seq":1}`},
		{"xrpc.v0.cbor", websocket.MessageText, jsonFrame("x"), "InvalidRequest"},
		{"xrpc.v0.cbor", websocket.MessageBinary, nil, "InvalidRequest"},
		{"xrpc.v0.cbor", websocket.MessageBinary, bin("a26174622365626f7001" + "a1"), "InvalidRequest"},
		{"xrpc.v0.cbor", websocket.MessageBinary, bin("a2617462236561746223" + "65a0"), "InvalidRequest"},
	} {
		conn, _ := dial(t, srv, "/xrpc/"+liveNSID, tt.protocol)
		if err := conn.Write(t.Context(), tt.kind, tt.frame); err != nil {
			t.Fatal(err)
		}
		got := ""
		r := <-results
		if e, ok := errors.AsType[*xrpc.Error](r.err); ok {
			got = e.Name
			if got == "" {
				got = "InvalidRequest"
			}
		} else if r.err == nil {
			got = r.msg.Type + " " + string(r.msg.Body)
		}
		if got != tt.want {
			t.Errorf("%s %q: got %s, %v", tt.protocol, tt.frame, got, r.err)
		}
		if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: %v", err)
		}
		if r := <-results; r.err != io.EOF && !errors.Is(r.err, context.Canceled) {
			t.Errorf("after the close: %v", r.err)
		}
	}
}

// TestStreamEcho sends many messages to a slow handler: none is lost.
func TestStreamEcho(t *testing.T) {
	srv := newServer(t, xrpc.Config{Stream: xrpc.StreamConfig{MaxRate: 1e6}}, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
		for {
			m, err := s.Receive(ctx)
			if err != nil {
				return nil
			}
			var e liveEvent
			if err := json.Unmarshal(m.Body, &e); err != nil {
				return err
			}
			if err := s.Send(ctx, m.Type, e); err != nil {
				return err
			}
		}
	}))
	conn, _ := dial(t, srv, "/xrpc/"+liveNSID, "xrpc.v1.json")
	go func() {
		for i := range 500 {
			frame, _ := xrpc.EncodeFrame(xrpc.ProtocolJSON, liveNSID, "#e", liveEvent{Seq: int64(i)})
			_ = conn.Write(context.Background(), websocket.MessageText, frame)
		}
	}()
	for i := range 500 {
		if got := next(t, conn); !strings.Contains(got, fmt.Sprintf(`"seq":%d,`, i)) {
			t.Fatalf("message %d: %s", i, got)
		}
	}
}

// TestStreamIgnoresMessages: a handler that never receives is not disturbed.
func TestStreamIgnoresMessages(t *testing.T) {
	release := make(chan struct{})
	srv := newServer(t, xrpc.Config{Stream: xrpc.StreamConfig{MaxRate: 1e6}}, live(xrpc.Public(), func(ctx context.Context, _ *liveParams, s *xrpc.Stream) error {
		<-release
		return s.SendFrames(ctx, []byte("done"))
	}))
	conn, _ := dial(t, srv, "/xrpc/"+liveNSID)
	for range 200 {
		if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if got := next(t, conn); got != hex.EncodeToString([]byte("done")) {
		t.Error(got)
	}
}
