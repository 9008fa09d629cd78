package repo_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atcrypto"
	indigo "github.com/bluesky-social/indigo/atproto/repo"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/bluesky-social/indigo/lex/util"

	"github.com/pdskit/pdskit/repo"
)

// TestEventsInIndigo makes a chain of commits, packs each into an event, and has
// indigo, as a relay would, verify the event and read the repository.
func TestEventsInIndigo(t *testing.T) {
	key, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	const did = syntax.DID("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
	rec := post(t)
	keys := treeKeys(20)
	m := newModel(t)
	rev := syntax.TID("")
	events := 0
	for i := range 60 {
		writes := []repo.Write{{Path: keys[i*7%len(keys)], CID: rec.CID}, {Path: keys[i*13%len(keys)]}, {Path: keys[i*29%len(keys)], CID: rec.CID}}
		d := m.apply(writes)
		rev = repo.NextRev(rev, time.Unix(1_700_000_000, 0), 3)
		c := repo.Commit{DID: did, Data: d.Root, Rev: rev}
		if err := c.Sign(key); err != nil {
			t.Fatal(err)
		}
		block, err := c.Block()
		if err != nil {
			t.Fatal(err)
		}
		list := append([]repo.Block{block, {CID: rec.CID, Data: rec.CBOR}}, d.Proof...)
		msg := comatproto.SyncSubscribeRepos_Commit{
			Repo: string(did), Rev: string(rev), Commit: util.LexLink(block.CID), Blocks: repo.EncodeCAR(block.CID, list),
			Time: "2026-11-22T10:00:00Z", PrevData: (*util.LexLink)(&d.PrevRoot),
		}
		for _, op := range d.Ops {
			o := &comatproto.SyncSubscribeRepos_RepoOp{Action: op.Action, Path: op.Path}
			if op.CID.Defined() {
				o.Cid = (*util.LexLink)(&op.CID)
			}
			if op.Prev.Defined() {
				o.Prev = (*util.LexLink)(&op.Prev)
			}
			msg.Ops = append(msg.Ops, o)
		}
		if _, err := indigo.VerifyCommitMessage(context.Background(), &msg); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		theirs, _, err := indigo.LoadRepoFromCAR(context.Background(), bytes.NewReader(msg.Blocks))
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.VerifySignature(pub); err != nil {
			t.Fatal(err)
		}
		events++
	}
	t.Logf("%d events", events)
}
