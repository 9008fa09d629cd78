package pds_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// unzip reads an archive, which must be whole.
func unzip(t *testing.T, data []byte) map[string]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	ok(t, err)
	out := map[string]string{}
	for _, f := range r.File {
		body, err := f.Open()
		ok(t, err)
		text, err := io.ReadAll(body) // checks the sum
		ok(t, err)
		if _, twice := out[f.Name]; twice {
			t.Errorf("%s is there twice", f.Name)
		}
		out[f.Name] = string(text)
	}
	return out
}

func exported(t *testing.T, srv *pdstest.PDS, did syntax.DID) map[string]string {
	t.Helper()
	var b bytes.Buffer
	ok(t, srv.ExportAccount(t.Context(), did, &b))
	return unzip(t, b.Bytes())
}

// putDocument stores a document of an extension.
func putDocument(t *testing.T, srv *pds.Server, kind string, owner syntax.DID, key string, value []byte) {
	t.Helper()
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		return st.Put(pds.Document{DocumentKey: pds.DocumentKey{Kind: kind, Owner: owner, Key: key}, Value: value})
	}))
}

func TestExportAccount(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.WithheldDocuments = []string{"com.example.note", "com.example.mod.*"} })
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	picture := mustUpload(t, alice, "image/png", "a picture")
	unused := mustUpload(t, alice, "text/plain", "not in a record")
	alice.CreateRecord(noteCollection, map[string]any{"text": "hello", "picture": picture.ref()})
	alice.Post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": false}}}, nil)
	for _, d := range []struct{ kind, key, value string }{
		{"com.example.unread", "room/1", `{"seq":5}`}, {"com.example.unread", "room/2", `{"seq":7}`}, {"com.example.raw", "", "\xff\x00"},
		{"com.example.note", "1", `"a rude person"`}, {"com.example.mod.flag", "1", `"watched"`}, {"com.example.mod", "1", `"fine"`}, {"com.example.modern", "1", `"fine, too"`},
	} {
		putDocument(t, srv.Server, d.kind, alice.DID, d.key, []byte(d.value))
	}
	putDocument(t, srv.Server, "com.example.unread", bob.DID, "room/1", []byte(`"of bob"`))
	putDocument(t, srv.Server, "com.example.unread", "", "room/1", []byte(`"of nobody"`))

	files := exported(t, srv, alice.DID)
	cid := picture.Ref.Link
	var names []string
	for _, name := range []string{"README.txt", "account.json", "repo.car", "preferences.json", "documents.jsonl", "blobs.jsonl", "blobs/" + cid} {
		if _, there := files[name]; !there {
			t.Errorf("%s is missing", name)
		}
		names = append(names, name)
	}
	if len(files) != len(names) {
		t.Errorf("there are %d files, not only %q", len(files), names)
	}
	if files["blobs/"+cid] != "a picture" || strings.Contains(files["blobs.jsonl"], unused.Ref.Link) {
		t.Errorf("blobs: %q, %s", files["blobs/"+cid], files["blobs.jsonl"])
	}
	var line map[string]any
	ok(t, json.Unmarshal([]byte(files["blobs.jsonl"]), &line))
	if line["cid"] != cid || line["mimeType"] != "image/png" || line["size"] != 9.0 || line["file"] != "blobs/"+cid {
		t.Errorf("blobs.jsonl: %v", line)
	}
	repo, err := pdstest.ReadRepo([]byte(files["repo.car"]))
	ok(t, err)
	if len(repo.Records) != 1 {
		t.Errorf("%d records", len(repo.Records))
	}
	want := `{"kind":"com.example.mod","key":"1","value":"fine"}
{"kind":"com.example.modern","key":"1","value":"fine, too"}
{"kind":"com.example.raw","key":"","bytes":"/wA="}
{"kind":"com.example.unread","key":"room/1","value":{"seq":5}}
{"kind":"com.example.unread","key":"room/2","value":{"seq":7}}
`
	if files["documents.jsonl"] != want {
		t.Errorf("documents: %s", files["documents.jsonl"])
	}
	if !strings.Contains(files["preferences.json"], "adultContentPref") || !strings.Contains(files["account.json"], `"email": "alice@example.com"`) {
		t.Errorf("%s %s", files["preferences.json"], files["account.json"])
	}
	all := strings.Join([]string{files["account.json"], files["documents.jsonl"], files["preferences.json"]}, "")
	for _, secret := range []string{"rude", "watched", "argon2", alice.Password, "of bob", "of nobody"} {
		if strings.Contains(all, secret) {
			t.Errorf("the archive has %q", secret)
		}
	}

	// Without a repository, and for an account that is taken down.
	takeDown := map[string]any{"subject": repoRef(bob), "takedown": map[string]any{"applied": true}}
	ok(t, post(t, srv, updateSubjectStatus, adminAuth, takeDown, nil))
	if files := exported(t, srv, bob.DID); !strings.Contains(files["account.json"], `"takendown"`) || !strings.Contains(files["documents.jsonl"], "of bob") {
		t.Errorf("%s", files["account.json"])
	}
	err = srv.ExportAccount(t.Context(), "did:plc:nobodynobodynobodynobody", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "AccountNotFound") {
		t.Errorf("nobody: %v", err)
	}
}

