package xrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/xrpc"
)

// A nullWriter is a ResponseWriter that costs nothing.
type nullWriter struct{ h http.Header }

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) WriteHeader(int)             {}

type getRecordParams struct {
	Repo       string  `json:"repo"`
	Collection string  `json:"collection"`
	Rkey       string  `json:"rkey"`
	CID        *string `json:"cid"`
}

type recordOutput struct {
	URI   string          `json:"uri"`
	CID   string          `json:"cid"`
	Value json.RawMessage `json:"value"`
}

func (o *recordOutput) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"uri":"`...)
	dst = append(dst, o.URI...)
	dst = append(dst, `","cid":"`...)
	dst = append(dst, o.CID...)
	dst = append(dst, `","value":`...)
	dst = append(dst, o.Value...)
	return append(dst, '}'), nil
}

const benchPost = `{"$type":"app.bsky.feed.post","text":"hello world","createdAt":"2024-02-28T12:00:00.123Z","langs":["en"]}`

func benchServer(b *testing.B, cfg xrpc.Config, methods ...xrpc.Method) *xrpc.Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
	}
	srv, err := xrpc.NewServer(cfg)
	if err != nil {
		b.Fatal(err)
	}
	srv.Handle(methods...)
	return srv
}

func getRecord() xrpc.Method {
	out := &recordOutput{"at://did:plc:aliceaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3jui7kd54zh2y",
		"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq", json.RawMessage(benchPost)}
	return xrpc.Query("com.atproto.repo.getRecord", xrpc.Public(), func(context.Context, *getRecordParams) (*recordOutput, error) {
		return out, nil
	})
}

const getRecordURL = "/xrpc/com.atproto.repo.getRecord?repo=did:plc:aliceaaaaaaaaaaaaaaaaaaa&collection=app.bsky.feed.post&rkey=3jui7kd54zh2y"

// BenchmarkQuery is everything between net/http and the handler, with a log
// line and a limit.
func BenchmarkQuery(b *testing.B) {
	for name, cfg := range map[string]xrpc.Config{
		"bare":          {Logger: slog.New(slog.DiscardHandler)},
		"log_and_limit": {GlobalLimits: []xrpc.Limit{{Points: 1 << 40, Window: time.Hour}}},
	} {
		b.Run(name, func(b *testing.B) {
			srv := benchServer(b, cfg, getRecord())
			r := httptest.NewRequest("GET", getRecordURL, nil)
			b.ReportAllocs()
			for b.Loop() {
				srv.ServeHTTP(&nullWriter{make(http.Header, 8)}, r)
			}
		})
	}
}

// BenchmarkPlain is the same answer by net/http alone, over a socket; compare
// with BenchmarkQueryOverSocket.
func BenchmarkPlainOverSocket(b *testing.B) {
	text, _ := (&recordOutput{Value: json.RawMessage(benchPost)}).AppendJSON(nil)
	overSocket(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	}))
}

func BenchmarkQueryOverSocket(b *testing.B) {
	overSocket(b, benchServer(b, xrpc.Config{}, getRecord()))
}

func overSocket(b *testing.B, h http.Handler) {
	srv := httptest.NewServer(h)
	defer srv.Close()
	b.ReportAllocs()
	for b.Loop() {
		res, err := srv.Client().Get(srv.URL + getRecordURL)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

func BenchmarkProcedure(b *testing.B) {
	type input struct {
		Repo       string          `json:"repo"`
		Collection string          `json:"collection"`
		Rkey       *string         `json:"rkey"`
		Validate   *bool           `json:"validate"`
		Record     json.RawMessage `json:"record"`
		SwapCommit *string         `json:"swapCommit"`
	}
	type output struct {
		URI string `json:"uri"`
		CID string `json:"cid"`
	}
	srv := benchServer(b, xrpc.Config{}, xrpc.Procedure("com.atproto.repo.createRecord", xrpc.Public(),
		func(context.Context, *input) (*output, error) { return &output{"at://x", "bafy"}, nil }))
	for _, size := range []int{100, 1200} {
		record := strings.Replace(benchPost, "hello world", strings.Repeat("x", size), 1)
		text := []byte(`{"repo":"did:plc:aliceaaaaaaaaaaaaaaaaaaa","collection":"app.bsky.feed.post","record":` + record + `}`)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body := bytes.NewReader(text)
			r := httptest.NewRequest("POST", "/xrpc/com.atproto.repo.createRecord", body)
			r.Header.Set("Content-Type", "application/json")
			w := &nullWriter{make(http.Header, 8)}
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(text)
				srv.ServeHTTP(w, r)
			}
		})
	}
}

// BenchmarkList is a large output, with and without compression.
func BenchmarkList(b *testing.B) {
	list := &listOutput{}
	for i := range 100 {
		list.text = fmt.Appendf(list.text, `,{"uri":"at://did:plc:aliceaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/%d","value":%s}`, i, benchPost)
	}
	srv := benchServer(b, xrpc.Config{}, xrpc.Query("com.example.list", xrpc.Public(),
		func(context.Context, *xrpc.None) (*listOutput, error) { return list, nil }))
	for _, coding := range []string{"identity", "gzip"} {
		b.Run(coding, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/xrpc/com.example.list", nil)
			r.Header.Set("Accept-Encoding", coding)
			b.SetBytes(int64(len(list.text)))
			b.ReportAllocs()
			for b.Loop() {
				srv.ServeHTTP(&nullWriter{make(http.Header, 8)}, r)
			}
		})
	}
}

type listOutput struct{ text []byte }

func (l *listOutput) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"records":[`...)
	dst = append(dst, l.text[1:]...)
	return append(dst, `]}`...), nil
}

// BenchmarkSendFrame is one frame of 7 KB to one subscriber, over a socket,
// with the reading side.
func BenchmarkSendFrame(b *testing.B) {
	frame := bytes.Repeat([]byte("x"), 7<<10)
	done := make(chan struct{})
	srv := benchServer(b, xrpc.Config{}, xrpc.Subscription("com.example.live", xrpc.Public(),
		func(ctx context.Context, _ *xrpc.None, s *xrpc.Stream) error {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.SendFrames(ctx, frame); err != nil {
					b.Error(err)
					break
				}
			}
			close(done)
			return nil
		}))
	hs := httptest.NewServer(srv)
	defer hs.Close()
	conn, _, err := websocket.Dial(b.Context(), hs.URL+"/xrpc/com.example.live", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.CloseNow()
	for {
		_, r, err := conn.Reader(b.Context())
		if err != nil {
			break
		}
		_, _ = io.Copy(io.Discard, r)
	}
	<-done
}

func BenchmarkMemoryLimiter(b *testing.B) {
	lim := xrpc.NewMemoryLimiter(nil, 0)
	l := xrpc.Limit{Points: 1 << 40, Window: time.Hour}
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("10.0.%d.%d", i/250, i%250)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = lim.Take(context.Background(), "b", keys[i%len(keys)], 1, l)
	}
}
