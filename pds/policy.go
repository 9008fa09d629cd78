package pds

import (
	"context"
	"errors"
	"iter"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Policy decides about every change to an account: its records, imports,
// uploads and its status.
//
// Check allows a change by returning nil. It denies it by any error: an
// *[xrpc.Error], such as xrpc.Forbidden, reaches the client as it is; any other
// is logged and answered as an internal error. A panic denies, too. It runs
// after authentication, scopes, lexicon and swaps have been checked and before
// anything is signed or stored, while all other changes of the account wait.
// So it must be quick: after Limits.PolicyTime the change is denied and ctx is
// cancelled, and until Check has returned all further changes of the account
// are denied. Other accounts are not held up. Check may be called concurrently
// for different accounts, and again for the same change if what it saw has
// changed in the meantime; it should have no effects other than through w.
// It must not write by [Server.Apply] or [Server.Update].
type Policy interface {
	Check(ctx context.Context, w *Write) error
}

// PolicyFunc is a function as a Policy.
type PolicyFunc func(ctx context.Context, w *Write) error

// Check calls f.
func (f PolicyFunc) Check(ctx context.Context, w *Write) error { return f(ctx, w) }

// Write is a change that a [Policy] decides about. Exactly one of Ops, Import,
// Upload and Status is set.
type Write struct {
	// Caller is who called the method, or nil if code in this process changes
	// the account.
	Caller *xrpc.Caller

	// Account is whose data changes, Actor who changes it: the account itself
	// or somebody who acts for it; empty for the administrator and for jobs of
	// the server.
	Account, Actor syntax.DID

	// Client is the application, if it is known.
	Client string

	Ops    []WriteOp     // writes of records, in their order
	Import *ImportedRepo // the whole repository is replaced
	Upload *UploadedBlob
	Status *StatusChange

	// State holds the policy's documents. What it changes there is applied in
	// the same transaction as the change itself, or not at all; for a change
	// that is denied, never. It is read-only for StatusCreate, StatusHandle and
	// StatusKey, which are decided before other servers are told.
	State *State

	added []Op
}

// askEarly asks the policy about a change of an account that is prepared outside
// of the account's lane, see StatusAction.early.
func (s *Server) askEarly(ctx context.Context, did syntax.DID, by cause, c StatusChange) error {
	if s.cfg.Policy == nil {
		return nil
	}
	return s.inLane(ctx, did, func(ctx context.Context, w *writer) error {
		_, err := w.askAboutStatus(ctx, by, c)
		return err
	})
}

// askAboutStatus asks the policy about a change of the account itself.
func (w *writer) askAboutStatus(ctx context.Context, by cause, c StatusChange) (*State, error) {
	c.Account = w.account
	return w.s.askPolicy(ctx, &Write{Account: w.did, Actor: by.actor, Client: by.client, Status: &c})
}

// Add puts one more write into the same commit. It is validated like the
// others, but the policy is not asked about it. Only for changes with Ops; for
// others it returns an error.
func (w *Write) Add(op Op) error {
	if w.Ops == nil {
		return errors.New("pds: only writes of records can be added to")
	}
	w.added = append(w.added, op)
	return nil
}

// WriteOp is one write of a [Write].
type WriteOp struct {
	Action     Action // Create, Update or Delete
	Collection syntax.NSID
	RKey       syntax.RecordKey

	// Record is what is written; nil with Delete.
	Record *repo.Record

	// Previous is what is replaced or deleted, and PreviousAuthor who wrote it
	// (the account, unless somebody acted for it); nil with Create.
	Previous       *repo.Record
	PreviousAuthor syntax.DID
}

// URI returns the record's address in the account's repository.
func (o *WriteOp) URI(account syntax.DID) syntax.ATURI {
	return recordURI(account, o.Collection, o.RKey)
}

// ImportedRepo is a repository that replaces the account's own.
type ImportedRepo struct {
	// Rev is that of the commit that was imported.
	Rev syntax.TID

	// Records yields the path ("collection/rkey") and value of every record,
	// in order of the paths. The record is only valid in its turn. It can be
	// used while Check runs.
	Records iter.Seq2[string, *repo.Record]
}

// UploadedBlob is a blob that was uploaded and is not visible yet.
type UploadedBlob struct {
	CID      cid.Cid
	MimeType string
	Size     int64 // bytes
}

// StatusAction names a change of an account itself.
type StatusAction string

// The actions of a StatusChange.
const (
	StatusCreate     StatusAction = "create"
	StatusActivate   StatusAction = "activate"
	StatusDeactivate StatusAction = "deactivate"
	StatusTakedown   StatusAction = "takedown"
	StatusRestore    StatusAction = "restore" // end of a takedown
	StatusHandle     StatusAction = "handle"
	StatusKey        StatusAction = "key" // another signing key
	StatusDelete     StatusAction = "delete"
)

// early reports whether the policy is asked before a change is prepared that
// reaches other servers, so that nothing can be stored together with it.
func (a StatusAction) early() bool {
	return a == StatusCreate || a == StatusHandle || a == StatusKey
}

// StatusChange is a change of an account itself.
type StatusChange struct {
	Action StatusAction

	// Account is the account before the change; with StatusCreate the one that
	// will be made.
	Account storage.Account

	// Handle is the new one, with StatusHandle.
	Handle syntax.Handle
}

// askPolicy asks the configured policy about a change. It returns the State
// whose changes belong to it, closed, or nil without a policy; or the error
// that denies it. storage.ErrConflict says that the policy decided on state
// that has changed since.
func (s *Server) askPolicy(ctx context.Context, w *Write) (*State, error) {
	if s.cfg.Policy == nil {
		return nil, nil
	}
	limit := s.cfg.Limits.PolicyTime
	if w.Import != nil {
		limit = s.cfg.Limits.ImportPolicyTime
	}
	call := extensionCall{
		what: "policy", about: w.Account, limit: limit, alone: true, readOnly: w.Status != nil && w.Status.Action.early(),
	}
	w.Caller = xrpc.CallerFrom(ctx)
	_, state, err := callExtension(ctx, s, call, func(ctx context.Context, st *State) (struct{}, error) {
		w.State = st
		return struct{}{}, s.cfg.Policy.Check(ctx, w)
	})
	if err == nil {
		return state, state.failed
	}
	state.ctx = context.WithoutCancel(ctx)
	if stale := state.confirm(); stale != nil {
		return nil, stale
	}
	return nil, err
}

// prepareAdded checks the writes that a policy added, like those of a batch.
func (s *Server) prepareAdded(ctx context.Context, b *Batch, w *Write) ([]preparedOp, error) {
	if len(w.added) == 0 {
		return nil, nil
	}
	if len(b.Ops)+len(w.added) > s.cfg.Limits.Writes {
		return nil, xrpc.InvalidRequest("Too many writes. Max: %d", s.cfg.Limits.Writes)
	}
	more := Batch{Account: b.Account, Actor: b.Actor, Client: b.Client, Ops: w.added}
	more.lexiconsUntil = 1 // the account's lane does not wait for the network
	return s.prepare(ctx, &more)
}
