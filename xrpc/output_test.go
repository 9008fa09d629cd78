package xrpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

// A textOutput is {"t":"xxx..."} of the given number of bytes.
type textOutput struct {
	T string `json:"t"`
}

func outputOf(size int) *textOutput { return &textOutput{strings.Repeat("x", size-len(`{"t":""}`))} }

func gunzip(t *testing.T, res *http.Response) string {
	t.Helper()
	zr, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, zr)
}

func jsonQuery(out *textOutput) xrpc.Method {
	return xrpc.Query("com.example.text", xrpc.Public(), func(context.Context, *xrpc.None) (*textOutput, error) { return out, nil })
}

func TestJSONCompression(t *testing.T) {
	for _, tt := range []struct {
		size     int
		accept   string
		level    int
		verb     string
		compress bool
	}{
		{1023, "gzip", 0, "GET", false},
		{1024, "gzip", 0, "GET", true},
		{1024, "x-gzip", 9, "GET", true},
		{1024, "br, GZIP;q=0.5", 0, "GET", true},
		{1024, "*", 0, "GET", true},
		{1024, "", 0, "GET", false},
		{1024, "br", 0, "GET", false},
		{1024, "gzip;q=0", 0, "GET", false},
		{1024, "gzip; q=0.0, *", 0, "GET", false},
		{1024, "*;q=0", 0, "GET", false},
		{1024, "gzip;q=x", 0, "GET", false},
		{1024, "gzip", -1, "GET", false},
		{1024, "gzip", 0, "HEAD", false},
	} {
		out := outputOf(tt.size)
		srv := newServer(t, xrpc.Config{GzipLevel: tt.level}, jsonQuery(out))
		res := request{verb: tt.verb, target: "/xrpc/com.example.text", header: []string{"Accept-Encoding: " + tt.accept}}.send(t, srv)
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != tt.compress {
			t.Errorf("%+v: compressed: %t", tt, got)
			continue
		}
		if res.Header.Get("Vary") != "Accept-Encoding" || res.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%+v: headers %v", tt, res.Header)
		}
		want := `{"t":"` + out.T + `"}`
		if tt.compress {
			if got := gunzip(t, res); got != want {
				t.Errorf("%+v: got %.80s", tt, got)
			}
			continue
		}
		if res.Header.Get("Content-Length") != strconv.Itoa(tt.size) {
			t.Errorf("%+v: length %s", tt, res.Header.Get("Content-Length"))
		}
		expect(t, res, 200, want)
	}
}

type ownJSON struct{ fail bool }

func (o *ownJSON) AppendJSON(dst []byte) ([]byte, error) {
	if o.fail {
		return nil, errors.New("cannot")
	}
	return append(dst, `{"own":true}`...), nil
}

func TestOutputs(t *testing.T) {
	type html struct {
		Text string `json:"text"`
	}
	srv := newServer(t, xrpc.Config{})
	srv.Handle(
		xrpc.Query("com.example.own", xrpc.Public(), func(context.Context, *xrpc.None) (*ownJSON, error) { return &ownJSON{}, nil }),
		xrpc.Query("com.example.ownFails", xrpc.Public(), func(context.Context, *xrpc.None) (*ownJSON, error) { return &ownJSON{true}, nil }),
		xrpc.Query("com.example.html", xrpc.Public(), func(ctx context.Context, _ *xrpc.None) (*html, error) {
			xrpc.ResponseHeader(ctx).Set("atproto-repo-rev", "3kabc")
			return &html{"<a> & \u2028"}, nil
		}),
		touch(xrpc.Public()))
	expect(t, request{target: "/xrpc/com.example.own"}.send(t, srv), 200, `{"own":true}`)
	expect(t, request{target: "/xrpc/com.example.ownFails"}.send(t, srv), 500, `{"error":"InternalServerError","message":"Internal Server Error"}`)
	res := request{target: "/xrpc/com.example.html"}.send(t, srv)
	if res.Header.Get("Atproto-Repo-Rev") != "3kabc" {
		t.Errorf("headers %v", res.Header)
	}
	expect(t, res, 200, `{"text":"<a> & \u2028"}`)
	res = request{verb: "POST", target: "/xrpc/com.example.touch"}.send(t, srv)
	if res.Header.Get("Content-Length") != "0" || res.Header.Get("Content-Type") != "" {
		t.Errorf("no output: headers %v", res.Header)
	}
	expect(t, res, 200, "")
}

