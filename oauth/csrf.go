package oauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// csrfToken returns the token of the forms that are shown on a device in a
// context: an authorization request, or the account manager.
func (s *Server) csrfToken(secret, context string) string {
	mac := hmac.New(sha256.New, s.csrfKey[:])
	mac.Write([]byte(secret + "\x00" + context))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// csrfValid reports whether a token belongs to the device and the context. The
// session secret may have been replaced since the form was shown.
func (s *Server) csrfValid(d *device, context, token string) bool {
	ok := hmac.Equal([]byte(token), []byte(s.csrfToken(d.doc.Secret, context)))
	for _, f := range d.doc.Former {
		ok = hmac.Equal([]byte(token), []byte(s.csrfToken(f.Secret, context))) || ok
	}
	return ok
}

// checkNavigation refuses what is not a person going to a page: a frame, a
// script, an image, or a browser that looks ahead. Headers that old browsers do
// not send may be absent.
func (s *Server) checkNavigation(r *http.Request) error {
	h := r.Header
	if r.Method == http.MethodHead || strings.HasPrefix(h.Get("Sec-Purpose"), "prefetch") {
		return errForbidden
	}
	if !oneOf(h, "Sec-Fetch-Mode", "navigate") || !oneOf(h, "Sec-Fetch-Dest", "document") ||
		!oneOf(h, "Sec-Fetch-Site", "same-origin", "same-site", "cross-site", "none") ||
		!oneOf(h, "Origin", s.cfg.Issuer) {
		return errForbidden
	}
	return nil
}

// oneOf reports whether a header is absent, or there once with one of the
// values.
func oneOf(h http.Header, name string, values ...string) bool {
	got := h.Values(name)
	if len(got) == 0 {
		return true
	}
	for _, v := range values {
		if len(got) == 1 && got[0] == v {
			return true
		}
	}
	return false
}

// readPageForm reads the form of a POST that came from one of our pages.
func (s *Server) readPageForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if len(r.Header.Values("Origin")) != 1 || s.checkNavigation(r) != nil || !oneOf(r.Header, "Sec-Fetch-Site", "same-origin") {
		return nil, errForbidden
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" || r.Header.Get("Content-Encoding") != "" ||
		params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return nil, &pageError{status: http.StatusUnsupportedMediaType}
	}
	r.Body = http.MaxBytesReader(w, r.Body, s.cfg.Limits.BodyBytes)
	if err := r.ParseForm(); err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return nil, &pageError{status: http.StatusRequestEntityTooLarge}
		}
		return nil, &pageError{status: http.StatusBadRequest, cause: err}
	}
	return r.PostForm, nil
}
