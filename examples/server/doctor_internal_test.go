package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// fakeNetwork answers for all hosts, by https.
type fakeNetwork struct {
	answers map[string]http.HandlerFunc // by host and path
	around  surroundings
}

// newFakeNetwork is a network in which everything is as it should be.
func newFakeNetwork(t *testing.T) *fakeNetwork {
	n := &fakeNetwork{answers: map[string]http.HandlerFunc{
		"pds.example.com/xrpc/_health": says(200, `{"version":"pdskit"}`),
		"pds.example.com/xrpc/com.atproto.sync.subscribeRepos": func(w http.ResponseWriter, r *http.Request) {
			if conn, err := websocket.Accept(w, r, nil); err == nil {
				_ = conn.CloseNow()
			}
		},
		"plc.example.com/_health":                               says(200, `{"version":"plc"}`),
		"relay.example.com/xrpc/com.atproto.sync.getHostStatus": says(200, `{"hostname":"pds.example.com","seq":90,"accountCount":7,"status":"active"}`),
	}}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := n.answers[r.Host+r.URL.Path]; answer != nil {
			answer(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // it is for other names
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	n.around = surroundings{
		client: &http.Client{Transport: transport, Timeout: 5 * time.Second},
		lookup: func(context.Context, string) ([]string, error) { return []string{"203.0.113.7"}, nil },
		mail:   func(context.Context) error { return nil },
	}
	return n
}

func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// TestDoctorsNetwork breaks each thing in the surroundings, one at a time.
func TestDoctorsNetwork(t *testing.T) {
	const health, stream, relay = "pds.example.com/xrpc/_health", "pds.example.com/xrpc/com.atproto.sync.subscribeRepos", "relay.example.com/xrpc/com.atproto.sync.getHostStatus"
	status := func(seq int, status string) http.HandlerFunc {
		return says(200, fmt.Sprintf(`{"hostname":"pds.example.com","seq":%d,"status":%q}`, seq, status))
	}
	for name, tt := range map[string]struct {
		change func(n *fakeNetwork)
		want   string // state and check of the one finding that is not ok; empty: none
		cause  string
		next   string
	}{
		"nothing":                    {func(*fakeNetwork) {}, "", "", ""},
		"no way to the server":       {func(n *fakeNetwork) { n.answers[health] = abort }, "problem network", "EOF", "DNS entry"},
		"another server":             {func(n *fakeNetwork) { n.answers[health] = says(200, "<html>") }, "problem network", "something else", "reverse proxy"},
		"a broken reverse proxy":     {func(n *fakeNetwork) { n.answers[health] = says(502, "") }, "problem network", "502", "reverse proxy"},
		"no WebSockets":              {func(n *fakeNetwork) { n.answers[stream] = says(400, "no") }, "problem network", "400", "WebSockets"},
		"the PLC directory is down":  {func(n *fakeNetwork) { n.answers["plc.example.com/_health"] = abort }, "problem PLC directory", "EOF", "PDS_DID_PLC_URL"},
		"the PLC directory fails":    {func(n *fakeNetwork) { n.answers["plc.example.com/_health"] = says(503, "") }, "problem PLC directory", "503", "network"},
		"the clock is behind":        {func(n *fakeNetwork) { n.answers["plc.example.com/_health"] = dated(time.Minute) }, "problem clock", "wrong", "NTP"},
		"the clock is ahead":         {func(n *fakeNetwork) { n.answers["plc.example.com/_health"] = dated(-time.Minute) }, "problem clock", "wrong", "NTP"},
		"no wildcard entry":          {func(n *fakeNetwork) { n.lookup(nil, errors.New("no such host")) }, "problem handles", "no such host", "wildcard"},
		"a wildcard entry elsewhere": {func(n *fakeNetwork) { n.lookup([]string{"198.51.100.1"}, nil) }, "warning handles", "198.51.100.1", "lead"},
		"no mail":                    {func(n *fakeNetwork) { n.around.mail = func(context.Context) error { return errors.New("535 no") } }, "problem mail", "535", "PDS_EMAIL_SMTP_URL"},
		"a relay is down":            {func(n *fakeNetwork) { n.answers[relay] = abort }, "warning relay", "EOF", "by itself"},
		"an unknown host":            {func(n *fakeNetwork) { n.answers[relay] = says(400, `{"error":"HostNotFound"}`) }, "warning relay", "does not know", "server crawl https://relay.example.com"},
		"a banned host":              {func(n *fakeNetwork) { n.answers[relay] = status(90, "banned") }, "problem relay", "banned", "ask"},
		"a host that is off":         {func(n *fakeNetwork) { n.answers[relay] = status(90, "offline") }, "warning relay", "offline", "server crawl"},
		"an idle host":               {func(n *fakeNetwork) { n.answers[relay] = status(90, "idle") }, "", "", ""},
		"a relay that is ahead":      {func(n *fakeNetwork) { n.answers[relay] = status(101, "active") }, "problem relay", "101", "server seq raise 101"},
		"a relay without the method": {func(n *fakeNetwork) { n.answers[relay] = says(501, `{"error":"MethodNotImplemented"}`) }, "", "", ""},
		"a relay of another kind":    {func(n *fakeNetwork) { n.answers[relay] = says(200, "hello") }, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newFakeNetwork(t)
			tt.change(n)
			server := httptest.NewServer(says(200, `{"last":100}`))
			defer server.Close()
			set := &settings{
				hostname: "pds.example.com", handleDomains: []string{".pds.example.com"},
				plcURL: "https://plc.example.com", crawlers: []string{"https://relay.example.com"},
			}
			d := &doctor{
				admin:  &admin{set: set, base: server.URL, client: http.DefaultClient},
				around: n.around, running: true, lastSeq: 80, // 20 have come meanwhile
			}
			d.network(t.Context())
			checks := map[string]bool{}
			var wrong []finding
			for _, f := range d.findings {
				checks[f.Check] = true
				if f.State != "ok" {
					wrong = append(wrong, f)
				}
			}
			for _, check := range []string{"network", "handles", "mail", "PLC directory", "relay"} {
				if !checks[check] {
					t.Errorf("nothing is said of %s", check)
				}
			}
			switch {
			case tt.want == "" && len(wrong) == 0:
			case len(wrong) != 1:
				t.Errorf("findings: %+v", wrong)
			default:
				f := wrong[0]
				if f.State+" "+f.Check != tt.want || !strings.Contains(f.Cause, tt.cause) || !strings.Contains(f.Next, tt.next) {
					t.Errorf("%+v", f)
				}
			}
			if want := slices.ContainsFunc(wrong, func(f finding) bool { return f.State == "problem" }); (d.problems > 0) != want {
				t.Errorf("%d problems", d.problems)
			}
		})
	}
}

// lookup makes names below the host lead elsewhere.
func (n *fakeNetwork) lookup(addresses []string, err error) {
	usual := n.around.lookup
	n.around.lookup = func(ctx context.Context, host string) ([]string, error) {
		if host == "pds.example.com" {
			return usual(ctx, host)
		}
		return addresses, err
	}
}

func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// dated answers with a clock that is ahead of this one.
func dated(ahead time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	}
}
