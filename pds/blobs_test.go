package pds_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

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
