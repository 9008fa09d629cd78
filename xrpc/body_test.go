package xrpc_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"

	"github.com/pdskit/pdskit/xrpc"
)

const (
	isJSON   = "Content-Type: application/json"
	saveURL  = "/xrpc/com.example.save"
	tooLarge = `{"error":"PayloadTooLargeError","message":"request entity too large"}`
	tooMuch  = `{"error":"PayloadTooLarge","message":"request entity too large"}`
)

func invalid(message string) string {
	return fmt.Sprintf(`{"error":"InvalidRequest","message":%q}`, message)
}

// put returns a procedure that answers with what it reads.
func put(nsid string) xrpc.Method {
	type output struct {
		Type   string `json:"type"`
		Length int64  `json:"length"`
		Data   string `json:"data"`
	}
	return xrpc.ProcedureBody(nsid, xrpc.Public(), func(_ context.Context, u *xrpc.Upload) (*output, error) {
		b, err := io.ReadAll(u.Reader)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		return &output{u.ContentType, u.Length, string(b)}, nil
	})
}

func TestBodies(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, save(), touch(xrpc.Public()), put("com.example.put"))
	srv.Handle(xrpc.Query("com.example.hello", xrpc.Public(), ok[xrpc.None]))
	const (
		unexpected = "A request body was provided when none was expected"
		expected   = "A request body is expected but none was provided"
		noType     = "Request encoding (Content-Type) required but not provided"
	)
	for name, tt := range map[string]struct {
		request
		status int
		body   string
	}{
		"json":            {request{"POST", saveURL, []string{isJSON}, `{"name":"a"}`}, 200, `{"ok":true}`},
		"json charset":    {request{"POST", saveURL, []string{isJSON + "; charset=utf-8"}, `{"name":"a"}`}, 200, `{"ok":true}`},
		"json upper":      {request{"POST", saveURL, []string{"Content-Type: Application/JSON"}, `{"name":"a"}`}, 200, `{"ok":true}`},
		"missing":         {request{"POST", saveURL, []string{isJSON}, ``}, 400, invalid(expected)},
		"empty":           {request{"POST", saveURL, []string{isJSON, "Content-Length: 0"}, ``}, 400, invalid("invalid input: malformed JSON at byte 0: unexpected end")},
		"no type":         {request{"POST", saveURL, nil, `{"name":"a"}`}, 400, invalid(noType)},
		"wrong type":      {request{"POST", saveURL, []string{"Content-Type: text/plain"}, `{"name":"a"}`}, 400, invalid("Wrong request encoding (Content-Type): text/plain")},
		"bad type":        {request{"POST", saveURL, []string{"Content-Type: ///"}, `{"name":"a"}`}, 400, invalid("malformed Content-Type")},
		"unexpected":      {request{"POST", "/xrpc/com.example.touch", []string{isJSON}, `{}`}, 400, invalid(unexpected)},
		"none":            {request{"POST", "/xrpc/com.example.touch", nil, ``}, 200, ``},
		"none, announced": {request{"POST", "/xrpc/com.example.touch", []string{isJSON, "Content-Length: 0"}, ``}, 200, ``},
		"none, chunked":   {request{"POST", "/xrpc/com.example.touch", []string{"Transfer-Encoding: chunked"}, ``}, 200, ``},
		"chunked":         {request{"POST", "/xrpc/com.example.touch", []string{"Transfer-Encoding: chunked"}, `x`}, 400, invalid(unexpected)},
		"query body":      {request{"GET", "/xrpc/com.example.hello", nil, `x`}, 400, invalid(unexpected)},
		"upload":          {request{"POST", "/xrpc/com.example.put", []string{"Content-Type: image/png"}, `png`}, 200, `{"type":"image/png","length":3,"data":"png"}`},
		"upload untyped":  {request{"POST", "/xrpc/com.example.put", nil, `png`}, 400, invalid(noType)},
		"upload missing":  {request{"POST", "/xrpc/com.example.put", []string{"Content-Type: image/png"}, ``}, 400, invalid(expected)},
		"upload empty":    {request{"POST", "/xrpc/com.example.put", []string{"Content-Type: image/png", "Content-Length: 0"}, ``}, 200, `{"type":"image/png","length":0,"data":""}`},
		"upload chunked":  {request{"POST", "/xrpc/com.example.put", []string{"Content-Type: image/png", "Transfer-Encoding: chunked"}, `png`}, 200, `{"type":"image/png","length":-1,"data":"png"}`},
	} {
		t.Run(name, func(t *testing.T) { expect(t, tt.send(t, srv), tt.status, tt.body) })
	}
}

