package pds

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// maxDetailsPage is how many accounts one page of details has at most.
const maxDetailsPage = 500

// AccountDetails is what an operator gets to know of an account, in whatever
// state it is.
type AccountDetails struct {
	DID              syntax.DID    `json:"did"`
	Handle           syntax.Handle `json:"handle,omitempty"`
	Email            string        `json:"email,omitempty"`
	EmailConfirmedAt time.Time     `json:"emailConfirmedAt,omitzero"`
	CreatedAt        time.Time     `json:"createdAt"`

	// Status is "active", "takendown", "deactivated", or "pending" while the
	// account is being made.
	Status        string    `json:"status"`
	TakedownRef   string    `json:"takedownRef,omitempty"`
	DeactivatedAt time.Time `json:"deactivatedAt,omitzero"`
	DeleteAfter   time.Time `json:"deleteAfter,omitzero"` // when it is deleted if it stays deactivated

	HasPassword     bool   `json:"hasPassword"`
	InvitesDisabled bool   `json:"invitesDisabled"`
	SigningKey      string `json:"signingKey"` // a did:key

	Rev  syntax.TID `json:"rev,omitempty"`  // of the newest commit
	Head string     `json:"head,omitempty"` // its CID

	Records   int64 `json:"records"`
	RepoBytes int64 `json:"repoBytes"` // of tree nodes and records
	Blobs     int64 `json:"blobs"`
	BlobBytes int64 `json:"blobBytes"`
}

// AccountDetails describes the account with a DID, a handle or an e-mail
// address. The error for one that is not here is AccountNotFound, of type
// *[xrpc.Error].
func (s *Server) AccountDetails(ctx context.Context, identifier string) (d AccountDetails, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		var a storage.Account
		var err error
		if strings.Contains(identifier, "@") {
			a, err = tx.AccountByEmail(strings.ToLower(identifier))
		} else {
			a, err = findAccount(tx, identifier)
		}
		if err == nil {
			d, err = detailsOf(tx, &a)
		}
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errAccountNotFound()
	}
	return d, err
}

// ListAccountDetails describes the accounts after a position, at most limit of
// them and 500, in order of their creation. Each page returns the position to
// go on from; the last one is empty.
func (s *Server) ListAccountDetails(ctx context.Context, after storage.AccountCursor, limit int) (list []AccountDetails, next storage.AccountCursor, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		list, next = nil, after
		accounts, err := tx.ListAccounts(after, min(max(limit, 1), maxDetailsPage))
		for i := range accounts {
			d, err := detailsOf(tx, &accounts[i])
			if err != nil {
				return err
			}
			list, next = append(list, d), accounts[i].Cursor()
		}
		return err
	})
	return list, next, err
}

func detailsOf(tx storage.Tx, a *storage.Account) (AccountDetails, error) {
	d := AccountDetails{
		DID: a.DID, Handle: a.Handle, Email: a.Email, EmailConfirmedAt: a.EmailConfirmedAt, CreatedAt: a.CreatedAt,
		Status: "active", TakedownRef: a.TakedownRef, DeactivatedAt: a.DeactivatedAt, DeleteAfter: a.DeleteAfter,
		HasPassword: a.PasswordHash != "", InvitesDisabled: a.InvitesDisabled, SigningKey: a.KeyID,
	}
	switch {
	case a.Pending:
		d.Status = "pending"
	case !a.Active():
		d.Status = statusOf(a)
	}
	head, err := tx.Head(a.DID)
	switch {
	case err == nil:
		d.Rev, d.Head = head.Rev, head.CID.String()
	case !errors.Is(err, storage.ErrNotFound): // on its way here, without a repository yet
		return d, err
	}
	u, err := tx.Usage(a.DID)
	d.Records, d.RepoBytes, d.Blobs, d.BlobBytes = u.Records, u.RepoBytes, u.Blobs, u.BlobBytes
	return d, err
}

// serveAccounts shows an administrator the account that the parameter id names,
// or a page of all.
func (s *Server) serveAccounts(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	out := struct {
		Accounts []AccountDetails `json:"accounts"`
		Cursor   string           `json:"cursor,omitempty"`
	}{Accounts: []AccountDetails{}}
	if id := q.Get("id"); id != "" {
		d, err := s.AccountDetails(r.Context(), id)
		if err != nil {
			return err
		}
		out.Accounts = append(out.Accounts, d)
		writeJSON(w, http.StatusOK, out)
		return nil
	}
	after, err := parseAccountCursor(q.Get("cursor"))
	if err != nil {
		return err
	}
	limit := maxDetailsPage
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil {
			return xrpc.InvalidRequest("limit is malformed")
		}
	}
	list, next, err := s.ListAccountDetails(r.Context(), after, limit)
	if err != nil {
		return err
	}
	if out.Accounts = append(out.Accounts, list...); len(list) > 0 {
		out.Cursor = formatAccountCursor(next)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}
