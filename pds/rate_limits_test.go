package pds_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// limited starts a server with rate limits that trusts the test as a proxy.
func limited(t *testing.T, adjust ...func(*pds.Config)) *pdstest.PDS {
	t.Helper()
	var srv *pdstest.PDS
	srv = pdstest.New(t, append([]func(*pds.Config){func(c *pds.Config) {
		c.Limiter = xrpc.NewMemoryLimiter(func() time.Time { return srv.Clock.Now() }, 0)
		c.LimitBypassKey = "let me pass"
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}}, adjust...)...)
	return srv
}

// from calls a procedure from an address.
func from(t *testing.T, srv *pdstest.PDS, ip, nsid string, in any, header ...string) error {
	t.Helper()
	h := http.Header{"X-Forwarded-For": {ip}}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	_, err := srv.Call(context.WithoutCancel(t.Context()), http.MethodPost, nsid, nil, h, in)
	return err
}

func TestLoginLimits(t *testing.T) {
	t.Parallel()
	srv := limited(t)
	alice := srv.CreateAccount("alice")
	try := func(ip, identifier, password string, header ...string) error {
		return from(t, srv, ip, createSession, map[string]any{"identifier": identifier, "password": password}, header...)
	}
	handle := string(alice.Handle)
	for i := range 30 {
		spelling := handle
		if i%2 == 1 {
			spelling = " " + strings.ToUpper(handle)
		}
		ok(t, try("192.0.2.1", spelling, alice.Password))
	}
	wantError(t, try("192.0.2.1", handle, alice.Password), 429, "RateLimitExceeded")
	ok(t, try("192.0.2.2", handle, alice.Password))            // another address
	ok(t, try("192.0.2.1", string(alice.DID), alice.Password)) // another identifier
	ok(t, try("192.0.2.1", handle, alice.Password, "X-Ratelimit-Bypass", "let me pass"))
	wantError(t, try("192.0.2.1", handle, alice.Password, "X-Ratelimit-Bypass", "let me in"), 429, "RateLimitExceeded")
	srv.Clock.Advance(5 * time.Minute)
	ok(t, try("192.0.2.1", handle, alice.Password))
}

