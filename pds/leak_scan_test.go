package pds_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/pds"
)

// output is something that others than its owner get to see.
type output struct {
	sink string // such as "answer", "firehose", "log"
	what string // which one
	text string
}

// forms are the shapes in which a text can stand in an output: as it is, in
// hexadecimal digits, escaped in an address, and within a longer text in Base64,
// where what it looks like depends on its place.
func forms(text string) []string {
	out := []string{text, hex.EncodeToString([]byte(text))}
	if escaped := url.QueryEscape(text); escaped != text {
		out = append(out, escaped)
	}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			coded := enc.EncodeToString(append(make([]byte, shift), text...))
			// Without the digits that hold bits of what stands before or behind.
			from, to := []int{0, 2, 3}[shift], len(coded)
			if (shift+len(text))%3 != 0 {
				to--
			}
			if s := coded[from:to]; !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// shows reports whether a text stands in an output in any form.
func shows(in, text string) bool {
	return slices.ContainsFunc(forms(text), func(f string) bool { return strings.Contains(in, f) })
}

func TestLeakIsSeen(t *testing.T) {
	t.Parallel()
	const secret = "did:web:someone.example"
	for before := range 4 {
		for after := range 4 {
			text := strings.Repeat("<", before) + secret + strings.Repeat("?", after)
			for name, in := range map[string]string{
				"plain":      text,
				"hex":        hex.EncodeToString([]byte(text)),
				"address":    url.QueryEscape(text),
				"base64":     base64.StdEncoding.EncodeToString([]byte(text)),
				"base64 url": base64.URLEncoding.EncodeToString([]byte(text)),
			} {
				if !shows(in, secret) {
					t.Errorf("%q is not found in %s %q", secret, name, in)
				}
				if other := "did:web:somebody.example"; shows(in, other) {
					t.Errorf("%q is found in %s %q", other, name, in)
				}
			}
		}
	}
}

// outputs collects what others get to see.
type outputs struct {
	mu   sync.Mutex // guards following field
	list []output
}

func (o *outputs) add(sink, what, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, output{sink, what, text})
}

// in returns the outputs of a sink, or of all sinks.
func (o *outputs) in(sink string) (out []output) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range o.list {
		if sink == "" || one.sink == sink {
			out = append(out, one)
		}
	}
	return out
}

// secret is something that no output may show.
type secret struct {
	what string
	text string
	ok   func(output) bool // nil, or says where it may stand
}

// check fails the test for each secret that an output shows.
func (o *outputs) check(t *testing.T, secrets []secret) {
	t.Helper()
	for _, s := range secrets {
		shapes := forms(s.text)
		for _, one := range o.in("") {
			for _, f := range shapes {
				at := strings.Index(one.text, f)
				if at < 0 || s.ok != nil && s.ok(one) {
					continue
				}
				from, to := max(0, at-100), min(len(one.text), at+len(f)+100)
				t.Errorf("%s shows %s: %s: ...%q...", one.sink, s.what, one.what, one.text[from:to])
				break
			}
		}
	}
}

// wantIn fails the test unless an output shows a text: that it could.
func (o *outputs) wantIn(t *testing.T, sink, what, text string) {
	t.Helper()
	n := 0
	for _, one := range o.in(sink) {
		if strings.Contains(one.what, what) {
			if n++; shows(one.text, text) {
				return
			}
		}
	}
	t.Errorf("%s %q would not have shown a leak: %d outputs are without %q", sink, what, n, text)
}

// logLines is a writer of log lines.
type logLines struct {
	mu  sync.Mutex // guards following field
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) lines() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		out = append(out, line)
	}
	return out
}

// Start, Inject and the methods of the span let log lines trace a server: each
// span is one when it ends.
func (l *logLines) Start(ctx context.Context, kind pds.SpanKind, name string) (context.Context, pds.Span) {
	return ctx, &lineSpan{l, fmt.Sprint("span ", kind, " ", name)}
}

func (l *logLines) Inject(context.Context, http.Header) {}

type lineSpan struct {
	lines *logLines
	text  string
}

func (s *lineSpan) Set(attr slog.Attr) { s.text += " " + attr.String() }

func (s *lineSpan) End(failure string) { fmt.Fprintln(s.lines, s.text, failure) }

// mark is a text that stands nowhere else.
func mark(what string, n int) string { return fmt.Sprintf("mark%02d%s", n, what) }
