package repo_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

// provenRepo is a signed repository with some records.
type provenRepo struct {
	key    atcrypto.PrivateKey
	head   repo.Block
	tree   *repo.Tree
	blocks *blocks
}

func newProvenRepo(t testing.TB, n int) *provenRepo {
	t.Helper()
	key, err := atcrypto.ParsePrivateBytesK256(bytes.Repeat([]byte{7}, 32)) // the same for every fuzzing process
	if err != nil {
		t.Fatal(err)
	}
	p := &provenRepo{key: key, blocks: newBlocks()}
	var writes []repo.Write
	for i := range n {
		rec, err := repo.RecordFromValue(map[string]any{"n": int64(i)}, "com.example.thing")
		if err != nil {
			t.Fatal(err)
		}
		p.blocks.put([]repo.Block{{CID: rec.CID, Data: rec.CBOR}})
		writes = append(writes, repo.Write{Path: benchPath(i), CID: rec.CID})
	}
	diff, err := repo.EmptyTree().Apply(writes)
	if err != nil {
		t.Fatal(err)
	}
	p.blocks.put(diff.NewNodes)
	p.tree = repo.LoadTree(diff.Root, p.blocks.get)
	c := repo.Commit{DID: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Version: repo.CommitVersion, Data: diff.Root, Rev: "3jzfcijpj2z2a"}
	if err := c.Sign(key); err != nil {
		t.Fatal(err)
	}
	if p.head, err = c.Block(); err != nil {
		t.Fatal(err)
	}
	return p
}

// proof returns the blocks of a proof, the commit first and the record last.
func (p *provenRepo) proof(t testing.TB, path string) []repo.Block {
	t.Helper()
	nodes, value, err := p.tree.Proof(path)
	if err != nil {
		t.Fatal(err)
	}
	list := append([]repo.Block{p.head}, nodes...)
	if value.Defined() {
		data, err := p.blocks.get(value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, repo.Block{CID: value, Data: data})
	}
	return list
}

func TestVerifyProof(t *testing.T) {
	p := newProvenRepo(t, 200)
	pub, err := p.key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	const did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	path := benchPath(77)
	list := p.proof(t, path)
	record, err := repo.VerifyProof(repo.EncodeCAR(p.head.CID, list), did, pub, path)
	if err != nil || !bytes.Equal(record, list[len(list)-1].Data) {
		t.Fatal(record, err)
	}
	absent := p.proof(t, "com.example.thing/none")
	record, err = repo.VerifyProof(repo.EncodeCAR(p.head.CID, absent), did, pub, "com.example.thing/none")
	if err != nil || record != nil {
		t.Fatal(record, err)
	}

	other, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	otherPub, err := other.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	car := func(root cid.Cid, list ...repo.Block) []byte { return repo.EncodeCAR(root, list) }
	whole := car(p.head.CID, list...)
	var twoRoots bytes.Buffer
	if _, err := repo.NewCARWriter(&twoRoots, p.head.CID, p.head.CID); err != nil {
		t.Fatal(err)
	}
	many := bytes.Clone(whole)
	for range repo.MaxProofBlocks {
		many = append(many, section(list[0])...)
	}
	for name, err := range map[string]error{
		"another repository": second2(repo.VerifyProof(whole, "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", pub, path)),
		"another key":        second2(repo.VerifyProof(whole, did, otherPub, path)),
		"another path":       second2(repo.VerifyProof(whole, did, pub, benchPath(3))),
		"a bad path":         second2(repo.VerifyProof(whole, did, pub, "x")),
		"nothing":            second2(repo.VerifyProof(nil, did, pub, path)),
		"cut":                second2(repo.VerifyProof(whole[:len(whole)-1], did, pub, path)),
		"without the commit": second2(repo.VerifyProof(car(p.head.CID, list[1:]...), did, pub, path)),
		"without a node":     second2(repo.VerifyProof(car(p.head.CID, append(list[:1:1], list[2:]...)...), did, pub, path)),
		"without the record": second2(repo.VerifyProof(car(p.head.CID, list[:len(list)-1]...), did, pub, path)),
		"another root":       second2(repo.VerifyProof(car(list[1].CID, list...), did, pub, path)),
		"two roots":          second2(repo.VerifyProof(twoRoots.Bytes(), did, pub, path)),
		"too long":           second2(repo.VerifyProof(make([]byte, repo.MaxProofBytes+1), did, pub, path)),
		"too many blocks":    second2(repo.VerifyProof(many, did, pub, path)),
	} {
		if !errors.Is(err, repo.ErrInvalidProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := repo.VerifyProof(whole, did, otherPub, path); !errors.Is(err, repo.ErrInvalidSignature) {
		t.Errorf("another key: %v", err)
	}
	if _, err := repo.VerifyProof(many[:len(whole)+len(section(list[0]))], did, pub, path); err != nil {
		t.Errorf("a block twice: %v", err)
	}
}

func second2(_ []byte, err error) error { return err }

func FuzzVerifyProof(f *testing.F) {
	p := newProvenRepo(f, 50)
	pub, err := p.key.PublicKey()
	if err != nil {
		f.Fatal(err)
	}
	path := benchPath(7)
	list := p.proof(f, path)
	f.Add(repo.EncodeCAR(p.head.CID, list))
	f.Add(repo.EncodeCAR(p.head.CID, list[:2]))
	want := list[len(list)-1].Data
	f.Fuzz(func(t *testing.T, car []byte) {
		record, err := repo.VerifyProof(car, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", pub, path)
		if err == nil && !bytes.Equal(record, want) {
			t.Errorf("something else is proven: %x", record)
		}
	})
}
