package storagetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

// didN is the n-th test DID; they sort by n.
func didN(n int) syntax.DID {
	const alphabet = "abcdefghijklmnop"
	var b strings.Builder
	for shift := 92; shift >= 0; shift -= 4 {
		b.WriteByte(alphabet[uint64(n)>>min(shift, 63)&15])
	}
	return syntax.DID("did:plc:" + b.String())
}

// revN is the n-th rev; they sort by n.
func revN(n int) syntax.TID {
	return syntax.NewTID(1_700_000_000_000_000+int64(n)*1000, 0)
}

// cidOf is the CID of a block.
func cidOf(data []byte) cid.Cid { return makeCID(0x71, data) }

// blobCID is the CID of a blob with this content.
func blobCID(content string) cid.Cid { return makeCID(0x55, []byte(content)) }

func makeCID(codec byte, data []byte) cid.Cid {
	sum := sha256.Sum256(data)
	c, err := cid.Cast(append([]byte{1, codec, 0x12, 0x20}, sum[:]...))
	if err != nil {
		panic(err) // the bytes are well-formed
	}
	return c
}

func block(text string) storage.Block {
	return storage.Block{CID: cidOf([]byte(text)), Data: []byte(text)}
}

// record is a record at "collection/rkey" with this value.
func record(path, value string) storage.Record {
	collection, rkey, _ := strings.Cut(path, "/")
	return storage.Record{
		RecordPath: storage.RecordPath{Collection: syntax.NSID(collection), RKey: syntax.RecordKey(rkey)},
		CID:        cidOf([]byte(value)),
		Value:      []byte(value),
	}
}

func pathOf(path string) storage.RecordPath { return record(path, "").RecordPath }

// account is the n-th test account, not yet stored.
func (e *env) account(n int) storage.Account {
	return storage.Account{
		DID:       didN(n),
		Handle:    syntax.Handle(fmt.Sprintf("user%d.test", n)),
		Email:     fmt.Sprintf("user%d@example.com", n),
		CreatedAt: e.clock.Now().Add(time.Duration(n) * time.Second).Truncate(time.Millisecond),
		KeyID:     "key-1",
	}
}

// put stores an account in a transaction of its own and sets its version.
func (e *env) put(a *storage.Account) {
	e.Helper()
	var version int64
	e.update(func(tx storage.Tx) (err error) {
		version, err = tx.PutAccount(*a)
		return err
	})
	a.Version = version
}

// repo is an account whose repository a case changes. It knows what should be
// stored.
type repo struct {
	e       *env
	acct    storage.Account
	rev     int
	head    storage.Head
	nodes   map[cid.Cid]string
	records map[string]storage.Record
	others  map[string][]cid.Cid // references by URIs that are no records
}

// newRepo stores the n-th account.
func (e *env) newRepo(n int) *repo {
	e.Helper()
	r := &repo{e: e, acct: e.account(n), nodes: map[cid.Cid]string{}, records: map[string]storage.Record{}, others: map[string][]cid.Cid{}}
	e.put(&r.acct)
	return r
}

func (r *repo) did() syntax.DID { return r.acct.DID }

// next prepares the next commit.
func (r *repo) next(puts []storage.Record, deletes ...string) *storage.Commit {
	r.rev++
	root := block(fmt.Sprintf("root %d of %s", r.rev, r.did()))
	c := &storage.Commit{
		DID:            r.did(),
		Base:           r.head.CID,
		AccountVersion: r.acct.Version,
		KeyID:          r.acct.KeyID,
		Head:           r.makeHead(revN(r.rev), root),
		NewNodes:       []storage.Block{root},
		Puts:           slices.Clone(puts),
	}
	if old := r.head.Data; old.Defined() {
		c.OldNodes = []cid.Cid{old}
	}
	for i := range c.Puts {
		c.Puts[i].Rev = c.Head.Rev
		if c.Puts[i].Author == "" {
			c.Puts[i].Author = r.did()
		}
	}
	for _, d := range deletes {
		c.Deletes = append(c.Deletes, pathOf(d))
	}
	return c
}

func (r *repo) makeHead(rev syntax.TID, root storage.Block) storage.Head {
	signed := fmt.Sprintf("commit %s %s of %s", rev, root.CID, r.did())
	return storage.Head{CID: cidOf([]byte(signed)), Rev: rev, Data: root.CID, Commit: []byte(signed)}
}

// done notes that a commit has been applied.
func (r *repo) done(c *storage.Commit) {
	r.head = c.Head
	for _, n := range c.OldNodes {
		delete(r.nodes, n)
	}
	for _, n := range c.NewNodes {
		r.nodes[n.CID] = string(n.Data)
	}
	for _, p := range c.Deletes {
		delete(r.records, p.String())
	}
	for _, p := range c.Puts {
		r.records[p.String()] = p
	}
}

