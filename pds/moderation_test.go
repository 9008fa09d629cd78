package pds_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
)

const (
	updateSubjectStatus = "com.atproto.admin.updateSubjectStatus"
	getSubjectStatus    = "com.atproto.admin.getSubjectStatus"
)

func repoRef(a *pdstest.Account) map[string]any {
	return map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": a.DID}
}

type subjectStatus struct {
	Subject               map[string]any
	Takedown, Deactivated *struct {
		Applied bool
		Ref     string
	}
}

func TestModerateAccount(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	status := func() (s subjectStatus) {
		t.Helper()
		ok(t, get(t, srv, getSubjectStatus, adminAuth, url.Values{"did": {string(a.DID)}}, &s))
		return s
	}
	if s := status(); s.Takedown.Applied || s.Deactivated.Applied || s.Subject["$type"] != "com.atproto.admin.defs#repoRef" {
		t.Errorf("%+v", s)
	}
	ok(t, post(t, srv, updateSubjectStatus, adminAuth, map[string]any{
		"subject": repoRef(a), "takedown": map[string]any{"applied": true, "ref": "case-1"},
	}, nil))
	if s := status(); !s.Takedown.Applied || s.Takedown.Ref != "case-1" {
		t.Errorf("%+v", s)
	}
	// No session of before works, none can be had, and nothing is served.
	if err := get(t, srv, "com.atproto.server.getSession", "Bearer "+a.Access, nil, nil); err == nil {
		t.Error("the access token works")
	}
	wantError(t, post(t, srv, "com.atproto.server.refreshSession", "Bearer "+a.Refresh, nil, nil), 401, "AccountTakedown")
	wantError(t, post(t, srv, "com.atproto.server.createSession", "", map[string]any{"identifier": a.DID, "password": a.Password}, nil), 401, "AccountTakedown")
	wantError(t, get(t, srv, "com.atproto.sync.getRepo", "", url.Values{"did": {string(a.DID)}}, nil), 400, "RepoTakendown")
	_, err := resolve(t, srv, "alice.test")
	wantError(t, err, 400, "HandleNotFound")

	takeDown(t, srv, string(a.DID), true) // without a reference: the time
	if s := status(); !strings.HasPrefix(s.Takedown.Ref, "20") {
		t.Errorf("%+v", s)
	}
	takeDown(t, srv, string(a.DID), false)
	if s := status(); s.Takedown.Applied {
		t.Errorf("%+v", s)
	}
	if err := get(t, srv, "com.atproto.server.getSession", "Bearer "+a.Access, nil, nil); err == nil {
		t.Error("a token of before the takedown works again")
	}
	a.Login()
	a.CreateRecord("app.bsky.feed.post", aPost("back"))
}

func TestModerateRecord(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	uri, cid := a.CreateRecord("app.bsky.feed.post", aPost("bad"))
	rkey := uri[strings.LastIndexByte(uri, '/')+1:]
	read := func() error {
		return get(t, srv, "com.atproto.repo.getRecord", "", url.Values{
			"repo": {string(a.DID)}, "collection": {"app.bsky.feed.post"}, "rkey": {rkey}}, nil)
	}
	set := func(applied bool) {
		t.Helper()
		ok(t, post(t, srv, updateSubjectStatus, adminAuth, map[string]any{
			"subject":  map[string]any{"$type": "com.atproto.repo.strongRef", "uri": uri, "cid": cid},
			"takedown": map[string]any{"applied": applied, "ref": "case-2"},
		}, nil))
		var s subjectStatus
		ok(t, get(t, srv, getSubjectStatus, adminAuth, url.Values{"uri": {uri}}, &s))
		if s.Takedown.Applied != applied || s.Subject["uri"] != uri || s.Subject["cid"] != cid {
			t.Errorf("%+v", s)
		}
	}
	seq := lastSeq(t, srv)
	set(true)
	wantError(t, read(), 400, "RecordNotFound")
	set(false)
	ok(t, read())
	if seq != lastSeq(t, srv) {
		t.Error("an event was sent")
	}
}

func TestModerateBlob(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	ref, blob := uploadPNG(t, a, pngHead+"bad")
	a.CreateRecord("app.bsky.feed.post", imagePost(ref))
	set := func(applied bool) {
		t.Helper()
		ok(t, post(t, srv, updateSubjectStatus, adminAuth, map[string]any{
			"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoBlobRef", "did": a.DID, "cid": blob},
			"takedown": map[string]any{"applied": applied},
		}, nil))
		var s subjectStatus
		ok(t, get(t, srv, getSubjectStatus, adminAuth, url.Values{"did": {string(a.DID)}, "blob": {blob}}, &s))
		if s.Takedown.Applied != applied || s.Subject["cid"] != blob {
			t.Errorf("%+v", s)
		}
	}
	read := func() error {
		return get(t, srv, "com.atproto.sync.getBlob", "", url.Values{"did": {string(a.DID)}, "cid": {blob}}, nil)
	}
	set(true)
	wantError(t, read(), 400, "")
	wantError(t, post(t, srv, "com.atproto.repo.createRecord", "Bearer "+a.Access, map[string]any{
		"repo": a.DID, "collection": "app.bsky.feed.post", "record": imagePost(ref)}, nil), 400, "BlobNotFound")
	h := http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {"image/png"}}
	_, err := srv.Call(t.Context(), http.MethodPost, "com.atproto.repo.uploadBlob", nil, h, []byte(pngHead+"bad"))
	wantError(t, err, 400, "")
	set(false)
	ok(t, read())
	a.CreateRecord("app.bsky.feed.post", imagePost(ref))
	uploadPNG(t, a, pngHead+"bad")
}

