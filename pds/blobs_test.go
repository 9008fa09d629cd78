package pds_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
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

// Blobs: upload, reference, permanent, fetch with headers. The reference is
// found in a record of an unknown type.
func TestBlobsUploadReferenceFetch(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "some text")
	if up.Type != "blob" || up.Ref.Link != rawCID("some text") || up.MimeType != "text/plain" || up.Size != 9 {
		t.Errorf("%+v", up)
	}
	if got := state(t, alice, up.Ref.Link); got != "temporary" {
		t.Error(got)
	}
	if resp, body := fetch(t, alice, up.Ref.Link); resp.StatusCode != 400 || !strings.Contains(string(body), `"BlobNotFound"`) {
		t.Errorf("a temporary blob is served: %d %s", resp.StatusCode, body)
	}
	ok(t, attach(t, alice, "a", up.ref()))
	if got := state(t, alice, up.Ref.Link); got != "permanent" {
		t.Error(got)
	}
	resp, body := fetch(t, alice, up.Ref.Link)
	if resp.StatusCode != 200 || string(body) != "some text" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/plain", "Content-Length": "9", "X-Content-Type-Options": "nosniff",
		"Content-Disposition":     `attachment; filename="` + up.Ref.Link + `"`,
		"Content-Security-Policy": "default-src 'none'; sandbox",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var list struct{ CIDs []string }
	srv.Get("com.atproto.sync.listBlobs", "", url.Values{"did": {string(alice.DID)}}, &list)
	if len(list.CIDs) != 1 || list.CIDs[0] != up.Ref.Link {
		t.Errorf("listBlobs: %v", list)
	}
}

// Blobs: constraint violation refuses the record, blob stays temporary.
func TestBlobsConstraints(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	up := mustUpload(t, alice, "text/plain", "some text")
	link := up.Ref.Link
	unchanged(t, alice, func() {
		wantError(t, attach(t, alice, "a", blobRef(link, "text/html", 9)), 400, "InvalidMimeType")
		wantError(t, attach(t, alice, "a", blobRef(link, "text/plain", 10)), 400, "InvalidSize")
		wantError(t, attach(t, alice, "a", up.ref(), blobRef(rawCID("never uploaded"), "text/plain", 9)), 400, "BlobNotFound")
		// A schema that allows images of up to a million bytes.
		for _, avatar := range []map[string]any{up.ref(), blobRef(link, "image/png", 2_000_000)} {
			_, err := write(t, alice, putRecord, map[string]any{
				"collection": "app.bsky.actor.profile", "rkey": "self", "record": map[string]any{"avatar": avatar},
			})
			wantError(t, err, 400, "InvalidRequest")
		}
		// Malformed references are refused, not stored as plain maps.
		for _, bad := range []map[string]any{
			{"$type": "blob", "ref": map[string]any{"$link": link}, "mimeType": "text/plain", "size": -1},
			{"$type": "blob", "ref": map[string]any{"$link": link}, "mimeType": "text/plain"},
			{"$type": "blob", "ref": link, "mimeType": "text/plain", "size": 9},
			{"$type": "blob", "ref": map[string]any{"$link": link}, "size": 9},
		} {
			wantError(t, attach(t, alice, "a", bad), 400, "InvalidRequest")
		}
	})
	if got := state(t, alice, link); got != "temporary" {
		t.Errorf("the blob is %s", got)
	}
	wantError(t, attach(t, bob, "a", up.ref()), 400, "BlobNotFound") // blobs are per account
	ok(t, attach(t, alice, "a", up.ref()))
	// Once permanent, references are not compared.
	ok(t, attach(t, alice, "b", blobRef(link, "text/html", 10)))
}

