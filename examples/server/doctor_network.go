package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// surroundings are what a doctor reaches the network by.
type surroundings struct {
	client *http.Client
	lookup func(ctx context.Context, host string) ([]string, error)
	mail   func(ctx context.Context) error // nil: no mail server
}

func newSurroundings(set *settings) (surroundings, error) {
	out := surroundings{client: &http.Client{Timeout: 15 * time.Second}, lookup: net.DefaultResolver.LookupHost}
	mailer, err := newMailer(set.smtpURL, set.from)
	if mailer != nil {
		out.mail = mailer.Check
	}
	return out, err
}

// maxDoctorAnswer is how much of an answer of others is read.
const maxDoctorAnswer = 64 << 10

// get fetches something of others.
func (d *doctor) get(ctx context.Context, u string) (resp *http.Response, body []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, nil, err
	}
	if resp, err = d.around.client.Do(r); err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxDoctorAnswer))
	return resp, body, err
}

// network looks at the server from outside, and at what it depends on.
func (d *doctor) network(ctx context.Context) {
	d.publicAddress(ctx)
	d.handles(ctx)
	d.mailServer(ctx)
	if d.set.plcURL != "" {
		d.plcDirectory(ctx)
	}
	for _, relay := range d.set.crawlers {
		d.relay(ctx, relay)
	}
}

// publicAddress reaches the server as everybody does, through DNS and the
// reverse proxy, which must pass WebSockets on.
func (d *doctor) publicAddress(ctx context.Context) {
	public := d.set.publicURL() + "/xrpc/_health"
	resp, body, err := d.get(ctx, public)
	switch {
	case err != nil:
		d.problem("network", public, err.Error(), "check the DNS entry of the name, the reverse proxy and its certificate")
		return
	case resp.StatusCode != http.StatusOK:
		d.problem("network", public, "it answers "+resp.Status, "check where the reverse proxy sends requests")
		return
	case !json.Valid(body):
		d.problem("network", public, "something else answers there", "check the DNS entry of the name, and where the reverse proxy sends requests")
		return
	}
	d.ok("network", public+" answers")
	stream := strings.Replace(d.set.publicURL(), "http", "ws", 1) + "/xrpc/com.atproto.sync.subscribeRepos"
	dialCtx, cancel := context.WithTimeout(ctx, d.around.client.Timeout)
	defer cancel()
	conn, _, err := websocket.Dial(dialCtx, stream, &websocket.DialOptions{HTTPClient: &http.Client{Transport: d.around.client.Transport}})
	if err != nil {
		d.problem("network", stream, err.Error(), "let the reverse proxy pass WebSockets on: without them no relay follows")
		return
	}
	_ = conn.CloseNow() // nothing was to be read
	d.ok("network", "WebSockets are passed on")
}

// handles looks for the wildcard entries of handle domains.
func (d *doctor) handles(ctx context.Context) {
	here, _ := d.around.lookup(ctx, d.set.hostname) // a failure is found by publicAddress
	for _, domain := range d.set.handleDomains {
		name := fmt.Sprintf("doctor-%d%s", rand.N(1_000_000_000), domain)
		there, err := d.around.lookup(ctx, name)
		elsewhere := len(here) > 0 && !slices.ContainsFunc(there, func(a string) bool { return slices.Contains(here, a) })
		switch {
		case err != nil:
			d.problem("handles", "*"+domain, err.Error(), "add a wildcard DNS entry for *"+domain+" that leads to this server")
		case elsewhere:
			d.warn("handles", "*"+domain, fmt.Sprintf("it leads to %s, the server is at %s", strings.Join(there, ", "), strings.Join(here, ", ")),
				"let *"+domain+" lead where "+d.set.hostname+" leads, unless that is meant")
		default:
			d.ok("handles", "*"+domain+" resolves")
		}
	}
}

// mailServer signs in to the mail server.
func (d *doctor) mailServer(ctx context.Context) {
	if d.around.mail == nil {
		return // said by configuration
	}
	ctx, cancel := context.WithTimeout(ctx, d.around.client.Timeout)
	defer cancel()
	if err := d.around.mail(ctx); err != nil {
		d.problem("mail", "no mail can be sent", err.Error(), "check PDS_EMAIL_SMTP_URL; mail waits meanwhile, see \"server job list\"")
		return
	}
	d.ok("mail", "the mail server lets this server in")
}

// plcDirectory asks the PLC directory, and for its time.
func (d *doctor) plcDirectory(ctx context.Context) {
	before := time.Now()
	resp, _, err := d.get(ctx, d.set.plcURL+"/_health")
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answers %s", resp.Status)
	}
	if err != nil {
		d.problem("PLC directory", d.set.plcURL, err.Error(), "without it no account is made or changed: check the network, or PDS_DID_PLC_URL")
		return
	}
	d.ok("PLC directory", d.set.plcURL+" answers")
	there, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return // it does not say
	}
	if skew := there.Sub(before); skew < -maxClockSkew-time.Second || skew > maxClockSkew+time.Since(before) {
		d.problem("clock", fmt.Sprintf("it differs by %v from that of the PLC directory", skew.Round(time.Second)), "the clock of this machine is wrong", "let it be set by NTP")
		return
	}
	d.ok("clock", "agrees with that of the PLC directory")
}

// relay asks a relay what it knows of the server, by
// com.atproto.sync.getHostStatus.
func (d *doctor) relay(ctx context.Context, relay string) {
	public, err := url.Parse(d.set.publicURL())
	if err != nil {
		d.problem("relay", relay, err.Error(), "check PDS_HOSTNAME")
		return
	}
	resp, body, err := d.get(ctx, strings.TrimSuffix(relay, "/")+"/xrpc/com.atproto.sync.getHostStatus?hostname="+url.QueryEscape(public.Host))
	if err != nil {
		d.warn("relay", relay, err.Error(), "wait, or check PDS_CRAWLERS; the server asks it again by itself")
		return
	}
	var status struct {
		Seq          int64
		AccountCount int64
		Status       string
		Error        string
	}
	readable := json.Unmarshal(body, &status) == nil
	if d.running && status.Seq > d.lastSeq {
		_ = d.readSeq(ctx) // it has gone on meanwhile; else it has not
	}
	ask := "server crawl " + relay
	switch {
	case status.Error == "HostNotFound":
		d.warn("relay", relay, "it does not know this server", ask)
	case resp.StatusCode != http.StatusOK || !readable:
		d.ok("relay", relay+" answers, but does not say what it knows")
	case status.Status == "banned":
		d.problem("relay", relay, "it has banned this server", "ask those who run it for the reason")
	case d.running && status.Seq > d.lastSeq:
		d.problem("relay", relay, fmt.Sprintf("it has seen the event %d, the newest here is %d, so it waits for higher numbers", status.Seq, d.lastSeq),
			fmt.Sprintf("server seq raise %d", status.Seq))
	case status.Status != "" && status.Status != "active" && status.Status != "idle":
		d.warn("relay", relay, "it calls this server "+status.Status, ask)
	default:
		d.ok("relay", fmt.Sprintf("%s knows %d accounts", relay, status.AccountCount))
	}
}
