package pds

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

// proxy passes a request for a method that is not served here on to the service
// that it is for, in the caller's name. It is the fallback of the XRPC server,
// which has sorted out the methods that a PDS owns.
func (s *Server) proxy(w http.ResponseWriter, r *http.Request) error {
	nsid := xrpc.MethodFrom(r.Context())
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return xrpc.InvalidRequest("XRPC requests only supports GET and POST")
	}
	if isProtected(nsid) {
		return errBadTokenMethod()
	}
	if s.namesSelf(r) {
		return xrpc.NotImplemented()
	}
	to, err := s.upstreamOf(r, nsid)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "private")
	h.Add("Vary", "Authorization")
	h.Add("Vary", "Accept-Encoding")
	caller, err := s.xrpc.Authorize(r, s.callRule(nsid))
	if err != nil {
		return err
	}
	account, err := s.accountOf(r.Context(), caller)
	if err != nil {
		return err
	}
	if err := s.resolve(r.Context(), &to); err != nil {
		return err
	}
	if s.isSelf(&to) {
		return xrpc.NotImplemented()
	}
	call := &serviceCall{to: to, verb: r.Method, url: r.URL, nsid: nsid, header: requestHeaders(r), account: account}
	if r.Method == http.MethodPost && r.ContentLength != 0 {
		body, err := xrpc.RawBody(r.Context(), s.cfg.Limits.ProxyBytes)
		if err != nil {
			return err
		}
		defer body.Close()
		call.body, call.length = body, r.ContentLength
	}
	resp, err := s.send(r.Context(), call)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return s.passAnswer(w, resp)
}

func errBadTokenMethod() *xrpc.Error { return xrpc.InvalidToken("Bad token method") }

// namesSelf reports whether the header of a request names this server.
func (s *Server) namesSelf(r *http.Request) bool {
	to, err := parseProxyHeader(r.Header.Get(proxyHeader))
	return err == nil && s.isSelf(&to)
}

// callRule is for methods of other services: of the one that the request is for,
// which are called in the name of the caller's account, deactivated or not.
// Further methods are those that the service calls in turn.
func (s *Server) callRule(nsid string, further ...string) xrpc.Rule {
	check := s.check(accessRule{scopes: standardAccess, oauthAny: true})
	return xrpc.Required(func(ctx context.Context, c *xrpc.Caller) error {
		if err := check(ctx, c); err != nil {
			return err
		}
		to, err := s.upstreamOf(xrpc.RequestFrom(ctx), nsid)
		if err != nil {
			return err
		}
		return mayCall(c, to.audience(), append(further, nsid)...)
	})
}

// mayCall checks that a caller may call methods of a service.
func mayCall(c *xrpc.Caller, aud string, methods ...string) error {
	for _, nsid := range methods {
		if c.Kind != xrpc.KindOAuth && sessionScope(c) == scopeAppPass && isPrivileged(nsid) {
			return errBadTokenMethod()
		}
		if err := requireRPC(c, nsid, aud); err != nil {
			return err
		}
	}
	return nil
}

// extensionHeaders is the beginning of the names of headers that are passed on
// for methods to come.
const extensionHeaders = "X-Atproto-"

// requestHeaders returns the headers of a request that are passed on.
func requestHeaders(r *http.Request) http.Header {
	names := []string{"Accept-Encoding", "Accept-Language", "Atproto-Accept-Labelers", "X-Bsky-Topics"}
	if r.Method == http.MethodPost {
		names = append(names, "Content-Type", "Content-Encoding")
	}
	h := make(http.Header, 8)
	passHeaders(h, r.Header, names)
	for name, values := range r.Header {
		if strings.HasPrefix(name, extensionHeaders) {
			h[name] = values
		}
	}
	return h
}

// copyBytes is the size in which answers are passed on. A call that waits for
// its upstream holds so much.
const copyBytes = 16 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// passAnswer passes an answer on to the client as it comes.
func (s *Server) passAnswer(w http.ResponseWriter, resp *http.Response) error {
	h := w.Header()
	passHeaders(h, resp.Header, answerHeaders)
	// What is passed on is data of somebody else under this server's name.
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	if resp.ContentLength >= 0 {
		h.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	w.WriteHeader(resp.StatusCode)
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		return nil
	}
	buf := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(buf)
	rc := http.NewResponseController(w)
	left := resp.ContentLength // negative: not known
	for {
		n, err := resp.Body.Read(buf[:])
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(s.cfg.Limits.MediaUploadIdle))
			if _, err := w.Write(buf[:n]); err != nil {
				return errClientGone(err)
			}
			if left -= int64(n); n < copyBytes && left != 0 {
				_ = rc.Flush() // it may be a while until there is more
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	_ = rc.Flush()
	_ = rc.SetWriteDeadline(time.Time{})
	return nil
}

// errClientGone is for the log: there is nobody to be told.
func errClientGone(cause error) error {
	return xrpc.InvalidRequest("the client left").WithCause(cause)
}
