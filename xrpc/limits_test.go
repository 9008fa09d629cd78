package xrpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

// A testClock is a clock that tests turn.
type testClock struct {
	mu  sync.Mutex // guards following field
	now time.Time
}

func newClock() *testClock { return &testClock{now: time.Unix(1_700_000_000, 0)} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func limitHeaders(h http.Header) string {
	return strings.Join([]string{h.Get("RateLimit-Limit"), h.Get("RateLimit-Remaining"), h.Get("RateLimit-Reset"),
		h.Get("RateLimit-Policy"), h.Get("Retry-After")}, " ")
}

func TestLimits(t *testing.T) {
	clock := newClock()
	srv := newServer(t, xrpc.Config{Clock: clock.Now, GlobalLimits: []xrpc.Limit{{Name: "all", Points: 10, Window: 300 * time.Second}}},
		touch(xrpc.Public()).WithLimits(xrpc.Limit{Points: 3, Window: 60500 * time.Millisecond}))
	q := request{verb: "POST", target: "/xrpc/com.example.touch"}
	check := func(status int, headers string) {
		t.Helper()
		res := q.send(t, srv)
		if got := limitHeaders(res.Header); res.StatusCode != status || got != headers {
			t.Errorf("%d %q, want %d %q", res.StatusCode, got, status, headers)
		}
	}
	check(200, "3 2 1700000061 3;w=61 ")
	clock.Add(time.Second)
	check(200, "3 1 1700000061 3;w=61 ")
	check(200, "3 0 1700000061 3;w=61 ")
	check(429, "3 0 1700000061 3;w=61 60")
	clock.Add(59500*time.Millisecond - 1)
	check(429, "3 0 1700000061 3;w=61 1")
	clock.Add(1)
	check(200, "3 2 1700000121 3;w=61 ")
	expect(t, request{target: "/xrpc/com.unknown.method"}.send(t, srv), 501, `{"error":"MethodNotImplemented","message":"Method Not Implemented"}`)
	check(200, "3 1 1700000121 3;w=61 ")
	check(200, "3 0 1700000121 3;w=61 ") // 9 of the 10 of all are spent
	res := request{target: "/xrpc/com.unknown.method"}.send(t, srv)
	if got := limitHeaders(res.Header); got != "10 0 1700000300 10;w=300 " {
		t.Errorf("got %q", got)
	}
	res = request{target: "/xrpc/com.unknown.method"}.send(t, srv)
	if got := limitHeaders(res.Header); got != "10 0 1700000300 10;w=300 240" {
		t.Errorf("got %q", got)
	}
	expect(t, res, 429, `{"error":"RateLimitExceeded","message":"Rate Limit Exceeded"}`)
}

// TestFailuresCount: what is refused before the limits are looked at counts,
// too, so that nobody guesses without end.
func TestFailuresCount(t *testing.T) {
	srv := newServer(t, xrpc.Config{
		GlobalLimits: []xrpc.Limit{{Name: "all", Points: 3, Window: time.Hour}},
		Authenticators: []xrpc.Authenticator{xrpc.AuthenticatorFunc(func(*http.Request) (*xrpc.Caller, error) {
			return nil, xrpc.InvalidToken("wrong")
		})},
	}, touch(xrpc.Required(nil)), put("com.example.put"))
	for i, q := range []request{
		{verb: "POST", target: "/xrpc/com.example.touch"},
		{verb: "GET", target: "/xrpc/com.example.touch"}, // wrong verb
		{verb: "POST", target: "/xrpc/com.example.put"},  // no body
		{verb: "POST", target: "/xrpc/com.example.touch"},
	} {
		if got := q.send(t, srv).StatusCode; (got == 429) != (i == 3) {
			t.Errorf("request %d: %d", i, got)
		}
	}
}

func TestLimitKeys(t *testing.T) {
	srv := newServer(t, xrpc.Config{},
		touch(xrpc.Optional(nil)).WithLimits(xrpc.Limit{Points: 1, Window: time.Hour, Key: xrpc.ByAccount}))
	send := func(remote, forwarded, token string) int {
		r := httptest.NewRequest("POST", "/xrpc/com.example.touch", nil)
		r.RemoteAddr = remote
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		return w.Code
	}
	for _, tt := range []struct {
		remote, forwarded, token string
		status                   int
	}{
		{"203.0.113.1:1", "", "", 200},
		{"203.0.113.1:2", "", "", 429},
		{"203.0.113.1:2", "198.51.100.9", "", 429}, // a stranger's word
		{"127.0.0.1:1", "203.0.113.1", "", 429},    // a proxy's word
		{"[::ffff:203.0.113.1]:1", "", "", 429},
		{"203.0.113.2:1", "", "", 200},
		{"[2001:db8:1:2::1]:1", "", "", 200},
		{"[2001:db8:1:2:ffff::2]:1", "", "", 429},
		{"[2001:db8:1:3::1]:1", "", "", 200},
		{"203.0.113.1:1", "", "alice", 200},
		{"203.0.113.9:1", "", "alice", 429},
	} {
		if got := send(tt.remote, tt.forwarded, tt.token); got != tt.status {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

func TestLimitBuckets(t *testing.T) {
	shared := xrpc.Limit{Name: "shared", Points: 2, Window: time.Hour}
	own := xrpc.Limit{Points: 2, Window: time.Hour}
	srv := newServer(t, xrpc.Config{}, touch(xrpc.Public()).WithLimits(shared))
	srv.Handle(failing("com.example.a", nil).WithLimits(own), failing("com.example.b", nil).WithLimits(own),
		failing("com.example.c", nil).WithLimits(shared))
	send := func(verb, nsid string) bool {
		return request{verb: verb, target: "/xrpc/com.example." + nsid}.send(t, srv).StatusCode != 429
	}
	for _, c := range []struct {
		verb, nsid string
		served     bool
	}{
		// A name is one bucket.
		{"POST", "touch", true}, {"GET", "c", true}, {"POST", "touch", false}, {"GET", "c", false},
		// Without a name each method has its own bucket.
		{"GET", "a", true}, {"GET", "a", true}, {"GET", "a", false}, {"GET", "b", true},
	} {
		if got := send(c.verb, c.nsid); got != c.served {
			t.Errorf("%s %s: served %v", c.verb, c.nsid, got)
		}
	}
}

func TestLimitBypass(t *testing.T) {
	srv := newServer(t, xrpc.Config{
		LimitBypassKey: "let-me-in",
		LimitBypassIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")},
	}, touch(xrpc.Public()).WithLimits(xrpc.Limit{Points: 1, Window: time.Hour}))
	send := func(ip, key string) *http.Response {
		r := httptest.NewRequest("POST", "/xrpc/com.example.touch", nil)
		r.RemoteAddr = ip + ":1"
		r.Header.Set("x-ratelimit-bypass", key)
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		return w.Result()
	}
	for range 3 {
		if res := send("192.0.2.1", "let-me-in"); res.StatusCode != 200 || limitHeaders(res.Header) != "    " {
			t.Errorf("by key: %d %v", res.StatusCode, res.Header)
		}
		if res := send("192.0.2.129", ""); res.StatusCode != 200 {
			t.Errorf("by address: %d", res.StatusCode)
		}
	}
	if send("192.0.2.1", "wrong").StatusCode != 200 || send("192.0.2.1", "wrong").StatusCode != 429 {
		t.Error("a wrong key must not help")
	}
	none := newServer(t, xrpc.Config{}, touch(xrpc.Public()).WithLimits(xrpc.Limit{Points: 1, Window: time.Hour}))
	q := request{verb: "POST", target: "/xrpc/com.example.touch", header: []string{"X-Ratelimit-Bypass: "}}
	q.send(t, none)
	if q.send(t, none).StatusCode != 429 {
		t.Error("an empty key must not match an empty setting")
	}
}

func TestTakeLimits(t *testing.T) {
	type input struct {
		Name  string `json:"name"`
		Count int    `json:"count"`
	}
	srv := newServer(t, xrpc.Config{}, xrpc.Procedure("com.example.save", xrpc.Public(), func(ctx context.Context, in *input) (*okOutput, error) {
		key := func(*http.Request, *xrpc.Caller) string { return in.Name }
		if err := xrpc.TakeLimits(ctx, xrpc.Limit{Points: 10, Window: time.Hour, Key: key, Cost: in.Count}); err != nil {
			return nil, err
		}
		return &okOutput{true}, nil
	}))
	send := func(name string, cost int) int {
		return request{"POST", saveURL, []string{isJSON}, fmt.Sprintf(`{"name":%q,"count":%d}`, name, cost)}.send(t, srv).StatusCode
	}
	for i, tt := range []struct {
		name         string
		cost, status int
	}{
		{"a", 7, 200}, {"a", 4, 429}, {"b", 4, 200}, {"a", 3, 200}, {"a", 0, 429}, {"", 11, 200}, {"c", 11, 429}, {"c", -1, 500},
	} {
		if got := send(tt.name, tt.cost); got != tt.status {
			t.Errorf("%d: %+v: %d", i, tt, got)
		}
	}
}

type brokenLimiter struct{}

func (brokenLimiter) Take(context.Context, string, string, int, xrpc.Limit) (xrpc.LimitState, error) {
	return xrpc.LimitState{}, errors.New("limiter is down")
}

// TestBrokenLimiter: limits of the server and shared ones open, those of a
// method close.
func TestBrokenLimiter(t *testing.T) {
	all := []xrpc.Limit{{Points: 1, Window: 1}}
	srv := newServer(t, xrpc.Config{Limiter: brokenLimiter{}, GlobalLimits: all},
		touch(xrpc.Public()).WithLimits(xrpc.Limit{Name: "shared", Points: 1, Window: 1}), failing("com.example.own", nil).WithLimits(all...))
	if res := (request{verb: "POST", target: "/xrpc/com.example.touch"}).send(t, srv); res.StatusCode != 200 {
		t.Errorf("shared: %d", res.StatusCode)
	}
	expect(t, request{target: "/xrpc/com.example.own"}.send(t, srv), 503, `{"error":"NotEnoughResources","message":"Not Enough Resources"}`)
}

func TestMemoryLimiter(t *testing.T) {
	clock := newClock()
	lim := xrpc.NewMemoryLimiter(clock.Now, 3)
	take := func(key string, window time.Duration) xrpc.LimitState {
		t.Helper()
		st, err := lim.Take(t.Context(), "b", key, 1, xrpc.Limit{Points: 1, Window: window})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	for _, key := range []string{"a", "b", "c"} {
		if st := take(key, time.Minute); !st.Allowed || st.Remaining != 0 || st.Reset != time.Minute {
			t.Errorf("%s: %+v", key, st)
		}
		clock.Add(time.Second)
	}
	if take("a", time.Minute).Allowed {
		t.Error("a has no points left")
	}
	take("d", time.Hour) // needs the place of a, which ends first
	if !take("a", time.Minute).Allowed {
		t.Error("a should be forgotten")
	}
	if take("d", time.Hour).Allowed {
		t.Error("d should be known")
	}
}

func TestMemoryLimiterConcurrently(t *testing.T) {
	lim := xrpc.NewMemoryLimiter(nil, 0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	allowed := 0
	for range 8 {
		wg.Go(func() {
			for range 100 {
				st, err := lim.Take(context.Background(), "b", "k", 1, xrpc.Limit{Points: 500, Window: time.Hour})
				if err == nil && st.Allowed {
					mu.Lock()
					allowed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if allowed != 500 {
		t.Errorf("%d were allowed", allowed)
	}
}

func TestForwardedIP(t *testing.T) {
	trusted := append(xrpc.PrivateProxies(), netip.MustParsePrefix("198.51.100.0/24"))
	many := strings.TrimSuffix(strings.Repeat("10.0.0.1,", 50), ",")
	for _, tt := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"203.0.113.1:9", nil, "203.0.113.1"},
		{"203.0.113.1:9", []string{"1.2.3.4"}, "203.0.113.1"},
		{"127.0.0.1:9", nil, "127.0.0.1"},
		{"127.0.0.1:9", []string{"1.2.3.4"}, "1.2.3.4"},
		{"127.0.0.1:9", []string{"6.6.6.6, 1.2.3.4"}, "1.2.3.4"},
		{"127.0.0.1:9", []string{"6.6.6.6, 1.2.3.4, 10.0.0.2,198.51.100.3"}, "1.2.3.4"},
		{"127.0.0.1:9", []string{"6.6.6.6, 1.2.3.4", "10.0.0.2"}, "1.2.3.4"},
		{"127.0.0.1:9", []string{"1.2.3.4, junk"}, "127.0.0.1"},
		{"127.0.0.1:9", []string{"junk, 10.0.0.2"}, "10.0.0.2"},
		{"127.0.0.1:9", []string{"1.2.3.4:5678"}, "1.2.3.4"},
		{"127.0.0.1:9", []string{"[2001:db8::1]:5678"}, "2001:db8::1"},
		{"[::1]:9", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[fe80::1%eth0]:9", []string{"::ffff:1.2.3.4"}, "1.2.3.4"},
		{"127.0.0.1:9", []string{""}, "127.0.0.1"},
		{"127.0.0.1:9", []string{"6.6.6.6," + many}, "10.0.0.1"},
		{"@", []string{"1.2.3.4"}, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
		if got := xrpc.ForwardedIP(r, trusted).String(); got != tt.want {
			t.Errorf("%s %v: %s, want %s", tt.peer, tt.forwarded, got, tt.want)
		}
	}
	r := &http.Request{RemoteAddr: "127.0.0.1:9", Header: http.Header{"X-Forwarded-For": {"1.2.3.4"}}}
	if got := xrpc.ForwardedIP(r, nil).String(); got != "127.0.0.1" {
		t.Errorf("nobody is trusted, but got %s", got)
	}
}