func TestInputs(t *testing.T) {
	type input struct {
		Name   string          `json:"name"`
		Count  *int64          `json:"count"`
		Record json.RawMessage `json:"record"`
	}
	var got input
	srv := newServer(t, xrpc.Config{}, xrpc.Procedure("com.example.save", xrpc.Public(), func(_ context.Context, in *input) (*okOutput, error) {
		got = *in
		return &okOutput{true}, nil
	}))
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n) }
	for in, problem := range map[string]string{
		`{"name":"a"}`: "",
		`{"name":"a","count":5,"record":{"b": [1, 2]},"more":null}`:               "",
		`{"name":"a","count":1.0,"record":{"x":1e3,"y":-0,"z":9007199254740991}}`: "",
		`{"name":"\u00e4\ud83d\ude00"}`:                                           "",
		`{"name":"a","record":` + deep(127) + `}`:                                 "",
		`{"name":"a","record":` + deep(128) + `}`:                                 "malformed JSON at byte 656: nested too deeply",
		`{"name":"a","record":{"x":1.5}}`:                                         "malformed JSON at byte 26: numbers must be integers",
		`{"name":"a","record":{"x":9007199254740992}}`:                            "malformed JSON at byte 26: integer out of range",
		`{"name":"a","record":{"x":1e400}}`:                                       "malformed JSON at byte 26: integer out of range",
		`{"name":"a","record":{"x":1,"x":2}}`:                                     "malformed JSON at byte 28: duplicate key",
		`{"name":"a","name":"b"}`:                                                 "malformed JSON at byte 12: duplicate key",
		`{"name":"a","n\u0061me":"b"}`:                                            "malformed JSON at byte 12: duplicate key",
		`{"name":"a","Name":"b"}`:                                                 `unexpected property "Name", did you mean "name"?`,
		`{"name":"a","record":{"$link":"x"}}`:                                     "record: must be an object without $link",
		`{"name":"a","record":{"x":{"$link":"x"}}}`:                               "malformed JSON at byte 38: $link is no CID",
		`{"name":"a","record":{"x":{"$bytes":"*"}}}`:                              "malformed JSON at byte 39: $bytes is no base64",
		`{"name":"a","record":{"x":{"$bytes":"AA","y":1}}}`:                       "malformed JSON at byte 26: an object with $bytes must have no other key",
		`{"name":"a","record":[]}`:                                                "record: must be an object, not an array",
		`{"name":"a","record":null}`:                                              "record: must be an object, not null",
		`{"count":1}`:                                                             `required property "name" is missing`,
		`{"name":1}`:                                                              "name: must be a string, not a number",
		`{"name":"a","count":"1"}`:                                                "count: must be an integer, not a string",
		`{"name":"a"} x`:                                                          "malformed JSON at byte 13: text after the value",
		`{"name":"a",}`:                                                           "malformed JSON at byte 12: expected a string",
		`{"name":"a"`:                                                             "malformed JSON at byte 11: expected a comma or the end of an object",
		"{\"name\":\"\xff\"}":                                                     "malformed JSON at byte 9: text is not UTF-8",
		"{\"name\":\"a\nb\"}":                                                     "malformed JSON at byte 10: control character in a string",
		`{"name":"a","count":01}`:                                                 "malformed JSON at byte 20: a number must not start with 0",
		`"text"`:                                                                  "must be an object, not a string",
		`5`:                                                                       "must be an object, not a number",
		`null`:                                                                    "must be an object, not null",
		`true`:                                                                    "must be an object, not a boolean",
		`[]`:                                                                      "must be an object, not an array",
	} {
		res := request{"POST", saveURL, []string{isJSON}, in}.send(t, srv)
		if problem == "" {
			expect(t, res, 200, `{"ok":true}`)
			continue
		}
		var e struct{ Error, Message string }
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 400 || e.Error != "InvalidRequest" || e.Message != "invalid input: "+problem {
			t.Errorf("%.60s: %d %s: %s", in, res.StatusCode, e.Error, e.Message)
		}
	}
	request{"POST", saveURL, []string{isJSON}, `{"name":"a","count":1.0,"record":{"x": 1e3,"y":-0}}`}.send(t, srv)
	if string(got.Record) != `{"x": 1000,"y":0}` || got.Count == nil || *got.Count != 1 {
		t.Errorf("got %+v, record %s", got, got.Record)
	}
}

