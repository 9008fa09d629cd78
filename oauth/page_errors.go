package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/pdskit/pdskit/oauth/ui"
)

// A pageError ends a request with an error page.
type pageError struct {
	status int
	code   string // an Error constant of ui; empty: by status
	detail string // in English, shown as a technical detail
	wait   time.Duration
	cause  error // logged
}

func (e *pageError) Error() string {
	text := "oauth: page: " + strconv.Itoa(e.status) + " " + e.code
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

func (e *pageError) Unwrap() error { return e.cause }

var (
	errForbidden = &pageError{status: http.StatusForbidden, code: ui.ErrorForbidden}
	errExpired   = &pageError{status: http.StatusBadRequest, code: ui.ErrorExpired}
	errNoPage    = &pageError{status: http.StatusNotFound, code: ui.ErrorNotFound}
)

// spend takes a point of a rate, or returns an error page that says how long
// to wait.
func (s *Server) spend(ctx context.Context, bucket, key string, rate Rate) error {
	if wait := s.limited(ctx, bucket, key, rate); wait > 0 {
		return &pageError{status: http.StatusTooManyRequests, code: ui.ErrorTooMany, wait: wait}
	}
	return nil
}

// Buckets of the rates of the pages.
const (
	bucketDevice      = "oauth-device"
	bucketSignIn      = "oauth-sign-in"
	bucketSignInPair  = "oauth-sign-in-pair"
	bucketSignInDay   = "oauth-sign-in-pair-day"
	bucketReset       = "oauth-reset"
	bucketResetDay    = "oauth-reset-day"
	bucketSignUp      = "oauth-sign-up"
	bucketHandleCheck = "oauth-handle-check"
)

// setRetryAfter sets the header to whole seconds, rounded up.
func setRetryAfter(h http.Header, wait time.Duration) {
	if wait > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	}
}

// fail answers with an error page.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	page, ok := errors.AsType[*pageError](err)
	if !ok {
		page = asPage(err)
	}
	if page.cause != nil && r.Context().Err() == nil {
		level := slog.LevelInfo
		if page.status >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		s.cfg.Logger.Log(r.Context(), level, "oauth: a page answers with an error", "path", r.URL.Path, "status", page.status, "error", page.cause)
	}
	code := page.code
	if code == "" {
		code = ui.ErrorInvalidRequest
	}
	setRetryAfter(w.Header(), page.wait)
	s.pageHeaders(w.Header(), pageTargets{})
	s.render(w, r, page.status, &ui.ErrorPage{Code: code, Detail: page.detail})
}

// asPage returns the page for any other error.
func asPage(err error) *pageError {
	if protocol, ok := errors.AsType[*Error](err); ok {
		return &pageError{status: protocol.status(), code: pageCode(protocol), detail: plain(protocol.Description)}
	}
	switch {
	case errors.Is(err, errDeviceGone), errors.Is(err, ErrSignedOut):
		return errExpired
	case errors.Is(err, ErrBusy):
		return &pageError{status: http.StatusServiceUnavailable, code: ui.ErrorUnavailable}
	}
	return &pageError{status: http.StatusInternalServerError, code: ui.ErrorInternal, cause: err}
}

// allow asks the embedder whether an event of the pages may happen.
func (s *Server) allow(ctx context.Context, e Event) error {
	err := s.hook(ctx, e)
	if err == nil {
		return nil
	}
	if protocol, ok := errors.AsType[*Error](err); ok {
		return &pageError{status: http.StatusForbidden, code: ui.ErrorAccessDenied, detail: plain(protocol.Description), cause: err}
	}
	return &pageError{status: http.StatusForbidden, code: ui.ErrorAccessDenied, cause: err}
}

// pageCode returns the code of the error page for an error of the protocol.
func pageCode(e *Error) string {
	switch e.Code {
	case codeInvalidClient, codeInvalidClientMetadata, codeUnauthorizedClient:
		return ui.ErrorInvalidClient
	case codeAccessDenied:
		return ui.ErrorAccessDenied
	case codeUnavailable:
		return ui.ErrorUnavailable
	case codeServerError:
		return ui.ErrorInternal
	}
	return ui.ErrorInvalidRequest
}

// render lets the UI answer.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, p ui.Page) {
	if err := s.cfg.UI.Render(w, r, status, p); err != nil {
		s.cfg.Logger.ErrorContext(r.Context(), "oauth: rendering a page failed", "page", p.Name(), "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}
