package identity_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/identity"
)

// clock is a hand-set clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: epoch} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newPLC(t testing.TB, cfg identity.MemoryPLCConfig) *identity.MemoryPLC {
	t.Helper()
	p, err := identity.NewMemoryPLC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// call speaks plain HTTP to a handler.
func call(t testing.TB, h http.Handler, method, path, body string) (int, string, http.Header) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
	return rec.Code, rec.Body.String(), rec.Header()
}

func wire(t testing.TB, op *identity.Operation) string {
	t.Helper()
	data, err := json.Marshal(op)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMemoryPLCOverHTTP(t *testing.T) {
	clk := newClock()
	p := newPLC(t, identity.MemoryPLCConfig{Clock: clk.Now})
	high, h := newP256(t)
	low, lo := newKey(t)
	genesis := sign(t, operation(nil, "a.test", h, lo), low)
	did, err := genesis.DID()
	if err != nil {
		t.Fatal(err)
	}
	path := "/" + did.String()

	for _, sub := range []string{"", "/data", "/log", "/log/audit", "/log/last"} {
		code, body, _ := call(t, p, "GET", path+sub, "")
		if code != 404 || body != `{"message":"DID not registered: `+did.String()+`"}` {
			t.Errorf("GET %s before: %d %s", sub, code, body)
		}
	}
	if code, body, _ := call(t, p, "POST", path, wire(t, genesis)); code != 200 || body != "OK" {
		t.Fatalf("genesis: %d %s", code, body)
	}

	code, body, header := call(t, p, "GET", path, "")
	if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "application/did+ld+json") {
		t.Errorf("document: %d %v", code, header)
	}
	var doc atid.DIDDocument
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	ident := atid.ParseIdentity(&doc)
	if pub, err := ident.PublicKey(); err != nil || pub.DIDKey() != h {
		t.Errorf("signing key %v, %v", pub, err)
	}
	if ident.PDSEndpoint() != "https://pds.test" {
		t.Errorf("PDS %q", ident.PDSEndpoint())
	}
	if handle, err := ident.DeclaredHandle(); err != nil || handle != "a.test" {
		t.Errorf("handle %q, %v", handle, err)
	}
	if !strings.Contains(body, "ecdsa-2019") || strings.Contains(body, "secp256k1-2019") {
		t.Errorf("context does not fit a P-256 key: %s", body)
	}

	g := cidOf(t, genesis)
	clk.Add(time.Hour)
	stolen := sign(t, operation(g, "stolen.test", lo), low)
	clk.Add(time.Hour)
	back := sign(t, operation(g, "back.test", h, lo), high)
	for _, op := range []*identity.Operation{stolen, back} {
		if code, body, _ := call(t, p, "POST", path, wire(t, op)); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
	}
	var data identity.State
	_, body, _ = call(t, p, "GET", path+"/data", "")
	if err := json.Unmarshal([]byte(body), &data); err != nil || data.DID != did || !slices.Equal(data.AlsoKnownAs, []string{"at://back.test"}) {
		t.Errorf("data: %s", body)
	}
	var ops []*identity.Operation
	_, body, _ = call(t, p, "GET", path+"/log", "")
	if err := json.Unmarshal([]byte(body), &ops); err != nil || len(ops) != 2 || *cidOf(t, ops[1]) != *cidOf(t, back) {
		t.Errorf("log: %s", body)
	}
	_, body, _ = call(t, p, "GET", path+"/log/last", "")
	if last, err := identity.ParseOperation([]byte(body)); err != nil || *cidOf(t, last) != *cidOf(t, back) {
		t.Errorf("last: %s", body)
	}
	var audit []identity.LogEntry
	_, body, _ = call(t, p, "GET", path+"/log/audit", "")
	if err := json.Unmarshal([]byte(body), &audit); err != nil || len(audit) != 3 || !audit[1].Nullified || audit[2].Nullified {
		t.Errorf("audit: %s", body)
	}
	if !strings.Contains(body, `"createdAt":"2026-01-01T02:00:00.000Z"`) {
		t.Errorf("audit times: %s", body)
	}
	if _, err := identity.VerifyLog(did, audit); err != nil {
		t.Errorf("own log: %v", err)
	}

	end := sign(t, tombstone(cidOf(t, back)), low)
	if code, body, _ := call(t, p, "POST", path, wire(t, end)); code != 200 {
		t.Fatalf("tombstone: %d %s", code, body)
	}
	for _, sub := range []string{"", "/data"} {
		if code, body, _ := call(t, p, "GET", path+sub, ""); code != 404 || !strings.Contains(body, "not available") {
			t.Errorf("GET %s after the tombstone: %d %s", sub, code, body)
		}
	}
	if code, _, _ := call(t, p, "GET", path+"/log", ""); code != 200 {
		t.Errorf("log after the tombstone: %d", code)
	}

	code, body, _ = call(t, p, "GET", "/_health", "")
	if code != 200 || !strings.Contains(body, "version") {
		t.Errorf("health: %d %s", code, body)
	}
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404}, {"GET", path + "/nope", 404}, {"PUT", path, 405}, {"DELETE", path, 405}, {"POST", path + "/log", 405},
	} {
		if code, body, _ := call(t, p, c.method, c.path, ""); code != c.want || !strings.Contains(body, "message") {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, body)
		}
	}
}