// TestInputWithoutSchema: the text still has to fit the data model, and
// types that do not fit are named by path only.
func TestInputWithoutSchema(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, xrpc.Procedure("com.unknown.save", xrpc.Public(), ok[saveInput]))
	for in, body := range map[string]string{
		`{"name":"a"}`:    `{"ok":true}`,
		`{"count":"a"}`:   invalid("invalid input: count: must not be string"),
		`{"count":1.5}`:   invalid("invalid input: malformed JSON at byte 9: numbers must be integers"),
		`"text"`:          invalid("invalid input: must be an object"),
		`[]`:              invalid("invalid input"),
		`{"a":1,"a":1.0}`: invalid("invalid input: malformed JSON at byte 7: duplicate key"),
	} {
		res := request{"POST", "/xrpc/com.unknown.save", []string{isJSON}, in}.send(t, srv)
		expect(t, res, map[bool]int{true: 200, false: 400}[strings.Contains(body, "ok")], body)
	}
}

// sized returns an input of n bytes for com.example.save.
func sized(n int) string {
	const frame = `{"name":""}`
	return `{"name":"` + strings.Repeat("x", n-len(frame)) + `"}`
}

func TestBodyLimits(t *testing.T) {
	srv := newServer(t, xrpc.Config{MaxUploadBody: 1000}, save(), put("com.example.put"), put("com.example.note"))
	srv.Handle(put("com.other.put").WithMaxBody(10), xrpc.Procedure("com.other.save", xrpc.Public(), ok[saveInput]).WithMaxBody(20))
	png, text := "Content-Type: image/png", "Content-Type: text/plain"
	for _, tt := range []struct {
		target, header string
		limit          int
		answer         string
	}{
		{saveURL, isJSON, xrpc.DefaultMaxJSONBody, tooLarge},
		{"/xrpc/com.other.save", isJSON, 20, tooLarge},
		{"/xrpc/com.example.note", text, xrpc.DefaultMaxTextBody, tooLarge},
		{"/xrpc/com.example.put", png, 1000, tooMuch},
		{"/xrpc/com.other.put", png, 10, tooMuch},
	} {
		body := func(n int) string {
			if tt.header == isJSON {
				return sized(n)
			}
			return strings.Repeat("x", n)
		}
		for _, extra := range [][]string{{tt.header}, {tt.header, "Transfer-Encoding: chunked"}} {
			if res := (request{"POST", tt.target, extra, body(tt.limit)}).send(t, srv); res.StatusCode != 200 {
				t.Errorf("%s %v: at the limit: %d", tt.target, extra, res.StatusCode)
			}
			expect(t, request{"POST", tt.target, extra, body(tt.limit + 1)}.send(t, srv), 413, tt.answer)
		}
		for coding, compress := range codings {
			header := []string{tt.header, "Content-Encoding: " + coding}
			if res := (request{"POST", tt.target, header, compress(body(tt.limit))}).send(t, srv); tt.limit > 100 && res.StatusCode != 200 {
				t.Errorf("%s %s: at the limit: %d", tt.target, coding, res.StatusCode)
			}
			expect(t, request{"POST", tt.target, header, compress(body(tt.limit + 1))}.send(t, srv), 413, tt.answer)
		}
	}
}

