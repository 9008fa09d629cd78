package identity_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pdskit/pdskit/identity"
)

func fetch(t testing.TB, client *http.Client, u string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", u, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestTransportBlocksAddresses(t *testing.T) {
	client := identity.NewClient(nil, identity.ClientLimits{Timeout: 5 * time.Second})
	for _, host := range []string{
		"127.0.0.1", "127.8.8.8", "localhost", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
		"192.88.99.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd12::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]",
		"[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]", "[2002:a00:1::1]", "[2001::1]", "[2001:db8::1]", "[100::1]", "[3fff::1]",
	} {
		for _, port := range []string{"", ":8443"} {
			if _, err := fetch(t, client, "https://"+host+port+"/"); !errors.Is(err, identity.ErrBlockedAddress) {
				t.Errorf("%s%s: %v", host, port, err)
			}
		}
	}
	// Other spellings of 127.0.0.1 are no addresses to Go, and no names to DNS;
	// what matters is that nothing answers.
	for _, host := range []string{"2130706433", "0x7f000001", "127.1", "0177.0.0.1"} {
		if body, err := fetch(t, client, "https://"+host+"/"); err == nil {
			t.Errorf("%s answered %q", host, body)
		}
	}
}

func TestTransportBlocksURLs(t *testing.T) {
	dialled := false
	client := identity.NewClient(identity.NewTransport(identity.TransportConfig{
		AllowHosts: []string{"Plc.test:2582", "anyport.test", "[::1]:80", "::2"},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			dialled = true
			return nil, errors.New("dialled")
		},
	}), identity.ClientLimits{})
	for u, ok := range map[string]bool{
		"https://example.com/":      true,
		"https://example.com:8443/": true,
		"http://example.com/":       false,
		"http://example.com:443/":   false,
		"https://u:p@example.com/":  false,
		"https://u@example.com/":    false,
		"https:///x":                false,
		"ftp://example.com/":        false,
		"file:///etc/passwd":        false,
		"gopher://example.com/":     false,
		"http://plc.test:2582/":     true,
		"http://PLC.TEST:2582/":     true,
		"http://plc.test/":          false,
		"http://plc.test:80/":       false,
		"http://x.plc.test:2582/":   false,
		"http://anyport.test/":      true,
		"http://anyport.test:99/":   true,
		"http://[::1]/":             true,
		"http://[::1]:81/":          false,
		"http://[::2]:81/":          true,
	} {
		dialled = false
		_, err := fetch(t, client, u)
		if dialled != ok || err == nil {
			t.Errorf("%s: dialled %v, %v", u, dialled, err)
		}
	}
}

func TestTransportAllows(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hi") }))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	for name, c := range map[string]struct {
		cfg  identity.TransportConfig
		want error
	}{
		"host and port": {identity.TransportConfig{AllowHosts: []string{host}}, nil},
		"host":          {identity.TransportConfig{AllowHosts: []string{"127.0.0.1"}}, nil},
		"dev mode":      {identity.TransportConfig{AllowPrivate: true}, nil},
		"other port":    {identity.TransportConfig{AllowHosts: []string{"127.0.0.1:1"}}, identity.ErrBlockedURL},
		"nothing":       {identity.TransportConfig{}, identity.ErrBlockedURL},
	} {
		client := identity.NewClient(identity.NewTransport(c.cfg), identity.ClientLimits{})
		body, err := fetch(t, client, srv.URL)
		if !errors.Is(err, c.want) || (c.want == nil) != (body == "hi") {
			t.Errorf("%s: %q, %v", name, body, err)
		}
		client.CloseIdleConnections()
	}
}

// The environment must not bring a proxy in.
func TestTransportIgnoresProxyVariables(t *testing.T) {
	proxied := false
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied = true }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	transport := identity.NewTransport(identity.TransportConfig{
		AllowPrivate: true,
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			return nil, errors.New("dialled " + addr)
		},
	})
	_, err := fetch(t, identity.NewClient(transport, identity.ClientLimits{}), "http://example.com/")
	if proxied || err == nil || !strings.Contains(err.Error(), "dialled example.com:80") {
		t.Errorf("proxied %v, %v", proxied, err)
	}
}

