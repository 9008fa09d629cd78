package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// upstream is a service of the network that this server calls for its accounts.
type upstream struct {
	did     syntax.DID
	service string // its name in the DID document, without "#"
	url     string // scheme and host; empty: not resolved yet
}

// audience is what OAuth scopes call the service.
func (u *upstream) audience() string { return string(u.did) + "#" + u.service }

// serviceCall is a request to an upstream.
type serviceCall struct {
	to     upstream // resolved
	verb   string
	url    *url.URL // path and query count
	nsid   string
	header http.Header // of the request; may be nil

	body   io.Reader // nil: none
	length int64     // of body; -1: not known

	// account signs the request; nil: it is not signed. The token is for the
	// upstream and the method, unless aud or lxm say otherwise.
	account  *storage.Account
	aud, lxm string
}

// errUpstreamSlow is the cause of a context that ended because an upstream kept
// the server waiting.
var errUpstreamSlow = errors.New("pds: the service did not answer in time")

func errUpstreamUnreachable(cause error) error {
	return xrpc.NewError(http.StatusBadGateway, "UpstreamFailure", "Upstream service unreachable").WithCause(cause)
}

// newCall prepares a call of a method by its NSID.
func newCall(to upstream, verb, nsid string, query url.Values, account *storage.Account) *serviceCall {
	return &serviceCall{
		to: to, verb: verb, nsid: nsid, account: account, header: http.Header{},
		url: &url.URL{Path: xrpc.Prefix + nsid, RawQuery: query.Encode()},
	}
}

// send makes a call. It returns the answer if it is a success, without its body
// having been read; else an *xrpc.Error that may be passed on to the client.
//
// The body of the answer fails after Limits.ProxyBytes and when the upstream
// stands still for Limits.ProxyIdle. It must be closed, which ends the call: no
// more than Limits.ProxyCalls are under way at a time, and Limits.ProxyCallsEach
// for one account or address.
func (s *Server) send(ctx context.Context, c *serviceCall) (*http.Response, error) {
	key := xrpc.ClientKey(ctx)
	if c.account != nil {
		key = string(c.account.DID)
	}
	release, ok := s.calls.take(key)
	if !ok {
		return nil, xrpc.NewError(http.StatusServiceUnavailable, "NotEnoughResources", "Too many requests to other services are under way")
	}
	resp, err := s.sendSlot(ctx, c, release)
	if err != nil {
		release()
		return nil, err
	}
	return resp, nil
}

func (s *Server) sendSlot(ctx context.Context, c *serviceCall, release func()) (*http.Response, error) {
	limits := &s.cfg.Limits
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limits.ProxyHeaderTime, func() { cancel(errUpstreamSlow) })
	stop := func() {
		timer.Stop()
		cancel(context.Canceled)
	}
	var sent *sentBody
	if c.body != nil {
		sent = &sentBody{r: c.body, timer: timer, wait: limits.ProxyHeaderTime}
	}
	resp, repeated, err := s.sendOnce(ctx, c, sent)
	for try := 0; err != nil && try < limits.ProxyRetries && mayRetry(c, err); try++ {
		sleep(ctx, retryPause)
		resp, repeated, err = s.sendOnce(ctx, c, sent)
	}
	if err == nil && repeated && resp.StatusCode >= 400 && resp.StatusCode < 500 && c.verb != http.MethodPost {
		resp.Body.Close()
		resp, _, err = s.sendOnce(ctx, c, sent)
	}
	refused := sent.detach()
	timer.Stop()
	if err != nil {
		cause := context.Cause(ctx)
		stop()
		if refused != nil {
			return nil, refused
		}
		if errors.Is(cause, errUpstreamSlow) {
			return nil, xrpc.NewError(http.StatusGatewayTimeout, "", "").WithCause(fmt.Errorf("%w: %w", cause, err))
		}
		return nil, err
	}
	body := &answerBody{
		r: resp.Body, ctx: ctx, timer: timer, idle: limits.ProxyIdle, left: limits.ProxyBytes,
		close: func() {
			stop()
			release()
		},
	}
	resp.Body = body
	if err := checkAnswer(resp, limits.ProxyBytes); err != nil {
		body.close = stop // the slot is given back by send
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// sendOnce sends a call with a token of its own, since a service may take a token
// once. It reports whether the transport has sent it more than once nevertheless,
// as net/http does with a query when a connection that was kept breaks: then a
// refusal may be that of the token.
func (s *Server) sendOnce(ctx context.Context, c *serviceCall, body *sentBody) (resp *http.Response, repeated bool, err error) {
	var times atomic.Int64
	r, err := s.serviceRequest(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { times.Add(1) }}), c)
	if err != nil {
		return nil, false, err
	}
	if body != nil {
		r.Body, r.ContentLength = io.NopCloser(body), c.length
	}
	if resp, err = s.cfg.Transport.RoundTrip(r); err != nil {
		err = errUpstreamUnreachable(err)
	}
	return resp, c.account != nil && times.Load() > 1, err
}

