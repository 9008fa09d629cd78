package pds_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc"
)

// Proxying: feed generator.
func TestGetFeed(t *testing.T) {
	t.Parallel()
	const generator, getFeed = "did:web:feeds.example.com", "app.bsky.feed.getFeed"
	feed := "at://" + otherDID + "/app.bsky.feed.generator/cats"
	view := newAppView(t)
	var alice *pdstest.Account
	srv := pdstest.New(t, withAppView(view.fakeService), func(c *pds.Config) { c.Authenticators = []xrpc.Authenticator{oauthCallers(&alice)} })
	alice = srv.CreateAccount("alice")
	record := object{"uri": feed, "cid": rawCID("x"), "value": object{"$type": "app.bsky.feed.generator", "did": generator}}
	view.answer("com.atproto.repo.getRecord", record)
	view.answer(getFeed, object{"feed": []any{}, "cursor": "x"})

	got, _ := getView(t, alice, getFeed, url.Values{"feed": {feed}, "limit": {"5"}})
	if got["cursor"] != "x" {
		t.Errorf("%v", got)
	}
	last := view.last(t)
	if c := checkToken(t, alice, last); c.Audience != generator || c.Method != "app.bsky.feed.getFeedSkeleton" || last.URL.Query().Get("limit") != "5" {
		t.Errorf("%+v %s", c, last.URL)
	}
	view.fakeService.mu.Lock()
	lookup := view.requests[len(view.requests)-2]
	view.fakeService.mu.Unlock()
	if q := lookup.URL.Query(); lookup.Header.Get("Authorization") != "" || q.Get("repo") != otherDID || q.Get("rkey") != "cats" {
		t.Errorf("lookup: %s %v", lookup.URL, lookup.Header)
	}

	both := "rpc?lxm=" + getFeed + "&lxm=app.bsky.feed.getFeedSkeleton&aud=" + url.QueryEscape(appViewDID+"#bsky_appview")
	params := url.Values{"feed": {feed}}
	ok(t, get(t, srv, getFeed, "DPoP "+both, params, nil))
	wantError(t, get(t, srv, getFeed, "DPoP rpc:"+getFeed+"?aud=*", params, nil), 403, "ScopeMissingError")
	wantError(t, get(t, srv, getFeed, "DPoP rpc:app.bsky.feed.getFeedSkeleton?aud=*", params, nil), 403, "ScopeMissingError")

	auth := "Bearer " + alice.Access
	wantError(t, get(t, srv, getFeed, auth, url.Values{"feed": {"nonsense"}}, nil), 400, "InvalidRequest")
	for name, answer := range map[string]object{
		"no DID":      {"uri": feed, "value": object{}},
		"a number":    {"uri": feed, "value": object{"did": 7}},
		"a bad DID":   {"uri": feed, "value": object{"did": "did:"}},
		"no value":    {},
		"not a value": {"value": "x"},
	} {
		view.answer("com.atproto.repo.getRecord", answer)
		err := get(t, srv, getFeed, auth, params, nil)
		if !strings.Contains(err.Error(), "could not resolve feed did") {
			t.Errorf("%s: %v", name, err)
		}
		wantError(t, err, 400, "UnknownFeed")
	}
	view.answerWith("com.atproto.repo.getRecord", func(url.Values) (int, any) { return 400, object{"error": "RecordNotFound"} })
	wantError(t, get(t, srv, getFeed, auth, params, nil), 400, "UnknownFeed")
	view.answerWith("com.atproto.repo.getRecord", func(url.Values) (int, any) { return 500, "" })
	wantError(t, get(t, srv, getFeed, auth, params, nil), 502, "")
	view.answer("com.atproto.repo.getRecord", record)
	view.answerWith(getFeed, func(url.Values) (int, any) { return 400, object{"error": "UnknownFeed", "message": "offline"} })
	wantError(t, get(t, srv, getFeed, auth, params, nil), 400, "UnknownFeed")
}

