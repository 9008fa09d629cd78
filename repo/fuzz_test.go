package repo_test

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

func FuzzRecordJSON(f *testing.F) {
	f.Add([]byte(postJSON))
	for _, s := range []string{
		`{"a":-1.50e2,"b":[null,true,{"$bytes":"AQI="}],"\ud83e\udd8b":{}}`,
		`{"cid":"` + someLink + `","mimeType":"a/b"}`,
		`{"a":{"$link":"` + someLink + `"},"$type":"a.b.c"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := repo.DecodeJSON(data)
		rec, recErr := repo.RecordFromJSON(data, "com.example.test")
		if err != nil {
			if recErr == nil {
				t.Fatal("accepted as record only")
			}
			var de *repo.DataError
			if !errors.As(err, &de) || de.Offset < 0 || de.Offset > len(data) {
				t.Fatalf("%v", err)
			}
			return
		}
		enc, err := repo.AppendCBOR(nil, v)
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		checkRoundTrip(t, enc)
		if recErr == nil {
			again, err := repo.RecordFromCBOR(rec.CBOR)
			if err != nil || again.CID != rec.CID || again.Type != rec.Type || len(again.Blobs) != len(rec.Blobs) {
				t.Fatalf("%+v, want %+v (%v)", again, rec, err)
			}
			enc, err := repo.AppendCBOR(nil, rec.Value)
			if err != nil || !bytes.Equal(enc, rec.CBOR) {
				t.Fatalf("one pass gives %x, two give %x (%v)", rec.CBOR, enc, err)
			}
		}
	})
}

func FuzzCBOR(f *testing.F) {
	rec, err := repo.RecordFromJSON([]byte(postJSON), "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rec.CBOR)
	f.Add([]byte{0xa1, 0x61, 'a', 0x82, 0x38, 0x18, 0xf6})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := repo.DecodeCBOR(data)
		text, jsonErr := repo.CBORToJSON(nil, data)
		if err == nil {
			checkRoundTrip(t, data)
		}
		if jsonErr != nil {
			if err == nil {
				t.Fatal(jsonErr)
			}
			return
		}
		if !utf8.Valid(text) {
			t.Fatalf("JSON is not UTF-8: %q", text)
		}
		// What only the decoder refuses, both decoders refuse.
		if _, err2 := repo.DecodeJSON(text); (err == nil) != (err2 == nil) {
			t.Fatalf("CBOR: %v, JSON: %v", err, err2)
		}
	})
}

func FuzzCAR(f *testing.F) {
	list := []repo.Block{{CID: repo.CIDOf([]byte("one")), Data: []byte("one")}, {CID: repo.CIDOf(nil)}}
	f.Add(repo.EncodeCAR(list[0].CID, list[:1]))
	f.Add(repo.EncodeCAR(cid.Undef, list))
	f.Fuzz(func(t *testing.T, data []byte) {
		roots, list, err := readCAR(data, repo.CARLimits{MaxBlock: 1 << 16, MaxBlocks: 100})
		if err != nil {
			if !errors.Is(err, repo.ErrInvalidCAR) {
				t.Fatal(err)
			}
			return
		}
		var buf bytes.Buffer
		cw, err := repo.NewCARWriter(&buf, roots...)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list {
			if repo.CIDOf(b.Data) != b.CID && b.CID.Type() != cid.Raw {
				t.Fatal("hash was not checked")
			}
			if err := cw.WriteBlock(b); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(buf.Bytes(), data) {
			t.Fatalf("wrote %x, read %x", buf.Bytes(), data)
		}
	})
}

// FuzzNode reads a hostile root node, and below it the same bytes as a child.
func FuzzNode(f *testing.F) {
	m := newModel(f)
	for i, k := range treeKeys(4) {
		d := m.apply([]repo.Write{{Path: k, CID: leaf(i)}})
		for _, b := range d.NewNodes {
			f.Add(b.Data)
		}
	}
	keys := treeKeys(4)
	f.Fuzz(func(t *testing.T, data []byte) {
		root := repo.CIDOf(data)
		src := func(c cid.Cid) ([]byte, error) {
			if c == root {
				return data, nil
			}
			return nil, repo.ErrBlockNotFound
		}
		walkErr := repo.WalkTree(root, src, nil, func(b repo.Block) error {
			if b.CID != root || !bytes.Equal(b.Data, data) {
				t.Fatal("other block")
			}
			return nil
		})
		for _, k := range keys {
			tree := repo.LoadTree(root, src)
			proof, v, err := tree.Proof(k)
			if walkErr == nil && err != nil {
				t.Fatal(err)
			}
			if err == nil && (len(proof) != 1 || !bytes.Equal(proof[0].Data, data)) {
				t.Fatalf("node comes out as %x", proof[0].Data)
			}
			for _, w := range []cid.Cid{leaf(99), cid.Undef} {
				d, err := repo.LoadTree(root, src).Apply([]repo.Write{{Path: k, CID: w}})
				if walkErr == nil && err != nil {
					t.Fatal(err)
				}
				if err == nil && v != w && len(d.Ops) != 1 {
					t.Fatalf("%+v", d)
				}
			}
			op := repo.Op{Action: repo.ActionCreate, Path: k, CID: v}
			if _, err := repo.InvertCommit(root, []repo.Op{op}, src); walkErr == nil && v.Defined() && err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"app.bsky.feed.post/3lhhvdkcby3e2", "a.b.c/self", "a.b-c.d/..", "a.b.c1/~:_-.", "A.0.z/x", "a.b.c/x/y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, _, want := syntax.ParseRepoPath(s)
		got := repo.CheckPath(s)
		if (got == nil) != (want == nil) {
			t.Fatalf("%q: %v, indigo says %v", s, got, want)
		}
		if got == nil {
			if _, err := repo.EmptyTree().Apply([]repo.Write{{Path: s, CID: leaf(1)}}); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(got, repo.ErrInvalidPath) {
			t.Fatal(got)
		}
	})
}

func FuzzCommit(f *testing.F) {
	c := repo.Commit{DID: "did:plc:ewvi7nxzyoun6zhxrhs64oiz", Version: 3, Rev: "3lhhvdkcby3e2", Data: leaf(1), Sig: []byte{1}}
	b, err := c.Block()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := repo.ParseCommit(data)
		if err != nil {
			if !errors.Is(err, repo.ErrInvalidCommit) {
				t.Fatal(err)
			}
			return
		}
		b, err := c.Block()
		if err != nil || !bytes.Equal(b.Data, data) {
			t.Fatalf("%x, want %x (%v)", b.Data, data, err)
		}
	})
}
