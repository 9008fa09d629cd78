package xrpc

import (
	"net/http"
	"strings"
)

// exposed are the headers of answers that scripts of other origins may read.
var exposed = strings.Join([]string{
	"DPoP-Nonce", "WWW-Authenticate",
	"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy", "Retry-After",
	"atproto-repo-rev", "atproto-content-labelers", "Atproto-Upstream-Lag", "X-Request-Id",
}, ", ")

const corsMaxAge = "86400" // seconds

// CORS wraps a handler so that scripts of every origin may use it, without
// cookies, and answers preflight requests itself. A [Server] does this for its
// methods; use CORS for further public routes.
func CORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !cors(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// cors sets the headers and reports whether it has answered the request.
func cors(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodOptions {
		h.Set("Access-Control-Expose-Headers", exposed)
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
	h.Set("Access-Control-Max-Age", corsMaxAge)
	// "*" would not cover Authorization.
	if want := r.Header.Get("Access-Control-Request-Headers"); want != "" {
		h.Set("Access-Control-Allow-Headers", want)
		addVary(h, "Access-Control-Request-Headers")
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
