package xrpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
)

// An Error is what a client gets to see of a failure: an HTTP status and the
// body {"error": Name, "message": Message}. Handlers and authenticators return
// it, wrapped or not; every other error becomes InternalServerError without
// detail.
type Error struct {
	Status  int         // 400 to 599; anything else is sent as 500
	Name    string      // empty: the usual name of the status
	Message string      // empty: the usual message of the status
	Header  http.Header // added to the answer; may be nil

	cause error
}

// NewError returns an Error. The message is taken as it is; the constructors for
// one name format theirs.
func NewError(status int, name, message string) *Error {
	return &Error{Status: status, Name: name, Message: message}
}

// Error returns what goes into the log, with the cause.
func (e *Error) Error() string {
	name, message := e.wire()
	if e != nil && e.cause != nil && e.cause.Error() != message {
		return fmt.Sprintf("xrpc: %d %s: %s: %v", e.status(), name, message, e.cause)
	}
	return fmt.Sprintf("xrpc: %d %s: %s", e.status(), name, message)
}

// Unwrap returns the cause, which the client never sees.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.cause
}

// WithCause returns a copy of e that wraps an error for the log.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// WithHeader returns a copy of e that sets a header of the answer.
func (e *Error) WithHeader(key, value string) *Error {
	c := *e
	c.Header = maps.Clone(e.Header)
	if c.Header == nil {
		c.Header = make(http.Header, 1)
	}
	c.Header.Set(key, value)
	return &c
}

// InvalidRequest returns a 400 with the name InvalidRequest. As in the other
// constructors with a format, the message is formatted by fmt.Sprintf; without
// args it is taken as it is, percent signs included.
func InvalidRequest(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "", sprintf(format, args))
}

// InvalidToken returns a 400 with the name InvalidToken, for credentials that
// cannot be used.
func InvalidToken(format string, args ...any) *Error {
	return NewError(http.StatusBadRequest, "InvalidToken", sprintf(format, args))
}

// ExpiredToken returns a 400 with the name ExpiredToken.
func ExpiredToken() *Error {
	return NewError(http.StatusBadRequest, "ExpiredToken", "Token has expired")
}

// AuthMissing returns a 401 with the name AuthMissing, for a request without
// credentials.
func AuthMissing() *Error { return NewError(http.StatusUnauthorized, "AuthMissing", "") }

// AuthRequired returns a 401 with the name AuthenticationRequired.
func AuthRequired(format string, args ...any) *Error {
	return NewError(http.StatusUnauthorized, "", sprintf(format, args))
}

// Forbidden returns a 403 with the name Forbidden.
func Forbidden(format string, args ...any) *Error {
	return NewError(http.StatusForbidden, "", sprintf(format, args))
}

// NotImplemented returns a 501 with the name MethodNotImplemented.
func NotImplemented() *Error { return NewError(http.StatusNotImplemented, "", "") }

func sprintf(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// usual names and messages by status.
var usual = map[int][2]string{
	http.StatusBadRequest:            {"InvalidRequest", "Invalid Request"},
	http.StatusUnauthorized:          {"AuthenticationRequired", "Authentication Required"},
	http.StatusForbidden:             {"Forbidden", "Forbidden"},
	http.StatusNotFound:              {"XRPCNotSupported", "XRPC Not Supported"},
	http.StatusNotAcceptable:         {"NotAcceptable", "Not Acceptable"},
	http.StatusRequestEntityTooLarge: {"PayloadTooLarge", "request entity too large"},
	http.StatusUnsupportedMediaType:  {"UnsupportedMediaType", "Unsupported Media Type"},
	http.StatusUpgradeRequired:       {"UpgradeRequired", "this method is a WebSocket stream"},
	http.StatusTooManyRequests:       {"RateLimitExceeded", "Rate Limit Exceeded"},
	http.StatusInternalServerError:   {"InternalServerError", "Internal Server Error"},
	http.StatusNotImplemented:        {"MethodNotImplemented", "Method Not Implemented"},
	http.StatusBadGateway:            {"UpstreamFailure", "Upstream Failure"},
	http.StatusServiceUnavailable:    {"NotEnoughResources", "Not Enough Resources"},
	http.StatusGatewayTimeout:        {"UpstreamTimeout", "Upstream Timeout"},
}

// ErrorName returns the name by which [WriteError] tells a client of err: that
// of the Error in it, or InternalServerError.
func ErrorName(err error) string {
	e, _ := asError(err)
	name, _ := e.wire()
	return name
}

// status is the status to be sent. A nil *Error in an error is a bug of a
// handler.
func (e *Error) status() int {
	if e == nil || e.Status < 400 || e.Status > 599 {
		return http.StatusInternalServerError
	}
	return e.Status
}

// wire returns name and message to be sent. A 500 tells nothing.
func (e *Error) wire() (name, message string) {
	status := e.status()
	u, ok := usual[status]
	if !ok {
		u = usual[http.StatusBadRequest]
		if status > 500 {
			u = usual[http.StatusInternalServerError]
		}
	}
	if status == http.StatusInternalServerError {
		return u[0], u[1]
	}
	name, message = e.Name, e.Message
	if name == "" {
		name = u[0]
	}
	if message == "" {
		message = u[1]
	}
	return name, message
}

// asError returns err as the *Error to be sent, and whether it was one. The
// result is never nil.
func asError(err error) (e *Error, known bool) {
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return e, e.status() != http.StatusInternalServerError
	}
	return &Error{Status: http.StatusInternalServerError, cause: err}, false
}

// WriteError answers a request with an error, as a [Server] does: as it is if
// err is or wraps an *[Error], else as InternalServerError without detail. It
// logs nothing. Use it in middleware and in handlers beside the Server.
func WriteError(w http.ResponseWriter, _ *http.Request, err error) {
	e, _ := asError(err)
	name, message := e.wire()
	h := w.Header()
	for key, values := range e.Header {
		h[http.CanonicalHeaderKey(key)] = values
	}
	body := appendErrorBody(nil, name, message)
	h.Del("Content-Encoding")
	h.Set("Content-Type", jsonType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status())
	_, _ = w.Write(body)
}

func appendErrorBody(dst []byte, name, message string) []byte {
	dst = append(dst, `{"error":`...)
	dst = appendJSONString(dst, name)
	dst = append(dst, `,"message":`...)
	dst = appendJSONString(dst, message)
	return append(dst, '}')
}

func appendJSONString(dst []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		return append(dst, `""`...) // a string always has a JSON form
	}
	return append(dst, text...)
}