// Proxying: push.
func TestPush(t *testing.T) {
	t.Parallel()
	push := newService(t, answering(200, "", ""))
	view := newService(t, answering(200, "", ""))
	var alice *pdstest.Account
	srv := pdstest.New(t, withAppView(view), func(c *pds.Config) { c.Authenticators = []xrpc.Authenticator{oauthCallers(&alice)} })
	alice = srv.CreateAccount("alice")
	push.publish(t, srv, map[string]string{"bsky_notif": push.URL})
	in := object{"serviceDid": push.DID, "token": "t", "platform": "ios", "appId": "app", "ageRestricted": true, "unknown": "kept"}
	for _, nsid := range []string{"app.bsky.notification.registerPush", "app.bsky.notification.unregisterPush"} {
		alice.Post(nsid, in, nil)
		last := push.last(t)
		if c := checkToken(t, alice, last); c.Audience != string(push.DID) || c.Method != nsid {
			t.Errorf("%+v", c)
		}
		if last.Method != "POST" || last.URL.Path != "/xrpc/"+nsid || !strings.Contains(last.body, `"unknown":"kept"`) || !strings.HasPrefix(last.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s %s %s", last.Method, last.URL, last.body)
		}
		alice.Post(nsid, with(object{"token": "t", "platform": "ios", "appId": "app"}, "serviceDid", appViewDID), nil)
		if c := checkToken(t, alice, view.last(t)); c.Audience != appViewDID {
			t.Errorf("%+v", c)
		}
		aud := url.QueryEscape(string(push.DID) + "#bsky_notif")
		ok(t, post(t, srv, nsid, "DPoP rpc:"+nsid+"?aud="+aud, in, nil))
		wantError(t, post(t, srv, nsid, "DPoP rpc:"+nsid+"?aud="+url.QueryEscape(appViewDID+"#bsky_appview"), in, nil), 403, "ScopeMissingError")

		auth := "Bearer " + alice.Access
		for _, did := range []string{otherDID, string(alice.DID), srvDID(srv)} {
			err := post(t, srv, nsid, auth, with(object{"token": "t", "platform": "ios", "appId": "app"}, "serviceDid", did), nil)
			if wantError(t, err, 400, "InvalidRequest"); !strings.Contains(err.Error(), "invalid notification service details in did document: "+did) {
				t.Errorf("%s: %v", did, err)
			}
		}
		wantError(t, post(t, srv, nsid, auth, object{"token": "t"}, nil), 400, "InvalidRequest")
	}
}

// srvDID is the server's own DID.
func srvDID(srv *pdstest.PDS) string {
	return "did:web:" + strings.ReplaceAll(strings.TrimPrefix(srv.URL, "http://"), ":", "%3A")
}

// getRecord of a repository that is not here is answered by the app view; one of
// an account here never is.
func TestGetRecordElsewhere(t *testing.T) {
	t.Parallel()
	const nsid = "com.atproto.repo.getRecord"
	view := newAppView(t)
	srv := pdstest.New(t, withAppView(view.fakeService))
	alice := srv.CreateAccount("alice")
	uri, _ := alice.CreateRecord(postType, newPost("x"))
	rkey := uri[strings.LastIndex(uri, "/")+1:]
	view.answer(nsid, object{"uri": "at://" + otherDID + "/" + postType + "/x", "cid": rawCID("x"), "value": object{"n": 1, "a": "<b>"}, "more": true})

	var out object
	srv.Get(nsid, "Bearer "+alice.Access, url.Values{"repo": {otherDID}, "collection": {postType}, "rkey": {"x"}, "cid": {rawCID("x")}}, &out)
	if dig(t, out, "value", "n") != 1.0 || out["more"] != true {
		t.Errorf("%v", out)
	}
	last := view.last(t)
	if last.Header.Get("Authorization") != "" || last.URL.Query().Get("cid") != rawCID("x") {
		t.Errorf("%s %v", last.URL, last.Header)
	}
	ok(t, get(t, srv, nsid, "", url.Values{"repo": {"nobody.example.com"}, "collection": {postType}, "rkey": {"x"}}, nil))
	view.answerWith(nsid, func(url.Values) (int, any) { return 400, object{"error": "RecordNotFound", "message": "there"} })
	wantError(t, get(t, srv, nsid, "", url.Values{"repo": {otherDID}, "collection": {postType}, "rkey": {"x"}}, nil), 400, "RecordNotFound")
	view.answer(nsid, "")
	wantError(t, get(t, srv, nsid, "", url.Values{"repo": {otherDID}, "collection": {postType}, "rkey": {"x"}}, nil), 502, "UpstreamFailure")
	view.answer(nsid, "<html>")
	wantError(t, get(t, srv, nsid, "", url.Values{"repo": {otherDID}, "collection": {postType}, "rkey": {"x"}}, nil), 502, "UpstreamFailure")

	before := view.count()
	own := url.Values{"repo": {string(alice.DID)}, "collection": {postType}, "rkey": {rkey}}
	ok(t, get(t, srv, nsid, "", own, nil))
	wantError(t, get(t, srv, nsid, "", url.Values{"repo": {string(alice.DID)}, "collection": {postType}, "rkey": {"none"}}, nil), 400, "RecordNotFound")
	ok(t, post(t, srv, "com.atproto.server.deactivateAccount", "Bearer "+alice.Access, object{}, nil))
	wantError(t, get(t, srv, nsid, "", own, nil), 400, "RecordNotFound")
	if view.count() != before {
		t.Error("the app view was asked about an account that is here")
	}
}

