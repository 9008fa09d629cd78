package pds_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
)

// Repositories of the network, as they are in indigo's tests, go in and come
// out with the same records. Two of them have commits of version 2, which are
// refused; their trees are imported under a commit of today.
func TestImportRealRepos(t *testing.T) {
	t.Parallel()
	for name, car := range realRepos(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := pdstest.New(t)
			alice := srv.CreateAccount("alice")
			foreign := readForeign(t, car)
			wantError(t, sendCAR(t, alice, car), 400, "InvalidRequest") // of another account, or version
			foreign.did = alice.DID
			ok(t, sendCAR(t, alice, foreign.car(t)))
			export := alice.Export()
			if export.Commit.Data != foreign.root {
				t.Errorf("tree %s, want %s", export.Commit.Data, foreign.root)
			}
			for path, c := range foreign.paths {
				if !bytes.Equal(export.Blocks[c], foreign.blocks[c]) {
					t.Errorf("%s came back otherwise", path)
				}
				if v, err := read(t, alice, path); err != nil || v["$type"] == nil {
					t.Errorf("%s: %v %v", path, v, err)
				}
			}
			if len(export.Records) != len(foreign.paths) {
				t.Errorf("%d records, want %d", len(export.Records), len(foreign.paths))
			}
			note(t, alice, "next", "the tree goes on")
			t.Logf("%d records, %d blocks", len(foreign.paths), len(foreign.blocks))
		})
	}
}

// realRepos reads the repositories in the testdata of the indigo module.
func realRepos(t *testing.T) map[string][]byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/bluesky-social/indigo").Output()
	if err != nil {
		t.Skipf("no go command: %v", err)
	}
	out := map[string][]byte{}
	for _, name := range []string{"fakermaker.repo.car", "greenground.repo.car", "paul_staging.repo.car"} {
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testing", "testdata", name))
		if err != nil {
			t.Skipf("no testdata: %v", err)
		}
		out[name] = data
	}
	return out
}

// readForeign reads a repository whatever the version of its commit.
func readForeign(t *testing.T, car []byte) *foreignRepo {
	t.Helper()
	in, err := repo.NewCARReader(bytes.NewReader(car), repo.CARLimits{})
	ok(t, err)
	r := &foreignRepo{rev: syntax.NewTIDNow(3), blocks: map[cid.Cid][]byte{}, paths: map[string]cid.Cid{}}
	for {
		b, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ok(t, err)
		r.blocks[b.CID] = bytes.Clone(b.Data)
	}
	v, err := repo.DecodeCBOR(r.blocks[in.Roots()[0]])
	ok(t, err)
	commit, _ := v.(map[string]any)
	link, _ := commit["data"].(atdata.CIDLink)
	r.root = link.CID()
	if version, _ := commit["version"].(int64); version != repo.CommitVersion {
		t.Logf("commit of version %d", version)
	}
	delete(r.blocks, in.Roots()[0])
	ok(t, repo.WalkTree(r.root, func(c cid.Cid) ([]byte, error) {
		if data, ok := r.blocks[c]; ok {
			return data, nil
		}
		return nil, repo.ErrBlockNotFound
	}, func(path string, value cid.Cid) error {
		r.paths[path] = value
		return nil
	}, nil))
	return r
}

// Bug 22 of the field: whatever bytes come in as a CAR, they are refused as
// such, or are a repository after all.
func TestImportOfDamagedCARs(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	foreign := newForeignRepo(t, alice.DID, someRecords(30))
	car := foreign.car(t)
	rng := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for i := range scaled(500) {
		bad := bytes.Clone(car)
		switch i % 4 {
		case 0:
			bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		case 1:
			bad[rng.IntN(min(100, len(bad)))] = byte(rng.IntN(256)) // header and root
		case 2:
			bad = bad[:rng.IntN(len(bad))]
		case 3:
			at := rng.IntN(len(bad))
			bad = slices.Insert(bad, at, byte(rng.IntN(256)))
		}
		err := sendCAR(t, alice, bad)
		if err == nil {
			accepted++ // what was cut off or damaged is not needed
			continue
		}
		wantError(t, err, 400, "InvalidRequest")
	}
	if accepted > scaled(500)/10 {
		t.Errorf("%d damaged files were accepted", accepted)
	}
	ok(t, sendCAR(t, alice, car))
	if got := alice.Export().Records; !maps.Equal(got, foreign.paths) {
		t.Errorf("%d records", len(got))
	}
}