// Records: legacy refused in any type, validated or not; profile upgrade.
func TestBlobsLegacyReferences(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up, err := upload(t, alice, "image/png", pngBytes(t))
	ok(t, err)
	legacy := map[string]any{"cid": up.Ref.Link, "mimeType": "image/png"}
	unchanged(t, alice, func() {
		for _, validate := range []any{nil, false} {
			for nsid, in := range map[string]map[string]any{
				createRecord: {"collection": noteCollection, "record": map[string]any{"x": []any{legacy}}},
				putRecord:    {"collection": noteCollection, "rkey": "a", "record": map[string]any{"avatar": legacy}},
				applyWrites: {"writes": []any{map[string]any{
					"$type": applyWrites + "#create", "collection": noteCollection, "value": map[string]any{"x": legacy},
				}}},
			} {
				if validate != nil {
					in["validate"] = validate
				}
				_, err := write(t, alice, nsid, in)
				wantError(t, err, 400, "InvalidRequest")
				wantMessage(t, err, "Legacy blob ref")
			}
		}
		// Only putRecord upgrades, and only the two fields of a profile.
		_, err := write(t, alice, createRecord, map[string]any{
			"collection": "app.bsky.actor.profile", "rkey": "self", "record": map[string]any{"avatar": legacy},
		})
		wantError(t, err, 400, "InvalidRequest")
		_, err = write(t, alice, putRecord, map[string]any{
			"collection": "app.bsky.actor.profile", "rkey": "self", "record": map[string]any{"other": legacy},
		})
		wantError(t, err, 400, "InvalidRequest")
		_, err = write(t, alice, putRecord, map[string]any{
			"collection": "app.bsky.actor.profile", "rkey": "self",
			"record": map[string]any{"avatar": map[string]any{"cid": rawCID("not there"), "mimeType": "image/png"}},
		})
		wantError(t, err, 400, "BlobNotFound")
	})
	mustWrite(t, alice, putRecord, map[string]any{
		"collection": "app.bsky.actor.profile", "rkey": "self", "record": map[string]any{"avatar": legacy, "banner": legacy},
	})
	v, err := read(t, alice, "app.bsky.actor.profile/self")
	ok(t, err)
	for _, field := range []string{"avatar", "banner"} {
		ref, _ := v[field].(map[string]any)
		if ref["$type"] != "blob" || ref["size"] != float64(up.Size) || ref["mimeType"] != "image/png" {
			t.Errorf("%s: %v", field, ref)
		}
	}
	if got := state(t, alice, up.Ref.Link); got != "permanent" {
		t.Errorf("the blob is %s", got)
	}
}

func pngBytes(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	ok(t, png.Encode(&buf, image.NewGray(image.Rect(0, 0, 4, 4))))
	return buf.Bytes()
}

// Blobs: mime of jpeg, png, unknown, text, json.
func TestBlobsMimeTypes(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	var photo bytes.Buffer
	ok(t, jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 4, 4)), nil))
	noise := bytes.Repeat([]byte{0xf3, 0x01, 0xee, 0x92}, 100)
	for _, tt := range []struct {
		name, declared string
		data           []byte
		want           string
	}{
		{"jpeg", "image/jpeg", photo.Bytes(), "image/jpeg"},
		{"jpeg said to be text", "text/plain", photo.Bytes(), "image/jpeg"},
		{"png", "application/octet-stream", pngBytes(t), "image/png"},
		{"png said to be html", "text/html", pngBytes(t), "image/png"},
		{"gif", "x/y", []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"), "image/gif"},
		{"unknown", "application/octet-stream", noise, "application/octet-stream"},
		{"unknown, declared", "video/x-mine", noise, "video/x-mine"},
		{"unknown, with parameters", "Video/X-Mine; a=b", noise, "video/x-mine"},
		{"unknown, nonsense", "*/*", noise, "*/*"},
		{"text", "text/plain; charset=utf-8", []byte("plain text"), "text/plain"},
		{"text as markdown", "text/markdown", []byte("# Title"), "text/markdown"},
		{"json", "application/json", []byte(`{"a":1}`), "application/json"},
		{"json as text", "text/plain", []byte(`{"a":2}`), "text/plain"},
		{"svg", "image/svg+xml", []byte(`<svg xmlns="http://www.w3.org/2000/svg"></svg>`), "image/svg+xml"},
		{"html", "text/html", []byte("<!DOCTYPE html><html><script>1</script></html>"), "text/html"},
		{"html said to be text", "text/plain", []byte("<!DOCTYPE html><html></html>"), "text/plain"},
		{"vtt", "text/vtt", []byte("WEBVTT\n\n00:00.000 --> 00:01.000\nhi\n"), "text/vtt"},
	} {
		out, err := upload(t, alice, tt.declared, tt.data)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if out.MimeType != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, out.MimeType, tt.want)
		}
	}
}

