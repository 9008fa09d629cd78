package pds

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

// Rate limits. All of them stand here or at the method that has them; none
// holds without Config.Limiter.

const (
	exportNSID = "com.atproto.sync.getRepo"
	day        = 24 * time.Hour
)

// maxWriteBody is the largest input of the methods that write records, in
// bytes.
const maxWriteBody = 1_000_000

// unlimited is the Limiter of a server without rate limits.
type unlimited struct{}

func (unlimited) Take(_ context.Context, _, _ string, _ int, l xrpc.Limit) (xrpc.LimitState, error) {
	return xrpc.LimitState{Allowed: true, Remaining: l.Points, Reset: l.Window}, nil
}

// limitsRequests reports whether there are rate limits at all.
func (c *Config) limitsRequests() bool {
	_, none := c.Limiter.(unlimited)
	return !none
}

// globalLimits hold for every request.
func (c *Config) globalLimits() []xrpc.Limit {
	if !c.limitsRequests() {
		return nil
	}
	return []xrpc.Limit{
		{Name: "requests", Points: 3000, Window: 5 * time.Minute, Key: func(r *http.Request, c *xrpc.Caller) string {
			if xrpc.MethodFrom(r.Context()) == exportNSID {
				return ""
			}
			return xrpc.ByIP(r, c)
		}},
		{Name: "exports", Points: 6000, Window: 5 * time.Minute, Key: func(r *http.Request, c *xrpc.Caller) string {
			if xrpc.MethodFrom(r.Context()) != exportNSID {
				return ""
			}
			return xrpc.ByIP(r, c)
		}},
	}
}

// limitByIP is a limit of one method by the client's address.
func limitByIP(points int, window time.Duration) xrpc.Limit {
	return xrpc.Limit{Points: points, Window: window, Key: xrpc.ByIP}
}

// limitByAccount is a limit of one method by account.
func limitByAccount(points int, window time.Duration) xrpc.Limit {
	return xrpc.Limit{Points: points, Window: window, Key: xrpc.ByAccount}
}

// mailLimits are the limits of methods that make the server send mail to an
// account.
func mailLimits() []xrpc.Limit {
	return []xrpc.Limit{limitByAccount(5, time.Hour), limitByAccount(15, day)}
}

// resetLimits bound the mail to one address that anybody can cause.
func resetLimits(email string) []xrpc.Limit {
	key := func(*http.Request, *xrpc.Caller) string { return boundedKey(email) }
	return []xrpc.Limit{{Points: 5, Window: time.Hour, Key: key}, {Points: 15, Window: day, Key: key}}
}

// uploadLimits are the limits of uploadBlob. An account that is being moved
// here, and deactivated until then, has all its blobs to bring.
func (s *Server) uploadLimits() []xrpc.Limit {
	key := func(deactivated bool) func(*http.Request, *xrpc.Caller) string {
		return func(r *http.Request, c *xrpc.Caller) string {
			if c == nil {
				return xrpc.ByIP(r, c)
			}
			// Service tokens come without the account; they count as of an
			// active one.
			a := credentialOf(c).account
			if moving := a != nil && !a.DeactivatedAt.IsZero(); moving != deactivated {
				return ""
			}
			return c.Account.String()
		}
	}
	return []xrpc.Limit{
		{Points: 1000, Window: day, Key: key(false)},
		{Points: 100_000, Window: day, Key: key(true)},
	}
}

// takeWritePoints takes points for writes from the limits of the account.
func (s *Server) takeWritePoints(ctx context.Context, n int) error {
	return xrpc.TakeLimits(ctx,
		xrpc.Limit{Name: "repo-writes", Points: 5000, Window: time.Hour, Key: xrpc.ByAccount, Cost: n},
		xrpc.Limit{Name: "repo-writes", Points: 35_000, Window: day, Key: xrpc.ByAccount, Cost: n},
	)
}

