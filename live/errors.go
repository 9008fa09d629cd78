package live

import (
	"errors"
	"fmt"

	"github.com/pdskit/pdskit/storage"
)

// Errors of topics and subscriptions, under errors.Is. All others are failures
// of the store or of a context.
var (
	// ErrNotFound says that there is no such topic or entry. It matches
	// storage.ErrNotFound.
	ErrNotFound = fmt.Errorf("live: %w", storage.ErrNotFound)

	// ErrExists says that there is a topic of this name already. It matches
	// storage.ErrExists.
	ErrExists = fmt.Errorf("live: %w", storage.ErrExists)

	// ErrInvalid says that a name, a message or a signal is malformed or too
	// large; the text says how.
	ErrInvalid = errors.New("live: invalid")

	// ErrCursor says that a cursor is not one that this package made.
	ErrCursor = errors.New("live: malformed cursor")

	// ErrTooMany says that one of Limits is reached.
	ErrTooMany = errors.New("live: too many")

	// ErrDenied ends a subscription whose rule panicked or did not answer in
	// time, and refuses one without a rule. A rule's own error comes back
	// unchanged.
	ErrDenied = errors.New("live: denied")

	// ErrRevoked ends a subscription that [Hub.Revoke] has ended without a
	// reason of its own.
	ErrRevoked = errors.New("live: the subscription was revoked")

	// ErrDeleted ends a subscription whose topic was deleted.
	ErrDeleted = errors.New("live: the topic was deleted")

	// ErrClosed ends a subscription that was closed, or whose hub was.
	ErrClosed = errors.New("live: closed")
)
