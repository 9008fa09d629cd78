package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pdskit/pdskit/identity"
)

// TestFullDisk writes until the disk takes no more. Whoever writes then gets an
// error, and whoever reads gets what was acknowledged and nothing else; when there
// is room again, writes go on by themselves. Here the disk is full because the
// system lets no file of the server grow beyond some megabytes.
func TestFullDisk(t *testing.T) {
	plc, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{NoRateLimit: true})
	if err != nil {
		t.Fatal(err)
	}
	directory := httptest.NewServer(plc)
	t.Cleanup(directory.Close)
	p := newProcess(t, directory.URL, "PDS_BLOB_UPLOAD_LIMIT=50000000")
	roomy := p.binary
	p.binary = filepath.Join(t.TempDir(), "narrow")
	script := fmt.Sprintf("#!/bin/sh\nulimit -S -f 12000 || exit 9\nexec %s \"$@\"\n", roomy) // 6 or 12 MB
	if err := os.WriteFile(p.binary, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	p.start()
	alice := p.signUp("alice.test")

	// A blob that does not fit leaves nothing, and the server goes on.
	err = p.send(t.Context(), http.MethodPost, "com.atproto.repo.uploadBlob", "Bearer "+alice.AccessJwt, "text/plain", make([]byte, 20<<20), nil)
	if answer, ok := errors.AsType[*statusError](err); !ok || answer.status != http.StatusInsufficientStorage {
		t.Errorf("a blob that does not fit: %v", err)
	}
	if left := filesOf(t, filepath.Join(p.dataDir, "blobs")); left > 1 { // of unfinished uploads there is a lock
		t.Errorf("%d files are left", left)
	}

	acked := map[string]string{}
	write := func(rkey string) error {
		var out struct{ CID string }
		err := p.post(t.Context(), "com.atproto.repo.putRecord", "Bearer "+alice.AccessJwt, map[string]any{
			"repo": alice.DID, "collection": collection, "rkey": rkey, "record": map[string]any{"text": strings.Repeat(rkey, 8000)},
		}, &out)
		if err == nil {
			acked[rkey] = out.CID
		}
		return err
	}
	err = nil
	for i := 0; err == nil && i < 10_000; i++ {
		err = write(fmt.Sprintf("%04d", i))
	}
	refused := func(err error) bool {
		answer, ok := errors.AsType[*statusError](err)
		return ok && answer.status == http.StatusInsufficientStorage
	}
	if !refused(err) || len(acked) < 10 {
		t.Errorf("after %d writes: %v", len(acked), err)
	}
	for i := range 20 { // small ones may find room
		if err := write(fmt.Sprintf("full%04d", i)); err != nil && !refused(err) {
			t.Errorf("a write without room: %v", err)
		}
	}
	look := func() {
		t.Helper()
		var list struct{ Records []struct{ URI, CID string } }
		for cursor, n := "", 0; ; {
			var page struct {
				Cursor  string
				Records []struct{ URI, CID string }
			}
			query := url.Values{"repo": {alice.DID}, "collection": {collection}, "limit": {"100"}, "cursor": {cursor}}
			if cursor == "" {
				query.Del("cursor")
			}
			if err := p.get(t.Context(), "com.atproto.repo.listRecords", "", query, &page); err != nil {
				t.Fatal(err)
			}
			list.Records, cursor = append(list.Records, page.Records...), page.Cursor
			if n++; cursor == "" || n > 1000 {
				break
			}
		}
		for _, r := range list.Records {
			if rkey := r.URI[strings.LastIndexByte(r.URI, '/')+1:]; acked[rkey] != r.CID {
				t.Errorf("%s is there as %s, and was acknowledged as %q", rkey, r.CID, acked[rkey])
			}
		}
		if len(list.Records) != len(acked) {
			t.Errorf("%d records are there and %d were acknowledged", len(list.Records), len(acked))
		}
	}
	look()

	var limit unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for err = write("more"); refused(err) && time.Now().Before(deadline); {
		err = write("more")
	}
	if err != nil {
		t.Errorf("a write when there is room again: %v", err)
	}
	look()
	if code := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.binary = roomy
	p.start()
	look()
	if code, out, errs := p.run("doctor", "all"); code != 0 {
		t.Errorf("doctor: %d\n%s%s", code, out, errs)
	}
}

// filesOf counts the files below a folder.
func filesOf(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return n
}