// apply stores a commit with these puts and deletes.
func (r *repo) apply(puts []storage.Record, deletes ...string) {
	r.e.Helper()
	r.applyCommit(r.next(puts, deletes...))
}

func (r *repo) applyCommit(c *storage.Commit) {
	r.e.Helper()
	r.e.update(func(tx storage.Tx) error { return tx.Apply(c) })
	r.done(c)
}

// check compares what is stored with what should be.
func (r *repo) check() {
	r.e.Helper()
	e := r.e
	e.view(func(tx storage.Tx) error {
		e.Helper()
		h, err := tx.Head(r.did())
		if err != nil {
			return fmt.Errorf("Head: %w", err)
		}
		same(e, "the head's CID", h.CID, r.head.CID)
		same(e, "the head's rev", h.Rev, r.head.Rev)
		same(e, "the head's root", h.Data, r.head.Data)
		same(e, "the commit block", string(h.Commit), string(r.head.Commit))

		want := map[cid.Cid]string{r.head.CID: string(r.head.Commit)}
		usage := storage.Usage{}
		for c, data := range r.nodes {
			want[c] = data
			usage.RepoBytes += int64(len(data))
		}
		collections := map[syntax.NSID]bool{}
		refs := map[cid.Cid]bool{}
		for path, rec := range r.records {
			got, err := tx.Record(r.did(), rec.Collection, rec.RKey)
			if err != nil {
				return fmt.Errorf("Record %s: %w", path, err)
			}
			e.sameRecord(got, rec)
			want[rec.CID] = string(rec.Value)
			usage.Records++
			usage.RepoBytes += int64(len(rec.Value))
			collections[rec.Collection] = true
			for _, c := range rec.Blobs {
				refs[c] = true
			}
		}
		for c, data := range want {
			got, err := tx.Block(r.did(), c)
			if err != nil {
				return fmt.Errorf("Block %q: %w", data, err)
			}
			same(e, "a block", string(got), data)
		}
		for _, list := range r.others {
			for _, c := range list {
				refs[c] = true
			}
		}
		for c := range refs {
			if ok, err := tx.BlobReferenced(r.did(), c); err != nil || !ok {
				return fmt.Errorf("BlobReferenced is %v (%w) for a blob that is", ok, err)
			}
		}
		usage.RepoBlocks = int64(len(want))
		usage.ReferencedBlobs = int64(len(refs))
		got, err := tx.Usage(r.did())
		if err != nil {
			return fmt.Errorf("Usage: %w", err)
		}
		usage.Blobs, usage.BlobBytes = got.Blobs, got.BlobBytes
		same(e, "the usage", got, usage)
		e.sameBlocks(tx.Export(r.did(), ""), want)

		listed, err := tx.ListCollections(r.did())
		if err != nil {
			return fmt.Errorf("ListCollections: %w", err)
		}
		var nsids []syntax.NSID
		for nsid := range collections {
			nsids = append(nsids, nsid)
		}
		slices.Sort(nsids)
		sameList(e, "the list of collections", listed, nsids)
		return nil
	})
}

func (e *env) sameRecord(got, want storage.Record) {
	e.Helper()
	same(e, "the path", got.RecordPath, want.RecordPath)
	same(e, "the CID of "+want.String(), got.CID, want.CID)
	same(e, "the rev of "+want.String(), got.Rev, want.Rev)
	same(e, "the author of "+want.String(), got.Author, want.Author)
	same(e, "the value of "+want.String(), string(got.Value), string(want.Value))
	same(e, "the backlink of "+want.String(), got.Backlink, want.Backlink)
}

// sameBlocks fails the test unless the sequence yields each block once.
func (e *env) sameBlocks(seq iter.Seq2[storage.Block, error], want map[cid.Cid]string) {
	e.Helper()
	seen := map[cid.Cid]bool{}
	for b, err := range seq {
		if err != nil {
			e.Fatalf("Export: %v", err)
		}
		data, ok := want[b.CID]
		if !ok {
			e.Fatalf("Export yields %q, which should not be there", b.Data)
		}
		if seen[b.CID] {
			e.Fatalf("Export yields %q twice", b.Data)
		}
		same(e, "an exported block", string(b.Data), data)
		seen[b.CID] = true
	}
	if len(seen) != len(want) {
		e.Fatalf("Export yields %d blocks, want %d", len(seen), len(want))
	}
}

// background is the context of calls that nobody cancels.
func background() context.Context { return context.Background() }
