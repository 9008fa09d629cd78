package repo_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/atdata"

	"github.com/pdskit/pdskit/repo"
)

// postJSON is a post of about 1.2 KB with links, a mention and an image.
const postJSON = `{
  "$type": "app.bsky.feed.post",
  "text": "A longer post, as people write them: with a mention of @alice.example.com, a link to example.com/some/long/path and a hashtag. Größe, naïve, 日本語 and 🦋 count as well.",
  "langs": ["en", "de"],
  "createdAt": "2026-11-22T10:35:14.123Z",
  "facets": [
    {"index": {"byteStart": 56, "byteEnd": 74}, "features": [{"$type": "app.bsky.richtext.facet#mention", "did": "did:plc:ewvi7nxzyoun6zhxrhs64oiz"}]},
    {"index": {"byteStart": 86, "byteEnd": 112}, "features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://example.com/some/long/path"}]}
  ],
  "reply": {
    "root": {"uri": "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3lhhvdkcby3e2", "cid": "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"},
    "parent": {"uri": "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3lhhvdkcby3e2", "cid": "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}
  },
  "embed": {"$type": "app.bsky.embed.images", "images": [
    {"alt": "A picture", "image": {"$type": "blob", "ref": {"$link": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}, "mimeType": "image/jpeg", "size": 123456}, "aspectRatio": {"width": 1600, "height": 1200}}
  ]}
}`

