package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// follow reads events after a cursor until ctx ends or fn says that it is
// enough.
func (p *process) follow(ctx context.Context, cursor int64, fn func(e *pdstest.Event) (enough bool)) error {
	u := strings.Replace(p.url, "http", "ws", 1) + "/xrpc/com.atproto.sync.subscribeRepos?cursor=" + fmt.Sprint(cursor)
	conn, _, err := websocket.Dial(ctx, u, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }() // there is nothing left to lose
	conn.SetReadLimit(8 << 20)
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		e, err := pdstest.DecodeEvent(frame)
		if err != nil {
			return err
		}
		if fn(e) {
			return nil
		}
	}
}

func (p *process) get200(path string) []byte {
	p.t.Helper()
	data, err := p.raw(p.t.Context(), http.MethodGet, path, "", "", nil)
	if err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	return data
}

// wantMetrics checks that the administrator sees metrics and usage, and others
// do not.
func (p *process) wantMetrics() {
	p.t.Helper()
	for password, want := range map[string]int{adminPassword: http.StatusOK, "wrong": http.StatusUnauthorized} {
		r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+"/admin/metrics", nil)
		if err != nil {
			p.t.Fatal(err)
		}
		r.SetBasicAuth("admin", password)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			p.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		shown := strings.Contains(string(text), "pdskit_commits_total") && strings.Contains(string(text), "go_goroutines")
		if err != nil || resp.StatusCode != want || shown != (want == http.StatusOK) || strings.Contains(string(text), "did:") {
			p.t.Errorf("metrics: %s, %v, %.500s", resp.Status, err, text)
		}
	}
	if code, out, errs := p.run("usage"); code != 0 || !strings.Contains(out, "alice.test") || !strings.Contains(out, "all") {
		p.t.Errorf("usage: %d, %s%s", code, out, errs)
	}
}

