package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// A picture, as far as its type is concerned.
func png(mark string) []byte { return []byte("\x89PNG\x0d\x0a\x1a\x0a" + mark) }

// upload sends a picture to a method with parameters.
func (p *person) upload(name string, data []byte, params ...string) (object, error) {
	query := url.Values{}
	for i := 0; i < len(params); i += 2 {
		query.Set(params[i], params[i+1])
	}
	header := p.header()
	header.Set("Content-Type", "image/png")
	out, err := p.PDS.Call(p.town.t.Context(), "POST", namespace+name, query, header, data)
	m := object{}
	if err == nil {
		err = json.Unmarshal(out, &m)
	}
	return m, err
}

// What is said in a private room is in nothing that the public is served, and
// neither is who is in it.
func TestPrivateRoomsArePrivate(t *testing.T) {
	t.Parallel()
	const mark = "zxqv-marked"
	w := newTown(t)
	alice, bob := w.join("alice", w.PDS, member), w.join("bob", w.elsewhere, member)
	room := w.owner.room("The square", false)
	secret := w.owner.room(mark, true, alice)
	picture, err := alice.upload("uploadPicture", png(mark), "community", string(w.community), "room", secret)
	ok(t, err)
	ok(t, alice.post("sendMessage", object{"room": secret, "text": mark, "picture": picture["id"], "alt": mark}, nil))
	_, err = alice.say(room, "in public", false)
	ok(t, err)

	// To those who are not in it the room does not exist.
	for _, p := range []*person{bob, w.person("eve", w.PDS)} {
		for _, call := range []string{"getHistory", "getPicture"} {
			err := p.get(call, nil, "room", secret, "picture", fmt.Sprint(picture["id"]))
			if p == bob {
				wantError(t, err, "RoomNotFound")
			} else {
				wantError(t, err, "NotAMember")
			}
		}
		var seen json.RawMessage
		if err := p.get("getCommunity", &seen); strings.Contains(string(seen), mark) {
			t.Errorf("the community shows %s (%v)", seen, err)
		}
	}
	// Not even as a room of another id, or as a blob.
	_, err = bob.say(secret, "hello", false)
	wantError(t, err, "RoomNotFound")
	wantError(t, bob.get("getPicture", nil, "room", room, "picture", fmt.Sprint(picture["id"])), "PictureNotFound")
	var shown []byte
	query := url.Values{"community": {string(w.community)}, "room": {secret}, "picture": {fmt.Sprint(picture["id"])}}
	shown, err = alice.PDS.Call(t.Context(), "GET", namespace+"getPicture", query, alice.header(), nil)
	if err != nil || string(shown) != string(png(mark)) {
		t.Errorf("the picture is %q, %v", shown, err)
	}

	public := ""
	for _, path := range []string{
		"com.atproto.sync.getRepo?did=" + string(w.community), "com.atproto.sync.listBlobs?did=" + string(w.community),
		"com.atproto.repo.describeRepo?repo=" + string(w.community), "com.atproto.sync.listRepos", "com.atproto.server.describeServer",
		"com.atproto.repo.listRecords?repo=" + string(w.community) + "&collection=" + string(colMessage),
		"com.atproto.repo.listRecords?repo=" + string(w.community) + "&collection=" + string(colRoom),
		"com.atproto.repo.listRecords?repo=" + string(w.community) + "&collection=" + string(colAuthorship),
	} {
		name, q, _ := strings.Cut(path, "?")
		params, err := url.ParseQuery(q)
		ok(t, err)
		data, err := w.Call(t.Context(), "GET", name, params, nil, nil)
		ok(t, err)
		public += string(data)
	}
	for _, e := range w.Events(0) {
		public += fmt.Sprintf("%+v %s", e, e.Blocks)
	}
	if !strings.Contains(public, "in public") || !strings.Contains(public, string(alice.DID)) {
		t.Error("the public message or its author is nowhere")
	}
	for _, never := range []string{mark, secret, string(bob.DID)} {
		if strings.Contains(public, never) {
			t.Errorf("%q is public", never)
		}
	}

	// Gone with the message.
	var page logPage
	ok(t, alice.get("getHistory", &page, "room", secret))
	var s said
	ok(t, json.Unmarshal(page.Entries[0].Data, &s))
	ok(t, alice.post("deleteMessage", object{"room": secret, "id": s.ID}, nil))
	w.RunJobs()
	wantError(t, alice.get("getPicture", nil, "room", secret, "picture", fmt.Sprint(picture["id"])), "PictureNotFound")
	files, err := w.app.pictures.List(t.Context(), "", 10)
	if err != nil || len(files) != 0 {
		t.Errorf("left: %v %v", files, err)
	}
}

