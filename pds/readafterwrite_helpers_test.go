package pds_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

type object = map[string]any

// appView is a fake app view. What it answers is set by method.
type appView struct {
	*fakeService

	mu      sync.Mutex // guards following 2 fields
	rev     string     // that all answers carry
	answers map[string]func(q url.Values) (int, any)
}

func newAppView(t testing.TB) *appView {
	v := &appView{answers: map[string]func(url.Values) (int, any){}}
	v.fakeService = newService(t, v.serve)
	return v
}

func (v *appView) serve(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	rev, answer := v.rev, v.answers[strings.TrimPrefix(r.URL.Path, "/xrpc/")]
	v.mu.Unlock()
	if answer == nil {
		answering(400, "application/json", `{"error":"NotFound"}`)(w, r)
		return
	}
	status, body := answer(r.URL.Query())
	if rev != "" {
		w.Header().Set("Atproto-Repo-Rev", rev)
	}
	text, isText := body.(string)
	if !isText {
		data, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		text = string(data)
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		var buf bytes.Buffer
		zw := gzip.NewWriter(&buf)
		_, _ = io.WriteString(zw, text)
		_ = zw.Close()
		w.Header().Set("Content-Encoding", "gzip")
		text = buf.String()
	}
	answering(status, "application/json; charset=utf-8", text)(w, r)
}

func (v *appView) knows(a *pdstest.Account) {
	var head struct{ Rev string }
	a.Get("com.atproto.sync.getLatestCommit", url.Values{"did": {string(a.DID)}}, &head)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rev = head.Rev
}

func (v *appView) answer(nsid string, body any) {
	v.answerWith(nsid, func(url.Values) (int, any) { return 200, body })
}

func (v *appView) answerWith(nsid string, fn func(url.Values) (int, any)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answers[nsid] = fn
}

// getView calls a method of the app view and checks the answer against its
// lexicon.
func getView(t *testing.T, a *pdstest.Account, nsid string, params url.Values) (object, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.PDS.URL+"/xrpc/"+nsid+"?"+params.Encode(), nil)
	ok(t, err)
	r.Header.Set("Authorization", "Bearer "+a.Access)
	resp, err := http.DefaultClient.Do(r) // which asks for gzip
	ok(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ok(t, err)
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %d %s", nsid, resp.StatusCode, text)
	}
	ok(t, lexicons.New().ValidateOutput(nsid, text))
	var out object
	ok(t, json.Unmarshal(text, &out))
	return out, resp.Header
}

// postOf is the view of a post as the app view knows it.
func postOf(did, rkey string, at time.Time) object {
	return object{
		"uri": "at://" + did + "/app.bsky.feed.post/" + rkey, "cid": rawCID(rkey),
		"author": object{"did": did, "handle": "someone.test", "viewer": object{"muted": false}, "unknownField": object{"n": 1}},
		"record": object{"$type": "app.bsky.feed.post", "text": rkey, "createdAt": "2024-01-01T00:00:00Z"}, "indexedAt": at.UTC().Format(time.RFC3339Nano),
		"likeCount": 7,
	}
}

func newPost(text string, more ...any) object {
	return with(object{"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-01T00:00:00.000Z"}, more...)
}

func replyTo(root, parent string) object {
	cid := rawCID("x")
	return object{"root": object{"uri": root, "cid": cid}, "parent": object{"uri": parent, "cid": cid}}
}

// textsOf returns the texts of the posts in a feed.
func textsOf(t *testing.T, answer object) (out []string) {
	t.Helper()
	for _, item := range answer["feed"].([]any) {
		out = append(out, dig(t, item, "post", "record", "text").(string))
	}
	return out
}

// dig follows keys and indexes into a JSON value.
func dig(t *testing.T, v any, path ...any) any {
	t.Helper()
	for i, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := v.(object)
			v = m[s]
		case int:
			list, _ := v.([]any)
			if s >= len(list) {
				t.Fatalf("%v: %d elements", path[:i+1], len(list))
			}
			v = list[s]
		}
	}
	return v
}

func putProfile(a *pdstest.Account, profile object) {
	a.Post("com.atproto.repo.putRecord", object{
		"repo": a.DID, "collection": "app.bsky.actor.profile", "rkey": "self", "record": with(profile, "$type", "app.bsky.actor.profile"),
	}, nil)
}

// newReader starts a server with an app view that knows everything the account
// has written so far.
func newReader(t *testing.T, adjust ...func(*pds.Config)) (*pdstest.PDS, *appView, *pdstest.Account) {
	view := newAppView(t)
	srv := pdstest.New(t, append([]func(*pds.Config){withAppView(view.fakeService)}, adjust...)...)
	alice := srv.CreateAccount("alice")
	alice.CreateRecord(postType, newPost("old"))
	view.knows(alice)
	return srv, view, alice
}
