package pds_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

const uploadBlob = "com.atproto.repo.uploadBlob"

type uploaded struct {
	Type string `json:"$type"`
	Ref  struct {
		Link string `json:"$link"`
	}
	MimeType string
	Size     int
}

func (u *uploaded) ref() map[string]any { return blobRef(u.Ref.Link, u.MimeType, u.Size) }

func upload(t *testing.T, a *pdstest.Account, mime string, data []byte, more ...string) (*uploaded, error) {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {mime}}
	for i := 0; i < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	body, err := a.PDS.Call(t.Context(), http.MethodPost, uploadBlob, nil, h, data)
	if err != nil {
		return nil, err
	}
	var out struct{ Blob uploaded }
	return &out.Blob, unmarshal(body, &out)
}

func mustUpload(t *testing.T, a *pdstest.Account, mime, data string) *uploaded {
	t.Helper()
	out, err := upload(t, a, mime, []byte(data))
	ok(t, err)
	return out
}

// stored returns the metadata of a blob, or false.
func stored(t *testing.T, a *pdstest.Account, link string) (b storage.Blob, found bool) {
	t.Helper()
	c, err := cid.Decode(link)
	ok(t, err)
	err = a.PDS.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		b, err = tx.Blob(a.DID, c)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return b, false
	}
	ok(t, err)
	return b, true
}

// files counts the blobs whose bytes are stored.
func files(t *testing.T, srv *pdstest.PDS) int {
	t.Helper()
	list, err := srv.Config.Blobs.List(t.Context(), "", 1000)
	ok(t, err)
	return len(list)
}

// state describes a blob: gone, temporary or permanent.
func state(t *testing.T, a *pdstest.Account, link string) string {
	t.Helper()
	switch b, found := stored(t, a, link); {
	case !found:
		return "gone"
	case b.Temporary:
		return "temporary"
	}
	return "permanent"
}

// attach writes a record that refers to blobs.
func attach(t *testing.T, a *pdstest.Account, rkey string, blobs ...map[string]any) error {
	t.Helper()
	_, err := write(t, a, putRecord, map[string]any{
		"collection": noteCollection, "rkey": rkey, "record": map[string]any{"deep": []any{map[string]any{"blobs": blobs}}},
	})
	return err
}

func fetch(t *testing.T, a *pdstest.Account, link string) (*http.Response, []byte) {
	t.Helper()
	resp, err := http.Get(a.PDS.URL + "/xrpc/com.atproto.sync.getBlob?" +
		url.Values{"did": {string(a.DID)}, "cid": {link}}.Encode())
	ok(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ok(t, err)
	return resp, data
}

func pngBytes(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	ok(t, png.Encode(&buf, image.NewGray(image.Rect(0, 0, 4, 4))))
	return buf.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// watchedBlobs tells when its first Put has returned.
type watchedBlobs struct {
	storage.BlobStore
	done chan struct{}
}

func (b *watchedBlobs) Put(ctx context.Context, key string, r io.Reader) (storage.BlobInfo, error) {
	defer close(b.done)
	return b.BlobStore.Put(ctx, key, r)
}

func temporary(t *testing.T, srv *pdstest.PDS) (out []storage.Blob) {
	t.Helper()
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		out, err = tx.ListTemporaryBlobs(srv.Clock.Now().Add(time.Hour), 100)
		return err
	}))
	return out
}
