package pds_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// uploadSync uploads a blob and, if used, writes a record that refers to it.
func uploadSync(t *testing.T, a *pdstest.Account, data []byte, used bool) (cid string) {
	t.Helper()
	h := http.Header{"Authorization": {syncBearer(a)}, "Content-Type": {"text/plain"}}
	raw, err := a.PDS.Call(t.Context(), http.MethodPost, "com.atproto.repo.uploadBlob", nil, h, data)
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Blob struct {
			Ref struct {
				Link string `json:"$link"`
			}
		}
	}
	var ref struct{ Blob map[string]any }
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	if used {
		a.CreateRecord("com.example.file", map[string]any{"$type": "com.example.file", "file": ref.Blob})
	}
	return out.Blob.Ref.Link
}

func TestBlobsAreServedWithHeaders(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	data := []byte("0123456789abcdefghij")
	cid := uploadSync(t, alice, data, true)
	u := srv.URL + "/xrpc/com.atproto.sync.getBlob?" + url.Values{"did": {string(alice.DID)}, "cid": {cid}}.Encode()
	etag := `"` + cid + `"`
	for _, tc := range []struct {
		name, method string
		ask          map[string]string
		status       int
		body         string
		contentRange string
	}{
		{"whole", "GET", nil, 200, string(data), ""},
		{"head", "HEAD", nil, 200, "", ""},
		{"first bytes", "GET", map[string]string{"Range": "bytes=0-4"}, 206, "01234", "bytes 0-4/20"},
		{"from the middle", "GET", map[string]string{"Range": "bytes=15-"}, 206, "fghij", "bytes 15-19/20"},
		{"last bytes", "GET", map[string]string{"Range": "bytes=-3"}, 206, "hij", "bytes 17-19/20"},
		{"beyond the end", "GET", map[string]string{"Range": "bytes=18-999"}, 206, "ij", "bytes 18-19/20"},
		{"outside", "GET", map[string]string{"Range": "bytes=20-"}, 416, "-", "bytes */20"},
		{"several parts", "GET", map[string]string{"Range": "bytes=0-1,3-4"}, 200, string(data), ""},
		{"malformed", "GET", map[string]string{"Range": "bytes=b-a"}, 200, string(data), ""},
		{"range of the same", "GET", map[string]string{"Range": "bytes=1-1", "If-Range": etag}, 206, "1", "bytes 1-1/20"},
		{"range of another", "GET", map[string]string{"Range": "bytes=1-1", "If-Range": `"x"`}, 200, string(data), ""},
		{"known", "GET", map[string]string{"If-None-Match": `"x", W/` + etag}, 304, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tc.method, u, nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range tc.ask {
				r.Header.Set(k, v)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.status || tc.body != "-" && string(body) != tc.body {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, tc.status, tc.body)
			}
			if got := resp.Header.Get("Content-Range"); got != tc.contentRange {
				t.Errorf("Content-Range %q, want %q", got, tc.contentRange)
			}
			if tc.status == 416 {
				return
			}
			want := map[string]string{
				"Etag": etag, "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff",
				"Content-Disposition":     `attachment; filename="` + cid + `"`,
				"Content-Security-Policy": "default-src 'none'; sandbox",
			}
			if tc.status == 200 {
				want["Content-Length"], want["Content-Type"] = "20", "text/plain"
			}
			for k, v := range want {
				if got := resp.Header.Get(k); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
		})
	}
}

// Only what something refers to is served, and nothing that is taken down.
func TestBlobsNotServed(t *testing.T) {
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	cid := uploadSync(t, alice, []byte("hello"), true)
	temporary := uploadSync(t, alice, []byte("not yet"), false)
	get := func(auth string, a *pdstest.Account, cid string) error {
		_, err := syncFetch(t, srv, auth, "com.atproto.sync.getBlob", "did", string(a.DID), "cid", cid)
		return err
	}
	if err := get("", alice, cid); err != nil {
		t.Fatal(err)
	}
	wantSyncError(t, get("", alice, temporary), 400, "BlobNotFound")
	wantSyncError(t, get(syncBearer(alice), alice, temporary), 400, "BlobNotFound")
	wantSyncError(t, get("", bob, cid), 400, "BlobNotFound")
	wantSyncError(t, get("", alice, "nonsense"), 400, "InvalidRequest")

	setSyncStatus(t, srv, alice, func(a *storage.Account) { a.DeactivatedAt = srv.Clock.Now() })
	wantSyncError(t, get("", alice, cid), 400, "RepoDeactivated")
	wantSyncError(t, get(syncBearer(bob), alice, cid), 400, "RepoDeactivated")
	for _, auth := range []string{syncBearer(alice), syncAdmin} {
		if err := get(auth, alice, cid); err != nil {
			t.Errorf("of a deactivated account, by one who may: %v", err)
		}
	}
	setSyncStatus(t, srv, alice, func(a *storage.Account) { *a = withoutStatus(*a) })

	srv.Post("com.atproto.admin.updateSubjectStatus", syncAdmin, map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoBlobRef", "did": alice.DID, "cid": cid},
		"takedown": map[string]any{"applied": true, "ref": "ref"},
	}, nil)
	wantSyncError(t, get("", alice, cid), 400, "BlobNotFound")
	wantSyncError(t, get(syncBearer(alice), alice, cid), 400, "BlobNotFound")
}

func TestBlobsAreListed(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	var want []string
	var half string
	for i := range 10 {
		want = append(want, uploadSync(t, alice, fmt.Append(nil, "blob ", i), true))
		if i == 6 {
			half = string(alice.Export().Commit.Rev)
		}
	}
	uploadSync(t, alice, []byte("temporary"), false)
	list := func(since string, limit int) (all []string) {
		cursor := ""
		for range 20 {
			var page struct {
				Cursor string
				CIDs   []string
			}
			q := url.Values{"did": {string(alice.DID)}, "limit": {fmt.Sprint(limit)}}
			if cursor != "" {
				q.Set("cursor", cursor)
			}
			if since != "" {
				q.Set("since", since)
			}
			srv.Get("com.atproto.sync.listBlobs", "", q, &page)
			all = append(all, page.CIDs...)
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
		return all
	}
	since := slices.Clone(want[7:])
	slices.Sort(since)
	slices.Sort(want)
	for _, limit := range []int{1, 3, 10, 1000} {
		if got := list("", limit); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", limit, got, want)
		}
		if got := list(half, limit); !slices.Equal(got, since) {
			t.Errorf("since, pages of %d: %v, want %v", limit, got, since)
		}
	}
	for limit, ok := range map[string]bool{"0": false, "1": true, "1000": true, "1001": false} {
		if _, err := syncFetch(t, srv, "", "com.atproto.sync.listBlobs", "did", string(alice.DID), "limit", limit); (err == nil) != ok {
			t.Errorf("limit %s: %v", limit, err)
		}
	}
}
