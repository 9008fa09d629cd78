package repo_test

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

// A commit from nothing to the bytes of its event, and back.
func Example() {
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		panic(err)
	}
	rec, err := repo.RecordFromJSON([]byte(`{"text":"hello","createdAt":"2026-11-22T10:00:00Z"}`), "app.bsky.feed.post")
	if err != nil {
		panic(err)
	}
	path := "app.bsky.feed.post/3lhhvdkcby3e2"
	diff, err := repo.EmptyTree().Apply([]repo.Write{{Path: path, CID: rec.CID}})
	if err != nil {
		panic(err)
	}
	commit := repo.Commit{
		DID:  "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
		Data: diff.Root,
		Rev:  repo.NextRev("", time.Now(), 1),
	}
	if err := commit.Sign(key); err != nil {
		panic(err)
	}
	block, err := commit.Block()
	if err != nil {
		panic(err)
	}
	car := repo.EncodeCAR(block.CID, append([]repo.Block{block, {CID: rec.CID, Data: rec.CBOR}}, diff.Proof...))

	// The other side.
	blocks := map[cid.Cid][]byte{}
	r, err := repo.NewCARReader(bytes.NewReader(car), repo.CARLimits{})
	if err != nil {
		panic(err)
	}
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(err)
		}
		blocks[b.CID] = bytes.Clone(b.Data)
	}
	source := func(c cid.Cid) ([]byte, error) {
		if data, ok := blocks[c]; ok {
			return data, nil
		}
		return nil, repo.ErrBlockNotFound
	}
	got, err := repo.ParseCommit(blocks[r.Roots()[0]])
	if err != nil {
		panic(err)
	}
	pub, err := key.PublicKey()
	if err != nil {
		panic(err)
	}
	fmt.Println("signature:", got.Verify(pub))
	value, err := repo.LoadTree(got.Data, source).Get(path)
	if err != nil {
		panic(err)
	}
	text, err := repo.CBORToJSON(nil, blocks[value])
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
	// Output:
	// signature: <nil>
	// {"text":"hello","$type":"app.bsky.feed.post","createdAt":"2026-11-22T10:00:00Z"}
}

func ExampleDecodeJSON() {
	v, err := repo.DecodeJSON([]byte(`{"count": 1e3, "big": 9007199254740993}`))
	fmt.Println(v, err)
	v, err = repo.DecodeJSON([]byte(`{"count": 1e3, "link": {"$link": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}}`))
	fmt.Println(v, err)
	// Output:
	// <nil> integer is out of range (at byte 22)
	// map[count:1000 link:bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity] <nil>
}

// A proof holds for a path that is not there as well.
func ExampleTree_Proof() {
	rec, err := repo.RecordFromJSON([]byte(`{"text":"hello"}`), "app.bsky.feed.post")
	if err != nil {
		panic(err)
	}
	tree := repo.EmptyTree()
	diff, err := tree.Apply([]repo.Write{{Path: "app.bsky.feed.post/first", CID: rec.CID}})
	if err != nil {
		panic(err)
	}
	proof, value, err := tree.Proof("app.bsky.feed.post/second")
	fmt.Println(len(proof), value.Defined(), err)

	// Who has the root, from a verified commit, and the proof, can check it.
	value, err = repo.LoadTree(diff.Root, func(c cid.Cid) ([]byte, error) {
		for _, b := range proof {
			if b.CID == c {
				return b.Data, nil
			}
		}
		return nil, repo.ErrBlockNotFound
	}).Get("app.bsky.feed.post/second")
	fmt.Println(value.Defined(), err)
	// Output:
	// 1 false <nil>
	// false <nil>
}

func ExampleInvertCommit() {
	rec, err := repo.RecordFromJSON([]byte(`{"text":"hello"}`), "app.bsky.feed.post")
	if err != nil {
		panic(err)
	}
	tree := repo.EmptyTree()
	first, err := tree.Apply([]repo.Write{{Path: "app.bsky.feed.post/a", CID: rec.CID}})
	if err != nil {
		panic(err)
	}
	second, err := tree.Apply([]repo.Write{{Path: "app.bsky.feed.post/b", CID: rec.CID}, {Path: "app.bsky.feed.post/a"}})
	if err != nil {
		panic(err)
	}
	before, err := repo.InvertCommit(second.Root, second.Ops, func(c cid.Cid) ([]byte, error) {
		for _, b := range second.Proof {
			if b.CID == c {
				return b.Data, nil
			}
		}
		return nil, repo.ErrBlockNotFound
	})
	fmt.Println(before == first.Root, err)
	for _, op := range second.Ops {
		fmt.Println(op.Action, op.Path)
	}
	// Output:
	// true <nil>
	// delete app.bsky.feed.post/a
	// create app.bsky.feed.post/b
}
