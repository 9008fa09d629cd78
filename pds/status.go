package pds

import (
	"errors"
	"net/http"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Account statuses as on the wire.
const (
	statusTakendown   = "takendown"
	statusDeactivated = "deactivated"
	statusDeleted     = "deleted"
)

// statusOf returns the public status of an account, empty if it is active. A
// takedown outranks a deactivation.
func statusOf(a *storage.Account) string {
	switch {
	case a.TakedownRef != "":
		return statusTakendown
	case !a.DeactivatedAt.IsZero() || a.Pending:
		return statusDeactivated
	}
	return ""
}

func errAccountTakedown() *xrpc.Error {
	return xrpc.NewError(http.StatusUnauthorized, "AccountTakedown", "Account has been taken down")
}

func errAccountDeactivated() *xrpc.Error {
	return xrpc.NewError(http.StatusUnauthorized, "AccountDeactivated", "Account is deactivated")
}

func errAccountNotFound() *xrpc.Error {
	return xrpc.NewError(http.StatusForbidden, "AccountNotFound", "Could not find account")
}

// isAccountNotFound reports whether err is errAccountNotFound.
func isAccountNotFound(err error) bool {
	e, ok := errors.AsType[*xrpc.Error](err)
	return ok && e.Name == "AccountNotFound" && e.Status == http.StatusForbidden
}

// isRefusal reports whether err is an answer for the client. What was refused
// has not happened; after other errors that may be unknown.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*xrpc.Error](err)
	return ok
}

// mayWrite returns the error for a write to an account that is not active.
func mayWrite(a *storage.Account) error {
	switch statusOf(a) {
	case statusTakendown:
		return errAccountTakedown()
	case statusDeactivated:
		return errAccountDeactivated()
	}
	return nil
}