// retryPause is between two tries of a call.
const retryPause = 100 * time.Millisecond

// mayRetry reports whether a call may be tried again after an error: a query
// whose connection could not be made, or broke before there was an answer.
func mayRetry(c *serviceCall, err error) bool {
	if c.verb == http.MethodPost || errors.Is(err, identity.ErrBlockedAddress) {
		return false
	}
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// serviceRequest makes the HTTP request of a call, with its token.
func (s *Server) serviceRequest(ctx context.Context, c *serviceCall) (*http.Request, error) {
	target, err := url.Parse(c.to.url)
	if err != nil {
		return nil, err
	}
	target.Path, target.RawPath = c.url.Path, c.url.RawPath
	target.RawQuery, target.ForceQuery = c.url.RawQuery, c.url.ForceQuery
	header := c.header
	header["User-Agent"] = nil // else net/http names itself
	if header.Get("Accept-Encoding") == "" {
		header.Set("Accept-Encoding", "identity") // else net/http asks for gzip
	}
	if c.account != nil {
		token, err := s.callToken(ctx, c)
		if err != nil {
			return nil, err
		}
		header.Set("Authorization", "Bearer "+token)
	}
	r := &http.Request{Method: c.verb, URL: target, Host: target.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	return r.WithContext(ctx), nil
}

// callTokenLife is the life of the token of a call.
const callTokenLife = time.Minute

func (s *Server) callToken(ctx context.Context, c *serviceCall) (token string, err error) {
	ctx, sp := s.tracer.start(ctx, SpanInternal, spanSign)
	defer func() { sp.end(err) }()
	aud, lxm := c.aud, c.lxm
	if aud == "" {
		aud = string(c.to.did)
		if s.cfg.AudienceNamesService {
			aud = c.to.audience()
		}
	}
	if lxm == "" {
		lxm = c.nsid
	}
	key, err := s.openSigningKey(ctx, c.account.DID, c.account.KeyID)
	if err != nil {
		return "", err
	}
	return s.signServiceToken(key, c.account.DID, aud, lxm, s.clock.Now().Add(callTokenLife))
}

// callJSON calls a method with JSON input, if there is one, in the name of an
// account (nil: nobody's), and returns the JSON of the answer, which is bounded
// by maxServiceJSON and nil if it is empty. Without input it is a query.
func (s *Server) callJSON(ctx context.Context, to upstream, account *storage.Account, nsid string, query url.Values, in any) (json.RawMessage, error) {
	c := newCall(to, http.MethodGet, nsid, query, account)
	c.header.Set("Accept", "application/json")
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		c.verb, c.body, c.length = http.MethodPost, bytes.NewReader(body), int64(len(body))
		c.header.Set("Content-Type", "application/json")
	}
	resp, err := s.send(ctx, c)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readJSONAnswer(resp)
}

// sentBody is the body of a call. While it waits for its source, the clock of
// the upstream stands still.
type sentBody struct {
	r    io.Reader
	wait time.Duration

	mu    sync.Mutex  // guards following 2 fields
	timer *time.Timer // nil: the upstream has answered
	err   error       // of the source
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.progress(func(t *time.Timer) { t.Stop() }, nil)
	n, err := b.r.Read(p)
	b.progress(func(t *time.Timer) { t.Reset(b.wait) }, err)
	return n, err
}

func (b *sentBody) progress(set func(*time.Timer), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		set(b.timer)
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
}

// detach leaves the timer alone from now on, and returns what went wrong with
// the source so far.
func (b *sentBody) detach() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = nil
	return b.err
}
