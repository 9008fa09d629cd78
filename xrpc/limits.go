package xrpc

import (
	"context"
	"crypto/subtle"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// BypassHeader carries [Config.LimitBypassKey].
const BypassHeader = "X-Ratelimit-Bypass"

// A Limit is a number of points that a client may spend in a window of time.
// The window begins with the first request.
type Limit struct {
	// Name is the bucket. Limits of the same name, number and window count
	// together, whichever methods they stand at. Empty: the method alone.
	Name string

	Points int           // how many points there are; positive
	Window time.Duration // how long they last; positive

	// Key tells clients apart: [ByIP], [ByAccount], or a function of the
	// embedder. A request with an empty key is not counted. nil: ByIP.
	Key func(*http.Request, *Caller) string

	// Cost is the number of points that a request takes. 0 means 1.
	Cost int
}

func (l Limit) mustBeValid() {
	if err := l.validate(); err != nil {
		panic("xrpc: " + err.Error()) //nolint:forbidigo // at registration
	}
}

func (l Limit) validate() error {
	if l.Points <= 0 || l.Window <= 0 || l.Cost < 0 {
		return fmt.Errorf("limit %q: points and window must be positive, cost not negative", l.Name)
	}
	return nil
}

// ByIP is a key for [Limit]: the address of the client, IPv6 by /64.
func ByIP(r *http.Request, _ *Caller) string { return AddressKey(ClientIP(r.Context())) }

// ByAccount is a key for [Limit]: the DID whose account is used, or the
// address if nobody has been authenticated.
func ByAccount(r *http.Request, c *Caller) string {
	if c == nil || c.Account == "" {
		return ByIP(r, c)
	}
	return c.Account.String()
}

// A LimitState is what a [Limiter] says.
type LimitState struct {
	Allowed   bool
	Remaining int           // points left, after the request if it is allowed
	Reset     time.Duration // until the window ends
}

// A Limiter counts. Take spends cost points of the bucket's key if they are
// there, and nothing otherwise. Points and Window come from l; its Key and
// Cost are not used. Counts of different buckets, numbers or windows are apart. It must be
// safe for concurrent use. An error means that it could not count: limits of
// the server and limits with a name then let requests pass, others do not.
type Limiter interface {
	Take(ctx context.Context, bucket, key string, cost int, l Limit) (LimitState, error)
}

// limitHeaders is the state of the tightest limit so far.
type limitHeaders struct {
	set   bool
	limit Limit
	state LimitState
}

// TakeLimits spends points on behalf of the request that ctx belongs to, for
// handlers whose key or cost depends on the input. It returns a 429 if a limit
// is used up, and nil outside of a request. Limits are taken in order; the
// first that is used up ends it, those before it have been spent.
func TakeLimits(ctx context.Context, limits ...Limit) error {
	c := callFrom(ctx)
	if c == nil || c.server == nil {
		return nil
	}
	for _, l := range limits {
		if err := l.validate(); err != nil {
			return err
		}
	}
	return c.takeLimits(ctx, limits, false)
}

func (c *call) takeLimits(ctx context.Context, limits []Limit, global bool) error {
	c.counted = c.counted || global
	if len(limits) == 0 || c.bypassed() {
		return nil
	}
	for _, l := range limits {
		if err := c.takeLimit(ctx, l, global); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) takeLimit(ctx context.Context, l Limit, global bool) error {
	keyOf := l.Key
	if keyOf == nil {
		keyOf = ByIP
	}
	key := keyOf(c.req, c.caller)
	if key == "" {
		return nil
	}
	bucket := l.Name
	switch {
	case bucket == "" && global:
		bucket = "*"
	case bucket == "":
		bucket = c.nsid
	}
	state, err := c.server.limiter.Take(ctx, bucket, key, max(l.Cost, 1), l)
	if err != nil {
		c.server.log.WarnContext(ctx, "rate limiter failed", "id", c.id, "bucket", bucket, "error", err)
		if global || l.Name != "" {
			return nil
		}
		return NewError(http.StatusServiceUnavailable, "", "").WithCause(err)
	}
	if !c.limits.set || !state.Allowed || tighter(state, c.limits.state) {
		c.limits = limitHeaders{true, l, state}
		c.limits.write(c.rw.Header(), c.server.now())
	}
	if !state.Allowed {
		return NewError(http.StatusTooManyRequests, "", "").
			WithHeader("Retry-After", strconv.FormatInt(seconds(state.Reset), 10))
	}
	return nil
}

func tighter(a, b LimitState) bool {
	return a.Remaining < b.Remaining || a.Remaining == b.Remaining && a.Reset > b.Reset
}

func (l *limitHeaders) write(h http.Header, now time.Time) {
	// The names are written as the draft has them, not as Go would.
	h["Ratelimit-Limit"] = []string{strconv.Itoa(l.limit.Points)}
	h["Ratelimit-Remaining"] = []string{strconv.Itoa(l.state.Remaining)}
	h["Ratelimit-Reset"] = []string{strconv.FormatInt(now.Unix()+seconds(l.state.Reset), 10)}
	h["Ratelimit-Policy"] = []string{fmt.Sprintf("%d;w=%d", l.limit.Points, seconds(l.limit.Window))}
}

func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// bypassed reports whether limits do not hold for the request.
func (c *call) bypassed() bool {
	cfg := &c.server.cfg
	if key := c.req.Header.Get(BypassHeader); key != "" && cfg.LimitBypassKey != "" &&
		subtle.ConstantTimeCompare([]byte(key), []byte(cfg.LimitBypassKey)) == 1 {
		return true
	}
	return len(cfg.LimitBypassIPs) > 0 && containsIP(cfg.LimitBypassIPs, c.ip)
}