// Blobs: duplicate upload, gzip upload.
func TestBlobsDuplicateAndGzip(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	first := mustUpload(t, alice, "text/plain", "some text")
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, err := zw.Write([]byte("some text"))
	ok(t, errors.Join(err, zw.Close()))
	second, err := upload(t, alice, "text/plain", packed.Bytes(), "Content-Encoding", "gzip")
	ok(t, err)
	if *first != *second {
		t.Errorf("%+v and %+v", first, second)
	}
	if n := files(t, srv); n != 1 {
		t.Errorf("%d files", n)
	}
	ok(t, attach(t, alice, "a", first.ref()))
	third := mustUpload(t, alice, "text/other", "some text")
	if *third != *first || state(t, alice, first.Ref.Link) != "permanent" {
		t.Errorf("uploaded again: %+v, %s", third, state(t, alice, first.Ref.Link))
	}
	if _, body := fetch(t, alice, first.Ref.Link); string(body) != "some text" {
		t.Errorf("%q", body)
	}
	// Broken and unknown codings.
	_, err = upload(t, alice, "text/plain", packed.Bytes()[:packed.Len()-4], "Content-Encoding", "gzip")
	wantError(t, err, 400, "InvalidRequest")
	_, err = upload(t, alice, "text/plain", []byte("x"), "Content-Encoding", "snappy")
	wantError(t, err, 415, "UnsupportedMediaType")
	if n := files(t, srv); n != 1 {
		t.Errorf("%d files", n)
	}
}

