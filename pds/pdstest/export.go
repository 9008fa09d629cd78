package pdstest

import (
	"bytes"
	"errors"
	"io"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

// Repo is a verified export of a repository.
type Repo struct {
	Root   cid.Cid // of the commit
	Commit *repo.Commit
	Blocks map[cid.Cid][]byte

	// Records maps "collection/rkey" to the CID of the record. Every record's
	// block is in Blocks.
	Records map[string]cid.Cid
}

// Export fetches the account's repository by com.atproto.sync.getRepo and
// fails the test unless all of it is right: one root, every block's hash, the
// commit's signature by the key in the DID document, the whole tree, and a
// block for every record.
func (a *Account) Export() *Repo {
	a.PDS.t.Helper()
	data, err := a.PDS.Call(a.PDS.t.Context(), "GET", "com.atproto.sync.getRepo", url.Values{"did": {string(a.DID)}}, nil, nil)
	if err != nil {
		a.PDS.t.Fatalf("getRepo of %s: %v", a.Handle, err)
	}
	r, err := ReadRepo(data)
	if err != nil {
		a.PDS.t.Fatalf("export of %s: %v", a.Handle, err)
	}
	id, err := a.PDS.Config.Directory.LookupDID(a.PDS.t.Context(), a.DID)
	if err != nil {
		a.PDS.t.Fatalf("identity of %s: %v", a.Handle, err)
	}
	key, err := id.PublicKey()
	if err == nil {
		err = r.Commit.Verify(key)
	}
	if err != nil || r.Commit.DID != a.DID {
		a.PDS.t.Fatalf("commit of %s, for %s: %v", a.Handle, r.Commit.DID, err)
	}
	return r
}

// ReadRepo reads a CAR file with a whole repository and verifies all but the
// signature.
func ReadRepo(car []byte) (*Repo, error) {
	in, err := repo.NewCARReader(bytes.NewReader(car), repo.CARLimits{})
	if err != nil {
		return nil, err
	}
	if len(in.Roots()) != 1 {
		return nil, errors.New("not exactly one root")
	}
	r := &Repo{Root: in.Roots()[0], Blocks: map[cid.Cid][]byte{}, Records: map[string]cid.Cid{}}
	for {
		b, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		r.Blocks[b.CID] = bytes.Clone(b.Data)
	}
	if r.Commit, err = repo.ParseCommit(r.Blocks[r.Root]); err != nil {
		return nil, err
	}
	return r, repo.WalkTree(r.Commit.Data, r.block, func(path string, value cid.Cid) error {
		r.Records[path] = value
		_, err := r.block(value)
		return err
	}, nil)
}

func (r *Repo) block(c cid.Cid) ([]byte, error) {
	if data, ok := r.Blocks[c]; ok {
		return data, nil
	}
	return nil, repo.ErrBlockNotFound
}

// Replay applies the operations of the #commit events of one account, in
// order, and returns the records that remain, as "collection/rkey" to CID.
func Replay(events []Event, did syntax.DID) map[string]cid.Cid {
	out := map[string]cid.Cid{}
	for _, ev := range events {
		if ev.Kind != "#commit" || ev.DID != did {
			continue
		}
		for _, op := range ev.Ops {
			if op.Action == "delete" {
				delete(out, op.Path)
			} else {
				out[op.Path] = op.CID
			}
		}
	}
	return out
}
