package pds_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
)

const (
	getTimeline   = "app.bsky.feed.getTimeline"
	getAuthorFeed = "app.bsky.feed.getAuthorFeed"
	getActorLikes = "app.bsky.feed.getActorLikes"
	getPostThread = "app.bsky.feed.getPostThread"
	getProfile    = "app.bsky.actor.getProfile"
	getProfiles   = "app.bsky.actor.getProfiles"
	postType      = "app.bsky.feed.post"
	otherDID      = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
)

// Read-after-write: profile.
func TestReadAfterWriteProfile(t *testing.T) {
	t.Parallel()
	srv, view, alice := newReader(t, func(c *pds.Config) { c.ImageURLPattern = "https://cdn.example.com/%s/plain/%s/%s@jpeg" })
	blob, _ := uploadPNG(t, alice, "picture")
	upstream := object{
		"did": string(alice.DID), "handle": string(alice.Handle), "displayName": "Old <name>", "description": "old", "banner": "https://example.com/banner",
		"followersCount": 12, "unknownField": object{"big": json.Number("9007199254740991"), "list": []any{1, "a<b>"}},
	}
	other := object{"did": otherDID, "handle": "other.test", "displayName": "Other"}
	view.answer(getProfile, upstream)
	view.answer(getProfiles, object{"profiles": []any{other, upstream}, "more": "kept"})

	got, h := getView(t, alice, getProfile, url.Values{"actor": {string(alice.DID)}})
	if got["displayName"] != "Old <name>" || h.Get("Atproto-Upstream-Lag") != "" {
		t.Errorf("nothing is new: %v %v", got, h)
	}
	putProfile(alice, object{"displayName": "New", "avatar": blob, "website": "https://example.com"})
	srv.Clock.Advance(3 * time.Second)
	got, h = getView(t, alice, getProfile, url.Values{"actor": {string(alice.DID)}})
	want := object{
		"did": string(alice.DID), "handle": string(alice.Handle), "displayName": "New", "website": "https://example.com", "followersCount": 12.0,
		"avatar":       "https://cdn.example.com/avatar/plain/" + string(alice.DID) + "/" + dig(t, blob, "ref", "$link").(string) + "@jpeg",
		"unknownField": object{"big": 9007199254740991.0, "list": []any{1.0, "a<b>"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if lag, err := strconv.Atoi(h.Get("Atproto-Upstream-Lag")); err != nil || lag < 3000 || lag > 60_000 {
		t.Errorf("lag: %q", h.Get("Atproto-Upstream-Lag"))
	}
	if h.Get("Atproto-Repo-Rev") == "" {
		t.Error("the rev of the app view is gone")
	}
	got, _ = getView(t, alice, getProfiles, url.Values{"actors": {otherDID, string(alice.DID)}})
	if dig(t, got, "profiles", 0, "displayName") != "Other" || dig(t, got, "profiles", 1, "displayName") != "New" || got["more"] != "kept" {
		t.Errorf("%v", got)
	}
	// In the form that old clients use, and about somebody else.
	_, err := srv.Call(t.Context(), "GET", getProfiles, url.Values{"actors[]": {otherDID}}, http.Header{"Authorization": {"Bearer " + alice.Access}}, nil)
	ok(t, err)
	view.answer(getProfile, other)
	if got, _ = getView(t, alice, getProfile, url.Values{"actor": {otherDID}}); got["displayName"] != "Other" {
		t.Errorf("%v", got)
	}
	// Who has no profile any more.
	alice.Post("com.atproto.repo.deleteRecord", object{"repo": alice.DID, "collection": "app.bsky.actor.profile", "rkey": "self"}, nil)
	view.answer(getProfile, upstream)
	if got, _ = getView(t, alice, getProfile, url.Values{"actor": {string(alice.DID)}}); got["displayName"] != "Old <name>" {
		t.Errorf("%v", got)
	}
}

// Read-after-write: timeline, order, pages.
func TestReadAfterWriteTimeline(t *testing.T) {
	t.Parallel()
	srv, view, alice := newReader(t)
	now := srv.Clock.Now()
	view.answer(getTimeline, object{"cursor": "next", "feed": []any{
		object{"post": postOf(otherDID, "future", now.Add(time.Hour)), "feedContext": "kept"},
		object{"post": postOf(otherDID, "past", now.Add(-time.Hour))},
	}})
	alice.CreateRecord(postType, newPost("one"))
	alice.CreateRecord("app.bsky.feed.like", object{"$type": "app.bsky.feed.like", "subject": object{
		"uri": "at://" + otherDID + "/app.bsky.feed.post/past", "cid": rawCID("past"),
	}, "createdAt": "2026-01-01T00:00:00Z"})
	two, twoCID := alice.CreateRecord(postType, newPost("two <3"))

	got, h := getView(t, alice, getTimeline, nil)
	if diff := cmp.Diff([]string{"future", "two <3", "one", "past"}, textsOf(t, got)); diff != "" {
		t.Error(diff)
	}
	if got["cursor"] != "next" || dig(t, got, "feed", 0, "feedContext") != "kept" || dig(t, got, "feed", 0, "post", "author", "unknownField", "n") != 1.0 {
		t.Errorf("something is lost: %v", got)
	}
	if h.Get("Atproto-Upstream-Lag") == "" {
		t.Error("no lag")
	}
	shown := dig(t, got, "feed", 1, "post").(object)
	if shown["uri"] != two || shown["likeCount"] != 0.0 || dig(t, shown, "author", "handle") != string(alice.Handle) || shown["embed"] != nil {
		t.Errorf("%v", shown)
	}
	// Older pages get none.
	got, _ = getView(t, alice, getTimeline, url.Values{"cursor": {"next"}})
	if diff := cmp.Diff([]string{"future", "past"}, textsOf(t, got)); diff != "" {
		t.Error(diff)
	}
	// What the page does not reach back to belongs to a later one.
	view.answer(getTimeline, object{"feed": []any{object{"post": postOf(otherDID, "future", now.Add(time.Hour))}}})
	if got, _ = getView(t, alice, getTimeline, nil); len(textsOf(t, got)) != 1 {
		t.Errorf("%v", textsOf(t, got))
	}
	// An empty timeline gets all of them.
	view.answer(getTimeline, object{"feed": []any{}})
	got, _ = getView(t, alice, getTimeline, nil)
	if diff := cmp.Diff([]string{"two <3", "one"}, textsOf(t, got)); diff != "" {
		t.Error(diff)
	}
	// A post that the app view knows after all is not shown twice.
	view.answer(getTimeline, object{"feed": []any{object{"post": with(postOf(string(alice.DID), "x", now), "uri", two)}}})
	got, _ = getView(t, alice, getTimeline, nil)
	if diff := cmp.Diff([]string{"one", "x"}, textsOf(t, got)); diff != "" {
		t.Error(diff)
	}
	// A post that is taken down is shown no more than anywhere else.
	ok(t, post(t, srv, "com.atproto.admin.updateSubjectStatus", adminAuth, object{
		"subject": object{"$type": "com.atproto.repo.strongRef", "uri": two, "cid": twoCID}, "takedown": object{"applied": true},
	}, nil))
	view.answer(getTimeline, object{"feed": []any{}})
	got, _ = getView(t, alice, getTimeline, nil)
	if diff := cmp.Diff([]string{"one"}, textsOf(t, got)); diff != "" {
		t.Error(diff)
	}
}

// Read-after-write: no more than ten records, the oldest first.
func TestReadAfterWriteIsBounded(t *testing.T) {
	t.Parallel()
	_, view, alice := newReader(t)
	view.answer(getTimeline, object{"feed": []any{}})
	var want []string
	for i := range 12 {
		alice.CreateRecord(postType, newPost(fmt.Sprint(i)))
		if i < 10 {
			want = append([]string{fmt.Sprint(i)}, want...)
		}
	}
	got, _ := getView(t, alice, getTimeline, nil)
	if diff := cmp.Diff(want, textsOf(t, got)); diff != "" {
		t.Error(diff)
	}
}

// Read-after-write: author feed, with its filters; likes.
func TestReadAfterWriteAuthorFeed(t *testing.T) {
	t.Parallel()
	srv, view, alice := newReader(t)
	now := srv.Clock.Now()
	own, other := postOf(string(alice.DID), "own", now.Add(-time.Minute)), postOf(otherDID, "other", now.Add(-2*time.Minute))
	blob, _ := uploadPNG(t, alice, "picture")
	putProfile(alice, object{"displayName": "New"})
	thread, _ := alice.CreateRecord(postType, newPost("thread"))
	alice.CreateRecord(postType, newPost("own reply", "reply", replyTo(thread, thread)))
	alice.CreateRecord(postType, newPost("reply", "reply", replyTo(other["uri"].(string), other["uri"].(string))))
	alice.CreateRecord(postType, newPost("image", "embed", object{"$type": "app.bsky.embed.images", "images": []any{object{"image": blob, "alt": "a"}}}))
	view.answer(getAuthorFeed, object{"feed": []any{object{"post": own}, object{"post": other, "reason": object{
		"$type": "app.bsky.feed.defs#reasonRepost", "by": object{"did": string(alice.DID), "handle": "alice.test"}, "indexedAt": "2026-01-01T00:00:00Z",
	}}}})
	for filter, want := range map[string][]string{
		"":                         {"image", "reply", "own reply", "thread", "own", "other"},
		"posts_with_replies":       {"image", "reply", "own reply", "thread", "own", "other"},
		"posts_no_replies":         {"image", "thread", "own", "other"},
		"posts_with_media":         {"image", "own", "other"},
		"posts_with_video":         {"own", "other"},
		"posts_and_author_threads": {"image", "own reply", "thread", "own", "other"},
	} {
		params := url.Values{"actor": {string(alice.DID)}}
		if filter != "" {
			params.Set("filter", filter)
		}
		got, _ := getView(t, alice, getAuthorFeed, params)
		if diff := cmp.Diff(want, textsOf(t, got)); diff != "" {
			t.Errorf("%s: %s", filter, diff)
		}
		for i, text := range textsOf(t, got) {
			name := dig(t, got, "feed", i, "post", "author", "displayName")
			if isOther := text == "other"; (name == "New") == isOther {
				t.Errorf("%s: author %v", text, name)
			}
		}
	}
	// Somebody else's feed, with a post of the account in it.
	view.answer(getAuthorFeed, object{"feed": []any{object{"post": other}, object{"post": own}}})
	got, _ := getView(t, alice, getAuthorFeed, url.Values{"actor": {otherDID}})
	if diff := cmp.Diff([]string{"other", "own"}, textsOf(t, got)); diff != "" {
		t.Error(diff)
	}
	if dig(t, got, "feed", 1, "post", "author", "displayName") != "New" || dig(t, got, "feed", 1, "post", "author", "unknownField") == nil {
		t.Errorf("%v", got)
	}
	view.answer(getActorLikes, object{"feed": []any{object{"post": own}}})
	got, _ = getView(t, alice, getActorLikes, url.Values{"actor": {string(alice.DID)}})
	if diff := cmp.Diff([]string{"own"}, textsOf(t, got)); diff != "" || dig(t, got, "feed", 0, "post", "author", "displayName") != "New" {
		t.Errorf("%v", got)
	}
}

// Read-after-write: embeds.
func TestReadAfterWriteEmbeds(t *testing.T) {
	t.Parallel()
	srv, view, alice := newReader(t)
	blob, _ := uploadPNG(t, alice, "picture")
	alice.CreateRecord("com.example.keep", object{"blob": blob})
	link := dig(t, blob, "ref", "$link").(string)
	image := srv.URL + "/xrpc/com.atproto.sync.getBlob?did=" + string(alice.DID) + "&cid=" + link
	quoted := with(postOf(otherDID, "quoted", srv.Clock.Now()), "embed", object{
		"$type": "app.bsky.embed.external#view", "external": object{"uri": "https://a.example", "title": "", "description": ""},
	}, "labels", []any{})
	view.answerWith("app.bsky.feed.getPosts", func(q url.Values) (int, any) {
		posts := []any{}
		if q.Get("uris") == quoted["uri"] {
			posts = append(posts, quoted)
		}
		return 200, object{"posts": posts}
	})
	creator := object{"did": otherDID, "handle": "other.test"}
	view.answer("app.bsky.feed.getFeedGenerator", object{"isOnline": true, "isValid": true, "view": object{
		"uri": "at://" + otherDID + "/app.bsky.feed.generator/x", "cid": rawCID("g"), "did": "did:web:feed.example.com", "creator": creator,
		"displayName": "Feed", "indexedAt": "2026-01-01T00:00:00Z", "likeCount": 3,
	}})
	view.answer("app.bsky.graph.getList", object{"items": []any{}, "list": object{
		"uri": "at://" + otherDID + "/app.bsky.graph.list/x", "cid": rawCID("l"), "creator": creator, "name": "List",
		"purpose": "app.bsky.graph.defs#curatelist", "indexedAt": "2026-01-01T00:00:00Z",
	}})
	view.answer(getTimeline, object{"feed": []any{}})
	images := object{"$type": "app.bsky.embed.images", "images": []any{object{"image": blob, "alt": "words", "aspectRatio": object{"width": 4, "height": 3}}}}
	imagesView := object{"$type": "app.bsky.embed.images#view", "images": []any{object{
		"thumb": image, "fullsize": image, "alt": "words", "aspectRatio": object{"width": 4.0, "height": 3.0},
	}}}
	quote := func(uri any) object {
		return object{"$type": "app.bsky.embed.record", "record": object{"uri": uri, "cid": rawCID("q")}}
	}
	quotedView := object{
		"$type": "app.bsky.embed.record#viewRecord", "uri": quoted["uri"], "cid": quoted["cid"], "value": quoted["record"], "labels": []any{},
		"indexedAt": quoted["indexedAt"], "author": object{"did": otherDID, "handle": "someone.test", "viewer": object{"muted": false}, "unknownField": object{"n": 1.0}},
		"embeds": []any{object{"$type": "app.bsky.embed.external#view", "external": object{"uri": "https://a.example", "title": "", "description": ""}}},
	}
	notFound := func(uri string) object {
		return object{"$type": "app.bsky.embed.record#view", "record": object{"$type": "app.bsky.embed.record#viewNotFound", "uri": uri, "notFound": true}}
	}
	for name, tt := range map[string]struct{ embed, want object }{
		"images": {images, imagesView},
		"link": {
			object{"$type": "app.bsky.embed.external", "external": object{"uri": "https://example.com", "title": "T", "description": "D", "thumb": blob}},
			object{"$type": "app.bsky.embed.external#view", "external": object{"uri": "https://example.com", "title": "T", "description": "D", "thumb": image}},
		},
		"quote":                 {quote(quoted["uri"]), object{"$type": "app.bsky.embed.record#view", "record": quotedView}},
		"quote of the unknown":  {quote("at://" + otherDID + "/app.bsky.feed.post/none"), notFound("at://" + otherDID + "/app.bsky.feed.post/none")},
		"quote of another type": {quote("at://" + otherDID + "/com.example.thing/x"), notFound("at://" + otherDID + "/com.example.thing/x")},
		"quote with images": {
			object{"$type": "app.bsky.embed.recordWithMedia", "media": images, "record": with(quote(quoted["uri"]), "$type", "app.bsky.embed.record")},
			object{"$type": "app.bsky.embed.recordWithMedia#view", "media": imagesView, "record": object{"$type": "app.bsky.embed.record#view", "record": quotedView}},
		},
		"another type": {object{"$type": "com.example.embed", "a": 1}, nil},
	} {
		uri, _ := alice.CreateRecord(postType, newPost(name, "embed", tt.embed))
		got, _ := getView(t, alice, getTimeline, nil)
		var embed any
		for _, item := range got["feed"].([]any) {
			if dig(t, item, "post", "uri") == uri {
				embed = dig(t, item, "post", "embed")
			}
		}
		if diff := cmp.Diff(any(tt.want), embed); diff != "" && !(tt.want == nil && embed == nil) {
			t.Errorf("%s: %s", name, diff)
		}
		alice.Post("com.atproto.repo.deleteRecord", object{"repo": alice.DID, "collection": postType, "rkey": uri[strings.LastIndex(uri, "/")+1:]}, nil)
	}
	for name, uri := range map[string]string{"feed": "at://" + otherDID + "/app.bsky.feed.generator/x", "list": "at://" + otherDID + "/app.bsky.graph.list/x"} {
		alice.CreateRecord(postType, newPost(name, "embed", quote(uri)))
		got, _ := getView(t, alice, getTimeline, nil)
		if got := dig(t, got, "feed", 0, "post", "embed", "record", "uri"); got != uri {
			t.Errorf("%s: %v", name, got)
		}
	}
	got := checkToken(t, alice, view.last(t))
	if got.Method == getTimeline || got.Method != strings.TrimPrefix(view.last(t).URL.Path, "/xrpc/") || got.Audience != appViewDID {
		t.Errorf("%+v", got)
	}
}

// Read-after-write: thread; missing thread.
func TestReadAfterWriteThread(t *testing.T) {
	t.Parallel()
	srv, view, alice := newReader(t)
	root := postOf(otherDID, "root", srv.Clock.Now().Add(-time.Hour))
	rootURI := root["uri"].(string)
	child := with(postOf(otherDID, "child", srv.Clock.Now().Add(-time.Hour)), "record", newPost("child", "reply", replyTo(rootURI, rootURI)))
	node := func(post object, replies ...any) object {
		return object{"$type": "app.bsky.feed.defs#threadViewPost", "post": post, "replies": append([]any{}, replies...), "kept": object{"a": 1.0}}
	}
	view.answerWith(getPostThread, func(q url.Values) (int, any) {
		if q.Get("uri") != rootURI {
			return 400, object{"error": "NotFound", "message": "Post not found: " + q.Get("uri")}
		}
		if q.Get("depth") == "0" {
			return 200, object{"thread": node(root)}
		}
		return 200, object{"thread": node(root, node(child), object{
			"$type": "app.bsky.feed.defs#notFoundPost", "uri": "at://" + otherDID + "/app.bsky.feed.post/gone", "notFound": true,
		}), "kept": true}
	})
	top, _ := alice.CreateRecord(postType, newPost("to root", "reply", replyTo(rootURI, rootURI)))
	alice.CreateRecord(postType, newPost("to child", "reply", replyTo(rootURI, child["uri"].(string))))
	below, _ := alice.CreateRecord(postType, newPost("to own", "reply", replyTo(rootURI, top)))
	alice.CreateRecord(postType, newPost("elsewhere", "reply", replyTo(child["uri"].(string), child["uri"].(string))))
	alice.CreateRecord(postType, newPost("alone"))

	got, h := getView(t, alice, getPostThread, url.Values{"uri": {rootURI}})
	if got["kept"] != true || dig(t, got, "thread", "kept", "a") != 1.0 || h.Get("Atproto-Upstream-Lag") == "" {
		t.Errorf("something is lost: %v", got)
	}
	replies := dig(t, got, "thread", "replies").([]any)
	if len(replies) != 3 || dig(t, replies, 0, "post", "uri") != top || dig(t, replies, 0, "replies", 0, "post", "uri") != below ||
		dig(t, replies, 1, "replies", 0, "post", "record", "text") != "to child" || dig(t, replies, 1, "kept", "a") != 1.0 {
		t.Errorf("%v", replies)
	}

	// A thread that the app view does not know: what is above and below.
	got, h = getView(t, alice, getPostThread, url.Values{"uri": {below}})
	if dig(t, got, "thread", "post", "uri") != below || dig(t, got, "thread", "parent", "post", "uri") != top ||
		dig(t, got, "thread", "parent", "parent", "post", "uri") != rootURI || h.Get("Atproto-Upstream-Lag") == "" {
		t.Errorf("%v", got)
	}
	got, _ = getView(t, alice, getPostThread, url.Values{"uri": {strings.Replace(top, string(alice.DID), string(alice.Handle), 1)}, "parentHeight": {"0"}})
	if dig(t, got, "thread", "replies", 0, "post", "uri") != below || dig(t, got, "thread", "parent") != nil {
		t.Errorf("%v", got)
	}
	// What is not here either is not found.
	for _, uri := range []string{"at://" + string(alice.DID) + "/app.bsky.feed.post/none", "at://" + otherDID + "/app.bsky.feed.post/none"} {
		wantError(t, get(t, srv, getPostThread, "Bearer "+alice.Access, url.Values{"uri": {uri}}, nil), 400, "NotFound")
	}
	bob := srv.CreateAccount("bob")
	wantError(t, get(t, srv, getPostThread, "Bearer "+bob.Access, url.Values{"uri": {top}}, nil), 400, "NotFound")
	// Another error is passed on, and so is a missing thread without a rev.
	view.answerWith(getPostThread, func(url.Values) (int, any) { return 400, object{"error": "BlockedActor"} })
	wantError(t, get(t, srv, getPostThread, "Bearer "+alice.Access, url.Values{"uri": {top}}, nil), 400, "BlockedActor")
	view.answerWith(getPostThread, func(url.Values) (int, any) { return 400, object{"error": "NotFound"} })
	view.mu.Lock()
	view.rev = ""
	view.mu.Unlock()
	wantError(t, get(t, srv, getPostThread, "Bearer "+alice.Access, url.Values{"uri": {top}}, nil), 400, "NotFound")
}

// Read-after-write: whatever is odd, the client gets what the app view said.
func TestReadAfterWriteFallsBack(t *testing.T) {
	t.Parallel()
	srv, view, alice := newReader(t)
	rev := view.rev
	alice.CreateRecord(postType, newPost("new"))
	good, err := json.Marshal(object{"feed": []any{object{"post": postOf(otherDID, "old", srv.Clock.Now().Add(-time.Hour))}}})
	ok(t, err)
	send := func(header http.Header) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/xrpc/"+getTimeline, nil)
		ok(t, err)
		r.Header = header
		r.Header.Set("Authorization", "Bearer "+alice.Access)
		resp, err := http.DefaultTransport.RoundTrip(r)
		ok(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		ok(t, err)
		return resp, string(text)
	}
	big := `{"feed":[],"padding":"` + strings.Repeat("x", 3<<20) + `"}`
	for name, tt := range map[string]struct {
		rev, text string
		merged    bool
	}{
		"good":                {rev, string(good), true},
		"no rev":              {"", string(good), false},
		"a rev that is none":  {"3k", string(good), false},
		"a rev of the future": {"3zzzzzzzzzzzz", string(good), false},
		"a rev from before":   {"2222222222222", string(good), false}, // as after a migration
		"no JSON":             {rev, "<html>", false},
		"cut JSON":            {rev, string(good[:len(good)-5]), false},
		"no feed":             {rev, `{"a":1}`, false},
		"a feed of nothing":   {rev, `{"feed":[1,null]}`, false},
		"no time":             {rev, strings.ReplaceAll(string(good), "indexedAt", "indexed"), false},
		"too large":           {rev, big, false},
		"floats":              {rev, `{"feed":[],"n":1.5}`, false},
	} {
		view.mu.Lock()
		view.rev = tt.rev
		view.mu.Unlock()
		view.answer(getTimeline, tt.text)
		resp, text := send(http.Header{"Accept-Encoding": {"identity"}})
		if resp.StatusCode != 200 || (text == tt.text) == tt.merged {
			t.Errorf("%s: %d %.200q", name, resp.StatusCode, text)
		}
	}
	// Encodings: what the client takes, both ways, merged and not.
	view.mu.Lock()
	view.rev = rev
	view.mu.Unlock()
	for accept, tt := range map[string]struct {
		status       int
		sent, coding string
	}{
		"gzip":                         {200, "gzip, identity;q=0.5", "gzip"},
		"br, *":                        {200, "gzip, identity;q=0.5", "gzip"},
		"br":                           {200, "identity", ""},
		"gzip;q=0":                     {200, "identity", ""},
		"gzip;q=0, identity;q=0":       {406, "", ""},
		"*;q=0":                        {406, "", ""},
		"gzip, identity;q=0":           {200, "gzip, *;q=0", "gzip"},
		"gzip;q=2":                     {400, "", ""},
		"gzip;x=1":                     {400, "", ""},
		"gzip,,br":                     {400, "", ""},
		"q=1":                          {400, "", ""},
		strings.Repeat("a,", 40) + "b": {200, "identity", ""},
	} {
		for name, text := range map[string]string{"merged": string(good), "passed": `{"feed":[],"n":1.5,"padding":"` + strings.Repeat("x", 2000) + `"}`} {
			view.answer(getTimeline, text)
			before := view.count()
			resp, body := send(http.Header{"Accept-Encoding": {accept}})
			if resp.StatusCode != tt.status {
				t.Errorf("%q: %d %s", accept, resp.StatusCode, body)
				continue
			}
			if tt.status != 200 {
				if view.count() != before {
					t.Errorf("%q: asked", accept)
				}
				continue
			}
			if got := view.last(t).Header.Get("Accept-Encoding"); got != tt.sent {
				t.Errorf("%q: asked for %q", accept, got)
			}
			coding := resp.Header.Get("Content-Encoding")
			if coding != tt.coding && name == "passed" {
				t.Errorf("%q, %s: encoding %q", accept, name, coding)
			}
			if coding == "gzip" {
				zr, err := gzip.NewReader(strings.NewReader(body))
				ok(t, err)
				data, err := io.ReadAll(zr)
				ok(t, err)
				body = string(data)
			}
			if (body == text) != (name == "passed") || !json.Valid([]byte(body)) {
				t.Errorf("%q, %s: %.100q", accept, name, body)
			}
		}
	}
}
