package pds_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

const importRepo = "com.atproto.repo.importRepo"

func sendCAR(t *testing.T, a *pdstest.Account, car []byte) error {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {"application/vnd.ipld.car"}}
	_, err := a.PDS.Call(t.Context(), http.MethodPost, importRepo, nil, h, car)
	return err
}

// foreignRepo is a repository made elsewhere.
type foreignRepo struct {
	did    syntax.DID
	rev    syntax.TID
	blocks map[cid.Cid][]byte
	root   cid.Cid // of the tree
	paths  map[string]cid.Cid
}

func newForeignRepo(t *testing.T, did syntax.DID, records map[string]map[string]any) *foreignRepo {
	t.Helper()
	r := &foreignRepo{did: did, rev: syntax.NewTIDNow(3), blocks: map[cid.Cid][]byte{}, paths: map[string]cid.Cid{}}
	var writes []repo.Write
	for path, value := range records {
		collection, _, _ := strings.Cut(path, "/")
		rec, err := repo.RecordFromValue(maps.Clone(value), syntax.NSID(collection))
		ok(t, err)
		r.blocks[rec.CID], r.paths[path] = rec.CBOR, rec.CID
		writes = append(writes, repo.Write{Path: path, CID: rec.CID})
	}
	diff, err := repo.EmptyTree().Apply(writes)
	ok(t, err)
	for _, n := range diff.NewNodes {
		r.blocks[n.CID] = n.Data
	}
	r.root = diff.Root
	return r
}

// commit signs the tree with a key that nobody knows, as the server that the
// account leaves did.
func (r *foreignRepo) commit(t *testing.T) repo.Block {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	c := repo.Commit{DID: r.did, Version: repo.CommitVersion, Data: r.root, Rev: r.rev}
	ok(t, c.Sign(key))
	block, err := c.Block()
	ok(t, err)
	return block
}

func (r *foreignRepo) car(t *testing.T) []byte {
	t.Helper()
	commit := r.commit(t)
	blocks := []repo.Block{commit}
	for c, data := range r.blocks {
		blocks = append(blocks, repo.Block{CID: c, Data: data})
	}
	return repo.EncodeCAR(commit.CID, blocks)
}

func someRecords(n int) map[string]map[string]any {
	out := map[string]map[string]any{}
	for i := range n {
		out[fmt.Sprintf("%s/r%05d", noteCollection, i)] = map[string]any{"text": fmt.Sprint("imported ", i), "i": int64(i)}
	}
	return out
}

// Migration: import, repeat, and go on writing. An active account announces
// the import by a #sync event that is its commit's own.
func TestImportAndRepeat(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	note(t, alice, "mine", "from before")
	foreign := newForeignRepo(t, alice.DID, someRecords(300))
	foreign.rev = syntax.NewTID(srv.Clock.Now().Add(4*time.Minute).UnixMicro(), 5)
	car := foreign.car(t)
	last := alice.Export().Commit.Rev
	for round := range 3 {
		seq := lastSeq(t, srv)
		ok(t, sendCAR(t, alice, car))
		export := alice.Export()
		if !maps.Equal(export.Records, foreign.paths) || export.Commit.Data != foreign.root {
			t.Fatalf("round %d: %d records, want %d", round, len(export.Records), len(foreign.paths))
		}
		if export.Commit.Rev <= last || export.Commit.Rev <= foreign.rev {
			t.Errorf("rev %s after %s, imported %s", export.Commit.Rev, last, foreign.rev)
		}
		events := allEvents(t, srv)
		if kinds := eventsAfter(t, srv, seq); len(kinds) != 1 || kinds[0] != "#sync" {
			t.Errorf("events: %v", kinds)
		}
		sync := events[len(events)-1]
		var head struct{ CID, Rev string }
		srv.Get("com.atproto.sync.getLatestCommit", "", url.Values{"did": {string(alice.DID)}}, &head)
		if string(sync.Rev) != head.Rev || head.CID != export.Root.String() || export.Commit.Rev != sync.Rev {
			t.Errorf("#sync %s, getLatestCommit %s %s, head %s", sync.Rev, head.CID, head.Rev, export.Root)
		}
		in, err := repo.NewCARReader(bytes.NewReader(sync.Blocks), repo.CARLimits{})
		ok(t, err)
		if block, err := in.Next(); err != nil || block.CID != export.Root {
			t.Errorf("#sync has %s, %v", block.CID, err)
		}
		if index := listAll(t, alice, noteCollection); !maps.Equal(index, foreign.paths) {
			t.Errorf("%d records in the index", len(index))
		}
		// Writes go on from there, and their commits invert.
		note(t, alice, fmt.Sprint("after", round), "x")
		mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "r00007"})
		if n := len(alice.Export().Records); n != 300 {
			t.Errorf("%d records", n)
		}
		last = alice.Export().Commit.Rev
	}
	var listed struct {
		Repos []struct{ DID, Head, Rev string }
	}
	srv.Get("com.atproto.sync.listRepos", "", nil, &listed)
	if len(listed.Repos) != 1 || listed.Repos[0].Head != alice.Export().Root.String() {
		t.Errorf("listRepos: %+v", listed)
	}
}

