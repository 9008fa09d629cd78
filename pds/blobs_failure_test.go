package pds_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
)

// Blobs: client abort. Nothing is left of it.
func TestBlobsClientAbort(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	srv := pdstest.New(t, func(c *pds.Config) { c.Blobs = &watchedBlobs{c.Blobs, done} })
	alice := srv.CreateAccount("alice")
	ctx, cancel := context.WithCancel(t.Context())
	body := io.MultiReader(io.LimitReader(zeros{}, 20_000), readerFunc(func([]byte) (int, error) {
		cancel()
		<-ctx.Done()
		return 0, ctx.Err()
	}))
	r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/xrpc/"+uploadBlob, body)
	ok(t, err)
	r.Header = http.Header{"Authorization": {"Bearer " + alice.Access}, "Content-Type": {"text/plain"}}
	if resp, err := http.DefaultClient.Do(r); err == nil {
		resp.Body.Close()
		t.Fatal("the upload succeeded")
	}
	<-done
	if n := files(t, srv); n != 0 {
		t.Errorf("%d files", n)
	}
	if n := len(temporary(t, srv)); n != 0 {
		t.Errorf("%d temporary blobs", n)
	}
}

// failingBlobs fails as told.
type failingBlobs struct {
	storage.BlobStore
	put, open, remove error
}

func (b *failingBlobs) Put(ctx context.Context, key string, r io.Reader) (storage.BlobInfo, error) {
	if b.put != nil {
		return storage.BlobInfo{}, b.put
	}
	return b.BlobStore.Put(ctx, key, r)
}

func (b *failingBlobs) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if b.open != nil {
		return nil, b.open
	}
	return b.BlobStore.Open(ctx, key, offset, length)
}

func (b *failingBlobs) Delete(ctx context.Context, key string) error {
	if b.remove != nil {
		return b.remove
	}
	return b.BlobStore.Delete(ctx, key)
}

// Bug 11 of the field: a blob store that fails is a 500, never a login error;
// one that is slow is a 504.
func TestBlobsStoreFailures(t *testing.T) {
	t.Parallel()
	var store *failingBlobs
	srv := pdstest.New(t, func(c *pds.Config) {
		store = &failingBlobs{BlobStore: blobs.NewMemory(c.Clock)}
		c.Blobs = store
	})
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "there")
	ok(t, attach(t, alice, "a", up.ref()))

	store.put = errors.New("disk on fire")
	_, err := upload(t, alice, "text/plain", []byte("x"))
	wantError(t, err, 500, "InternalServerError")
	if strings.Contains(err.Error(), "fire") {
		t.Errorf("tells too much: %v", err)
	}
	store.put = context.DeadlineExceeded
	_, err = upload(t, alice, "text/plain", []byte("x"))
	wantError(t, err, 504, "UpstreamTimeout")
	wantMessage(t, err, "Operation timed out, please try again.")
	store.put, store.open = nil, errors.New("disk on fire")
	if resp, _ := fetch(t, alice, up.Ref.Link); resp.StatusCode != 500 {
		t.Errorf("getBlob: %d", resp.StatusCode)
	}
	store.open, store.remove = nil, errors.New("disk on fire")
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	if err := srv.DeleteReleasedBlobs(t.Context()); err == nil {
		t.Error("the failure is lost")
	}
	store.remove = nil
	ok(t, srv.DeleteReleasedBlobs(t.Context())) // the key was not forgotten
	if n := files(t, srv); n != 0 || len(temporary(t, srv)) != 0 {
		t.Errorf("%d files left", n)
	}
}