func TestMemoryPLCRefuses(t *testing.T) {
	low, lo := newKey(t)
	other, o := newKey(t)
	_, h := newKey(t)
	for _, c := range []struct {
		name string
		make func(g *string) (*identity.Operation, syntax.DID)
		text string
	}{
		{"wrong signature", func(g *string) (*identity.Operation, syntax.DID) {
			return sign(t, operation(g, "b.test", lo), other), ""
		}, "signature"},
		{"wrong prev", func(*string) (*identity.Operation, syntax.DID) {
			return sign(t, operation(new("bafyreiho5sanautvnw3det66jcwic4vkeabc35y7iou3ygwj2l3xqcxdau"), "b.test", lo), low), ""
		}, "follow"},
		{"fork by the same key", func(g *string) (*identity.Operation, syntax.DID) {
			return sign(t, operation(g, "fork.test", lo), low), ""
		}, "signature"},
		{"second genesis", func(*string) (*identity.Operation, syntax.DID) {
			return sign(t, operation(nil, "a.test", h, lo), low), ""
		}, "no prev"},
		{"genesis of another DID", func(*string) (*identity.Operation, syntax.DID) {
			return sign(t, operation(nil, "a.test", lo), low), "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
		}, "another DID: did:plc:"},
		{"genesis by an unknown rotation key", func(*string) (*identity.Operation, syntax.DID) {
			op := sign(t, operation(nil, "a.test", lo), other)
			did, err := op.DID()
			if err != nil {
				t.Fatal(err)
			}
			return op, did
		}, "signature"},
		{"tombstone as genesis", func(g *string) (*identity.Operation, syntax.DID) {
			return sign(t, tombstone(g), low), "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
		}, "genesis"},
		{"bad key", func(g *string) (*identity.Operation, syntax.DID) {
			op := operation(g, "b.test", lo)
			op.VerificationMethods["x"] = "did:key:nope"
			return sign(t, op, low), ""
		}, "verification method"},
		{"too large", func(g *string) (*identity.Operation, syntax.DID) {
			op := operation(g, "b.test", lo)
			for i := range 9 {
				op.Services[fmt.Sprint(i)] = identity.Service{Type: "t", Endpoint: strings.Repeat("e", 500)}
			}
			return sign(t, op, low), ""
		}, "at most 4000"},
		{"legacy", func(*string) (*identity.Operation, syntax.DID) {
			op := sign(t, &identity.Operation{Type: "create", Legacy: &identity.LegacyCreate{SigningKey: lo, RecoveryKey: o}}, low)
			did, err := op.DID()
			if err != nil {
				t.Fatal(err)
			}
			return op, did
		}, "no longer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPLC(t, identity.MemoryPLCConfig{})
			genesis := sign(t, operation(nil, "a.test", h, lo), low)
			did, err := genesis.DID()
			if err != nil {
				t.Fatal(err)
			}
			g := cidOf(t, genesis)
			for _, op := range []*identity.Operation{genesis, sign(t, operation(g, "two.test", h, lo), low)} {
				if err := p.Submit(did, op); err != nil {
					t.Fatal(err)
				}
			}
			last, err := p.AuditLog(did)
			if err != nil {
				t.Fatal(err)
			}
			prev := &last[1].CID
			if c.name == "fork by the same key" {
				prev = g
			}
			op, target := c.make(prev)
			if target == "" {
				target = did
			}
			before, _, _ := call(t, p, "GET", "/"+target.String()+"/log/audit", "")
			code, body, _ := call(t, p, "POST", "/"+target.String(), wire(t, op))
			if code != 400 || !strings.Contains(body, c.text) {
				t.Errorf("%d %s, want 400 with %q", code, body, c.text)
			}
			if after, _, _ := call(t, p, "GET", "/"+target.String()+"/log/audit", ""); after != before {
				t.Error("a refused operation left something behind")
			}
			if again, err := p.AuditLog(did); err != nil || len(again) != 2 {
				t.Errorf("%d entries, %v", len(again), err)
			}
		})
	}
	p := newPLC(t, identity.MemoryPLCConfig{})
	for _, c := range []struct {
		body string
		want int
	}{
		{"", 400}, {"{}", 400}, {"null", 400}, {"[", 400}, {strings.Repeat("[", 10000), 400},
		{strings.Repeat(" ", identity.MaxOperationJSON+1), 413},
		{wire(t, operation(nil, "a.test", lo)), 400}, // unsigned
	} {
		if code, body, _ := call(t, p, "POST", "/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", c.body); code != c.want || !strings.Contains(body, "message") {
			t.Errorf("%.20q: %d %s", c.body, code, body)
		}
	}
}

