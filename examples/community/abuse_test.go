package main

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
)

// Whoever is in every room can still be banned, and the rooms that nobody else is in
// make place for others.
func TestBanOfWhoIsEverywhere(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	alice := w.join("alice", w.PDS, member)
	shared := alice.room("Shared", true, w.owner)
	_, err := w.owner.say(shared, "hello", true)
	ok(t, err)
	alone := ""
	for i := range maxRooms - 1 {
		alone = alice.room(fmt.Sprint(i), true)
		_, err := alice.say(alone, "mine", true)
		ok(t, err)
	}
	picture, err := alice.upload("uploadPicture", png("mine"), "community", string(w.community), "room", alone)
	ok(t, err)
	ok(t, alice.post("sendMessage", object{"room": alone, "picture": picture["id"], "alt": ""}, nil))
	wantError(t, w.owner.post("createRoom", object{"name": "one more"}, nil), "TooMany")

	ok(t, w.owner.post("banMember", object{"member": alice.DID}, nil))
	wantError(t, alice.get("getHistory", nil, "room", shared), "NotAMember")
	w.RunJobs()
	ok(t, w.Server.View(t.Context(), func(st *pds.State) error {
		rooms, err := scan[*room](st, roomKey(w.community, ""), maxRooms)
		if len(rooms) != 1 || rooms[shared].seenBy(alice.DID) || !rooms[shared].seenBy(w.owner.DID) {
			t.Errorf("left: %d rooms, %+v", len(rooms), rooms[shared])
		}
		messages, scanErr := scan[message](st, messageKey(w.community, alone, ""), 10)
		if len(messages) != 0 {
			t.Errorf("left of a room: %v", messages)
		}
		return errors.Join(err, scanErr)
	}))
	if files, err := w.app.pictures.List(t.Context(), "", 10); err != nil || len(files) != 0 {
		t.Errorf("left: %v %v", files, err)
	}
	ok(t, w.owner.post("createRoom", object{"name": "one more"}, nil))
}

// An invite is no better than the one who has made it is now.
func TestInvitesOfFormerModerators(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	mona, eve := w.join("mona", w.PDS, moderator), w.person("eve", w.PDS)
	var made struct{ Code string }
	ok(t, mona.post("createInvite", object{"role": "guest", "uses": 10}, &made))
	ok(t, w.owner.post("setRole", object{"member": mona.DID, "role": "member"}, nil))
	wantError(t, eve.accept(made.Code), "InviteNotFound")
	ok(t, w.owner.post("setRole", object{"member": mona.DID, "role": "moderator"}, nil))
	ok(t, eve.accept(made.Code))
	ok(t, w.owner.post("banMember", object{"member": mona.DID}, nil))
	wantError(t, w.person("mallory", w.PDS).accept(made.Code), "InviteNotFound")
}

// Founding a community of the name of an account that has no password leaves that
// account alone.
func TestFoundingLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	_, err := w.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "newsbot.test"})
	ok(t, err)
	wantError(t, w.owner.post("createCommunity", object{"name": "newsbot", "title": "News"}, nil), "HandleNotAvailable")
	var mine struct{ Communities []communityView }
	ok(t, w.owner.get("listCommunities", &mine))
	if len(mine.Communities) != 1 {
		t.Errorf("communities: %+v", mine.Communities)
	}
}

// A founding that fails leaves no account behind.
func TestFoundingThatFails(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ok(t, w.Server.Update(t.Context(), func(st *pds.State) error {
		for i := range maxMemberships {
			if err := st.PutJSON(memberOfKey(w.owner.DID, syntax.DID(fmt.Sprintf("did:web:%d.test", i))), object{}); err != nil {
				return err
			}
		}
		return nil
	}))
	wantError(t, w.owner.post("createCommunity", object{"name": "onemore", "title": "One more"}, nil), "TooMany")
	if a, err := w.Server.Account(t.Context(), "onemore.test"); err == nil {
		t.Errorf("left: %+v", a)
	}
}

// As many writes as a commit may have fit into its transaction, whatever they do.
func TestWritesAtOnce(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	room := w.owner.room("Square", false)
	writes := func(n int, make func(i int) object) error {
		var all []object
		for i := range n {
			all = append(all, make(i))
		}
		return w.owner.post("applyWrites", object{"repo": w.community, "writes": all}, nil)
	}
	messages := namespace + "message"
	ids, clock := []string{}, syntax.NewTIDClock(0)
	for range writesAtOnce + 1 {
		ids = append(ids, string(clock.Next()))
	}
	value := func(text string) object {
		return object{"room": room, "text": text, "createdAt": syntax.DatetimeNow()}
	}
	create := func(i int) object {
		return object{"$type": "com.atproto.repo.applyWrites#create", "collection": messages, "rkey": ids[i], "value": value("hello")}
	}
	wantError(t, writes(writesAtOnce+1, create), "TooMany")
	ok(t, writes(writesAtOnce, create))
	ok(t, writes(writesAtOnce, func(i int) object {
		return object{"$type": "com.atproto.repo.applyWrites#update", "collection": messages, "rkey": ids[i], "value": value("good bye")}
	}))
	ok(t, writes(writesAtOnce, func(i int) object {
		return object{"$type": "com.atproto.repo.applyWrites#delete", "collection": messages, "rkey": ids[i]}
	}))
	same(t, w.owner.history(room, 100), nil)
}

// Many who speak at the same time in one private room are all heard, in one order.
func TestCrowd(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	var crowd []*person
	for i := range 10 {
		crowd = append(crowd, w.join(fmt.Sprintf("person%d", i), w.PDS, member))
	}
	room := w.owner.room("Busy", true, crowd...)
	const each = 10
	var wg sync.WaitGroup
	for _, p := range crowd {
		wg.Go(func() {
			for i := range each {
				if _, err := p.say(room, fmt.Sprint(i), true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(w.owner.history(room, 100)); n != each*len(crowd) {
		t.Errorf("%d messages", n)
	}
}