// Failures count for the account, from wherever and by whatever name they
// come, and for what does not exist just as well.
func TestLoginFailureLimit(t *testing.T) {
	t.Parallel()
	srv := limited(t, func(c *pds.Config) { c.LimitBypassIPs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	alice := srv.CreateAccount("alice")
	names := []string{string(alice.Handle), string(alice.DID), " " + strings.ToUpper(string(alice.Handle))}
	try := func(i int, identifier, password string, header ...string) error {
		return from(t, srv, fmt.Sprintf("198.51.100.%d", i%250), createSession,
			map[string]any{"identifier": identifier, "password": password}, header...)
	}
	for i := range 100 {
		wantError(t, try(i, names[i%3], "wrong"), 401, "AuthenticationRequired")
		wantError(t, try(i, "nobody.test", "wrong"), 401, "AuthenticationRequired")
	}
	for i, name := range append(names, "nobody.test") {
		wantError(t, try(i, name, "wrong"), 429, "RateLimitExceeded")
	}
	// It cannot be learned whose address it is: it counts for itself, as any other does.
	for i := range 100 {
		wantError(t, try(i, []string{alice.Email, strings.ToUpper(alice.Email)}[i%2], "wrong"), 401, "AuthenticationRequired")
		wantError(t, try(i, "nobody@example.com", "wrong"), 401, "AuthenticationRequired")
	}
	wantError(t, try(1, alice.Email, "wrong"), 429, "RateLimitExceeded")
	wantError(t, try(1, "nobody@example.com", "wrong"), 429, "RateLimitExceeded")
	// The right password is not told apart any more; successes were not counted.
	wantError(t, try(1, names[0], alice.Password), 429, "RateLimitExceeded")
	ok(t, try(1, names[0], alice.Password, "X-Ratelimit-Bypass", "let me pass"))
	ok(t, from(t, srv, "192.0.2.7", createSession, map[string]any{"identifier": names[0], "password": alice.Password}))
	srv.Clock.Advance(time.Hour)
	ok(t, try(1, names[0], alice.Password))
}

// TestAdminPasswordFailures: the administrator's password is not guessed, by a
// method or by a route. Other addresses are not held up.
func TestAdminPasswordFailures(t *testing.T) {
	t.Parallel()
	srv := limited(t)
	try := func(ip, path, password string, header ...string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		ok(t, err)
		r.SetBasicAuth("admin", password)
		r.Header.Set("X-Forwarded-For", ip)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return resp.StatusCode
	}
	const method, route = "/xrpc/com.atproto.admin.getInviteCodes", "/admin/seq"
	for i := range 30 {
		if got := try("198.51.100.7", []string{method, route}[i%2], "wrong"); got != 401 {
			t.Fatalf("failure %d: %d", i, got)
		}
		if got := try("198.51.100.8", route, pdstest.AdminPassword); got != 200 { // successes do not count
			t.Fatalf("success %d: %d", i, got)
		}
	}
	for _, path := range []string{method, route} {
		if got := try("198.51.100.7", path, pdstest.AdminPassword); got != 429 {
			t.Errorf("%s after 30 failures: %d", path, got)
		}
		if got := try("198.51.100.8", path, pdstest.AdminPassword); got != 200 {
			t.Errorf("%s from elsewhere: %d", path, got)
		}
		if got := try("198.51.100.7", path, pdstest.AdminPassword, "X-Ratelimit-Bypass", "let me pass"); got != 200 {
			t.Errorf("%s without limits: %d", path, got)
		}
	}
	srv.Clock.Advance(15 * time.Minute)
	if got := try("198.51.100.7", route, pdstest.AdminPassword); got != 200 {
		t.Errorf("later: %d", got)
	}
}

func TestGlobalLimitsByAddress(t *testing.T) {
	t.Parallel()
	srv := limited(t)
	call := func(ip, nsid string) (int, http.Header) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/xrpc/"+nsid, nil)
		ok(t, err)
		r.Header.Set("X-Forwarded-For", ip)
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		ok(t, resp.Body.Close())
		return resp.StatusCode, resp.Header
	}
	const describe, export = "com.atproto.server.describeServer", "com.atproto.sync.getRepo?did=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	_, h := call("2001:db8::1", describe)
	if h.Get("RateLimit-Limit") != "3000" || h.Get("RateLimit-Remaining") != "2999" || h.Get("RateLimit-Policy") != "3000;w=300" {
		t.Errorf("headers %v", h)
	}
	_, h = call("2001:db8::2", describe) // the same /64
	if h.Get("RateLimit-Remaining") != "2998" {
		t.Errorf("headers %v", h)
	}
	// Exports have a limit of their own.
	_, h = call("2001:db8::1", export)
	if h.Get("RateLimit-Limit") != "6000" || h.Get("RateLimit-Remaining") != "5999" {
		t.Errorf("headers of an export %v", h)
	}
	for range 2998 {
		if status, _ := call("2001:db8::1", describe); status != 200 {
			t.Fatal(status)
		}
	}
	status, h := call("2001:db8::1", describe)
	if status != 429 || h.Get("Retry-After") == "" {
		t.Errorf("beyond the limit: %d %v", status, h)
	}
	if status, _ := call("2001:db8:0:1::1", describe); status != 200 {
		t.Errorf("another network: %d", status)
	}
}

func TestWritePoints(t *testing.T) {
	t.Parallel()
	srv := limited(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	write := func(a *pdstest.Account, n int) error {
		writes := make([]map[string]any, n)
		for i := range writes {
			writes[i] = map[string]any{
				"$type": "com.atproto.repo.applyWrites#create", "collection": "com.example.note", "value": map[string]any{},
			}
		}
		return post(t, srv, "com.atproto.repo.applyWrites", "Bearer "+a.Access, map[string]any{"repo": a.DID, "writes": writes}, nil)
	}
	for range 8 { // 200 creates of 3 points each
		ok(t, write(alice, 200))
	}
	wantError(t, write(alice, 67), 429, "RateLimitExceeded") // 201 points of the 200 that are left
	ok(t, write(alice, 66))
	wantError(t, write(alice, 1), 429, "RateLimitExceeded")
	ok(t, post(t, srv, "com.atproto.repo.deleteRecord", "Bearer "+alice.Access, map[string]any{
		"repo": alice.DID, "collection": "com.example.note", "rkey": "absent",
	}, nil))
	ok(t, write(bob, 1))
	srv.Clock.Advance(time.Hour)
	alice.Login()
	ok(t, write(alice, 1))
}

func TestUploadLimitByAccount(t *testing.T) {
	t.Parallel()
	srv := limited(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	upload := func(a *pdstest.Account) (int, error) {
		h := http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {"text/plain"}}
		_, err := srv.Call(t.Context(), http.MethodPost, uploadBlobNSID, nil, h, []byte("a blob"))
		if e, refused := errors.AsType[*pdstest.Error](err); refused {
			return e.Status, nil
		}
		return 200, err
	}
	for i := range 1001 {
		status, err := upload(alice)
		ok(t, err)
		if want := map[bool]int{true: 200, false: 429}[i < 1000]; status != want {
			t.Fatalf("upload %d: %d", i, status)
		}
	}
	if status, err := upload(bob); err != nil || status != 200 {
		t.Errorf("another account: %d %v", status, err)
	}
	// An account that is on its way here may bring more.
	editAccount(t, srv, alice.DID, func(a *storage.Account) { a.DeactivatedAt = srv.Clock.Now() })
	if status, err := upload(alice); err != nil || status != 200 {
		t.Errorf("deactivated: %d %v", status, err)
	}
}

// failingLimiter cannot count.
type failingLimiter struct{}

func (failingLimiter) Take(context.Context, string, string, int, xrpc.Limit) (xrpc.LimitState, error) {
	return xrpc.LimitState{}, errors.New("no connection")
}

// Without a store for them, limits of the whole server and shared ones open,
// those of single methods close.
func TestLimiterOutage(t *testing.T) {
	t.Parallel()
	up := xrpc.NewMemoryLimiter(nil, 0)
	l := &switchLimiter{Limiter: up}
	srv := pdstest.New(t, func(c *pds.Config) { c.Limiter, c.Logger = l, nil })
	alice := srv.CreateAccount("alice")
	l.Limiter = failingLimiter{}
	ok(t, get(t, srv, getSession, "Bearer "+alice.Access, nil, nil))
	alice.CreateRecord("com.example.note", map[string]any{})
	wantError(t, post(t, srv, createSession, "", map[string]any{
		"identifier": alice.Handle, "password": alice.Password,
	}, nil), 503, "NotEnoughResources")
}

type switchLimiter struct{ xrpc.Limiter }

func TestNoLimitsByDefault(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for range 31 {
		login(t, srv, string(alice.Handle), alice.Password)
	}
}
