package mapstore

import (
	"bufio"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/actor/actortest"
	"github.com/pdskit/pdskit/live/livetest"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
		s := New(clock)
		t.Cleanup(func() { _ = s.Close() }) // the test may have closed it
		return s
	}, storagetest.Options{})
}

// TestActors lets the store hold what a server does by itself: jobs, observers
// and actors.
func TestActors(t *testing.T) {
	actortest.Run(t, func(_ testing.TB, clock storage.Clock) storage.Store { return New(clock) }, actortest.Options{})
}

// TestLive lets the store hold topics.
func TestLive(t *testing.T) {
	livetest.Run(t, func(_ testing.TB, clock storage.Clock) storage.Store { return New(clock) }, livetest.Options{})
}

// TestServer runs a whole server on the store.
func TestServer(t *testing.T) {
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Store = New(storage.SystemClock()) })
	alice := srv.CreateAccount("alice")
	uri, cid := alice.CreateRecord("app.bsky.feed.post", map[string]any{
		"$type": "app.bsky.feed.post", "text": "hello", "createdAt": "2026-01-01T00:00:00Z",
	})
	var got struct {
		Records []struct{ URI, CID string }
	}
	alice.Get("com.atproto.repo.listRecords", url.Values{"repo": {string(alice.DID)}, "collection": {"app.bsky.feed.post"}}, &got)
	if len(got.Records) != 1 || got.Records[0].URI != uri || got.Records[0].CID != cid {
		t.Fatalf("%+v, want %s %s", got.Records, uri, cid)
	}
}

// maxLines is what a store may take to write. It is a promise of the storage
// contract: when this test fails, the contract has grown too big.
const maxLines = 800

// TestLines counts the lines of the store that are neither blank nor comments.
func TestLines(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			if line := strings.TrimSpace(s.Text()); line != "" && !strings.HasPrefix(line, "//") {
				lines++
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if lines == 0 || lines >= maxLines {
		t.Errorf("the store has %d lines, it should have less than %d", lines, maxLines)
	}
	t.Logf("%d lines", lines)
}
