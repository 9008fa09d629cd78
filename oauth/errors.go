package oauth

import (
	"fmt"
	"net/http"
	"strings"
)

// An Error is an error of the protocol: what clients see.
type Error struct {
	Status      int    // of HTTP; zero is 400
	Code        string // such as "invalid_grant"
	Description string // for developers; without secrets and internals
}

// Codes of errors, by RFC 6749, 8628, 9126, 9449 and the draft of client ID
// metadata documents.
const (
	codeInvalidRequest          = "invalid_request"
	codeInvalidClient           = "invalid_client"
	codeInvalidClientMetadata   = "invalid_client_metadata"
	codeInvalidGrant            = "invalid_grant"
	codeInvalidScope            = "invalid_scope"
	codeInvalidToken            = "invalid_token"
	codeInvalidProof            = "invalid_dpop_proof"
	codeUseNonce                = "use_dpop_nonce"
	codeUnauthorizedClient      = "unauthorized_client"
	codeUnsupportedGrantType    = "unsupported_grant_type"
	codeUnsupportedResponseType = "unsupported_response_type"
	codeAccessDenied            = "access_denied"
	codeServerError             = "server_error"
	codeUnavailable             = "temporarily_unavailable"
)

// Error returns the code and the description.
func (e *Error) Error() string {
	if e.Description == "" {
		return "oauth: " + e.Code
	}
	return "oauth: " + e.Code + ": " + e.Description
}

func (e *Error) status() int {
	if e.Status == 0 {
		return http.StatusBadRequest
	}
	return e.Status
}

// errorf makes an error with status 400.
func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Description: fmt.Sprintf(format, args...)}
}

// plain returns a text in the characters that error descriptions may have by
// RFC 6749 section 5.2: printable ASCII without quote and backslash.
func plain(s string) string {
	const maxDescription = 500
	if len(s) > maxDescription {
		s = s[:maxDescription]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s)
}
