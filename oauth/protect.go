package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
)

// Protect returns a handler that lets requests with a good token through to next,
// which gets it by [TokenFrom]. The others are answered as the protocol wants it,
// with a JSON object of "error" and "message". What fails in the store or the
// network is logged and answered without detail; a nil log says nothing.
//
// What a token allows is for next to look at. Apps that run in browsers need the
// headers of CORS besides: wrap the handler in xrpc.CORS, say. Resources that take
// other tokens, too, call [Verifier.Verify] themselves.
func (v *Verifier) Protect(next http.Handler, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		v.SetNonce(h)
		h.Set("Cache-Control", "private")
		h.Add("Vary", "Authorization")
		token, err := v.Verify(r)
		if err == nil && token != nil {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tokenKey{}, token)))
			return
		}
		v.Challenge(h, err)
		h.Add("Access-Control-Expose-Headers", headerNonce+", WWW-Authenticate")
		refusal, ok := errors.AsType[*Error](err)
		switch {
		case err == nil:
			refusal = &Error{Status: http.StatusUnauthorized, Code: "AuthMissing", Description: "an access token is required"}
		case !ok:
			log.ErrorContext(r.Context(), "oauth: an access token could not be checked", "path", r.URL.Path, "error", err)
			refusal = &Error{Status: http.StatusInternalServerError, Code: codeServerError, Description: "the server has failed"}
		}
		writeJSON(w, refusal.status(), map[string]string{"error": refusal.Code, "message": refusal.Description})
	})
}

type tokenKey struct{}

// TokenFrom returns the token of a request that [Verifier.Protect] let through, or
// nil.
func TokenFrom(ctx context.Context) *Token {
	token, _ := ctx.Value(tokenKey{}).(*Token)
	return token
}
