package oauth

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
)

// headerNonce carries the nonce for the next DPoP proof, RFC 9449 section 8.
const headerNonce = "DPoP-Nonce"

// endpoint makes a handler that programs of any origin may call. An error of
// serve is the answer.
func (s *Server) endpoint(method string, serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Methods", "*")
		h.Set("Access-Control-Allow-Headers", "Content-Type,DPoP")
		h.Set("Access-Control-Expose-Headers", headerNonce)
		h.Set("Access-Control-Max-Age", "86400")
		h.Set("X-Content-Type-Options", "nosniff")
		if method == http.MethodPost {
			h.Set("Cache-Control", "no-store")
			h.Set("Pragma", "no-cache")
			h.Set(headerNonce, s.nonces.Next(s.now()))
		}
		switch {
		case r.Method == http.MethodOptions:
			w.WriteHeader(http.StatusOK)
		case r.Method == method, r.Method == http.MethodHead && method == http.MethodGet:
			if err := serve(w, r); err != nil {
				s.writeError(w, r, err)
			}
		default:
			h.Set("Allow", method+", OPTIONS")
			s.writeError(w, r, &Error{Status: http.StatusMethodNotAllowed, Code: codeInvalidRequest, Description: "the method is not allowed"})
		}
	})
}

// errLimited answers a request beyond a rate.
func errLimited(w http.ResponseWriter, wait time.Duration) error {
	w.Header().Set("Retry-After", strconv.FormatFloat(math.Ceil(wait.Seconds()), 'f', 0, 64))
	return &Error{Status: http.StatusTooManyRequests, Code: codeUnavailable, Description: "too many requests, please wait"}
}

// writeError answers with an error. What is none of the protocol is logged, and
// answered without detail.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := s.publicError(r, err)
	w.Header().Set("Cache-Control", "no-store")
	body := map[string]string{"error": e.Code}
	if e.Description != "" {
		body["error_description"] = plain(e.Description)
	}
	writeJSON(w, e.status(), body)
}

func (s *Server) publicError(r *http.Request, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*dpop.Error](err); ok {
		return &Error{Code: e.Code, Description: e.Description}
	}
	if errors.Is(err, ErrBusy) {
		return &Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Description: "the server is busy"}
	}
	if r.Context().Err() == nil { // else nobody is there any more
		s.cfg.Logger.ErrorContext(r.Context(), "oauth: request failed", "path", r.URL.Path, "error", err)
	}
	return &Error{Status: http.StatusInternalServerError, Code: codeServerError, Description: "the server has failed"}
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	data, err := json.Marshal(value)
	if err != nil { // only for types that are not JSON
		status, data = http.StatusInternalServerError, []byte(`{"error":"`+codeServerError+`"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	w.Write(data)
}

// isOwnHost reports whether a request is for the server itself, and not for
// another name that leads here, such as a user's handle.
func (s *Server) isOwnHost(r *http.Request) bool {
	if isHostOf(r.Host, s.cfg.Issuer) || r.URL.Path == pathProtectedResource && isHostOf(r.Host, s.cfg.Resource) {
		return true
	}
	if !s.cfg.DevMode {
		return false
	}
	u := url.URL{Host: r.Host}
	return isLoopback(u.Hostname())
}

// isHostOf reports whether a Host header is that of an origin.
func isHostOf(host, origin string) bool {
	scheme, want, _ := strings.Cut(origin, "://")
	host = strings.ToLower(host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return host == want
}

// ipKey is the key of an address for rates. Whoever has an IPv6 address has
// those of a /64.
func ipKey(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is6() {
		prefix, err := addr.WithZone("").Prefix(64)
		if err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}