// Pictures of public rooms are blobs of the community; those of private rooms are
// used once, by who has uploaded them, or go.
func TestPictures(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	bob := w.join("bob", w.elsewhere, member)
	room, secret := w.owner.room("Square", false), w.owner.room("Plans", true, bob)
	up, err := bob.upload("uploadBlob", png("flower"), "repo", string(w.community))
	ok(t, err)
	_, err = bob.write("createRecord", "message", "", object{"room": room, "picture": object{"image": up["blob"], "alt": "A flower"}})
	ok(t, err)
	var page logPage
	ok(t, bob.get("getHistory", &page, "room", room))
	var s said
	ok(t, json.Unmarshal(page.Entries[0].Data, &s))
	if s.Picture == nil || s.Picture.Alt != "A flower" {
		t.Fatalf("%+v", s)
	}
	data, err := w.Call(t.Context(), "GET", "com.atproto.sync.getBlob", url.Values{"did": {string(w.community)}, "cid": {s.Picture.CID}}, nil, nil)
	if err != nil || string(data) != string(png("flower")) {
		t.Errorf("the blob is %q, %v", data, err)
	}

	where := []string{"community", string(w.community), "room", secret}
	_, err = bob.upload("uploadPicture", []byte("<svg>"), where...)
	wantError(t, err, "InvalidRequest")
	_, err = bob.upload("uploadPicture", png("x"), "community", string(w.community), "room", room)
	wantError(t, err, "PublicRoom")
	mine, err := bob.upload("uploadPicture", png("mine"), where...)
	ok(t, err)
	send := func(p *person) error {
		return p.post("sendMessage", object{"room": secret, "picture": mine["id"]}, nil)
	}
	wantError(t, send(w.owner), "PictureNotFound")
	ok(t, send(bob))
	wantError(t, send(bob), "PictureNotFound") // deleting one message must not take it from another
	unsent, err := bob.upload("uploadPicture", png("unsent"), where...)
	ok(t, err)
	w.Clock.Advance(unsentPicture + time.Minute)
	w.RunJobs()
	for _, p := range []*person{w.owner, bob} {
		p.Login()
	}
	wantError(t, bob.get("getPicture", nil, "room", secret, "picture", fmt.Sprint(unsent["id"])), "PictureNotFound")
	ok(t, bob.get("getPicture", nil, "room", secret, "picture", fmt.Sprint(mine["id"])))

	// All of them go with the community.
	ok(t, w.owner.post("deleteCommunity", object{}, nil))
	for deadline := time.Now().Add(patience); ; {
		files, err := w.app.pictures.List(t.Context(), "", 10)
		ok(t, err)
		if len(files) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %v", files)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// An app without the scope of these methods has no way in.
func TestAppsWithoutScope(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	room := w.owner.room("Square", false)
	alice := w.join("alice", w.PDS, member)
	var made struct{ Password string }
	alice.Post("com.atproto.server.createAppPassword", object{"name": "x", "privileged": true}, &made)
	data, err := w.Call(t.Context(), "POST", "com.atproto.server.createSession", nil, nil, object{"identifier": alice.DID, "password": made.Password})
	ok(t, err)
	var session struct{ AccessJwt string }
	ok(t, json.Unmarshal(data, &session))
	byApp := &person{&pdstest.Account{PDS: w.PDS, DID: alice.DID, Access: session.AccessJwt}, w}
	_, err = byApp.say(room, "by an app", false)
	wantError(t, err, "ActorNotPermitted")
	wantError(t, byApp.get("getCommunity", nil), "ActorNotPermitted")
	_, err = w.Call(t.Context(), "GET", namespace+"getCommunity", url.Values{"community": {string(w.community)}}, http.Header{}, nil)
	wantError(t, err, "AuthMissing")
}

// How much of a room somebody has read is kept, and counts messages only.
func TestUnread(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	alice, bob := w.join("alice", w.PDS, member), w.join("bob", w.elsewhere, member)
	room, secret := w.owner.room("Square", false), w.owner.room("Plans", true, alice, bob)
	for _, private := range []bool{false, true} {
		where := map[bool]string{false: room, true: secret}[private]
		for range 3 {
			_, err := alice.say(where, "hello", private)
			ok(t, err)
		}
		unread := func(p *person) int64 {
			var out communityPage
			ok(t, p.get("getCommunity", &out))
			for _, r := range out.Rooms {
				if r.Room == where {
					return r.Count - r.Read
				}
			}
			return -1
		}
		if a, b := unread(alice), unread(bob); a != 0 || b != 3 {
			t.Errorf("unread: %d for the author, %d for another", a, b)
		}
		ok(t, bob.post("markRead", object{"room": where, "number": 2}, nil))
		ok(t, bob.post("markRead", object{"room": where, "number": 1}, nil))
		ok(t, bob.post("markRead", object{"room": where, "number": 9}, nil))
		if n := unread(bob); n != 1 {
			t.Errorf("%d unread", n)
		}
	}
}
