package pds

import (
	"context"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type checkAccountStatusOutput struct {
	Activated          bool       `json:"activated"`
	ValidDid           bool       `json:"validDid"`
	RepoCommit         string     `json:"repoCommit"`
	RepoRev            syntax.TID `json:"repoRev"`
	RepoBlocks         int64      `json:"repoBlocks"`
	IndexedRecords     int64      `json:"indexedRecords"`
	PrivateStateValues int64      `json:"privateStateValues"` // always 0
	ExpectedBlobs      int64      `json:"expectedBlobs"`
	ImportedBlobs      int64      `json:"importedBlobs"`
}

func (s *Server) checkAccountStatus() xrpc.Method {
	return xrpc.Query("com.atproto.server.checkAccountStatus", s.access(accessRule{scopes: standardAccess, oauthAny: true}),
		func(ctx context.Context, _ *xrpc.None) (*checkAccountStatusOutput, error) {
			did := xrpc.CallerFrom(ctx).Account
			var a storage.Account
			var head storage.Head
			var usage storage.Usage
			err := s.store.View(ctx, func(tx storage.Tx) (err error) {
				if a, err = tx.Account(did); err != nil {
					return err
				}
				if head, err = tx.Head(did); err != nil {
					return err
				}
				usage, err = tx.Usage(did)
				return err
			})
			if errors.Is(err, storage.ErrNotFound) {
				return nil, errAccountNotFound()
			}
			if err != nil {
				return nil, err
			}
			out := &checkAccountStatusOutput{
				Activated: a.Active(), RepoCommit: head.CID.String(), RepoRev: head.Rev,
				RepoBlocks: usage.RepoBlocks, IndexedRecords: usage.Records,
				ExpectedBlobs: usage.ReferencedBlobs, ImportedBlobs: usage.Blobs,
			}
			if out.ValidDid, err = s.pointsHere(ctx, &a); err != nil {
				return nil, err
			}
			return out, nil
		})
}

// pointsHere reports whether an account's identity names this server. That
// nobody can tell counts as no.
func (s *Server) pointsHere(ctx context.Context, a *storage.Account) (bool, error) {
	err := s.checkIdentityPointsHere(ctx, a)
	if isRefusal(err) {
		s.log.DebugContext(ctx, "identity does not point here", "did", a.DID, "error", err)
		return false, nil
	}
	return err == nil, err
}
