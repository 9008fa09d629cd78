package pds_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds/pdstest"
)

func TestDescribeRepo(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	type described struct {
		Handle, DID     string
		DidDoc          struct{ ID string }
		Collections     []string
		HandleIsCorrect bool
	}
	describe := func(name string) (d described, err error) {
		err = get(t, srv, "com.atproto.repo.describeRepo", "", url.Values{"repo": {name}}, &d)
		return d, err
	}
	for _, name := range []string{string(alice.DID), string(alice.Handle)} {
		d, err := describe(name)
		ok(t, err)
		if d.Handle != string(alice.Handle) || d.DID != string(alice.DID) || d.DidDoc.ID != d.DID || !d.HandleIsCorrect ||
			d.Collections == nil || len(d.Collections) != 0 {
			t.Errorf("%+v", d)
		}
	}
	note(t, alice, "a", "x")
	mustWrite(t, alice, createRecord, map[string]any{"collection": postCollection, "record": postText("x")})
	if d, err := describe("alice.test"); err != nil || !slices.Equal(d.Collections, []string{postCollection, noteCollection}) {
		t.Errorf("%+v %v", d, err)
	}
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	if d, err := describe("alice.test"); err != nil || !slices.Equal(d.Collections, []string{postCollection}) {
		t.Errorf("%+v %v", d, err)
	}
	_, err := describe("nobody.test")
	wantError(t, err, 400, "RepoNotFound")
	_, err = describe("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
	wantError(t, err, 400, "RepoNotFound")
	alice.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	_, err = describe("alice.test")
	wantError(t, err, 400, "RepoDeactivated")
	srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": alice.DID},
		"takedown": map[string]any{"applied": true, "ref": "1"},
	}, nil)
	_, err = describe("alice.test")
	wantError(t, err, 400, "RepoTakendown")
}

// Blobs: missing blobs listed, cleared; in pages.
func TestBlobsMissingInPages(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	records := map[string]map[string]any{}
	var want []string
	for i := range 25 {
		c, err := cid.Decode(rawCID(fmt.Sprint("blob ", i)))
		ok(t, err)
		want = append(want, c.String())
		blob := atdata.Blob{Ref: atdata.CIDLink(c), MimeType: "text/plain", Size: 6}
		records[fmt.Sprintf("%s/a%02d", noteCollection, i)] = map[string]any{"blob": blob}
		records[fmt.Sprintf("%s/b%02d", noteCollection, i)] = map[string]any{"again": blob}
	}
	slices.Sort(want)
	ok(t, sendCAR(t, alice, newForeignRepo(t, alice.DID, records).car(t)))
	type page struct {
		Cursor string
		Blobs  []struct{ CID, RecordURI string }
	}
	list := func(params url.Values) (p page, err error) {
		err = get(t, srv, "com.atproto.repo.listMissingBlobs", "Bearer "+alice.Access, params, &p)
		return p, err
	}
	var got []string
	for cursor := ""; ; {
		p, err := list(url.Values{"limit": {"10"}, "cursor": {cursor}})
		ok(t, err)
		for _, b := range p.Blobs {
			got = append(got, b.CID)
			if !strings.HasPrefix(b.RecordURI, "at://"+string(alice.DID)+"/"+noteCollection+"/") {
				t.Errorf("record %s", b.RecordURI)
			}
		}
		if cursor = p.Cursor; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d, want %d, each once and in order", len(got), len(want))
	}
	for i := range 25 {
		mustUpload(t, alice, "text/plain", fmt.Sprint("blob ", i))
	}
	if p, err := list(nil); err != nil || len(p.Blobs) != 0 {
		t.Errorf("still missing: %v %v", p, err)
	}
	for _, bad := range []string{"0", "1001", "x"} {
		_, err := list(url.Values{"limit": {bad}})
		wantError(t, err, 400, "InvalidRequest")
	}
	wantError(t, get(t, srv, "com.atproto.repo.listMissingBlobs", "", nil, nil), 401, "AuthMissing")
}