// An empty repository is one, too; a deactivated account imports silently.
func TestImportIntoDeactivatedAccount(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	alice.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	alice.Login()
	seq := lastSeq(t, srv)
	ok(t, sendCAR(t, alice, newForeignRepo(t, alice.DID, someRecords(10)).car(t)))
	ok(t, sendCAR(t, alice, newForeignRepo(t, alice.DID, nil).car(t)))
	ok(t, sendCAR(t, alice, newForeignRepo(t, alice.DID, someRecords(20)).car(t)))
	if kinds := eventsAfter(t, srv, seq); len(kinds) != 0 {
		t.Errorf("events: %v", kinds)
	}
	var status struct{ IndexedRecords, RepoBlocks int }
	alice.Get("com.atproto.server.checkAccountStatus", nil, &status)
	if status.IndexedRecords != 20 {
		t.Errorf("%+v", status)
	}
	srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": alice.DID},
		"takedown": map[string]any{"applied": true, "ref": "1"},
	}, nil)
	wantError(t, sendCAR(t, alice, newForeignRepo(t, alice.DID, nil).car(t)), 401, "AccountTakedown")
}

// Migration: import refused: two roots, foreign DID, bad block, missing record
// and everything else that is wrong with a repository. Nothing is left of it.
func TestImportRefusesBadRepos(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.ImportBytes = 1 << 20 })
	alice := srv.CreateAccount("alice")
	note(t, alice, "mine", "stays")
	fresh := func() *foreignRepo { return newForeignRepo(t, alice.DID, someRecords(50)) }
	withRoots := func(r *foreignRepo, roots ...cid.Cid) []byte {
		var buf bytes.Buffer
		w, err := repo.NewCARWriter(&buf, roots...)
		ok(t, err)
		for c, data := range r.blocks {
			ok(t, w.WriteBlock(repo.Block{CID: c, Data: data}))
		}
		return buf.Bytes()
	}
	for _, tt := range []struct {
		name, message string
		car           func() []byte
	}{
		{"two roots", "expected one root", func() []byte {
			r := fresh()
			return withRoots(r, r.commit(t).CID, r.root)
		}},
		{"foreign DID", "not of " + string(alice.DID), func() []byte {
			r := fresh()
			r.did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
			return r.car(t)
		}},
		{"bad block", "Invalid CAR", func() []byte {
			car := fresh().car(t)
			car[len(car)-1] ^= 1
			return car
		}},
		{"missing record", "Could not find record at '" + noteCollection + "/r000", func() []byte {
			r := fresh()
			delete(r.blocks, r.paths[noteCollection+"/r00025"])
			return r.car(t)
		}},
		{"missing node", "Invalid repo", func() []byte {
			r := fresh()
			delete(r.blocks, r.root)
			return r.car(t)
		}},
		{"missing root", "does not hold its root", func() []byte {
			r := fresh()
			return withRoots(r, r.commit(t).CID)
		}},
		{"root is a record", "Invalid commit", func() []byte {
			r := fresh()
			return withRoots(r, r.paths[noteCollection+"/r00025"])
		}},
		{"rev in the future", "in the future", func() []byte {
			r := fresh()
			r.rev = syntax.NewTID(srv.Clock.Now().Add(6*time.Minute).UnixMicro(), 0)
			return r.car(t)
		}},
		{"record with a float", "Could not parse record at '" + noteCollection + "/float'", func() []byte {
			r := fresh()
			return r.with(t, noteCollection+"/float", []byte{0xa1, 0x61, 'x', 0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0}).car(t)
		}},
		{"record that is a list", "Could not parse record", func() []byte {
			return fresh().with(t, noteCollection+"/list", []byte{0x80}).car(t)
		}},
		{"record with keys out of order", "Could not parse record", func() []byte {
			return fresh().with(t, noteCollection+"/order", []byte{0xa2, 0x61, 'b', 0x01, 0x61, 'a', 0x01}).car(t)
		}},
		{"a key that is no record key", "Could not parse record", func() []byte {
			rec, err := repo.RecordFromValue(map[string]any{}, noteCollection)
			ok(t, err)
			return fresh().with(t, "nonsid/a", rec.CBOR).car(t)
		}},
		{"cut off", "Invalid CAR", func() []byte {
			car := fresh().car(t)
			return car[:len(car)-10]
		}},
		{"empty", "Invalid CAR", func() []byte { return []byte{} }},
		{"no CAR", "Invalid CAR", func() []byte { return []byte("this is not a CAR at all") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			unchanged(t, alice, func() {
				err := sendCAR(t, alice, tt.car())
				wantError(t, err, 400, "InvalidRequest")
				if tt.name != "empty" {
					wantMessage(t, err, tt.message)
				}
			})
		})
	}
	unchanged(t, alice, func() {
		wantError(t, sendCAR(t, alice, make([]byte, 1<<20+1)), 413, "PayloadTooLarge")
		h := http.Header{"Authorization": {"Bearer " + alice.Access}, "Content-Type": {"application/json"}}
		_, err := srv.Call(t.Context(), http.MethodPost, importRepo, nil, h, []byte("{}"))
		wantError(t, err, 400, "InvalidRequest")
	})
	// What was staged is collected, and the repository can still be replaced.
	for {
		more, err := srv.Config.Store.Maintain(t.Context(), storage.Budget{})
		ok(t, err)
		if !more {
			break
		}
	}
	consistent(t, alice)
	ok(t, sendCAR(t, alice, fresh().car(t)))
}