// TestBackupAndRestore backs a server up while clients write and somebody
// follows it, loses the server, and restores it elsewhere: what had been
// acknowledged is there, and the one who followed goes on from its cursor.
func TestBackupAndRestore(t *testing.T) {
	plc, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{NoRateLimit: true})
	if err != nil {
		t.Fatal(err)
	}
	directory := httptest.NewServer(plc)
	t.Cleanup(directory.Close)
	srv := newProcess(t, directory.URL)
	srv.start()
	users := []signedUp{srv.signUp("alice.test"), srv.signUp("bob.test")}
	var up struct {
		Blob struct{ Ref map[string]string }
	}
	picture := []byte(strings.Repeat("picture ", 1000))
	if err := srv.send(t.Context(), http.MethodPost, "com.atproto.repo.uploadBlob", "Bearer "+users[0].AccessJwt, "text/plain", picture, &up); err != nil {
		t.Fatal(err)
	}
	err = srv.post(t.Context(), "com.atproto.repo.putRecord", "Bearer "+users[0].AccessJwt, map[string]any{
		"repo": users[0].DID, "collection": collection, "rkey": "picture",
		"record": map[string]any{"image": map[string]any{
			"$type": "blob", "ref": up.Blob.Ref, "mimeType": "text/plain", "size": len(picture),
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}

	load, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex // guards following 3 fields
	acked := map[string]string{}
	last, revs := int64(0), map[syntax.DID]syntax.TID{}
	wg.Go(func() {
		err := srv.follow(load, 0, func(e *pdstest.Event) bool {
			mu.Lock()
			defer mu.Unlock()
			if last = e.Seq; e.Rev != "" {
				revs[e.DID] = e.Rev
			}
			return false
		})
		if load.Err() == nil && !srv.isDown() {
			t.Errorf("following: %v", err)
		}
	})
	for w := range 4 {
		wg.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				u, rkey := users[w%2], fmt.Sprintf("w%d-%d", w, n)
				c, err := srv.write(load, u, rkey)
				if err != nil {
					if load.Err() == nil && !srv.isDown() {
						t.Errorf("write: %v", err)
					}
					return
				}
				mu.Lock()
				acked[u.DID+"/"+rkey] = c
				mu.Unlock()
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
	for count() < 200 {
		time.Sleep(time.Millisecond)
	}
	mu.Lock()
	before := maps.Clone(acked)
	mu.Unlock()
	dir := filepath.Join(t.TempDir(), "backup")
	srv.wantMetrics()
	code, out, errs := srv.run("backup", "-json", dir)
	if code != 0 {
		t.Fatalf("backup: %d, %s%s", code, out, errs)
	}
	if more := count() - len(before); more == 0 {
		t.Error("nothing was written while the backup was made")
	}
	if code, _, errs := srv.run("backup", dir); code == 0 || !strings.Contains(errs, "must be empty or new") {
		t.Errorf("a backup over a backup: %d, %s", code, errs)
	}
	time.Sleep(50 * time.Millisecond) // so that the network sees more than the backup holds
	srv.kill()
	stop()
	wg.Wait()

	old := srv.dataDir
	srv.dataDir += "-restored"
	srv.env = append(srv.env, "PDS_DATA_DIRECTORY="+srv.dataDir)
	code, out, errs = srv.run("restore", dir)
	if code != 0 || !strings.Contains(out, "accounts") {
		t.Fatalf("restore: %d, %s%s", code, out, errs)
	}
	if code, _, errs := srv.run("restore", dir); code == 0 || !strings.Contains(errs, "is not empty") {
		t.Errorf("a second restore: %d, %s", code, errs)
	}
	if err := os.RemoveAll(old); err != nil {
		t.Fatal(err)
	}
	srv.start()
	for path, want := range before {
		did, rkey, _ := strings.Cut(path, "/")
		var rec struct{ CID string }
		err := srv.get(t.Context(), "com.atproto.repo.getRecord", "", url.Values{"repo": {did}, "collection": {collection}, "rkey": {rkey}}, &rec)
		if err != nil || rec.CID != want {
			t.Fatalf("%s is %q, want %q (%v)", path, rec.CID, want, err)
		}
	}
	if got := srv.get200("com.atproto.sync.getBlob?did=" + users[0].DID + "&cid=" + up.Blob.Ref["$link"]); string(got) != string(picture) {
		t.Errorf("the blob has %d bytes", len(got))
	}
	for _, u := range users {
		if _, err := pdstest.ReadRepo(srv.get200("com.atproto.sync.getRepo?did=" + u.DID)); err != nil {
			t.Errorf("repository of %s: %v", u.Handle, err)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	told := map[syntax.DID]bool{}
	written := false
	err = srv.follow(ctx, last, func(e *pdstest.Event) bool {
		switch {
		case e.Seq <= last || e.Rev <= revs[e.DID]:
			t.Errorf("%s %d with rev %s; %d and %s were seen before", e.Kind, e.Seq, e.Rev, last, revs[e.DID])
		case e.Kind == "#sync":
			told[e.DID] = true
		case e.Kind == "#commit" && e.Since != revs[e.DID]:
			t.Errorf("a commit since %s follows %s", e.Since, revs[e.DID])
		}
		last, revs[e.DID] = e.Seq, e.Rev
		if len(told) == 2 && !written {
			written = true
			if _, err := srv.write(ctx, users[0], "after"); err != nil {
				t.Error(err)
			}
		}
		return e.Kind == "#commit"
	})
	if err != nil {
		t.Errorf("following the restored server: %v; told of %d accounts", err, len(told))
	}
	if _, err := os.Stat(filepath.Join(srv.dataDir, "restored.json")); err == nil {
		t.Error("the next start would announce everything again")
	}
}

// TestBackupOfStoppedServer copies a data directory that nobody uses, finds
// damage in the copy, and does not start on half a restore.
func TestBackupOfStoppedServer(t *testing.T) {
	p := newDevelopment(t)
	p.start()
	p.signUp("alice.test")
	dir := filepath.Join(p.dir, "stolen")
	body := func(dir, proof string) []byte {
		b, err := json.Marshal(map[string]string{"dir": dir, "proof": proof})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	secrets, err := os.ReadFile(filepath.Join(p.dataDir, "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sec struct{ AdminPassword string }
	if err := json.Unmarshal(secrets, &sec); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ password, dir, proof string }{
		{"wrong", dir, "x"}, {sec.AdminPassword, dir, "x"}, {sec.AdminPassword, "relative", "x"}, {sec.AdminPassword, dir, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/admin/backup", strings.NewReader(string(body(c.dir, c.proof))))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", c.password)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Errorf("a backup to %q with proof %q was made", c.dir, c.proof)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a stranger with the password made a folder")
	}
	p.terminate()

	dir = filepath.Join(p.dir, "backup")
	if code, out, errs := p.run("backup", dir); code != 0 || !strings.Contains(out, "secrets.json") {
		t.Fatalf("%d, %s%s", code, out, errs)
	}
	if err := os.RemoveAll(p.dataDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "pds.db"), 8192); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := p.run("restore", dir); code == 0 || !strings.Contains(errs, "damaged: pds.db") {
		t.Errorf("a damaged backup was restored: %d, %s", code, errs)
	}
	if code, _, errs := p.run(); code == 0 || !strings.Contains(errs, "was interrupted") {
		t.Errorf("a server starts on half a restore: %d, %s", code, errs)
	}
}
