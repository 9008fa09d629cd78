package pds

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// maxUsagePage is how many accounts one page of usage has at most.
const maxUsagePage = 1000

// AccountUsage is how much an account stores.
type AccountUsage struct {
	DID       syntax.DID    `json:"did"`
	Handle    syntax.Handle `json:"handle,omitempty"`
	Records   int64         `json:"records"`
	RepoBytes int64         `json:"repoBytes"` // of tree nodes and records
	Blobs     int64         `json:"blobs"`
	BlobBytes int64         `json:"blobBytes"`
}

// Usage returns how much an account stores, for quotas, or an error that matches
// storage.ErrNotFound and tells clients AccountNotFound. It is that of the moment. In a [Policy] it is without the
// change that is asked about, and does not rise until that is stored, since
// all other changes of the account wait; it counts uploads that no record refers to
// yet, until they are swept (Limits.TemporaryBlob). In an Update it may have
// changed when the changes are applied.
func (st *State) Usage(did syntax.DID) (u AccountUsage, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return u, ErrStateClosed
	}
	if err := st.countReads(1); err != nil {
		return u, err
	}
	err = st.view(func(tx storage.Tx) error {
		a, err := tx.Account(did)
		if err == nil {
			u, err = usageOf(tx, &a)
		}
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errAccountNotFound().WithCause(err)
	}
	return u, err
}

// usageOf reads how much an account stores.
func usageOf(tx storage.Tx, a *storage.Account) (AccountUsage, error) {
	u, err := tx.Usage(a.DID)
	return AccountUsage{a.DID, a.Handle, u.Records, u.RepoBytes, u.Blobs, u.BlobBytes}, err
}

// Usage lists how much the accounts after a position store, at most limit of
// them and 1,000, in order of their creation. Each page returns the position
// to go on from; the last one is empty.
func (s *Server) Usage(ctx context.Context, after storage.AccountCursor, limit int) (list []AccountUsage, next storage.AccountCursor, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		list, next = nil, after
		accounts, err := tx.ListAccounts(after, min(max(limit, 1), maxUsagePage))
		if err != nil {
			return err
		}
		for i := range accounts {
			u, err := usageOf(tx, &accounts[i])
			if err != nil {
				return err
			}
			list, next = append(list, u), accounts[i].Cursor()
		}
		return nil
	})
	return list, next, err
}

// serveUsage shows an administrator a page of Usage, and the totals with the
// first one.
func (s *Server) serveUsage(w http.ResponseWriter, r *http.Request) error {
	var after storage.AccountCursor
	q := r.URL.Query()
	if text := q.Get("afterTime"); text != "" {
		var err error
		if after.CreatedAt, err = strconv.ParseInt(text, 10, 64); err != nil {
			return xrpc.InvalidRequest("The parameter afterTime must be a number")
		}
		after.DID = syntax.DID(q.Get("afterDid"))
	}
	list, next, err := s.Usage(r.Context(), after, maxUsagePage)
	if err != nil {
		return err
	}
	out := struct {
		Accounts  []AccountUsage  `json:"accounts"`
		Totals    *storage.Totals `json:"totals,omitempty"`
		AfterTime string          `json:"afterTime"`
		AfterDID  syntax.DID      `json:"afterDid"`
	}{append([]AccountUsage{}, list...), nil, strconv.FormatInt(next.CreatedAt, 10), next.DID}
	if after == (storage.AccountCursor{}) {
		if out.Totals, err = s.totals.read(r.Context(), s); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}
