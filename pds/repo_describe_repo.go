package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type describeRepoParams struct {
	Repo string `json:"repo"`
}

type describeRepoOutput struct {
	Handle          string          `json:"handle"`
	DID             string          `json:"did"`
	DidDoc          json.RawMessage `json:"didDoc"`
	Collections     []syntax.NSID   `json:"collections"`
	HandleIsCorrect bool            `json:"handleIsCorrect"`
}

func (s *Server) describeRepo() xrpc.Method {
	return xrpc.Query("com.atproto.repo.describeRepo", xrpc.Public(),
		func(ctx context.Context, p *describeRepoParams) (*describeRepoOutput, error) {
			var acct storage.Account
			var collections []syntax.NSID
			err := s.store.View(ctx, func(tx storage.Tx) (err error) {
				if acct, err = findAccount(tx, p.Repo); err != nil {
					return err
				}
				if acct, err = readableAccount(ctx, tx, acct.DID); err != nil {
					return err
				}
				collections, err = tx.ListCollections(acct.DID)
				return err
			})
			if errors.Is(err, storage.ErrNotFound) {
				return nil, errRepoNotFound(syntax.DID(p.Repo))
			}
			if err != nil {
				return nil, err
			}
			doc, err := s.cfg.Directory.ResolveDIDRaw(ctx, acct.DID)
			if errors.Is(err, identity.ErrPLCUnavailable) {
				return nil, plcFailure(err)
			}
			if err != nil {
				return nil, xrpc.InvalidRequest("Could not resolve DID: " + string(acct.DID)).WithCause(err)
			}
			var parsed atid.DIDDocument
			if err := json.Unmarshal(doc, &parsed); err != nil {
				return nil, fmt.Errorf("document of %s: %w", acct.DID, err)
			}
			id := atid.ParseIdentity(&parsed)
			declared, err := id.DeclaredHandle()
			return &describeRepoOutput{
				Handle: handleOf(&acct), DID: string(acct.DID), DidDoc: doc,
				Collections:     append([]syntax.NSID{}, collections...),
				HandleIsCorrect: err == nil && declared.Normalize() == acct.Handle,
			}, nil
		})
}

// handleOf returns the account's handle as answers show it.
func handleOf(a *storage.Account) string {
	if a.Handle == "" {
		return string(syntax.HandleInvalid)
	}
	return string(a.Handle)
}