func TestValidateOutput(t *testing.T) {
	type output struct {
		OK   bool     `json:"ok"`
		List []string `json:"list"`
	}
	list := []string{}
	handler := xrpc.Procedure("com.example.save", xrpc.Public(), func(context.Context, *saveInput) (*output, error) {
		return &output{true, list}, nil
	})
	srv := newServer(t, xrpc.Config{ValidateOutput: true}, handler)
	q := request{"POST", saveURL, []string{isJSON}, `{"name":"a"}`}
	expect(t, q.send(t, srv), 200, `{"ok":true,"list":[]}`)
	list = nil // becomes null
	expect(t, q.send(t, srv), 500, `{"error":"InternalServerError","message":"Internal Server Error"}`)
	expect(t, q.send(t, newServer(t, xrpc.Config{}, handler)), 200, `{"ok":true,"list":null}`)
}

// bodyQuery returns a query that answers with body.
func bodyQuery(body func() *xrpc.Body) xrpc.Method {
	return xrpc.QueryBody("com.example.body", xrpc.Public(), func(context.Context, *xrpc.None) (*xrpc.Body, error) { return body(), nil })
}

const car = "application/vnd.ipld.car"

func writes(parts ...string) func(io.Writer) error {
	return func(w io.Writer) error {
		for _, p := range parts {
			if _, err := io.WriteString(w, p); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestBodyOutputs(t *testing.T) {
	kb, big := strings.Repeat("k", 1024), strings.Repeat("big ", 100_000)
	few := strings.Repeat(kb, 8) // of a CAR
	for name, tt := range map[string]struct {
		body     xrpc.Body
		compress bool
		length   string // as sent; empty: not known
		want     string
	}{
		"short":          {xrpc.Body{ContentType: car, Length: -1, Write: writes("ab", "c")}, false, "3", "abc"},
		"empty":          {xrpc.Body{ContentType: car, Length: -1, Write: writes()}, false, "0", ""},
		"below":          {xrpc.Body{ContentType: car, Length: -1, Write: writes(few[1:])}, false, "8191", few[1:]},
		"at":             {xrpc.Body{ContentType: car, Length: -1, Write: writes(few[1:], "k")}, true, "", few},
		"text, below":    {xrpc.Body{ContentType: "text/plain", Length: -1, Write: writes(kb[1:])}, false, "1023", kb[1:]},
		"text, at":       {xrpc.Body{ContentType: "text/plain", Length: -1, Write: writes(kb[1:], "k")}, true, "", kb},
		"long":           {xrpc.Body{ContentType: car, Length: -1, Write: writes(big, kb, big)}, true, "", big + kb + big},
		"known":          {xrpc.Body{ContentType: car, Length: 8192, Write: writes(few)}, true, "", few},
		"known, below":   {xrpc.Body{ContentType: car, Length: 8191, Write: writes(few[1:])}, false, "8191", few[1:]},
		"known short":    {xrpc.Body{ContentType: car, Length: 2, Write: writes("a", "b")}, false, "2", "ab"},
		"image":          {xrpc.Body{ContentType: "image/png", Length: 2048, Write: writes(kb, kb)}, false, "2048", kb + kb},
		"image, unknown": {xrpc.Body{ContentType: "image/png", Length: -1, Write: writes(big)}, false, "", big},
		"reader":         {xrpc.Body{ContentType: "image/png", Length: 1024, Reader: strings.NewReader(kb)}, false, "1024", kb},
		"large reader":   {xrpc.Body{ContentType: "image/png", Length: int64(len(big)), Reader: strings.NewReader(big)}, false, "400000", big},
		"reader, text":   {xrpc.Body{ContentType: "text/plain", Length: 1024, Reader: strings.NewReader(kb)}, true, "", kb},
		"partial":        {xrpc.Body{ContentType: "text/plain", Length: 1024, Status: 206, Header: http.Header{"content-range": {"bytes 0-1023/9999"}}, Write: writes(kb)}, false, "1024", kb},
		"encoded":        {xrpc.Body{ContentType: "text/plain", Length: 1024, Header: http.Header{"Content-Encoding": {"br"}}, Write: writes(kb)}, false, "1024", kb},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(newServer(t, xrpc.Config{}, bodyQuery(func() *xrpc.Body { return &tt.body })))
			defer srv.Close()
			r, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/xrpc/com.example.body", nil)
			r.Header.Set("Accept-Encoding", "gzip")
			res, err := srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if want := max(tt.body.Status, 200); res.StatusCode != want || res.Header.Get("Content-Type") != tt.body.ContentType {
				t.Errorf("%d %v", res.StatusCode, res.Header)
			}
			if got := res.Header.Get("Content-Encoding") == "gzip"; got != tt.compress || !got && res.Header.Get("Content-Length") != tt.length {
				t.Errorf("compressed %t, length %q", got, res.Header.Get("Content-Length"))
			}
			if tt.body.Status == 206 && res.Header.Get("Content-Range") == "" {
				t.Error("a header is missing")
			}
			got := ""
			if res.Header.Get("Content-Encoding") == "gzip" {
				got = gunzip(t, res)
			} else {
				got = readAll(t, res.Body)
			}
			if got != tt.want {
				t.Errorf("got %d bytes %.40q", len(got), got)
			}
		})
	}
}

// TestBodyFailures: early failures are answers, late ones cut the connection.
func TestBodyFailures(t *testing.T) {
	fail := xrpc.NewError(503, "", "")
	chunk := strings.Repeat("x", 64<<10)
	for name, tt := range map[string]struct {
		body   *xrpc.Body
		status int // 0: the connection is cut
	}{
		"early":        {&xrpc.Body{ContentType: car, Length: -1, Write: func(w io.Writer) error { _, _ = io.WriteString(w, chunk[1:]); return fail }}, 503},
		"late":         {&xrpc.Body{ContentType: "image/png", Length: -1, Write: func(w io.Writer) error { _, _ = io.WriteString(w, chunk); return fail }}, 0},
		"too short":    {&xrpc.Body{ContentType: car, Length: 5, Write: writes("abc")}, 500},
		"too long":     {&xrpc.Body{ContentType: car, Length: 2, Write: writes("abc")}, 500},
		"reader short": {&xrpc.Body{ContentType: "image/png", Length: 5, Reader: strings.NewReader("abc")}, 0},
		"neither":      {&xrpc.Body{ContentType: car}, 500},
		"both":         {&xrpc.Body{ContentType: car, Reader: strings.NewReader(""), Write: writes()}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(newServer(t, xrpc.Config{}, bodyQuery(func() *xrpc.Body { return tt.body })))
			defer srv.Close()
			res, err := srv.Client().Get(srv.URL + "/xrpc/com.example.body")
			if err == nil {
				defer res.Body.Close()
				_, err = io.ReadAll(res.Body)
			}
			if tt.status == 0 {
				if err == nil {
					t.Error("the client takes the answer for complete")
				}
				return
			}
			if err != nil || res.StatusCode != tt.status || res.Header.Get("Content-Encoding") != "" {
				t.Errorf("%v %v", res, err)
			}
		})
	}
}