// nameServer answers A questions from a function, as a hostile DNS would.
func nameServer(t *testing.T, answer func(n int64) [4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var asked atomic.Int64
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			// Question: 12 bytes of header, labels up to a zero, type, class.
			end := 12
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			end += 5
			if end > n {
				continue
			}
			out := append([]byte{}, buf[:end]...)
			binary.BigEndian.PutUint16(out[2:], 0x8180)
			clear(out[6:12])
			if binary.BigEndian.Uint16(buf[end-4:]) == 1 {
				ip := answer(asked.Add(1))
				out[7] = 1
				out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				out = append(out, ip[:]...)
			}
			_, _ = conn.WriteTo(out, from) // a lost answer is a lookup that fails
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// A name may resolve to a public address when somebody checks it and to a
// private one later: the check is of the address that is connected to.
func TestTransportBlocksRebinding(t *testing.T) {
	var reached atomic.Bool
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer srv.Close()
	port := srv.URL[strings.LastIndexByte(srv.URL, ':'):]
	resolver := nameServer(t, func(n int64) [4]byte {
		if n == 1 {
			return [4]byte{8, 8, 8, 8}
		}
		return [4]byte{127, 0, 0, 1}
	})
	if addrs, err := resolver.LookupHost(t.Context(), "rebind.test."); err != nil || len(addrs) != 1 || addrs[0] != "8.8.8.8" {
		t.Fatalf("first lookup: %v, %v", addrs, err)
	}
	client := identity.NewClient(identity.NewTransport(identity.TransportConfig{Resolver: resolver}), identity.ClientLimits{Timeout: 5 * time.Second})
	if _, err := fetch(t, client, "https://rebind.test."+port+"/"); !errors.Is(err, identity.ErrBlockedAddress) {
		t.Errorf("second lookup: %v", err)
	}
	if reached.Load() {
		t.Error("the private server was reached")
	}
}

func TestClientRedirects(t *testing.T) {
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secret") }))
	defer secret.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := strings.TrimPrefix(r.URL.Path, "/"); n {
		case "0":
			io.WriteString(w, "end")
		case "private":
			http.Redirect(w, r, secret.URL, 302)
		case "https-private":
			http.Redirect(w, r, "https://127.0.0.1:1/", 302)
		case "file":
			http.Redirect(w, r, "file:///etc/passwd", 302)
		default:
			http.Redirect(w, r, "/"+string(n[0]-1), 302)
		}
	}))
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := identity.NewTransport(identity.TransportConfig{AllowHosts: []string{u.Host}})
	three := identity.NewClient(transport, identity.ClientLimits{Redirects: 3})
	for path, want := range map[string]error{
		"/0": nil, "/3": nil, "/4": identity.ErrTooManyRedirects,
		"/private": identity.ErrBlockedURL, "/file": identity.ErrBlockedURL,
	} {
		body, err := fetch(t, three, srv.URL+path)
		if !errors.Is(err, want) || (want == nil && body != "end") {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
	// 127.0.0.1 is allowed with the server's port only.
	if _, err := fetch(t, three, srv.URL+"/https-private"); !errors.Is(err, identity.ErrBlockedAddress) {
		t.Errorf("redirect to a private address: %v", err)
	}
	resp, err := identity.NewClient(transport, identity.ClientLimits{}).Get(srv.URL + "/1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 302 {
		t.Errorf("without redirects: %d", resp.StatusCode)
	}
}

func TestClientBodyLimit(t *testing.T) {
	const limit = 1000
	for _, c := range []struct {
		name    string
		size    int
		chunked bool
		max     int64
		ok      bool
	}{
		{"at the limit", limit, false, limit, true},
		{"at the limit, chunked", limit, true, limit, true},
		{"one more", limit + 1, false, limit, false},
		{"one more, chunked", limit + 1, true, limit, false},
		{"much more, chunked", 100 * limit, true, limit, false},
		{"empty", 0, false, limit, true},
		{"default", identity.DefaultMaxBody, true, 0, true},
		{"default and one", identity.DefaultMaxBody + 1, true, 0, false},
		{"no limit", identity.DefaultMaxBody + 1, true, identity.NoLimit, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.chunked {
					w.(http.Flusher).Flush()
				}
				w.Write(make([]byte, c.size))
			}))
			defer srv.Close()
			client := identity.NewClient(identity.NewTransport(identity.TransportConfig{AllowPrivate: true}), identity.ClientLimits{MaxBody: c.max})
			defer client.CloseIdleConnections()
			body, err := fetch(t, client, srv.URL)
			if c.ok && (err != nil || len(body) != c.size) {
				t.Errorf("%d bytes, %v", len(body), err)
			}
			if !c.ok && (!errors.Is(err, identity.ErrBodyTooLarge) || len(body) > limit && c.max != 0) {
				t.Errorf("%d bytes, %v", len(body), err)
			}
		})
	}
}

func TestClientTimeout(t *testing.T) {
	stop := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "slow")
		w.(http.Flusher).Flush()
		<-stop
	}))
	defer srv.Close()
	defer close(stop)
	client := identity.NewClient(identity.NewTransport(identity.TransportConfig{AllowPrivate: true}), identity.ClientLimits{Timeout: 50 * time.Millisecond})
	var timeout interface{ Timeout() bool }
	if _, err := fetch(t, client, srv.URL); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a body that never ends: %v", err)
	}
}