// Blobs: size limit by header and stream; a bomb, too.
func TestBlobsSizeLimit(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.BlobBytes = limit })
	alice := srv.CreateAccount("alice")
	_, err := upload(t, alice, "text/plain", bytes.Repeat([]byte("x"), limit))
	ok(t, err)
	_, err = upload(t, alice, "text/plain", bytes.Repeat([]byte("y"), limit+1))
	wantError(t, err, 413, "PayloadTooLarge")

	chunked := func(n int) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/xrpc/"+uploadBlob,
			io.LimitReader(zeros{}, int64(n))) // no length is known
		ok(t, err)
		r.Header = http.Header{"Authorization": {"Bearer " + alice.Access}, "Content-Type": {"text/plain"}}
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if status, body := chunked(limit); status != 200 {
		t.Errorf("at the limit: %d %s", status, body)
	}
	if status, body := chunked(limit + 1); status != 413 || !strings.Contains(body, `"PayloadTooLarge"`) {
		t.Errorf("above the limit: %d %s", status, body)
	}
	var bomb bytes.Buffer
	zw := gzip.NewWriter(&bomb)
	_, err = io.Copy(zw, io.LimitReader(zeros{}, 10*limit))
	ok(t, errors.Join(err, zw.Close()))
	_, err = upload(t, alice, "text/plain", bomb.Bytes(), "Content-Encoding", "gzip")
	wantError(t, err, 413, "PayloadTooLarge")
	if n := files(t, srv); n != 2 {
		t.Errorf("%d files, want the two that fit", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

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

// Blobs: deleted with the last record; kept when shared, reused, unchanged.
func TestBlobsDeletedWithLastRecord(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "shared")
	link := up.Ref.Link
	del := func(rkey string) {
		t.Helper()
		mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": rkey})
	}
	want := func(what, want string) {
		t.Helper()
		if got := state(t, alice, link); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	op := func(action, rkey string, blobs ...map[string]any) map[string]any {
		m := map[string]any{"$type": applyWrites + "#" + action, "collection": noteCollection, "rkey": rkey}
		if action != "delete" {
			m["value"] = map[string]any{"blobs": blobs, "in": rkey}
		}
		return m
	}
	batch := func(ops ...any) {
		t.Helper()
		mustWrite(t, alice, applyWrites, map[string]any{"writes": ops})
	}
	ok(t, attach(t, alice, "a", up.ref()))
	ok(t, attach(t, alice, "b", up.ref()))
	del("a")
	want("shared", "permanent")
	mustWrite(t, alice, putRecord, map[string]any{
		"collection": noteCollection, "rkey": "b", "record": map[string]any{"still": up.ref()},
	})
	want("updated, still referred to", "permanent")
	batch(op("delete", "b"), op("create", "c", up.ref()))
	want("reused in the same commit", "permanent")
	batch(op("update", "c", up.ref()), op("update", "c"))
	want("no longer referred to in the end", "gone")
	if err := attach(t, alice, "c", up.ref()); err == nil {
		t.Error("a deleted blob can be referred to")
	}
	ok(t, srv.DeleteReleasedBlobs(t.Context()))
	if n := files(t, srv); n != 0 {
		t.Errorf("%d files", n)
	}
	// A batch that creates and deletes: the blob was never used.
	up = mustUpload(t, alice, "text/plain", "shared")
	batch(op("create", "d", up.ref()), op("delete", "d"))
	want("used for a moment only", "temporary")
	batch(op("create", "d", up.ref()), op("create", "e", up.ref()), op("delete", "d"))
	want("one record left", "permanent")
	del("e")
	want("last record deleted", "gone")
	// Of one record with two references to it.
	up = mustUpload(t, alice, "text/plain", "shared")
	ok(t, attach(t, alice, "f", up.ref(), up.ref()))
	want("twice in one record", "permanent")
	del("f")
	want("deleted", "gone")
}

// Blobs are per account: the same bytes of another account stay.
func TestBlobsOfOthersStay(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	a, b := mustUpload(t, alice, "text/plain", "same"), mustUpload(t, bob, "text/plain", "same")
	ok(t, attach(t, alice, "a", a.ref()))
	ok(t, attach(t, bob, "a", b.ref()))
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	ok(t, srv.DeleteReleasedBlobs(t.Context()))
	if state(t, alice, a.Ref.Link) != "gone" || state(t, bob, b.Ref.Link) != "permanent" {
		t.Error("wrong blob deleted")
	}
	if _, body := fetch(t, bob, b.Ref.Link); string(body) != "same" {
		t.Errorf("%q", body)
	}
}

// Blobs: temporary sweep, with the fake clock.
func TestBlobsTemporarySweep(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	unused, used := mustUpload(t, alice, "text/plain", "unused"), mustUpload(t, alice, "text/plain", "used")
	again := mustUpload(t, alice, "text/plain", "again")
	ok(t, attach(t, alice, "a", used.ref()))
	sweep := func() {
		t.Helper()
		ok(t, srv.SweepTemporaryBlobs(t.Context()))
		ok(t, srv.DeleteReleasedBlobs(t.Context()))
	}
	srv.Clock.Advance(24*time.Hour - time.Minute)
	sweep()
	if got := state(t, alice, unused.Ref.Link); got != "temporary" {
		t.Errorf("before its time: %s", got)
	}
	alice.Login()
	late := mustUpload(t, alice, "text/plain", "late")
	mustUpload(t, alice, "text/plain", "again") // uploading again starts anew
	srv.Clock.Advance(2 * time.Minute)
	sweep()
	for link, want := range map[string]string{
		unused.Ref.Link: "gone", used.Ref.Link: "permanent", late.Ref.Link: "temporary", again.Ref.Link: "temporary",
	} {
		if got := state(t, alice, link); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if n := files(t, srv); n != 3 {
		t.Errorf("%d files", n)
	}
}

// Bytes that a crash left without metadata are found, and no others.
func TestBlobsOrphanSweep(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "kept")
	ok(t, attach(t, alice, "a", up.ref()))
	_, err := srv.Config.Blobs.Put(t.Context(), "0123456789abcdef/orphan", strings.NewReader("left"))
	ok(t, err)
	srv.Clock.Advance(23 * time.Hour)
	_, err = srv.Config.Blobs.Put(t.Context(), "0123456789abcdef/fresh", strings.NewReader("under way"))
	ok(t, err)
	ok(t, srv.SweepOrphanedBlobs(t.Context()))
	if n := files(t, srv); n != 3 {
		t.Errorf("before its time: %d files", n)
	}
	srv.Clock.Advance(2 * time.Hour)
	ok(t, srv.SweepOrphanedBlobs(t.Context()))
	if n := files(t, srv); n != 2 {
		t.Errorf("%d files", n)
	}
	if _, body := fetch(t, alice, up.Ref.Link); string(body) != "kept" {
		t.Errorf("%q", body)
	}
}

// A blob that is taken down is not served, not referred to and not uploaded
// again, also after its last record is gone.
func TestBlobsTakendown(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	up := mustUpload(t, alice, "text/plain", "bad")
	ok(t, attach(t, alice, "a", up.ref()))
	set := func(applied bool) {
		t.Helper()
		srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
			"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoBlobRef", "did": alice.DID, "cid": up.Ref.Link},
			"takedown": map[string]any{"applied": applied, "ref": "1"},
		}, nil)
	}
	set(true)
	refused := func() {
		t.Helper()
		if resp, _ := fetch(t, alice, up.Ref.Link); resp.StatusCode != 400 {
			t.Errorf("served: %d", resp.StatusCode)
		}
		wantError(t, attach(t, alice, "b", up.ref()), 400, "BlobNotFound")
		_, err := upload(t, alice, "text/plain", []byte("bad"))
		wantError(t, err, 400, "InvalidRequest")
		wantMessage(t, err, "Blob has been takendown, cannot re-upload")
		if n := files(t, srv); n != 1 {
			t.Errorf("%d files", n)
		}
	}
	refused()
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	refused()
	set(false)
	if _, err := upload(t, alice, "text/plain", []byte("bad")); err != nil {
		t.Error(err)
	}
	ok(t, attach(t, alice, "b", up.ref()))
	if _, body := fetch(t, alice, up.Ref.Link); string(body) != "bad" {
		t.Errorf("%q", body)
	}
}

