package pds_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

func syncPost(text string) map[string]any {
	return map[string]any{"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-01T00:00:00Z"}
}

// writeSyncPosts makes n posts in as few commits as possible.
func writeSyncPosts(t testing.TB, a *pdstest.Account, n int) {
	t.Helper()
	for n > 0 {
		k := min(n, 200)
		var writes []any
		for i := range k {
			writes = append(writes, map[string]any{
				"$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post",
				"value": syncPost(fmt.Sprintf("post %d: %s", n-i, strings.Repeat("words ", 30))),
			})
		}
		a.Post("com.atproto.repo.applyWrites", map[string]any{"repo": a.DID, "writes": writes}, nil)
		n -= k
	}
}

// fetch calls a query as somebody: a bearer token, basic credentials or
// nobody.
func syncFetch(t testing.TB, srv *pdstest.PDS, auth, nsid string, params ...string) ([]byte, error) {
	t.Helper()
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Add(params[i], params[i+1])
	}
	h := http.Header{}
	if auth != "" {
		h.Set("Authorization", auth)
	}
	return srv.Call(t.Context(), http.MethodGet, nsid, q, h, nil)
}

func syncBearer(a *pdstest.Account) string { return "Bearer " + a.Access }

const syncAdmin = "Basic YWRtaW46dGVzdC1hZG1pbg==" // admin:test-admin

func wantSyncError(t testing.TB, err error, status int, name string) {
	t.Helper()
	var e *pdstest.Error
	if !errors.As(err, &e) || e.Status != status || e.Name != name {
		t.Errorf("%v, want %d %s", err, status, name)
	}
}

// readCAR returns the roots and the blocks of a CAR, in order, each checked.
func readSyncCAR(t testing.TB, data []byte) (roots []cid.Cid, blocks []repo.Block) {
	t.Helper()
	in, err := repo.NewCARReader(bytes.NewReader(data), repo.CARLimits{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := in.Next()
		if errors.Is(err, io.EOF) {
			return in.Roots(), blocks
		}
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, repo.Block{CID: b.CID, Data: bytes.Clone(b.Data)})
	}
}

func TestSyncGetRepoVerifies(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	writeSyncPosts(t, alice, scaled(2000))
	whole := alice.Export()
	if len(whole.Records) != scaled(2000) {
		t.Errorf("%d records", len(whole.Records))
	}
	car, err := syncFetch(t, srv, "", "com.atproto.sync.getRepo", "did", string(alice.DID))
	if err != nil {
		t.Fatal(err)
	}
	roots, blocks := readSyncCAR(t, car)
	if len(roots) != 1 || blocks[0].CID != roots[0] {
		t.Error("the commit is not the first block")
	}
	if checkout, err := syncFetch(t, srv, "", "com.atproto.sync.getCheckout", "did", string(alice.DID)); err != nil || !bytes.Equal(checkout, car) {
		t.Errorf("getCheckout has %d bytes, getRepo %d: %v", len(checkout), len(car), err)
	}
}

// What changed since a rev, put over what was there then, gives the whole
// repository, deletions included.
func TestSyncGetRepoSinceApplies(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	writeSyncPosts(t, alice, 50)
	var uris []string
	for i := range 20 {
		uri, _ := alice.CreateRecord("app.bsky.feed.post", syncPost(fmt.Sprint("one ", i)))
		uris = append(uris, uri)
	}
	before := alice.Export()
	for i, uri := range uris {
		switch {
		case i%3 == 0:
			alice.CreateRecord("app.bsky.feed.post", syncPost(fmt.Sprint("two ", i)))
		case i%3 == 1:
			rkey := uri[strings.LastIndexByte(uri, '/')+1:]
			alice.Post("com.atproto.repo.deleteRecord",
				map[string]any{"repo": alice.DID, "collection": "app.bsky.feed.post", "rkey": rkey}, nil)
		}
	}
	after := alice.Export()
	data, err := syncFetch(t, srv, "", "com.atproto.sync.getRepo", "did", string(alice.DID), "since", string(before.Commit.Rev))
	if err != nil {
		t.Fatal(err)
	}
	roots, news := readSyncCAR(t, data)
	have := before.Blocks
	for _, b := range news {
		have[b.CID] = b.Data
	}
	if len(news) >= len(after.Blocks) {
		t.Errorf("%d blocks since, %d in all", len(news), len(after.Blocks))
	}
	got := map[string]cid.Cid{}
	commit, err := repo.ParseCommit(have[roots[0]])
	if err != nil {
		t.Fatal(err)
	}
	err = repo.WalkTree(commit.Data, func(c cid.Cid) ([]byte, error) {
		if b, ok := have[c]; ok {
			return b, nil
		}
		return nil, repo.ErrBlockNotFound
	}, func(path string, value cid.Cid) error {
		got[path] = value
		return nil
	}, nil)
	if err != nil || roots[0] != after.Root || len(got) != len(after.Records) {
		t.Fatalf("%d records of %d at %v, want %v: %v", len(got), len(after.Records), roots[0], after.Root, err)
	}
	for path, c := range after.Records {
		if got[path] != c || have[c] == nil {
			t.Errorf("%s is at %v, want %v", path, got[path], c)
		}
	}
	// Nothing is newer than the newest.
	data, err = syncFetch(t, srv, "", "com.atproto.sync.getRepo", "did", string(alice.DID), "since", string(after.Commit.Rev))
	if err != nil {
		t.Fatal(err)
	}
	if roots, blocks := readSyncCAR(t, data); len(blocks) != 0 || roots[0] != after.Root {
		t.Errorf("%d blocks since the last rev", len(blocks))
	}
}