func BenchmarkRecordFromJSON(b *testing.B) {
	data := []byte(postJSON)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := repo.RecordFromJSON(data, "app.bsky.feed.post"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordFromCBOR(b *testing.B) {
	data := post(b).CBOR
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := repo.RecordFromCBOR(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendCBOR(b *testing.B) {
	rec := post(b)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = repo.AppendCBOR(buf[:0], rec.Value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCBORToJSON(b *testing.B) {
	data := post(b).CBOR
	var buf []byte
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = repo.CBORToJSON(buf[:0], data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckPath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := repo.CheckPath("app.bsky.feed.post/3lhhvdkcby3e2"); err != nil {
			b.Fatal(err)
		}
	}
}

func post(t testing.TB) *repo.Record {
	t.Helper()
	rec, err := repo.RecordFromJSON([]byte(postJSON), "app.bsky.feed.post")
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// benchTree builds a tree like that of a real account: three collections whose
// record keys are TIDs in ascending order.
func benchTree(b *testing.B, n int) (*blocks, *repo.Diff) {
	b.Helper()
	writes := make([]repo.Write, n)
	for i := range writes {
		writes[i] = repo.Write{Path: benchPath(i), CID: leaf(i)}
	}
	d, err := repo.EmptyTree().Apply(writes)
	if err != nil {
		b.Fatal(err)
	}
	store := newBlocks()
	store.put(d.NewNodes)
	return store, d
}

var benchCollections = []string{"app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.graph.follow"}

func benchPath(i int) string {
	at := time.UnixMicro(1_700_000_000_000_000 + int64(i)*1_234_567)
	return benchCollections[i%3] + "/" + repo.NextRev("", at, 7).String()
}

// BenchmarkApply measures one commit: cold loads the path for each, hot keeps
// the tree. Writes append new records as accounts do, random ones go anywhere.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		if n > 100_000 && testing.Short() {
			continue
		}
		store, d := benchTree(b, n)
		for _, mode := range []string{"cold", "hot", "random"} {
			b.Run(fmt.Sprintf("%d/%s", n, mode), func(b *testing.B) {
				root := d.Root
				tree := repo.LoadTree(root, store.get)
				var added []repo.Block
				nodes, bytes, i := 0, 0, 0
				b.ReportAllocs()
				for b.Loop() {
					path := benchPath(n + i)
					if mode == "random" {
						path = benchCollections[i%3] + "/" + repo.NextRev("", time.UnixMicro(1_700_000_000_000_000+int64(i)*7_654_321_987%(int64(n)*1_234_567)), 9).String()
					}
					if mode != "hot" {
						tree = repo.LoadTree(root, store.get)
					}
					diff, err := tree.Apply([]repo.Write{{Path: path, CID: d.Root}})
					if err != nil {
						b.Fatal(err)
					}
					root = diff.Root
					for _, blk := range diff.NewNodes {
						if _, ok := store.m[blk.CID]; !ok {
							store.m[blk.CID] = blk.Data
							added = append(added, blk)
						}
					}
					nodes += len(diff.Proof)
					for _, blk := range diff.Proof {
						bytes += len(blk.Data)
					}
					i++
				}
				b.ReportMetric(float64(nodes)/float64(i), "nodes/op")
				b.ReportMetric(float64(bytes)/float64(i), "proofB/op")
				for _, blk := range added {
					delete(store.m, blk.CID)
				}
			})
		}
	}
}

func BenchmarkApplyBatch100(b *testing.B) {
	store, d := benchTree(b, 100_000)
	writes := make([]repo.Write, 100)
	for i := range writes {
		writes[i] = repo.Write{Path: benchPath(100_000 + i), CID: leaf(i)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := repo.LoadTree(d.Root, store.get).Apply(writes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProof(b *testing.B) {
	store, d := benchTree(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := repo.LoadTree(d.Root, store.get).Proof(benchPath(50_000)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWalkTree10k(b *testing.B) {
	store, d := benchTree(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := repo.WalkTree(d.Root, store.get, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInvertCommit(b *testing.B) {
	store, d := benchTree(b, 100_000)
	diff, err := repo.LoadTree(d.Root, store.get).Apply([]repo.Write{{Path: benchPath(100_000), CID: leaf(1)}})
	if err != nil {
		b.Fatal(err)
	}
	proof := newBlocks()
	proof.put(diff.Proof)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := repo.InvertCommit(diff.Root, diff.Ops, proof.get); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommitSign(b *testing.B) {
	k256, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		b.Fatal(err)
	}
	p256, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]atcrypto.PrivateKey{"K256": k256, "P256": p256} {
		b.Run(name, func(b *testing.B) {
			c := repo.Commit{DID: "did:plc:ewvi7nxzyoun6zhxrhs64oiz", Rev: "3lhhvdkcby3e2", Data: leaf(1)}
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Sign(key); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Block(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// eventBlocks is what the event of one commit carries.
func eventBlocks(b *testing.B) []repo.Block {
	store, d := benchTree(b, 10_000)
	diff, err := repo.LoadTree(d.Root, store.get).Apply([]repo.Write{{Path: benchPath(10_000), CID: leaf(1)}})
	if err != nil {
		b.Fatal(err)
	}
	rec := post(b)
	return append(diff.Proof, repo.Block{CID: rec.CID, Data: rec.CBOR})
}

func BenchmarkEncodeCAR(b *testing.B) {
	list := eventBlocks(b)
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(repo.EncodeCAR(list[0].CID, list))))
	}
}

func BenchmarkCARWriter(b *testing.B) {
	list := eventBlocks(b)
	cw, err := repo.NewCARWriter(io.Discard, list[0].CID)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, blk := range list {
			if err := cw.WriteBlock(blk); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkCARReader(b *testing.B) {
	store, d := benchTree(b, 10_000)
	var list []repo.Block
	for c, data := range store.m {
		list = append(list, repo.Block{CID: c, Data: data})
	}
	car := repo.EncodeCAR(d.Root, list)
	b.SetBytes(int64(len(car)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := drainCAR(car); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIndigoRecord is what indigo's codec needs for the same record, to
// compare with where other numbers depend on the machine.
func BenchmarkIndigoRecord(b *testing.B) {
	data := []byte(postJSON)
	b.ReportAllocs()
	for b.Loop() {
		obj, err := atdata.UnmarshalJSON(data)
		if err != nil {
			b.Fatal(err)
		}
		enc, err := atdata.MarshalCBOR(obj)
		if err != nil {
			b.Fatal(err)
		}
		repo.CIDOf(enc)
	}
}