func TestMemoryPLCRate(t *testing.T) {
	clk := newClock()
	p := newPLC(t, identity.MemoryPLCConfig{Clock: clk.Now})
	high, h := newKey(t)
	low, lo := newKey(t)
	genesis := sign(t, operation(nil, "0.test", h, lo), low)
	did, err := genesis.DID()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Submit(did, genesis); err != nil {
		t.Fatal(err)
	}
	prev, before := cidOf(t, genesis), (*string)(nil)
	n := 1
	next := func() error {
		op := sign(t, operation(prev, fmt.Sprintf("%d.test", n), h, lo), low)
		err := p.Submit(did, op)
		if err == nil {
			before, prev = prev, cidOf(t, op)
			n++
		}
		return err
	}
	fill := func(want int) {
		t.Helper()
		for {
			if err := next(); err != nil {
				if !errors.Is(err, identity.ErrOperationRate) {
					t.Fatal(err)
				}
				break
			}
		}
		if n != want {
			t.Fatalf("%d operations went in, want %d", n, want)
		}
	}
	fill(identity.MaxOperationsPerHour)
	clk.Add(time.Hour - time.Millisecond)
	fill(identity.MaxOperationsPerHour)
	clk.Add(time.Millisecond)
	fill(2 * identity.MaxOperationsPerHour)
	clk.Add(time.Hour)
	fill(identity.MaxOperationsPerDay)
	clk.Add(time.Hour)
	fill(identity.MaxOperationsPerDay)

	// A recovery goes through all the same.
	if err := p.Submit(did, sign(t, operation(before, "back.test", h, lo), high)); err != nil {
		t.Errorf("recovery: %v", err)
	}

	free := newPLC(t, identity.MemoryPLCConfig{Clock: clk.Now, NoRateLimit: true})
	p, n, prev = free, 1, cidOf(t, genesis)
	if err := p.Submit(did, genesis); err != nil {
		t.Fatal(err)
	}
	for range identity.MaxOperationsPerHour + 5 {
		if err := next(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMemoryPLCExport(t *testing.T) {
	clk := newClock()
	p := newPLC(t, identity.MemoryPLCConfig{Clock: clk.Now})
	low, lo := newKey(t)
	for i := range 5 {
		op := sign(t, operation(nil, fmt.Sprintf("%d.test", i), lo), low)
		did, err := op.DID()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Submit(did, op); err != nil {
			t.Fatal(err)
		}
		clk.Add(time.Second)
	}
	for _, c := range []struct {
		query string
		lines []string
	}{
		{"", []string{"0", "1", "2", "3", "4"}},
		{"?count=2", []string{"0", "1"}},
		{"?count=5000", []string{"0", "1", "2", "3", "4"}},
		{"?after=2026-01-01T00:00:02.000Z", []string{"3", "4"}},
		{"?count=1&after=2026-01-01T00:00:02.000Z", []string{"3"}},
		{"?after=2027-01-01T00:00:00Z", nil},
	} {
		code, body, header := call(t, p, "GET", "/export"+c.query, "")
		if code != 200 || header.Get("Content-Type") != "application/jsonlines" {
			t.Fatalf("%s: %d %v", c.query, code, header)
		}
		var got []string
		for scan := bufio.NewScanner(strings.NewReader(body)); scan.Scan(); {
			var e identity.LogEntry
			if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(e.Operation.AlsoKnownAs[0], "at://"), ".test"))
		}
		if !slices.Equal(got, c.lines) {
			t.Errorf("%s: %v, want %v", c.query, got, c.lines)
		}
	}
	for _, bad := range []string{"?count=0", "?count=x", "?count=-1", "?after=yesterday"} {
		if code, _, _ := call(t, p, "GET", "/export"+bad, ""); code != 400 {
			t.Errorf("%s: %d", bad, code)
		}
	}
}

// listLog is a PLCLog in a slice.
type listLog struct {
	entries []identity.LogEntry
	fail    error
}

func (l *listLog) Append(_ syntax.DID, e identity.LogEntry) error {
	if l.fail != nil {
		return l.fail
	}
	l.entries = append(l.entries, e)
	return nil
}

func (l *listLog) Load(fn func(syntax.DID, identity.LogEntry) error) error {
	for _, e := range l.entries {
		if err := fn(e.DID, e); err != nil {
			return err
		}
	}
	return nil
}

func TestMemoryPLCKeepsItsLog(t *testing.T) {
	clk := newClock()
	log := &listLog{}
	p := newPLC(t, identity.MemoryPLCConfig{Log: log, Clock: clk.Now})
	high, h := newP256(t)
	low, lo := newKey(t)
	genesis := sign(t, operation(nil, "a.test", h, lo), low)
	did, err := genesis.DID()
	if err != nil {
		t.Fatal(err)
	}
	g := cidOf(t, genesis)
	for _, op := range []*identity.Operation{
		genesis,
		sign(t, operation(g, "stolen.test", lo), low),
		sign(t, operation(g, "back.test", h, lo), high),
	} {
		if err := p.Submit(did, op); err != nil {
			t.Fatal(err)
		}
		clk.Add(time.Minute)
	}
	_, want, _ := call(t, p, "GET", "/"+did.String()+"/log/audit", "")
	_, export, _ := call(t, p, "GET", "/export", "")
	again := newPLC(t, identity.MemoryPLCConfig{Log: log, Clock: clk.Now})
	if _, got, _ := call(t, again, "GET", "/"+did.String()+"/log/audit", ""); got != want {
		t.Errorf("after loading:\n got %s\nwant %s", got, want)
	}
	if _, got, _ := call(t, again, "GET", "/export", ""); got != export {
		t.Errorf("export after loading:\n got %s\nwant %s", got, export)
	}

	log.fail = errors.New("disk full")
	last, err := p.AuditLog(did)
	if err != nil {
		t.Fatal(err)
	}
	op := sign(t, operation(&last[2].CID, "c.test", h, lo), low)
	if code, body, _ := call(t, p, "POST", "/"+did.String(), wire(t, op)); code != 500 || strings.Contains(body, "disk") {
		t.Errorf("failing log: %d %s", code, body)
	}
	if _, got, _ := call(t, p, "GET", "/"+did.String()+"/log/audit", ""); got != want {
		t.Error("an operation that was not stored counts")
	}
	log.fail = nil
	if err := p.Submit(did, op); err != nil {
		t.Errorf("retry: %v", err)
	}

	log.entries[1].Operation.AlsoKnownAs = []string{"at://forged.test"}
	if _, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{Log: log}); !errors.Is(err, identity.ErrInvalidLog) {
		t.Errorf("forged log: %v", err)
	}
}