var codings = map[string]func(string) string{
	"gzip": func(s string) string {
		return compressed(s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	},
	"x-gzip": func(s string) string {
		return compressed(s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	},
	"deflate": func(s string) string {
		return compressed(s, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
	},
	"br": func(s string) string {
		return compressed(s, func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) })
	},
}

func compressed(s string, open func(io.Writer) io.WriteCloser) string {
	var buf bytes.Buffer
	w := open(&buf)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return buf.String()
}

func TestContentCodings(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, save(), put("com.example.put"))
	in := sized(500)
	for coding, compress := range codings {
		send := func(body string) (int, string) {
			res := request{"POST", saveURL, []string{isJSON, "Content-Encoding: " + coding}, body}.send(t, srv)
			return res.StatusCode, readAll(t, res.Body)
		}
		if status, body := send(compress(in)); status != 200 {
			t.Errorf("%s: %d %s", coding, status, body)
		}
		broken := compress(in)
		for name, text := range map[string]string{
			"cut":      broken[:len(broken)-3],
			"garbage":  "this is not compressed",
			"one byte": broken[:1],
		} {
			if status, body := send(text); status != 400 || body != invalid("the request body cannot be decoded") {
				t.Errorf("%s, %s: %d %s", coding, name, status, body)
			}
		}
	}
	gz, br := codings["gzip"], codings["br"]
	for name, tt := range map[string]struct {
		coding, body string
		status       int
	}{
		"identity":       {"identity", in, 200},
		"empty":          {"", in, 200},
		"upper case":     {"GZIP", gz(in), 200},
		"two":            {"br, gzip", gz(br(in)), 200},
		"three":          {"gzip, br, gzip", gz(br(gz(in))), 200},
		"four":           {"gzip,gzip,gzip,gzip", gz(gz(gz(gz(in)))), 415},
		"unknown":        {"zstd", in, 415},
		"wrong order":    {"gzip, br", gz(br(in)), 400},
		"not compressed": {"gzip", in, 400},
	} {
		res := request{"POST", saveURL, []string{isJSON, "Content-Encoding: " + tt.coding}, tt.body}.send(t, srv)
		if res.StatusCode != tt.status {
			t.Errorf("%s: %d %s", name, res.StatusCode, readAll(t, res.Body))
		}
	}
	res := request{"POST", saveURL, []string{isJSON, "Content-Encoding: zstd"}, in}.send(t, srv)
	expect(t, res, 415, `{"error":"UnsupportedMediaType","message":"unsupported content encoding"}`)
}

// TestDecompressionBombs: a small body that decodes to hundreds of megabytes
// costs no more than the limit.
func TestDecompressionBombs(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, save(), put("com.example.put"))
	for coding, open := range map[string]func(io.Writer) io.WriteCloser{
		"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"br":   func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 1) },
	} {
		var buf bytes.Buffer
		w := open(&buf)
		zeros := make([]byte, 1<<20)
		for range 64 {
			_, _ = w.Write(zeros)
		}
		_ = w.Close()
		header := "Content-Encoding: " + coding
		expect(t, request{"POST", saveURL, []string{isJSON, header, "Transfer-Encoding: chunked"}, buf.String()[:min(buf.Len(), 100<<10)]}.send(t, srv), 413, tooLarge)
		expect(t, request{"POST", "/xrpc/com.example.put", []string{"Content-Type: a/b", header}, buf.String()}.send(t, srv), 413, tooMuch)
	}
}

// TestInterruptedUpload: the end of the connection is no end of the input.
func TestInterruptedUpload(t *testing.T) {
	var got error
	srv := newServer(t, xrpc.Config{}, xrpc.ProcedureBody("com.example.put", xrpc.Public(), func(_ context.Context, u *xrpc.Upload) (*okOutput, error) {
		_, got = io.ReadAll(u.Reader)
		return nil, got
	}))
	for _, header := range []string{"", "gzip"} {
		cause := errors.New("connection reset")
		body := io.MultiReader(strings.NewReader(codings["gzip"]("half")[:5]), iotest.ErrReader(cause))
		r := httptest.NewRequest("POST", "/xrpc/com.example.put", body)
		r.Header.Set("Content-Type", "a/b")
		r.Header.Set("Content-Encoding", header)
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if w.Code != 400 || !errors.Is(got, cause) {
			t.Errorf("%q: %d, %v", header, w.Code, got)
		}
	}
}
