package pds

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/xrpc"
)

// What the four methods that write records share.

// Points that a write takes from the hourly and daily limits of its account.
const (
	createPoints = 3
	updatePoints = 2
	deletePoints = 1
)

func pointsOf(a Action) int {
	switch a {
	case Create:
		return createPoints
	case Delete:
		return deletePoints
	}
	return updatePoints
}

// writeBatch begins the batch of a request: it resolves the repo parameter and
// checks that the caller may write there.
func (s *Server) writeBatch(ctx context.Context, repoParam string, validate *bool, swapCommit string) (Batch, error) {
	did, grant, err := s.writableRepo(ctx, repoParam)
	if err != nil {
		return Batch{}, err
	}
	caller := xrpc.CallerFrom(ctx)
	b := Batch{Account: did, Actor: caller.Actor, Client: caller.Client, grant: grant}
	if validate != nil {
		b.Validate = ValidateRequired
		if !*validate {
			b.Validate = ValidateNone
		}
	}
	if swapCommit != "" {
		if b.SwapCommit, err = parseCID("swapCommit", swapCommit); err != nil {
			return Batch{}, err
		}
	}
	return b, nil
}

// writableRepo resolves a repo parameter, DID or handle, to the account that is
// written to: the one that the caller uses, or, through one of the doors of
// [Delegation], one that the caller acts for, with what may be done there.
func (s *Server) writableRepo(ctx context.Context, repoParam string) (syntax.DID, *scope.Set, error) {
	caller, nsid := xrpc.CallerFrom(ctx), xrpc.MethodFrom(ctx)
	acting := caller != nil && (caller.Kind == xrpc.KindService || !ownedMethod(nsid))
	if !acting && caller != nil && repoParam == string(caller.Account) {
		return caller.Account, nil, nil
	}
	acct, err := s.accountByIdentifier(ctx, repoParam)
	switch {
	case err != nil:
		return "", nil, err
	case acting:
		grant, err := s.permit(ctx, acct.DID, nsid)
		return acct.DID, grant, err
	case caller != nil && caller.Account == acct.DID:
		return acct.DID, nil, nil
	case caller != nil && s.cfg.Delegation != nil:
		err := errActorNotPermitted()
		s.noteRefusal(ctx, acct.DID, caller, nsid, err)
		return "", nil, err
	}
	return "", nil, xrpc.NewError(http.StatusUnauthorized, "AuthenticationRequired", "The repo is not the caller's")
}

func parseCID(field, text string) (cid.Cid, error) {
	c, err := cid.Decode(text)
	if err != nil {
		return cid.Undef, xrpc.InvalidRequest("Input/" + field + " must be a CID").WithCause(err)
	}
	return c, nil
}

func parseRecord(data json.RawMessage, collection string) (*repo.Record, error) {
	rec, err := repo.RecordFromJSON(data, syntax.NSID(collection))
	if err != nil {
		return nil, xrpc.InvalidRequest("Invalid record: " + err.Error()).WithCause(err)
	}
	return rec, nil
}

// swapRecord reads an optional CID: absent is nil, JSON null is "must not
// exist".
func swapRecord(raw json.RawMessage) (*cid.Cid, error) {
	switch {
	case len(raw) == 0:
		return nil, nil
	case string(raw) == "null":
		return new(cid.Undef), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, xrpc.InvalidRequest("Input/swapRecord must be a string").WithCause(err)
	}
	c, err := parseCID("swapRecord", text)
	return &c, err
}

// writeOutput is the answer of createRecord and putRecord.
type writeOutput struct {
	URI              string      `json:"uri"`
	CID              string      `json:"cid"`
	Commit           *commitInfo `json:"commit,omitempty"`
	ValidationStatus string      `json:"validationStatus,omitempty"`
}

func (r *Result) writeOutput() *writeOutput {
	op := r.Ops[0]
	return &writeOutput{string(op.URI), op.CID.String(), r.commitInfo(), op.Validation}
}

func (r *Result) commitInfo() *commitInfo {
	if !r.Commit.CID.Defined() {
		return nil
	}
	return &commitInfo{r.Commit.CID.String(), string(r.Commit.Rev)}
}