// loginLimits are the limits of createSession for one identifier from one
// address.
func loginLimits(identifier string) []xrpc.Limit {
	key := func(r *http.Request, c *xrpc.Caller) string {
		return boundedKey(identifier) + " " + xrpc.ByIP(r, c)
	}
	return []xrpc.Limit{
		{Points: 30, Window: 5 * time.Minute, Key: key},
		{Points: 300, Window: day, Key: key},
	}
}

// maxLimitKey bounds what a client can make the limiter remember.
const maxLimitKey = 320

func boundedKey(key string) string { return key[:min(len(key), maxLimitKey)] }

// failureLimit counts logins that fail, from wherever they come. It is wide,
// since whoever uses it up locks the account's owner out as well. What nobody
// has is counted in the same way, so that nothing can be learned from it.
// An e-mail address counts for itself: else the answers would tell whose it is.
func failureLimit(did syntax.DID, identifier string) xrpc.Limit {
	key := string(did)
	if key == "" || strings.Contains(identifier, "@") {
		key = boundedKey(identifier)
	}
	return xrpc.Limit{
		Name: "login-failures", Points: 100, Window: time.Hour,
		Key: func(*http.Request, *xrpc.Caller) string { return key },
	}
}

// checkFailures returns a 429 if a limit is used up, without taking from it.
func (s *Server) checkFailures(ctx context.Context, l xrpc.Limit) error {
	r := xrpc.RequestFrom(ctx)
	if r == nil || !s.cfg.limitsRequests() || s.limitsBypassed(r) {
		return nil
	}
	state, err := s.cfg.Limiter.Take(ctx, l.Name, l.Key(r, nil), 0, l)
	if err != nil {
		// As with every limit that several methods share.
		s.log.WarnContext(ctx, "rate limiter failed", "bucket", l.Name, "error", err)
		return nil
	}
	if state.Remaining > 0 {
		return nil
	}
	return xrpc.TakeLimits(ctx, l)
}

// adminFailureLimit counts wrong passwords of the administrator from one address.
func adminFailureLimit() xrpc.Limit {
	return xrpc.Limit{Name: "admin-failures", Points: 30, Window: 15 * time.Minute}
}

// countAdminFailure counts a wrong password of the administrator, or, with a
// cost of zero, returns a 429 if there were too many. It is called on all ways in, of
// which some are no methods.
func (s *Server) countAdminFailure(r *http.Request, cost int) error {
	if !s.cfg.limitsRequests() || s.limitsBypassed(r) {
		return nil
	}
	ip := xrpc.ForwardedIP(r, append(xrpc.PrivateProxies(), s.cfg.TrustedProxies...))
	l := adminFailureLimit()
	state, err := s.cfg.Limiter.Take(r.Context(), l.Name, ip.String(), cost, l)
	if err != nil {
		// As with every limit that several methods share.
		s.log.WarnContext(r.Context(), "rate limiter failed", "bucket", l.Name, "error", err)
		return nil
	}
	if cost > 0 {
		s.log.WarnContext(r.Context(), "a wrong password of the administrator", "path", r.URL.Path, "address", ip)
		return nil
	}
	if state.Remaining > 0 {
		return nil
	}
	seconds := int((state.Reset + time.Second - 1) / time.Second)
	return xrpc.NewError(http.StatusTooManyRequests, "", "Too many wrong passwords").WithHeader("Retry-After", strconv.Itoa(seconds))
}

// limitsBypassed reports whether a request is exempt from limits.
func (s *Server) limitsBypassed(r *http.Request) bool {
	ip := xrpc.ClientIP(r.Context())
	if slices.ContainsFunc(s.cfg.LimitBypassIPs, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return true
	}
	key := r.Header.Get(xrpc.BypassHeader)
	return key != "" && s.cfg.LimitBypassKey != "" &&
		subtle.ConstantTimeCompare([]byte(key), []byte(s.cfg.LimitBypassKey)) == 1
}

// normalizeIdentifier brings what somebody signs in with into the form in which
// it is looked up and counted.
func normalizeIdentifier(identifier string) string {
	return strings.ToLower(strings.TrimSpace(identifier))
}
