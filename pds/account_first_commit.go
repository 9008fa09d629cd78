package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// firstCommit is the signed commit of an empty repository.
type firstCommit struct {
	head  storage.Head
	nodes []storage.Block
	event []byte // body of its #commit event
}

func (s *Server) firstCommit(ctx context.Context, did syntax.DID, key atcrypto.PrivateKey) (*firstCommit, error) {
	diff, err := repo.EmptyTree().Apply(nil)
	if err != nil {
		return nil, err
	}
	w := &writer{s: s, did: did, key: key}
	head, err := w.sign(ctx, diff.Root)
	if err != nil {
		return nil, err
	}
	first := &firstCommit{head: head}
	blocks := []repo.Block{{CID: head.CID, Data: head.Commit}}
	for _, n := range diff.NewNodes {
		first.nodes = append(first.nodes, storage.Block(n))
		blocks = append(blocks, n)
	}
	ev := commitEvent{did: did, commit: head.CID, rev: head.Rev, blocks: repo.EncodeCAR(head.CID, blocks)}
	first.event = ev.encode()
	return first, nil
}

// apply stores the commit as the account's first.
func (f *firstCommit) apply(tx storage.Tx, a *storage.Account) error {
	return tx.Apply(&storage.Commit{
		DID: a.DID, AccountVersion: a.Version, KeyID: a.KeyID, Head: f.head, NewNodes: f.nodes,
	})
}

// announce appends the events of a new account, in the order that consumers
// expect.
func (f *firstCommit) announce(tx storage.Tx, a *storage.Account, by cause) error {
	events := []storage.Event{
		by.event(a.DID, eventIdentity, encodeIdentity(a.DID, a.Handle)),
		by.event(a.DID, eventAccount, encodeAccount(a.DID, statusOf(a))),
		by.event(a.DID, eventCommit, f.event),
		by.event(a.DID, eventSync, encodeSync(a.DID, f.head)),
	}
	for _, e := range events {
		if err := tx.Append(e); err != nil {
			return err
		}
	}
	return nil
}
