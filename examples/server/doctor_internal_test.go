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

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
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

// TestDoctorsIdentities compares what others know of an account with what it is
// here.
func TestDoctorsIdentities(t *testing.T) {
	t.Parallel()
	const did, own, theirs = "did:plc:aliceaaaaaaaaaaaaaaaaaaa", "did:key:own", "did:key:theirs"
	rotation, err := parseRotationKey(strings.Repeat("1f", 32))
	if err != nil {
		t.Fatal(err)
	}
	public, err := rotation.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	proof := http.NewServeMux()
	proof.HandleFunc("GET /xrpc/com.atproto.identity.resolveHandle", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("handle") {
		case "alice.proven.example":
			says(200, `{"did":"`+did+`"}`)(w, r)
		case "alice.others.example":
			says(200, `{"did":"did:plc:bobbbbbbbbbbbbbbbbbbbbbb"}`)(w, r)
		default:
			says(400, `{"error":"InvalidRequest","message":"Unable to resolve handle"}`)(w, r)
		}
	})
	server := httptest.NewServer(proof)
	defer server.Close()
	set := &settings{hostname: "pds.example.com", handleDomains: []string{".pds.example.com"}, rotationKey: rotation}
	for _, tt := range []struct {
		name, handle string
		change       func(s *identity.State)
		cause, next  string // of the one finding; empty: none
	}{
		{"nothing", "alice.pds.example.com", func(*identity.State) {}, "", ""},
		{"no handle", "", func(s *identity.State) { s.AlsoKnownAs = nil }, "", ""},
		{"ended", "alice.pds.example.com", func(s *identity.State) { s.Tombstoned = true }, "ended", "delete"},
		{"elsewhere", "alice.pds.example.com", func(s *identity.State) {
			s.Services[identity.ServicePDS] = identity.Service{Endpoint: "https://elsewhere.example.com"}
		}, "elsewhere.example.com", "deactivate"},
		{"another key", "alice.pds.example.com", func(s *identity.State) { s.VerificationMethods[identity.KeyAtproto] = theirs }, theirs, "server key rotate " + did},
		{"no rotation key", "alice.pds.example.com", func(s *identity.State) { s.RotationKeys = []string{theirs} }, "rotation key", public.DIDKey()},
		{"another handle", "alice.pds.example.com", func(s *identity.State) { s.AlsoKnownAs = []string{"at://old.pds.example.com"} },
			"at://old.pds.example.com", "server account handle " + did + " alice.pds.example.com"},
		{"no name", "alice.pds.example.com", func(s *identity.State) { s.AlsoKnownAs = nil }, "alice.pds.example.com", "server account handle"},
		{"a proven handle", "alice.proven.example", func(*identity.State) {}, "", ""},
		{"a handle that is not proven", "alice.example.org", func(*identity.State) {}, "Unable to resolve", "_atproto.alice.example.org"},
		{"a handle of others", "alice.others.example", func(*identity.State) {}, "did:plc:bob", "_atproto.alice.others.example"},
	} {
		state := &identity.State{
			AlsoKnownAs: []string{"at://" + tt.handle}, RotationKeys: []string{public.DIDKey()},
			VerificationMethods: map[string]string{identity.KeyAtproto: own},
			Services:            map[string]identity.Service{identity.ServicePDS: {Endpoint: "https://pds.example.com/"}},
		}
		tt.change(state)
		d := &doctor{admin: &admin{set: set, base: server.URL, client: http.DefaultClient}}
		row := &pds.AccountDetails{DID: did, Handle: syntax.Handle(tt.handle)}
		d.handle(t.Context(), row)
		d.identity(row, state, own)
		switch {
		case tt.cause == "" && len(d.findings) == 0:
		case len(d.findings) != 1:
			t.Errorf("%s: %+v", tt.name, d.findings)
		case tt.cause == "" || !strings.Contains(d.findings[0].Cause, tt.cause) || !strings.Contains(d.findings[0].Next, tt.next):
			t.Errorf("%s: %+v", tt.name, d.findings[0])
		}
	}
}

// TestDoctorsConfiguration: each warning has a cause and a next step that fit.
func TestDoctorsConfiguration(t *testing.T) {
	t.Parallel()
	set := &settings{devMode: true, hostname: "localhost", warnings: []string{devModeWarning, "PDS_NONSENSE is not a known name and has no effect"}}
	d := &doctor{admin: &admin{set: set}}
	d.configuration()
	for i, want := range []string{"set it to false", "remove it"} {
		if f := d.findings[i]; !strings.Contains(f.Next, want) {
			t.Errorf("%+v", f)
		}
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