// TestStatusMatrix walks back and forth between active, deactivated, taken down
// and both, and compares the events and the public status with a model.
func TestStatusMatrix(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	status := func(down, off bool) string {
		switch {
		case down:
			return "takendown"
		case off:
			return "deactivated"
		}
		return ""
	}
	steps := []string{"deactivate", "takedown", "restore", "activate"}
	down, off := false, false
	for i := range 64 {
		step := steps[(i^i>>2^i>>4)%4]
		seq := lastSeq(t, srv)
		in := map[string]any{"subject": repoRef(a)}
		want := []string{}
		refused := false
		switch step {
		case "deactivate":
			in["deactivated"], off = map[string]any{"applied": true}, true
		case "takedown":
			in["takedown"], down = map[string]any{"applied": true}, true
		case "restore":
			in["takedown"], down = map[string]any{"applied": false}, false
		case "activate":
			in["deactivated"] = map[string]any{"applied": false}
			if refused = down; !down {
				off = false
			}
		}
		err := post(t, srv, updateSubjectStatus, adminAuth, in, nil)
		if refused {
			wantError(t, err, 400, "")
		} else {
			ok(t, err)
			want = append(want, "#account "+map[bool]string{true: "active"}[!down && !off]+status(down, off))
			if step == "activate" {
				want = append(want, "#identity", "#sync")
			}
		}
		if got := eventsAfter(t, srv, seq); !slices.Equal(got, want) {
			t.Fatalf("step %d %s: events %v, want %v", i, step, got, want)
		}
		var public struct {
			Active bool
			Status string
		}
		ok(t, get(t, srv, "com.atproto.sync.getRepoStatus", "", url.Values{"did": {string(a.DID)}}, &public))
		if public.Active != (!down && !off) || public.Status != status(down, off) {
			t.Fatalf("step %d %s: status %+v", i, step, public)
		}
		if err := writeInProcess(t, a); (err == nil) != (!down && !off) {
			t.Fatalf("step %d %s: write: %v", i, step, err)
		}
	}
}

// writeInProcess writes a record on behalf of code in the server's process.
func writeInProcess(t *testing.T, a *pdstest.Account) error {
	t.Helper()
	rec, err := repo.RecordFromValue(aPost("x"), "app.bsky.feed.post")
	ok(t, err)
	_, err = a.PDS.Apply(t.Context(), pds.Batch{Account: a.DID, Actor: a.DID, Ops: []pds.Op{
		{Action: pds.Create, Collection: "app.bsky.feed.post", Record: rec},
	}})
	return err
}

func TestModerationInput(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	uri, _ := a.CreateRecord("app.bsky.feed.post", aPost("x"))
	const someCID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
	unknown := "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	applied := map[string]any{"applied": true}
	for _, c := range []struct {
		what string
		in   map[string]any
		name string
	}{
		{"takedown and activate", map[string]any{"subject": repoRef(a), "takedown": applied, "deactivated": map[string]any{"applied": false}}, "InvalidRequest"},
		{"unknown account", map[string]any{"subject": map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": unknown}, "takedown": applied}, "NotFound"},
		{"unknown record", map[string]any{"subject": map[string]any{"$type": "com.atproto.repo.strongRef", "uri": uri + "x", "cid": someCID}, "takedown": applied}, "NotFound"},
		{"unknown blob", map[string]any{"subject": map[string]any{"$type": "com.atproto.admin.defs#repoBlobRef", "did": a.DID, "cid": someCID}, "takedown": applied}, "NotFound"},
		{"unknown subject", map[string]any{"subject": map[string]any{"$type": "com.example.thing"}, "takedown": applied}, "InvalidRequest"},
		{"long reference", map[string]any{"subject": repoRef(a), "takedown": map[string]any{"applied": true, "ref": strings.Repeat("r", 2049)}}, "InvalidRequest"},
		{"record by handle", map[string]any{"subject": map[string]any{"$type": "com.atproto.repo.strongRef", "uri": "at://alice.test/app.bsky.feed.post/x", "cid": someCID}, "takedown": applied}, "InvalidRequest"},
	} {
		t.Run(c.what, func(t *testing.T) {
			wantError(t, post(t, srv, updateSubjectStatus, adminAuth, c.in, nil), 400, c.name)
		})
	}
	for _, params := range []url.Values{
		{}, {"blob": {someCID}}, {"did": {unknown}}, {"uri": {uri + "x"}}, {"did": {string(a.DID)}, "blob": {someCID}},
	} {
		t.Run(fmt.Sprint("query ", params), func(t *testing.T) {
			wantError(t, get(t, srv, getSubjectStatus, adminAuth, params, nil), 400, "")
		})
	}
	wantError(t, post(t, srv, updateSubjectStatus, "Bearer "+a.Access, map[string]any{"subject": repoRef(a), "takedown": applied}, nil), 401, "")
	wantError(t, post(t, srv, updateSubjectStatus, "", map[string]any{"subject": repoRef(a), "takedown": applied}, nil), 401, "AuthMissing")

	// Neither field: the status once more.
	seq := lastSeq(t, srv)
	ok(t, post(t, srv, updateSubjectStatus, adminAuth, map[string]any{"subject": repoRef(a)}, nil))
	if d := cmp.Diff([]string{"#account active"}, eventsAfter(t, srv, seq)); d != "" {
		t.Error(d)
	}
}
