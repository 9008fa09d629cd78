package pds_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// benchGet repeats a request, and reports when the first byte of the body
// came.
func benchGet(b *testing.B, srv *pdstest.PDS, path string) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	var first time.Duration
	one := make([]byte, 1)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		r, err := client.Get(srv.URL + "/xrpc/" + path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Body.Read(one); err != nil || r.StatusCode != http.StatusOK {
			b.Fatal(r.Status, err)
		}
		first += time.Since(start)
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
		r.Body.Close()
	}
	b.ReportMetric(float64(first.Microseconds())/1000/float64(b.N), "first-byte-ms")
}

func BenchmarkGetRepo10000(b *testing.B) {
	srv := pdstest.New(b)
	alice := srv.CreateAccount("alice")
	writeSyncPosts(b, alice, 10_000)
	benchGet(b, srv, "com.atproto.sync.getRepo?did="+string(alice.DID))
}

func BenchmarkSyncGetRecord(b *testing.B) {
	srv := pdstest.New(b)
	alice := srv.CreateAccount("alice")
	writeSyncPosts(b, alice, 10_000)
	uri, _ := alice.CreateRecord("app.bsky.feed.post", syncPost("proven"))
	rkey := uri[strings.LastIndexByte(uri, '/')+1:]
	benchGet(b, srv, "com.atproto.sync.getRecord?collection=app.bsky.feed.post&rkey="+rkey+"&did="+string(alice.DID))
}
