package pds_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// benchServer is a server as one runs it: on disk, with fsync, without the
// checks that tests add.
func benchServer(b *testing.B) *pdstest.PDS {
	b.Helper()
	store, err := sqlite.Open(b.TempDir()+"/pds.db", sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	disk, err := blobs.NewDisk(b.TempDir(), blobs.DiskOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return pdstest.New(b, func(c *pds.Config) {
		c.Store, c.Blobs, c.CheckCommits, c.ValidateOutput = store, disk, false, false
	})
}

func benchPost(i int) map[string]any {
	return map[string]any{
		"$type": "app.bsky.feed.post", "createdAt": "2026-01-02T03:04:05.678Z", "langs": []any{"en"},
		"text": fmt.Sprintf("Post number %d: a line of ordinary length, as people write them, with a few words more.", i),
	}
}

// BenchmarkServer measures the whole server over HTTP, client included.
func BenchmarkServer(b *testing.B) {
	srv := benchServer(b)
	alice := srv.CreateAccount("alice")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	do := func(b *testing.B, method, path string, body any) {
		data, err := json.Marshal(body)
		if err != nil {
			b.Error(err)
			return
		}
		r, err := http.NewRequestWithContext(b.Context(), method, srv.URL+"/xrpc/"+path, bytes.NewReader(data))
		if err != nil {
			b.Error(err)
			return
		}
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+alice.Access)
		} else {
			r.Body = nil
		}
		resp, err := client.Do(r)
		if err != nil {
			b.Error(err)
			return
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			b.Errorf("%s: %s (%v)", path, resp.Status, err)
		}
	}
	create := func(b *testing.B, i int) {
		do(b, http.MethodPost, "com.atproto.repo.createRecord", map[string]any{
			"repo": alice.DID, "collection": "app.bsky.feed.post", "record": benchPost(i),
		})
	}
	b.Run("createRecord", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			create(b, i)
		}
	})
	b.Run("createRecord-parallel", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				create(b, i)
			}
		})
	})
	uri, _ := alice.CreateRecord("app.bsky.feed.post", benchPost(0))
	rkey := uri[len(uri)-13:]
	for _, q := range []struct{ name, path string }{
		{"getRecord", fmt.Sprintf("com.atproto.repo.getRecord?repo=%s&collection=app.bsky.feed.post&rkey=%s", alice.DID, rkey)},
		{"listRecords", fmt.Sprintf("com.atproto.repo.listRecords?repo=%s&collection=app.bsky.feed.post&limit=100", alice.DID)},
		{"sync.getRecord", fmt.Sprintf("com.atproto.sync.getRecord?did=%s&collection=app.bsky.feed.post&rkey=%s", alice.DID, rkey)},
		{"getLatestCommit", fmt.Sprintf("com.atproto.sync.getLatestCommit?did=%s", alice.DID)},
	} {
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				do(b, http.MethodGet, q.path, nil)
			}
		})
	}
}