// with adds a record whatever its block holds.
func (r *foreignRepo) with(t *testing.T, path string, block []byte) *foreignRepo {
	t.Helper()
	c := repo.CIDOf(block)
	r.blocks[c] = block
	diff, err := repo.LoadTree(r.root, func(c cid.Cid) ([]byte, error) {
		if data, ok := r.blocks[c]; ok {
			return data, nil
		}
		return nil, repo.ErrBlockNotFound
	}).Apply([]repo.Write{{Path: path, CID: c}})
	ok(t, err)
	for _, n := range diff.NewNodes {
		r.blocks[n.CID] = n.Data
	}
	r.root, r.paths[path] = diff.Root, c
	return r
}

func TestImportCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.RefuseImports = true })
	alice := srv.CreateAccount("alice")
	err := sendCAR(t, alice, newForeignRepo(t, alice.DID, nil).car(t))
	wantError(t, err, 400, "InvalidRequest")
	wantMessage(t, err, "Service is not accepting repo imports")
}

func TestImportBlockLimit(t *testing.T) {
	t.Parallel()
	var limit *int64
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.ImportBlocks = 12; limit = &c.Limits.ImportBlocks })
	alice := srv.CreateAccount("alice")
	for n := range 14 {
		foreign := newForeignRepo(t, alice.DID, someRecords(n))
		blocks := int64(len(foreign.blocks) + 1) // and the commit
		err := sendCAR(t, alice, foreign.car(t))
		if blocks <= *limit {
			ok(t, err)
			continue
		}
		wantError(t, err, 400, "InvalidRequest")
		wantMessage(t, err, "more than 12 blocks")
	}
}

