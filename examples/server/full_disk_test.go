//go:build unix

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

	"github.com/pdskit/pdskit/identity"
)

// TestFullDisk writes until the disk takes no more. Whoever writes then gets an
// error; the server stops and says why; when there is room again, everything
// that was acknowledged is there, and writes go on. Here the disk is full
// because the system lets no file of the server grow beyond some megabytes.
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
	script := fmt.Sprintf("#!/bin/sh\nulimit -f 12000 || exit 9\nexec %s \"$@\"\n", roomy) // 6 or 12 MB
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
	if answer, ok := errors.AsType[*statusError](err); !ok || answer.status < 500 || len(acked) < 10 {
		t.Errorf("after %d writes: %v", len(acked), err)
	}
	// What supervises the process starts it again.
	ended := make(chan int, 1)
	go func() {
		_ = p.cmd.Wait() // the exit code says it
		ended <- p.cmd.ProcessState.ExitCode()
	}()
	select {
	case code := <-ended:
		if log := p.readLog(); code != 1 || !strings.Contains(log, "must be started again") {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not stop")
	}

	p.mu.Lock()
	p.cmd = nil
	p.mu.Unlock()
	p.binary = roomy
	p.start()
	for rkey, cid := range acked {
		var out struct{ CID string }
		err := p.get(t.Context(), "com.atproto.repo.getRecord", "", url.Values{"repo": {alice.DID}, "collection": {collection}, "rkey": {rkey}}, &out)
		if err != nil || out.CID != cid {
			t.Errorf("%s was acknowledged as %s; now it is %s, %v", rkey, cid, out.CID, err)
		}
	}
	if err := write("more"); err != nil {
		t.Errorf("a write when there is room again: %v", err)
	}
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
