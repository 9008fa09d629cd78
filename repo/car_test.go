package repo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/identity"
	indigo "github.com/bluesky-social/indigo/atproto/repo"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

// indigoDir is the folder of the indigo module, which holds real repositories.
var indigoDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/bluesky-social/indigo").Output()
	return strings.TrimSpace(string(out)), err
})

func indigoFile(t testing.TB, name string) []byte {
	t.Helper()
	dir, err := indigoDir()
	if err != nil || dir == "" {
		t.Skipf("indigo's folder is unknown: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// readCAR reads a whole CAR file.
func readCAR(data []byte, lim repo.CARLimits) ([]cid.Cid, []repo.Block, error) {
	cr, err := repo.NewCARReader(bytes.NewReader(data), lim)
	if err != nil {
		return nil, nil, err
	}
	var list []repo.Block
	for {
		b, err := cr.Next()
		if err == io.EOF {
			return cr.Roots(), list, nil
		}
		if err != nil {
			return nil, nil, err
		}
		list = append(list, repo.Block{CID: b.CID, Data: bytes.Clone(b.Data)})
	}
}

// TestRealRepos reads repositories that other implementations wrote, verifies
// their signatures, walks their trees, decodes each record, and builds the same
// tree from nothing.
func TestRealRepos(t *testing.T) {
	for _, name := range []string{"greenground", "fakermaker", "paul_staging"} {
		t.Run(name, func(t *testing.T) {
			data := indigoFile(t, "testing/testdata/"+name+".repo.car")
			roots, list, err := readCAR(data, repo.CARLimits{})
			if err != nil || len(roots) != 1 {
				t.Fatal(roots, err)
			}
			store := newBlocks()
			store.put(list)
			if again := repo.EncodeCAR(roots[0], list); !bytes.Equal(again, data) {
				t.Error("the CAR file comes out otherwise")
			}
			commitBlock, err := store.get(roots[0])
			if err != nil {
				t.Fatal(err)
			}
			root := signedRoot(t, name, commitBlock)
			var writes []repo.Write
			nodes := 0
			err = repo.WalkTree(root, store.get, func(path string, c cid.Cid) error {
				writes = append(writes, repo.Write{Path: path, CID: c})
				rec, err := store.get(c)
				if err != nil {
					return err
				}
				r, err := repo.RecordFromCBOR(rec)
				if err != nil {
					return err
				}
				if r.CID != c || r.Type == "" {
					t.Errorf("%s: CID %s, type %q", path, r.CID, r.Type)
				}
				checkRoundTrip(t, rec)
				return repo.CheckPath(path)
			}, func(repo.Block) error { nodes++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			d, err := repo.EmptyTree().Apply(writes)
			if err != nil || d.Root != root || len(d.NewNodes) != nodes {
				t.Errorf("rebuilt root %s with %d nodes, want %s with %d (%v)", d.Root, len(d.NewNodes), root, nodes, err)
			}
			t.Logf("%d blocks, %d nodes, %d records", len(list), nodes, len(writes))
		})
	}
}

// signedRoot returns the root of the tree that a commit of the repository names,
// having verified its signature. Two of the repositories are older than version
// 3 of the format; their trees are the same, their commits must be refused.
func signedRoot(t *testing.T, name string, data []byte) cid.Cid {
	t.Helper()
	if name != "greenground" {
		if _, err := repo.ParseCommit(data); !errors.Is(err, repo.ErrInvalidCommit) {
			t.Errorf("commit of version 2: %v", err)
		}
		v, err := repo.DecodeCBOR(data)
		if err != nil {
			t.Fatal(err)
		}
		return v.(map[string]any)["data"].(atdata.CIDLink).CID()
	}
	commit, err := repo.ParseCommit(data)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := commit.Block(); err != nil || !bytes.Equal(b.Data, data) {
		t.Errorf("the commit comes out otherwise (%v)", err)
	}
	var doc identity.DIDDocument
	if err := json.Unmarshal(indigoFile(t, "testing/testdata/"+name+".didDoc.json"), &doc); err != nil {
		t.Fatal(err)
	}
	id := identity.ParseIdentity(&doc)
	key, err := id.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := commit.Verify(key); err != nil {
		t.Error(err)
	}
	return commit.Data
}

// TestRealCommitEvents undoes commit events from the network. Three of them are
// known to lack nodes; indigo cannot undo them either.
func TestRealCommitEvents(t *testing.T) {
	for name, whole := range map[string]bool{
		"4621317030": false, "4621317332": false, "4621332152": false, "4623075231": true,
	} {
		t.Run(name, func(t *testing.T) {
			var msg comatproto.SyncSubscribeRepos_Commit
			if err := json.Unmarshal(indigoFile(t, "atproto/repo/testdata/firehose_commit_"+name+".json"), &msg); err != nil {
				t.Fatal(err)
			}
			roots, list, err := readCAR(msg.Blocks, repo.CARLimits{})
			if err != nil {
				t.Fatal(err)
			}
			store := newBlocks()
			store.put(list)
			data, err := store.get(roots[0])
			if err != nil {
				t.Fatal(err)
			}
			commit, err := repo.ParseCommit(data)
			if err != nil {
				t.Fatal(err)
			}
			var ops []repo.Op
			for _, o := range msg.Ops {
				op := repo.Op{Action: o.Action, Path: o.Path}
				if o.Cid != nil {
					op.CID = cid.Cid(*o.Cid)
				}
				if o.Prev != nil {
					op.Prev = cid.Cid(*o.Prev)
				}
				ops = append(ops, op)
				if v, err := repo.LoadTree(commit.Data, store.get).Get(o.Path); err != nil || v != op.CID {
					t.Errorf("%s: %s, want %s (%v)", o.Path, v, op.CID, err)
				}
			}
			_, theirs := indigo.VerifyCommitMessage(context.Background(), &msg)
			before, err := repo.InvertCommit(commit.Data, ops, store.get)
			if (err == nil) != (theirs == nil) || (err == nil) != whole {
				t.Fatalf("%v, indigo says %v", err, theirs)
			}
			if !whole {
				if !errors.Is(err, repo.ErrPartialTree) {
					t.Error(err)
				}
				return
			}
			if !before.Defined() {
				t.Error("no root")
			}
		})
	}
}

// section encodes one block of a CAR file as it should be.
func section(b repo.Block) []byte {
	out := binary.AppendUvarint(nil, uint64(b.CID.ByteLen()+len(b.Data)))
	return append(append(out, b.CID.Bytes()...), b.Data...)
}

func TestCARRoundTrip(t *testing.T) {
	big := make([]byte, 300_000) // more than the reader's buffer
	list := []repo.Block{
		{CID: repo.CIDOf([]byte("one")), Data: []byte("one")},
		{CID: repo.RawCID(sha256.Sum256(big)), Data: big},
		{CID: repo.CIDOf([]byte("two")), Data: []byte("two")},
	}
	for _, roots := range [][]cid.Cid{nil, {leaf(1)}, {leaf(1), rawLeaf(2)}} {
		var buf bytes.Buffer
		cw, err := repo.NewCARWriter(&buf, roots...)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list {
			if err := cw.WriteBlock(b); err != nil {
				t.Fatal(err)
			}
		}
		gotRoots, got, err := readCAR(buf.Bytes(), repo.CARLimits{})
		if err != nil || !slices.Equal(gotRoots, roots) || len(got) != len(list) {
			t.Fatalf("%v, %d blocks, %v", gotRoots, len(got), err)
		}
		for i, b := range got {
			if b.CID != list[i].CID || !bytes.Equal(b.Data, list[i].Data) {
				t.Errorf("block %d differs", i)
			}
		}
		if len(roots) < 2 {
			root := cid.Undef
			if len(roots) == 1 {
				root = roots[0]
			}
			if !bytes.Equal(repo.EncodeCAR(root, list), buf.Bytes()) {
				t.Error("EncodeCAR and CARWriter differ")
			}
		}
		// One byte at a time gives the same.
		cr, err := repo.NewCARReader(iotest.OneByteReader(bytes.NewReader(buf.Bytes())), repo.CARLimits{})
		if err != nil {
			t.Fatal(err)
		}
		for range list {
			if _, err := cr.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := cr.Next(); err != io.EOF {
			t.Fatal(err)
		}
	}
}

func TestCARHostile(t *testing.T) {
	one := repo.Block{CID: repo.CIDOf([]byte("one")), Data: []byte("one")}
	good := repo.EncodeCAR(one.CID, []repo.Block{one})
	head := repo.EncodeCAR(one.CID, nil)
	wrong := repo.Block{CID: one.CID, Data: []byte("two")}
	v0 := repo.Block{CID: mustCID(t, "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"), Data: []byte("one")}
	headerOf := func(h string) []byte { return append(binary.AppendUvarint(nil, uint64(len(h))), h...) }
	cases := []struct {
		name string
		data []byte
		want error
	}{
		{"empty", nil, io.ErrUnexpectedEOF},
		{"header cut", head[:20], io.ErrUnexpectedEOF},
		{"header of no bytes", []byte{0}, repo.ErrSyntax},
		{"header too large", binary.AppendUvarint(nil, 1<<40), repo.ErrTooLarge},
		{"version 2", bytes.Replace(good, []byte("version\x01"), []byte("version\x02"), 1), repo.ErrInvalidCAR},
		{"no roots", headerOf("\xa1\x67version\x01"), repo.ErrSyntax},
		{"root is null", headerOf("\xa2\x65roots\x81\xf6\x67version\x01"), repo.ErrInvalidCAR},
		{"many roots announced", headerOf("\xa2\x65roots\x9a\xff\xff\xff\xff\x67version\x01"), repo.ErrSyntax},
		{"more header", headerOf("\xa2\x65roots\x80\x67version\x01\x00"), repo.ErrInvalidCAR},
		{"block cut", good[:len(good)-1], io.ErrUnexpectedEOF},
		{"length cut", append(bytes.Clone(head), 0x80), io.ErrUnexpectedEOF},
		{"length not shortest", append(bytes.Clone(head), 0x80, 0x00), repo.ErrInvalidCAR},
		{"length endless", append(bytes.Clone(head), bytes.Repeat([]byte{0xff}, 12)...), repo.ErrInvalidCAR},
		{"section of no bytes", append(bytes.Clone(head), 0), repo.ErrInvalidCAR},
		{"block too large", append(bytes.Clone(head), binary.AppendUvarint(nil, repo.DefaultCARBlock+37)...), repo.ErrTooLarge},
		{"block announced, not there", append(bytes.Clone(head), binary.AppendUvarint(nil, repo.DefaultCARBlock+36)...), io.ErrUnexpectedEOF},
		{"wrong hash", append(bytes.Clone(head), section(wrong)...), repo.ErrHashMismatch},
		{"version 0 CID", append(bytes.Clone(head), section(v0)...), repo.ErrInvalidCAR},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readCAR(c.data, repo.CARLimits{})
			if !errors.Is(err, c.want) || !errors.Is(err, repo.ErrInvalidCAR) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	t.Run("error stays", func(t *testing.T) {
		cr, err := repo.NewCARReader(bytes.NewReader(append(section2(head, wrong), section(one)...)), repo.CARLimits{})
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := cr.Next()
		_, err2 := cr.Next()
		if err1 == nil || err1 != err2 {
			t.Errorf("%v, then %v", err1, err2)
		}
	})
	t.Run("reader fails", func(t *testing.T) {
		boom := errors.New("boom")
		cr, err := repo.NewCARReader(io.MultiReader(bytes.NewReader(good), iotest.ErrReader(boom)), repo.CARLimits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cr.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err := cr.Next(); !errors.Is(err, boom) {
			t.Errorf("%v", err)
		}
	})
}

func section2(head []byte, b repo.Block) []byte { return append(bytes.Clone(head), section(b)...) }

func TestCARLimits(t *testing.T) {
	list := []repo.Block{
		{CID: repo.CIDOf([]byte("one")), Data: []byte("one")},
		{CID: repo.CIDOf([]byte("two")), Data: []byte("two")},
	}
	data := repo.EncodeCAR(list[0].CID, list)
	header := len(repo.EncodeCAR(list[0].CID, nil)) - 1
	for name, lim := range map[string]func(delta int) repo.CARLimits{
		"header": func(d int) repo.CARLimits { return repo.CARLimits{MaxHeader: header + d} },
		"block":  func(d int) repo.CARLimits { return repo.CARLimits{MaxBlock: 3 + d} },
		"bytes":  func(d int) repo.CARLimits { return repo.CARLimits{MaxBytes: int64(len(data) + d)} },
		"blocks": func(d int) repo.CARLimits { return repo.CARLimits{MaxBlocks: int64(2 + d)} },
	} {
		if _, _, err := readCAR(data, lim(0)); err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		if _, _, err := readCAR(data, lim(-1)); !errors.Is(err, repo.ErrTooLarge) {
			t.Errorf("%s above the limit: %v", name, err)
		}
	}
}

// drainCAR reads a CAR file and counts its blocks.
func drainCAR(data []byte) (int, error) {
	cr, err := repo.NewCARReader(bytes.NewReader(data), repo.CARLimits{})
	if err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		if _, err := cr.Next(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}