// An import indexes blob references, legacy ones too, and backlinks. Blobs
// that only the old repository referred to are collected.
func TestImportIndexesBlobsAndBacklinks(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	old, kept := mustUpload(t, alice, "text/plain", "only in the old repository"), mustUpload(t, alice, "text/plain", "in both")
	early := mustUpload(t, alice, "text/plain", "uploaded before the import")
	ok(t, attach(t, alice, "old", old.ref(), kept.ref()))
	parse := func(text string) cid.Cid {
		c, err := cid.Decode(text)
		ok(t, err)
		return c
	}
	blob := func(text string, size int64) atdata.Blob {
		return atdata.Blob{Ref: atdata.CIDLink(parse(rawCID(text))), MimeType: "text/plain", Size: size}
	}
	foreign := newForeignRepo(t, alice.DID, map[string]map[string]any{
		noteCollection + "/kept":   {"blob": blob("in both", 7)},
		noteCollection + "/early":  {"blob": blob("uploaded before the import", 26)},
		noteCollection + "/new":    {"blobs": []any{blob("new", 3), blob("new", 3)}},
		noteCollection + "/legacy": {"deep": map[string]any{"blob": blob("legacy", -1)}},
		"app.bsky.graph.follow/3jui7kd54zh2y": {
			"subject": string(bob.DID), "createdAt": "2026-01-02T03:04:05Z",
		},
	})
	ok(t, sendCAR(t, alice, foreign.car(t)))
	missing := func() (out []string) {
		var list struct {
			Blobs []struct{ CID, RecordURI string }
		}
		alice.Get("com.atproto.repo.listMissingBlobs", nil, &list)
		for _, b := range list.Blobs {
			out = append(out, b.RecordURI[strings.LastIndexByte(b.RecordURI, '/')+1:]+" "+b.CID)
		}
		return out
	}
	if got := missing(); len(got) != 2 || !strings.Contains(fmt.Sprint(got), "new "+rawCID("new")) ||
		!strings.Contains(fmt.Sprint(got), "legacy "+rawCID("legacy")) {
		t.Errorf("missing: %v", got)
	}
	mustUpload(t, alice, "text/plain", "new")
	mustUpload(t, alice, "text/plain", "legacy")
	if got := missing(); len(got) != 0 {
		t.Errorf("still missing: %v", got)
	}
	serve := func(when string) {
		t.Helper()
		for _, text := range []string{"in both", "uploaded before the import", "new", "legacy"} {
			if resp, body := fetch(t, alice, rawCID(text)); resp.StatusCode != 200 || string(body) != text {
				t.Errorf("%s: %s: %d %s", when, text, resp.StatusCode, body)
			}
		}
	}
	serve("after the import")
	if resp, _ := fetch(t, alice, old.Ref.Link); resp.StatusCode == 200 {
		t.Error("a blob of the old repository is served")
	}
	srv.Clock.Advance(25 * time.Hour)
	ok(t, srv.SweepTemporaryBlobs(t.Context()))
	ok(t, srv.DeleteReleasedBlobs(t.Context()))
	serve("after the sweep")
	for link, want := range map[string]string{
		old.Ref.Link: "gone", kept.Ref.Link: "permanent", early.Ref.Link: "permanent", rawCID("new"): "permanent",
	} {
		if got := state(t, alice, link); got != want {
			t.Errorf("%s is %s, want %s", link, got, want)
		}
	}
	alice.Login()
	mustWrite(t, alice, createRecord, map[string]any{
		"collection": "app.bsky.graph.follow",
		"record":     map[string]any{"subject": bob.DID, "createdAt": "2026-01-02T03:04:05Z"},
	})
	if n := len(listAll(t, alice, "app.bsky.graph.follow")); n != 1 {
		t.Errorf("%d follows: the imported one was not found", n)
	}
}

// A write during the import of an active account is not lost: the import is
// refused.
func TestImportDoesNotLoseWrites(t *testing.T) {
	t.Parallel()
	var store *brokenStore
	srv := pdstest.New(t, withBrokenStore(t, &store))
	alice := srv.CreateAccount("alice")
	foreign := newForeignRepo(t, alice.DID, someRecords(50))
	foreign.rev = syntax.NewTID(srv.Clock.Now().Add(4*time.Minute).UnixMicro(), 5) // above every rev of the write
	var during error
	store.set(func(s *brokenStore) {
		var begun atomic.Bool
		s.in = func(step string) error {
			if step == "NewGeneration" {
				begun.Store(true)
			}
			return nil
		}
		s.updated = func() {
			if begun.CompareAndSwap(true, false) { // after the first transaction of the import
				store.mend()
				_, during = callJSON(t.Context(), alice, createRecord, map[string]any{
					"repo": alice.DID, "collection": noteCollection, "rkey": "during", "record": map[string]any{},
				})
			}
		}
	})
	err := sendCAR(t, alice, foreign.car(t))
	ok(t, during)
	wantError(t, err, 400, "InvalidRequest")
	wantMessage(t, err, "try again")
	if _, err := read(t, alice, noteCollection+"/during"); err != nil {
		t.Error(err)
	}
	consistent(t, alice)
	ok(t, sendCAR(t, alice, foreign.car(t)))
}

// Storage failures during an import are a 500, and the repository stays.
func TestImportFailures(t *testing.T) {
	t.Parallel()
	for name, brk := range map[string]func(*brokenStore){
		"before": func(s *brokenStore) { s.before = errDisk },
		"stage": func(s *brokenStore) {
			s.in = func(step string) error { return map[string]error{"Stage": errDisk}[step] }
		},
		"apply": func(s *brokenStore) {
			s.in = func(step string) error { return map[string]error{"Apply": errDisk}[step] }
		},
		"append": func(s *brokenStore) {
			s.in = func(step string) error { return map[string]error{"Append": errDisk}[step] }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var store *brokenStore
			srv := pdstest.New(t, withBrokenStore(t, &store), quiet)
			alice := srv.CreateAccount("alice")
			note(t, alice, "mine", "stays")
			car := newForeignRepo(t, alice.DID, someRecords(20)).car(t)
			unchanged(t, alice, func() {
				store.set(brk)
				defer store.mend()
				wantError(t, sendCAR(t, alice, car), 500, "InternalServerError")
			})
			consistent(t, alice)
			note(t, alice, "more", "x")
			ok(t, sendCAR(t, alice, car))
		})
	}
}
