package clients

import (
	"errors"
	"fmt"
)

// Values of Error.Code, which are OAuth error codes.
const (
	// CodeInvalidClient says that there is no such client, or that it did not
	// prove who it is.
	CodeInvalidClient = "invalid_client"
	// CodeInvalidClientMetadata says that the metadata or keys of a client
	// could not be had, or break a rule. The token endpoint, where that code is
	// not defined, answers invalid_client instead.
	CodeInvalidClientMetadata = "invalid_client_metadata"
	// CodeTemporarilyUnavailable says that this server is fetching too much
	// already. It says nothing about the client.
	CodeTemporarilyUnavailable = "temporarily_unavailable"
)

// ErrUnknownKey says that an assertion names a key that the client does not
// publish.
var ErrUnknownKey = errors.New("the client publishes no such key")

// Error is a refusal that a client gets to see.
type Error struct {
	// Code is one of the codes above.
	Code string
	// Description says what is wrong, to the developer of the client. It is
	// printable ASCII without quotation marks and backslashes, and repeats
	// nothing that came from elsewhere.
	Description string
	// Err is the cause, for the log; nil where Description says it all.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("clients: %s: %s", e.Code, e.Description)
	}
	return fmt.Sprintf("clients: %s: %s: %v", e.Code, e.Description, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func invalidClient(format string, args ...any) *Error {
	return &Error{Code: CodeInvalidClient, Description: fmt.Sprintf(format, args...)}
}

func invalidMetadata(format string, args ...any) *Error {
	return &Error{Code: CodeInvalidClientMetadata, Description: fmt.Sprintf(format, args...)}
}
