package repo_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/repo/mst"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

// interopFile reads one of the interop vectors that live beside the project.
func interopFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "shared", "interop", filepath.FromSlash(name)))
	if err != nil {
		if os.Getenv("PDSKIT_REQUIRE_INTEROP") == "1" {
			t.Fatalf("interop vectors are required: %v", err)
		}
		t.Skipf("interop vectors are not there: %v", err)
	}
	return data
}

func interopJSON(t *testing.T, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(interopFile(t, name), v); err != nil {
		t.Fatal(err)
	}
}

// interopLines returns the lines of a vector file that are no comments.
func interopLines(t *testing.T, name string) []string {
	t.Helper()
	var lines []string
	for line := range strings.SplitSeq(string(interopFile(t, name)), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

func mustCID(t testing.TB, s string) cid.Cid {
	t.Helper()
	c, err := cid.Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestInteropDataModelFixtures(t *testing.T) {
	var cases []struct {
		JSON json.RawMessage `json:"json"`
		CBOR string          `json:"cbor_base64"`
		CID  string          `json:"cid"`
	}
	interopJSON(t, "data-model/data-model-fixtures.json", &cases)
	for i, c := range cases {
		want, err := base64.RawStdEncoding.DecodeString(c.CBOR)
		if err != nil {
			t.Fatal(err)
		}
		v, err := repo.DecodeJSON(c.JSON)
		if err != nil {
			t.Fatalf("case %d: %v", i, err)
		}
		got, err := repo.AppendCBOR(nil, v)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("case %d: CBOR %x, want %x (%v)", i, got, want, err)
		}
		if id := repo.CIDOf(got); id.String() != c.CID {
			t.Errorf("case %d: CID %s, want %s", i, id, c.CID)
		}
		checkRoundTrip(t, want)
	}
	t.Logf("%d cases", len(cases))
}

func TestInteropDataModelValid(t *testing.T) {
	var cases []struct{ JSON json.RawMessage }
	interopJSON(t, "data-model/data-model-valid.json", &cases)
	for i, c := range cases {
		rec, err := repo.RecordFromJSON(c.JSON, "com.example.test")
		if err != nil {
			t.Errorf("case %d: %v", i, err)
			continue
		}
		checkRoundTrip(t, rec.CBOR)
		// indigo must agree.
		obj, err := atdata.UnmarshalJSON(c.JSON)
		if err != nil {
			t.Fatal(err)
		}
		obj["$type"] = "com.example.test"
		want, err := atdata.MarshalCBOR(obj)
		if err != nil || !bytes.Equal(rec.CBOR, want) {
			t.Errorf("case %d: CBOR %x, indigo has %x (%v)", i, rec.CBOR, want, err)
		}
	}
	t.Logf("%d cases", len(cases))
}

func TestInteropDataModelInvalid(t *testing.T) {
	var cases []struct {
		Note string
		JSON json.RawMessage
	}
	interopJSON(t, "data-model/data-model-invalid.json", &cases)
	for _, c := range cases {
		if _, err := repo.RecordFromJSON(c.JSON, "com.example.test"); err == nil {
			t.Errorf("%s: accepted", c.Note)
		} else {
			t.Logf("%s: %v", c.Note, err)
		}
	}
	t.Logf("%d cases", len(cases))
}

func TestInteropKeyHeights(t *testing.T) {
	var cases []struct {
		Key    string
		Height int
	}
	interopJSON(t, "mst/key_heights.json", &cases)
	for _, c := range cases {
		if got := mst.HeightForKey([]byte(c.Key)); got != c.Height {
			t.Errorf("%q: height %d, want %d", c.Key, got, c.Height)
		}
	}
	t.Logf("%d cases", len(cases))
}

func TestInteropCommonPrefix(t *testing.T) {
	var cases []struct {
		Left, Right string
		Len         int
	}
	interopJSON(t, "mst/common_prefix.json", &cases)
	for _, c := range cases {
		if got := mst.CountPrefixLen([]byte(c.Left), []byte(c.Right)); got != c.Len {
			t.Errorf("%q %q: %d, want %d", c.Left, c.Right, got, c.Len)
		}
	}
	t.Logf("%d cases", len(cases))
}

func TestInteropExampleKeys(t *testing.T) {
	keys := interopLines(t, "mst/example_keys.txt")
	value := mustCID(t, "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454")
	full := map[string]cid.Cid{}
	store := newBlocks()
	tree := repo.EmptyTree()
	for _, k := range keys {
		full[k] = value
		d, err := tree.Apply([]repo.Write{{Path: k, CID: value}})
		if err != nil {
			t.Fatal(err)
		}
		store.apply(t, d)
		if want := fullRoot(t, full); d.Root != want {
			t.Fatalf("root %s after %q, want %s", d.Root, k, want)
		}
	}
	t.Logf("%d cases", len(keys))
}

func TestInteropCommitProofs(t *testing.T) {
	var cases []struct {
		Comment                           string
		LeafValue                         string
		Keys, Adds, Dels                  []string
		RootBeforeCommit, RootAfterCommit string
		BlocksInProof                     []string
	}
	interopJSON(t, "firehose/commit-proof-fixtures.json", &cases)
	for _, c := range cases {
		t.Run(c.Comment, func(t *testing.T) {
			value := mustCID(t, c.LeafValue)
			var writes []repo.Write
			for _, k := range c.Keys {
				writes = append(writes, repo.Write{Path: k, CID: value})
			}
			store := newBlocks()
			d, err := repo.EmptyTree().Apply(writes)
			if err != nil {
				t.Fatal(err)
			}
			store.apply(t, d)
			if d.Root.String() != c.RootBeforeCommit {
				t.Fatalf("root before %s, want %s", d.Root, c.RootBeforeCommit)
			}
			writes = nil
			for _, k := range c.Adds {
				writes = append(writes, repo.Write{Path: k, CID: value})
			}
			for _, k := range c.Dels {
				writes = append(writes, repo.Write{Path: k})
			}
			d, err = repo.LoadTree(d.Root, store.get).Apply(writes)
			if err != nil {
				t.Fatal(err)
			}
			if d.Root.String() != c.RootAfterCommit {
				t.Fatalf("root after %s, want %s", d.Root, c.RootAfterCommit)
			}
			proof := newBlocks()
			proof.put(d.Proof)
			for _, want := range c.BlocksInProof {
				if _, ok := proof.m[mustCID(t, want)]; !ok {
					t.Errorf("proof lacks %s", want)
				}
			}
			before, err := repo.InvertCommit(d.Root, d.Ops, proof.get)
			if err != nil || before.String() != c.RootBeforeCommit {
				t.Errorf("inverted root %s, want %s (%v)", before, c.RootBeforeCommit, err)
			}
			t.Logf("proof has %d blocks, the vector names %d", len(d.Proof), len(c.BlocksInProof))
		})
	}
	t.Logf("%d cases", len(cases))
}

func TestInteropSignatures(t *testing.T) {
	var cases []struct {
		Comment         string
		MessageBase64   string
		PublicKeyDid    string
		SignatureBase64 string
		ValidSignature  bool
	}
	interopJSON(t, "crypto/signature-fixtures.json", &cases)
	for _, c := range cases {
		key, err := atcrypto.ParsePublicDIDKey(c.PublicKeyDid)
		if err != nil {
			t.Fatal(err)
		}
		msg, err1 := base64.RawStdEncoding.DecodeString(c.MessageBase64)
		sig, err2 := base64.RawStdEncoding.DecodeString(c.SignatureBase64)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := key.HashAndVerify(msg, sig); (err == nil) != c.ValidSignature {
			t.Errorf("%s: %v", c.Comment, err)
		}
	}
	t.Logf("%d cases", len(cases))
}

// TestInteropSyntax runs the syntax vectors that concern repositories through
// indigo's parsers and, for paths, through CheckPath.
func TestInteropSyntax(t *testing.T) {
	parsers := map[string]func(string) bool{
		"nsid": func(s string) bool {
			_, err := syntax.ParseNSID(s)
			if ok := repo.CheckPath(s+"/self") == nil; ok != (err == nil) {
				t.Errorf("CheckPath differs about NSID %q", s)
			}
			return err == nil
		},
		"recordkey": func(s string) bool {
			_, err := syntax.ParseRecordKey(s)
			if ok := repo.CheckPath("com.example.test/"+s) == nil; ok != (err == nil) {
				t.Errorf("CheckPath differs about record key %q", s)
			}
			return err == nil
		},
		"tid": func(s string) bool { _, err := syntax.ParseTID(s); return err == nil },
		"did": func(s string) bool { _, err := syntax.ParseDID(s); return err == nil },
		"cid": func(s string) bool { _, err := syntax.ParseCID(s); return err == nil },
	}
	total := 0
	for name, parse := range parsers {
		for _, valid := range []bool{true, false} {
			file := "syntax/" + name + "_syntax_" + map[bool]string{true: "valid", false: "invalid"}[valid] + ".txt"
			for _, line := range interopLines(t, file) {
				total++
				if parse(line) != valid {
					t.Errorf("%s %q: want valid=%v", name, line, valid)
				}
			}
		}
	}
	t.Logf("%d cases", total)
}