// More documents and blobs than a page has, each once.
func TestExportPages(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for first := 0; first < 120; first += 60 {
		ok(t, srv.Update(t.Context(), func(st *pds.State) error {
			for i := first; i < first+60; i++ {
				if err := st.PutJSON(pds.DocumentKey{Kind: "com.example.many", Owner: alice.DID, Key: fmt.Sprintf("%03d", i)}, i); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	n := 0
	for d, err := range srv.ExportDocuments(t.Context(), alice.DID) {
		ok(t, err)
		if d.Key != fmt.Sprintf("%03d", n) || d.Owner != alice.DID || string(d.Value) != fmt.Sprint(n) {
			t.Fatalf("document %d is %+v", n, d)
		}
		n++
	}
	if n != 120 {
		t.Errorf("%d documents", n)
	}
	for _, err := range srv.ExportDocuments(t.Context(), alice.DID) {
		ok(t, err)
		n--
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range srv.ExportDocuments(ctx, alice.DID) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
		n--
	}
	if n != 118 {
		t.Errorf("%d", n)
	}
	// They leave with the account.
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": alice.DID}, nil))
	for d, err := range srv.ExportDocuments(t.Context(), alice.DID) {
		t.Errorf("after deletion: %v %v", d, err)
	}
}

func TestWithheldDocumentsConfig(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	for _, pattern := range []string{"", "*", "nodot", "com.*", "com.example.mod*", "com.exam*ple", "com.example note"} {
		c := srv.Config
		c.WithheldDocuments = []string{"com.example.fine", pattern}
		if _, err := pds.New(c); err == nil || !strings.Contains(err.Error(), "Config.WithheldDocuments") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

// brokenBlobs cannot read.
type brokenBlobs struct {
	storage.BlobStore
	open func() (io.ReadCloser, error)
}

func (b brokenBlobs) Open(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return b.open()
}

// An export that fails is cut off, not shown as whole, and the administrator's
// is in the audit log.
func TestExportFails(t *testing.T) {
	t.Parallel()
	open := func() (io.ReadCloser, error) { return nil, errors.New("out of order") }
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Blobs, c.Logger = brokenBlobs{c.Blobs, func() (io.ReadCloser, error) { return open() }}, nil
	})
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	for i := range 40 { // more than fits before the answer begins
		alice.CreateRecord(noteCollection, map[string]any{"text": strings.Repeat(fmt.Sprint(i), 300), "picture": mustUpload(t, alice, "image/png", fmt.Sprint(i)).ref()})
	}
	fetch := func(account string) (*http.Response, []byte, error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/admin/export?"+url.Values{"account": {account}}.Encode(), nil)
		ok(t, err)
		r.Header.Set("Authorization", adminAuth)
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		return resp, data, err
	}
	if resp, _, err := fetch(string(alice.DID)); err == nil || resp.StatusCode != 200 {
		t.Errorf("%d, %v", resp.StatusCode, err)
	}
	resp, data, err := fetch(string(bob.Handle))
	ok(t, err)
	if name := resp.Header.Get("Content-Disposition"); name != "attachment; filename=bob.test.zip" || resp.Header.Get("Content-Type") != "application/zip" {
		t.Errorf("headers %v", resp.Header)
	}
	unzip(t, data)
	if _, data, _ := fetch("nobody.test"); !strings.Contains(string(data), "AccountNotFound") {
		t.Errorf("nobody: %s", data)
	}
	log, err := srv.AuditLog(t.Context(), 0, 10)
	ok(t, err)
	if len(log) != 2 || log[0].Action != "account export" || log[0].Subject != string(bob.DID) || log[0].Result != "ok" || log[1].Result != "InternalServerError" {
		t.Errorf("the audit log: %+v", log)
	}
}

// The account manager offers the archive.
func TestExportByAccountManager(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.Logger = nil })
	alice := srv.CreateAccount("alice")
	alice.CreateRecord(noteCollection, map[string]any{"text": "hello"})
	p := newPerson(t, srv, "atproto")
	signIn := p.do(http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/account/sign-in", nil))
	p.submit(signIn, "/sign-in", url.Values{"identifier": {string(alice.Handle)}, "password": {alice.Password}})
	fetch := func(path string) *page {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/account/"+string(alice.DID)+path, nil)
		ok(t, err)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		return p.do(r, nil)
	}
	if pg := fetch("/export"); !strings.Contains(pg.text, "/export/archive") || !strings.Contains(pg.text, "/export/repo") || !strings.Contains(pg.text, "ZIP") {
		t.Errorf("the page: %d %s", pg.status, pg.text)
	}
	if files := unzip(t, []byte(fetch("/export/archive").text)); len(files) != 6 {
		t.Errorf("files: %d", len(files))
	}
	_, err := pdstest.ReadRepo([]byte(fetch("/export/repo").text))
	ok(t, err)
}

// Who takes an export slowly holds up nobody.
func TestExportSlowReader(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	alice.CreateRecord(noteCollection, map[string]any{"text": "hello", "picture": mustUpload(t, alice, "image/png", strings.Repeat("p", 1<<20)).ref()})
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- srv.ExportAccount(t.Context(), alice.DID, w); w.Close() }()
	_, err := io.ReadFull(r, make([]byte, 10))
	ok(t, err)
	alice.CreateRecord(noteCollection, map[string]any{"text": "written meanwhile"})
	_, err = io.Copy(io.Discard, r)
	ok(t, err)
	select {
	case err := <-done:
		ok(t, err)
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.ExportAccount(ctx, alice.DID, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled export: %v", err)
	}
}
