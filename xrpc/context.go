package xrpc

import (
	"context"
	"net/http"
	"net/netip"
)

type callKey struct{}

// A call is one request on its way through a [Server].
type call struct {
	server *Server
	req    *http.Request
	rw     *recorder
	nsid   string // empty: no method, or one whose name is no NSID
	id     string
	ip     netip.Addr
	caller *Caller
	limits limitHeaders
	err    error        // for the log
	traced func(Served) // nil: the request is not traced

	known   bool // there is a method nsid
	counted bool // by the global limits
}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// CallerFrom returns who makes the request that ctx belongs to: nil if nobody
// has been authenticated.
func CallerFrom(ctx context.Context) *Caller {
	if c := callFrom(ctx); c != nil {
		return c.caller
	}
	return nil
}

// WithCaller returns a context for calling a handler in process, as if caller
// made the request. What else ctx tells about its request stays.
func WithCaller(ctx context.Context, caller *Caller) context.Context {
	next := new(call)
	if c := callFrom(ctx); c != nil {
		*next = *c
	}
	next.caller = caller
	return context.WithValue(ctx, callKey{}, next)
}

// MethodFrom returns the NSID of the method that is being called, as it is
// registered, or empty outside of a request. A [Config.Fallback] gets the
// NSID of the path.
func MethodFrom(ctx context.Context) string {
	if c := callFrom(ctx); c != nil {
		return c.nsid
	}
	return ""
}

// RequestFrom returns the request that ctx belongs to, nil outside of one.
// Its body is not to be touched.
func RequestFrom(ctx context.Context) *http.Request {
	if c := callFrom(ctx); c != nil {
		return c.req
	}
	return nil
}

// RequestID returns the id that the log and the header X-Request-Id give to
// the request, empty outside of one.
func RequestID(ctx context.Context) string {
	if c := callFrom(ctx); c != nil {
		return c.id
	}
	return ""
}

// ClientIP returns the address of the client, see [Config.TrustedProxies]. It
// is the zero Addr outside of a request and if the address is not known.
func ClientIP(ctx context.Context) netip.Addr {
	if c := callFrom(ctx); c != nil {
		return c.ip
	}
	return netip.Addr{}
}

// ResponseHeader returns the headers of the answer, for handlers to change
// before they return. Headers set here also go with an error. Outside of a
// request they go nowhere.
func ResponseHeader(ctx context.Context) http.Header {
	if c := callFrom(ctx); c != nil && c.rw != nil {
		return c.rw.Header()
	}
	return make(http.Header)
}