type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

func TestBodyReaderIsClosed(t *testing.T) {
	for _, verb := range []string{"GET", "HEAD"} {
		c := &closer{Reader: strings.NewReader("abc")}
		srv := newServer(t, xrpc.Config{}, bodyQuery(func() *xrpc.Body { return &xrpc.Body{ContentType: "image/png", Length: 3, Reader: c} }))
		res := request{verb: verb, target: "/xrpc/com.example.body"}.send(t, srv)
		if !c.closed || res.Header.Get("Content-Length") != "3" || res.StatusCode != 200 {
			t.Errorf("%s: closed %t, %v", verb, c.closed, res.Header)
		}
		if body := readAll(t, res.Body); (body == "abc") != (verb == "GET") {
			t.Errorf("%s: %q", verb, body)
		}
	}
}

func TestBodyFromFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "blob")
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(newServer(t, xrpc.Config{}, bodyQuery(func() *xrpc.Body {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
		}
		return &xrpc.Body{ContentType: "image/png", Length: int64(len(want)), Reader: f}
	})))
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL + "/xrpc/com.example.body")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := readAll(t, res.Body); got != string(want) {
		t.Errorf("got %d bytes", len(got))
	}
}

// TestLongDownload: a WriteTimeout of the http.Server does not end outputs
// that make progress, and a client that makes none is dropped.
func TestLongDownload(t *testing.T) {
	step := make(chan struct{})
	chunk := strings.Repeat("x", 64<<10)
	failed := make(chan error, 1)
	h := newServer(t, xrpc.Config{BodyIdle: 100 * time.Millisecond}, bodyQuery(func() *xrpc.Body {
		return &xrpc.Body{ContentType: "image/png", Length: -1, Write: func(w io.Writer) error {
			for range step {
				if _, err := io.WriteString(w, chunk); err != nil {
					failed <- err
					return err
				}
			}
			return nil
		}}
	}))
	srv := httptest.NewUnstartedServer(h)
	srv.Config.WriteTimeout = 20 * time.Millisecond
	srv.Start()
	defer srv.Close()
	go func() { // feeds until the handler fails
		defer close(step)
		for {
			select {
			case step <- struct{}{}:
			case <-t.Context().Done():
				return
			}
		}
	}()
	res, err := srv.Client().Get(srv.URL + "/xrpc/com.example.body")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	started := time.Now()
	for time.Since(started) < 60*time.Millisecond {
		if _, err := io.CopyN(io.Discard, res.Body, 64<<10); err != nil {
			t.Fatalf("after %v: %v", time.Since(started), err)
		}
	}
	select { // now read nothing
	case err := <-failed:
		if err == nil {
			t.Error("a client that stands still was served to the end")
		}
	case <-time.After(30 * time.Second):
		t.Error("a client that stands still is not dropped")
	}
}
