package pds

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// What the methods of com.atproto.sync share.

const carType = "application/vnd.ipld.car"

func errRepoNotFound(did syntax.DID) *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "RepoNotFound", fmt.Sprintf("Could not find repo for DID: %s", did))
}

// readableAccount returns the account of a repository that the caller of ctx
// may read. Everybody may read active ones; their owner and the administrator
// also those that are not. An account whose creation is not complete is not
// there.
func readableAccount(ctx context.Context, tx storage.Accounts, did syntax.DID) (storage.Account, error) {
	a, err := tx.Account(did)
	if errors.Is(err, storage.ErrNotFound) || (err == nil && a.Pending) {
		return storage.Account{}, errRepoNotFound(did)
	}
	if err != nil || a.Active() || readsInactive(xrpc.CallerFrom(ctx), did) {
		return a, err
	}
	if statusOf(&a) == statusTakendown {
		return a, xrpc.NewError(http.StatusBadRequest, "RepoTakendown", fmt.Sprintf("Repo has been takendown: %s", did))
	}
	return a, xrpc.NewError(http.StatusBadRequest, "RepoDeactivated", fmt.Sprintf("Repo has been deactivated: %s", did))
}

// readsInactive reports whether a caller may read the account though it is not
// active.
func readsInactive(c *xrpc.Caller, did syntax.DID) bool {
	if c == nil {
		return false
	}
	switch c.Kind {
	case xrpc.KindAdmin:
		return true
	case xrpc.KindSession, xrpc.KindAppPassword, xrpc.KindOAuth:
		return c.Account == did
	}
	return false
}

// readableHead returns the head of a repository that the caller may read.
func readableHead(ctx context.Context, tx storage.Tx, did syntax.DID) (storage.Head, error) {
	if _, err := readableAccount(ctx, tx, did); err != nil {
		return storage.Head{}, err
	}
	head, err := tx.Head(did)
	if errors.Is(err, storage.ErrNotFound) {
		return head, errRepoNotFound(did)
	}
	return head, err
}

// viewHead is readableHead in a View of its own.
func (s *Server) viewHead(ctx context.Context, did syntax.DID) (head storage.Head, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		head, err = readableHead(ctx, tx, did)
		return err
	})
	return head, err
}

// isHead reports whether the request of ctx asks for the header of an answer
// only.
func isHead(ctx context.Context) bool {
	r := xrpc.RequestFrom(ctx)
	return r != nil && r.Method == http.MethodHead
}

// didParams are the parameters of methods that take a DID only.
type didParams struct {
	DID syntax.DID `json:"did"`
}