// Many writers race for the same prev: one chain comes out of it.
func TestMemoryPLCConcurrent(t *testing.T) {
	p := newPLC(t, identity.MemoryPLCConfig{NoRateLimit: true})
	low, lo := newKey(t)
	genesis := sign(t, operation(nil, "a.test", lo), low)
	did, err := genesis.DID()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Submit(did, genesis); err != nil {
		t.Fatal(err)
	}
	reg := identity.NewPLCRegistry(p.Client(), low, "")
	const writers = 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i := range writers {
		wg.Go(func() {
			for attempt := range 200 {
				err := reg.Update(context.Background(), did, func(op *identity.Operation) error {
					op.Services[fmt.Sprintf("w%d", i)] = identity.Service{Type: "T", Endpoint: "https://x.test"}
					return nil
				})
				if err == nil {
					mu.Lock()
					done++
					mu.Unlock()
					return
				}
				if refused := new(identity.PLCError); !errors.As(err, &refused) || attempt == 199 {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	state, err := p.Client().State(context.Background(), did)
	if err != nil {
		t.Fatal(err)
	}
	if done != writers || len(state.Services) != writers+1 {
		t.Errorf("%d updates acknowledged, %d services in the end", done, len(state.Services))
	}
	entries, err := p.AuditLog(did)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.VerifyLog(did, entries); err != nil {
		t.Error(err)
	}
}

func FuzzMemoryPLC(f *testing.F) {
	low, lo := newKey(f)
	genesis := sign(f, operation(nil, "a.test", lo), low)
	did, err := genesis.DID()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/"+did.String(), []byte(wire(f, genesis)))
	f.Add("/export?count=1", []byte{})
	f.Add("//log/last", []byte("{}"))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		p := newPLC(t, identity.MemoryPLCConfig{})
		for _, method := range []string{"GET", "POST"} {
			req, err := http.NewRequest(method, "http://plc.invalid/"+strings.TrimPrefix(path, "/"), bytes.NewReader(body))
			if err != nil {
				return
			}
			resp, err := p.Transport().RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode >= 500 {
				t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, data)
			}
			if resp.StatusCode != 200 && !json.Valid(data) {
				t.Fatalf("%s %s: %s", method, path, data)
			}
		}
	})
}

func BenchmarkNewMemoryPLC(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		p, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{})
		if err != nil {
			b.Fatal(err)
		}
		_ = p.Client()
	}
}

func BenchmarkCreateIdentity(b *testing.B) {
	p := newPLC(b, identity.MemoryPLCConfig{})
	key, _ := newKey(b)
	pub, err := key.PublicKey()
	if err != nil {
		b.Fatal(err)
	}
	reg := identity.NewPLCRegistry(p.Client(), key, "")
	for b.Loop() {
		did, op, err := reg.New(b.Context(), identity.NewIdentity{Handle: "a.test", SigningKey: pub, PDS: "https://pds.test"})
		if err != nil {
			b.Fatal(err)
		}
		if err := reg.Submit(b.Context(), did, op); err != nil {
			b.Fatal(err)
		}
	}
}