// Blobs: uploads by inactive accounts: a deactivated one may, for its
// migration; one that is taken down may not.
func TestBlobsOfInactiveAccounts(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	alice.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	alice.Login()
	mustUpload(t, alice, "text/plain", "moving")
	srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": alice.DID},
		"takedown": map[string]any{"applied": true, "ref": "1"},
	}, nil)
	_, err := upload(t, alice, "text/plain", []byte("more"))
	wantError(t, err, 401, "AccountTakedown")
	_, err = upload(t, &pdstest.Account{PDS: srv, DID: syntax.DID("did:plc:none"), Access: "nonsense"}, "text/plain", []byte("x"))
	wantError(t, err, 400, "InvalidToken")
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

// Parallel uploads of the same bytes leave one blob.
func TestBlobsParallelUploads(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if out, err := upload(t, alice, "text/plain", []byte("same")); err != nil || out.Ref.Link != rawCID("same") {
				t.Errorf("%+v %v", out, err)
			}
		})
	}
	wg.Wait()
	if n, m := files(t, srv), len(temporary(t, srv)); n != 1 || m != 1 {
		t.Errorf("%d files, %d blobs", n, m)
	}
}

// A batch refers to a thousand blobs at most.
func TestBlobsInOneBatch(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for _, n := range []int{1000, 1001} {
		refs := make([]map[string]any, n)
		for i := range refs {
			refs[i] = blobRef(rawCID(fmt.Sprint(i)), "text/plain", 3)
		}
		err := attach(t, alice, "a", refs...)
		if n == 1000 {
			wantError(t, err, 400, "BlobNotFound")
			continue
		}
		wantError(t, err, 400, "InvalidRequest")
		wantMessage(t, err, "Too many blobs. Max: 1000")
	}
}
