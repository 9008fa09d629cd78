package pds_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/repo"
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