// Preferences of another app view are its own.
func TestPreferencesElsewhere(t *testing.T) {
	t.Parallel()
	const getPrefs, putPrefs = "app.bsky.actor.getPreferences", "app.bsky.actor.putPreferences"
	pref := object{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true}
	other := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answering(200, "application/json", `{"preferences":[{"$type":"org.example.pref","n":1}]}`)(w, r)
		}
	})
	view := newService(t, answering(500, "", ""))
	var alice *pdstest.Account
	srv := pdstest.New(t, withAppView(view), func(c *pds.Config) { c.Authenticators = []xrpc.Authenticator{oauthCallers(&alice)} })
	alice = srv.CreateAccount("alice")
	other.publish(t, srv, map[string]string{"bsky_appview": other.URL})
	there := string(other.DID) + "#bsky_appview"
	call := func(verb, nsid, auth, header string, in any) (string, error) {
		h := http.Header{"Authorization": {auth}, "Atproto-Proxy": {header}}
		data, err := srv.Call(t.Context(), verb, nsid, nil, h, in)
		return string(data), err
	}
	auth := "Bearer " + alice.Access
	for _, here := range []string{appViewDID + "#bsky_appview", srvDID(srv) + "#atproto_pds", string(alice.DID) + "#atproto_pds", ""} {
		if _, err := call("POST", putPrefs, auth, here, object{"preferences": []any{pref}}); err != nil && here != "" {
			t.Errorf("%s: %v", here, err)
		}
	}
	text, err := call("GET", getPrefs, auth, appViewDID+"#bsky_appview", nil)
	if ok(t, err); !strings.Contains(text, "adultContentPref") {
		t.Error(text)
	}
	text, err = call("GET", getPrefs, auth, there, nil)
	if ok(t, err); text != `{"preferences":[{"$type":"org.example.pref","n":1}]}` {
		t.Error(text)
	}
	_, err = call("POST", putPrefs, auth, there, object{"preferences": []any{object{"$type": "org.example.pref"}}})
	ok(t, err)
	if last := other.last(t); checkToken(t, alice, last).Method != putPrefs || last.body != `{"preferences":[{"$type":"org.example.pref"}]}` {
		t.Errorf("%q", last.body)
	}
	_, err = call("GET", getPrefs, "DPoP rpc:"+getPrefs+"?aud="+url.QueryEscape(appViewDID+"#bsky_appview"), there, nil)
	wantError(t, err, 403, "ScopeMissingError")
	_, err = call("GET", getPrefs, "DPoP rpc:"+getPrefs+"?aud="+url.QueryEscape(there), there, nil)
	ok(t, err)
	_, err = call("GET", getPrefs, auth, "nonsense", nil)
	wantError(t, err, 400, "InvalidRequest")
	if view.count() != 0 {
		t.Error("the server's own app view was asked for preferences")
	}
}