// Record and absence proofs verify from their own blocks alone.
func TestSyncGetRecordProofs(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	writeSyncPosts(t, alice, 300)
	export := alice.Export()
	prove := func(rkey string) (cid.Cid, []repo.Block) {
		t.Helper()
		data, err := syncFetch(t, srv, "", "com.atproto.sync.getRecord",
			"did", string(alice.DID), "collection", "app.bsky.feed.post", "rkey", rkey)
		if err != nil {
			t.Fatal(err)
		}
		roots, blocks := readSyncCAR(t, data)
		if len(roots) != 1 || roots[0] != export.Root || blocks[0].CID != export.Root {
			t.Fatalf("root %v, first block %v, want %v", roots, blocks[0].CID, export.Root)
		}
		commit, err := repo.ParseCommit(blocks[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		value, err := repo.LoadTree(commit.Data, func(c cid.Cid) ([]byte, error) {
			for _, b := range blocks {
				if b.CID == c {
					return b.Data, nil
				}
			}
			return nil, repo.ErrBlockNotFound
		}).Get("app.bsky.feed.post/" + rkey)
		if err != nil {
			t.Fatal(err)
		}
		return value, blocks
	}
	n := 0
	for path, want := range export.Records {
		value, blocks := prove(path[strings.IndexByte(path, '/')+1:])
		if value != want || blocks[len(blocks)-1].CID != want {
			t.Fatalf("%s is %v, want %v", path, value, want)
		}
		if n++; n == 40 {
			break
		}
	}
	for _, rkey := range []string{"aaa", "zzzzzzzzzzzzz", "3jui7kd54zh2y"} {
		if value, _ := prove(rkey); value.Defined() {
			t.Errorf("%s is %v, want nothing", rkey, value)
		}
	}
	empty := srv.CreateAccount("bob")
	data, err := syncFetch(t, srv, "", "com.atproto.sync.getRecord", "did", string(empty.DID), "collection", "app.bsky.feed.post", "rkey", "self")
	if err != nil {
		t.Fatal(err)
	}
	if _, blocks := readSyncCAR(t, data); len(blocks) != 2 {
		t.Errorf("the proof of absence in an empty repository has %d blocks", len(blocks))
	}
}

func TestSyncGetBlocks(t *testing.T) {
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	writeSyncPosts(t, alice, 100)
	export := alice.Export()
	params := []string{"did", string(alice.DID)}
	want := []cid.Cid{export.Root, export.Commit.Data}
	for _, c := range export.Records {
		if want = append(want, c); len(want) == 30 {
			break
		}
	}
	for _, c := range want {
		params = append(params, "cids", c.String())
	}
	params = append(params, "cids", want[0].String()) // twice gives it once
	data, err := syncFetch(t, srv, "", "com.atproto.sync.getBlocks", params...)
	if err != nil {
		t.Fatal(err)
	}
	roots, blocks := readSyncCAR(t, data)
	if len(roots) != 0 || len(blocks) != len(want) {
		t.Fatalf("%d roots, %d blocks, want none and %d", len(roots), len(blocks), len(want))
	}
	for i, c := range want {
		if blocks[i].CID != c {
			t.Errorf("block %d is %v, want %v", i, blocks[i].CID, c)
		}
	}
	_, err = syncFetch(t, srv, "", "com.atproto.sync.getBlocks", append(params, "cids", bob.Export().Root.String())...)
	wantSyncError(t, err, 400, "BlockNotFound")
	_, err = syncFetch(t, srv, "", "com.atproto.sync.getBlocks", "did", string(alice.DID), "cids", "nonsense")
	wantSyncError(t, err, 400, "InvalidRequest")
}

func TestSyncGetLatestCommitAndHead(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for range 3 {
		alice.CreateRecord("app.bsky.feed.post", syncPost("hello"))
		export := alice.Export()
		var latest struct{ CID, Rev string }
		srv.Get("com.atproto.sync.getLatestCommit", "", url.Values{"did": {string(alice.DID)}}, &latest)
		if latest.CID != export.Root.String() || latest.Rev != string(export.Commit.Rev) {
			t.Errorf("getLatestCommit: %v, want %v at %v", latest, export.Root, export.Commit.Rev)
		}
		var head struct{ Root string }
		srv.Get("com.atproto.sync.getHead", "", url.Values{"did": {string(alice.DID)}}, &head)
		if head.Root != latest.CID {
			t.Errorf("getHead: %v, want %v", head.Root, latest.CID)
		}
	}
	for _, nsid := range []string{"getLatestCommit", "getHead", "getRepo", "getCheckout", "getRepoStatus", "listBlobs"} {
		_, err := syncFetch(t, srv, "", "com.atproto.sync."+nsid, "did", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
		wantSyncError(t, err, 400, "RepoNotFound")
	}
}

// setStatus changes an account's row behind the server's back.
func setSyncStatus(t testing.TB, srv *pdstest.PDS, a *pdstest.Account, change func(*storage.Account)) {
	t.Helper()
	err := srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		row, err := tx.Account(a.DID)
		if err != nil {
			return err
		}
		change(&row)
		_, err = tx.PutAccount(row)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Status per state; owner and administrator read inactive repositories.
func TestSyncStatuses(t *testing.T) {
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	uri, rec := alice.CreateRecord("app.bsky.feed.post", syncPost("hello"))
	rkey := uri[strings.LastIndexByte(uri, '/')+1:]
	did := string(alice.DID)
	calls := map[string][]string{
		"getRepo": {"did", did}, "getCheckout": {"did", did}, "getHead": {"did", did},
		"getLatestCommit": {"did", did}, "listBlobs": {"did", did},
		"getBlocks": {"did", did, "cids", rec},
		"getRecord": {"did", did, "collection", "app.bsky.feed.post", "rkey", rkey},
	}
	leaving := []string{"getRepo", "listBlobs"} // also with a narrow session
	for _, tc := range []struct {
		status, name string
		change       func(*storage.Account)
	}{
		{"deactivated", "RepoDeactivated", func(a *storage.Account) { a.DeactivatedAt = srv.Clock.Now() }},
		{"takendown", "RepoTakendown", func(a *storage.Account) { a.TakedownRef = "ref" }},
	} {
		setSyncStatus(t, srv, alice, tc.change)
		var status struct {
			Active      bool
			Status, Rev string
		}
		srv.Get("com.atproto.sync.getRepoStatus", "", url.Values{"did": {did}}, &status)
		if status.Active || status.Status != tc.status || status.Rev != "" {
			t.Errorf("getRepoStatus: %+v, want %s", status, tc.status)
		}
		owner := syncBearer(alice)
		if tc.status == "takendown" {
			var s struct{ AccessJwt string }
			srv.Post("com.atproto.server.createSession", "",
				map[string]any{"identifier": did, "password": alice.Password, "allowTakendown": true}, &s)
			owner = "Bearer " + s.AccessJwt
		}
		for nsid, params := range calls {
			for who, auth := range map[string]string{"nobody": "", "another": syncBearer(bob)} {
				_, err := syncFetch(t, srv, auth, "com.atproto.sync."+nsid, params...)
				t.Log(nsid, who)
				wantSyncError(t, err, 400, tc.name)
			}
			if _, err := syncFetch(t, srv, syncAdmin, "com.atproto.sync."+nsid, params...); err != nil {
				t.Errorf("%s of %s as administrator: %v", nsid, tc.status, err)
			}
			_, err := syncFetch(t, srv, owner, "com.atproto.sync."+nsid, params...)
			if allowed := tc.status == "deactivated" || slices.Contains(leaving, nsid); allowed != (err == nil) {
				t.Errorf("%s of %s as owner: %v", nsid, tc.status, err)
			}
		}
	}
	setSyncStatus(t, srv, alice, func(a *storage.Account) { *a = withoutStatus(*a) })
	for nsid, params := range calls {
		if _, err := syncFetch(t, srv, "", "com.atproto.sync."+nsid, params...); err != nil {
			t.Errorf("%s of an active account: %v", nsid, err)
		}
	}
	_, err := syncFetch(t, srv, "", "com.atproto.sync.getRepoStatus", "did", "did:web:nobody.example")
	wantSyncError(t, err, 400, "RepoNotFound")
}

func withoutStatus(a storage.Account) storage.Account {
	var zero storage.Account
	a.DeactivatedAt, a.TakedownRef = zero.DeactivatedAt, ""
	return a
}

func TestSyncListRepos(t *testing.T) {
	srv := pdstest.New(t)
	type listed struct {
		DID, Head, Rev, Status string
		Active                 bool
	}
	var all []*pdstest.Account
	for i := range 7 {
		a := srv.CreateAccount(fmt.Sprintf("user%d", i))
		a.CreateRecord("app.bsky.feed.post", syncPost("hello"))
		all = append(all, a)
	}
	setSyncStatus(t, srv, all[2], func(a *storage.Account) { a.TakedownRef = "ref" })
	setSyncStatus(t, srv, all[4], func(a *storage.Account) { a.DeactivatedAt = srv.Clock.Now() })
	setSyncStatus(t, srv, all[5], func(a *storage.Account) { a.Pending = true })
	var got []listed
	cursor := ""
	for pages := 0; ; pages++ {
		var page struct {
			Cursor string
			Repos  []listed
		}
		srv.Get("com.atproto.sync.listRepos", "", url.Values{"limit": {"2"}, "cursor": {cursor}}, &page)
		got = append(got, page.Repos...)
		if cursor = page.Cursor; cursor == "" || pages > 10 {
			break
		}
	}
	var want []listed
	for i, a := range all {
		if i == 5 {
			continue
		}
		w := listed{DID: string(a.DID), Active: true}
		switch i {
		case 2:
			w.Active, w.Status = false, "takendown"
		case 4:
			w.Active, w.Status = false, "deactivated"
		}
		err := srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
			head, err := tx.Head(a.DID)
			w.Head, w.Rev = head.CID.String(), string(head.Rev)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, w)
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed:\n%+v\nwant:\n%+v", got, want)
	}
	for _, bad := range []string{"x", "1", "::", "1::", "x::did:plc:a", "1::nodid"} {
		_, err := syncFetch(t, srv, "", "com.atproto.sync.listRepos", "cursor", bad)
		wantSyncError(t, err, 400, "InvalidRequest")
	}
	for limit, ok := range map[string]bool{"0": false, "1": true, "1000": true, "1001": false} {
		if _, err := syncFetch(t, srv, "", "com.atproto.sync.listRepos", "limit", limit); (err == nil) != ok {
			t.Errorf("limit %s: %v", limit, err)
		}
	}
}

// Too many exports at a time are refused, and the places come back.
func TestSyncExportsAreCapped(t *testing.T) {
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Limits.Exports, c.Limits.SpoolMemory = 2, 1<<10
	})
	alice := srv.CreateAccount("alice")
	writeSyncPosts(t, alice, 10_000)
	u := srv.URL + "/xrpc/com.atproto.sync.getRepo?did=" + string(alice.DID)
	var bodies []io.ReadCloser
	transport := &http.Transport{ReadBufferSize: 1 << 10}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	open := func() (*http.Response, error) {
		r, err := client.Get(u)
		if err == nil {
			bodies = append(bodies, r.Body)
		}
		return r, err
	}
	// Clients that do not read: the kernel's buffers take some of it.
	for range 2 {
		if r, err := open(); err != nil || r.StatusCode != http.StatusOK {
			t.Fatal(r, err)
		}
	}
	r, err := open()
	if err != nil || r.StatusCode != http.StatusServiceUnavailable {
		t.Skipf("the kernel has taken a whole export (%v, %v)", r.StatusCode, err)
	}
	// They pin no transaction: writing goes on, and reading with it.
	alice.CreateRecord("app.bsky.feed.post", syncPost("meanwhile"))
	car, err := io.ReadAll(bodies[0])
	if err != nil {
		t.Fatal(err)
	}
	export, err := pdstest.ReadRepo(car)
	if err != nil || len(export.Records) != 10_000 {
		t.Errorf("the slow client: %v", err)
	}
	for _, b := range bodies {
		_ = b.Close()
	}
	for {
		r, err := client.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return
		}
	}
}

// Reads under concurrent writes belong to one head.
func TestSyncReadsUnderWritesBelongToOneHead(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	writeSyncPosts(t, alice, 200)
	stop := make(chan struct{})
	written := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				written <- n
				return
			default:
				if _, err := callJSON(t.Context(), alice, "com.atproto.repo.createRecord",
					map[string]any{"repo": alice.DID, "collection": "app.bsky.feed.post", "record": syncPost(fmt.Sprint(n))}); err == nil {
					n++
				}
			}
		}
	}()
	seen := map[cid.Cid]bool{}
	for range scaled(100) {
		export := alice.Export() // verifies all of it
		seen[export.Root] = true
	}
	close(stop)
	n := <-written
	if got := len(alice.Export().Records); got != 200+n {
		t.Errorf("%d records, want %d", got, 200+n)
	}
	if len(seen) < 2 {
		t.Skip("no write came between two reads")
	}
}
