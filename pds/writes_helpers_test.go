package pds_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// unmarshal names what it could not read.
func unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%.200q: %w", data, err)
	}
	return nil
}

// wantRefused fails unless err is an answer that a client would see.
func wantRefused(t *testing.T, err error, status int, name string) {
	t.Helper()
	var e *xrpc.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Error(), fmt.Sprintf("xrpc: %d %s: ", status, name)) {
		t.Fatalf("got %v, want %d %s", err, status, name)
	}
}

// rawCID is the CID of a blob with these bytes.
func rawCID(data string) string { return repo.RawCID(sha256.Sum256([]byte(data))).String() }

// blobRef refers to a blob as the data model has it.
func blobRef(cid, mime string, size int) map[string]any {
	return map[string]any{"$type": "blob", "ref": map[string]any{"$link": cid}, "mimeType": mime, "size": size}
}

type cidOf = cid.Cid

// lastSeqUnblocked reads below the wrapper.
func lastSeqUnblocked(t *testing.T, store *brokenStore) (seq int64) {
	t.Helper()
	ok(t, store.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		seq, err = tx.LastSeq()
		return err
	}))
	return seq
}

// waitABit returns a channel that closes after a time in which something wrong
// would have happened. Nothing right depends on its length.
func waitABit(t *testing.T) <-chan struct{} {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx.Done()
}
