package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// patience is how long a frame may take, on a machine that has other things to do.
// It is less than the minute after which the server looks by itself whether whoever
// watches still may: whoever is out hears of it because the server is told.
const patience = 30 * time.Second

// stream is what a member watches.
type stream struct {
	t    *testing.T
	conn *websocket.Conn
}

// watch opens the stream with a ticket, as a browser does, and follows rooms.
func (p *person) watch(rooms ...string) *stream {
	p.town.t.Helper()
	s, err := p.tryWatch(p.ticket())
	ok(p.town.t, err)
	for _, r := range rooms {
		var now struct{ Cursor string }
		_ = p.get("getHistory", &now, "room", r) // of a room that is not theirs there is none
		s.follow(r, now.Cursor)
	}
	return s
}

func (p *person) ticket() string {
	p.town.t.Helper()
	var got struct{ Subprotocol string }
	in := object{"lxm": namespace + "watch"}
	data, err := p.PDS.Call(p.town.t.Context(), "POST", namespace+"getTicket", nil, p.header(), in)
	ok(p.town.t, err)
	ok(p.town.t, json.Unmarshal(data, &got))
	return got.Subprotocol
}

func (p *person) tryWatch(ticket string) (*stream, error) {
	t := p.town.t
	address := "ws" + strings.TrimPrefix(p.town.URL, "http") + "/xrpc/" + namespace + "watch?community=" + url.QueryEscape(string(p.town.community))
	conn, _, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{Subprotocols: []string{"xrpc.v1.json", ticket}})
	if err == nil {
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return &stream{t, conn}, err
}

// follow asks for what comes after a cursor. Without one that begins when the
// server has come to it, which may be after what the test does next.
func (s *stream) follow(room, cursor string) {
	s.t.Helper()
	s.send(object{"$type": namespace + "watch#follow", "room": room, "cursor": cursor})
}

func (s *stream) typing(room string) {
	s.t.Helper()
	s.send(object{"$type": namespace + "watch#typing", "room": room})
}

func (s *stream) send(message object) {
	s.t.Helper()
	frame, err := json.Marshal(object{"$type": "message", "payload": message})
	ok(s.t, err)
	ok(s.t, s.conn.Write(s.t.Context(), websocket.MessageText, frame))
}

// until reads until a frame has all of the texts; it returns it, or the end.
func (s *stream) until(texts ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
next:
	for {
		_, frame, err := s.conn.Read(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("nothing has come with %q", texts)
		}
		if err != nil {
			return err.Error()
		}
		for _, text := range texts {
			if !strings.Contains(string(frame), text) {
				continue next
			}
		}
		return string(frame)
	}
}

// Of 20 who accept an invite for one at the same time, one becomes a member.
func TestInvites(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	code := w.invite(member, 1)
	people := make([]*person, 20)
	for i := range people {
		home := w.PDS
		if i%4 == 0 {
			home = w.elsewhere
		}
		people[i] = w.person(fmt.Sprintf("person%d", i), home)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for _, p := range people {
		wg.Go(func() {
			if err := p.accept(code); err == nil {
				won.Add(1)
			} else if e, is := err.(*pdstest.Error); !is || e.Name != "InviteNotFound" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have become members", won.Load())
	}
	var list memberPage
	ok(t, w.owner.get("listMembers", &list))
	if len(list.Members) != 2 {
		t.Errorf("members: %+v", list.Members)
	}

	// One for several, and for another role.
	carla, dora, emil := w.person("carla", w.PDS), w.person("dora", w.PDS), w.person("emil", w.PDS)
	code = w.invite(guest, 2)
	var seen communityView
	ok(t, carla.get("getInvite", &seen, "code", code))
	if seen.Title != "The garden" || seen.Role != guest || seen.Community != w.community {
		t.Errorf("the invite leads to %+v", seen)
	}
	wantError(t, carla.get("getCommunity", nil), "NotAMember") // looking is not accepting
	ok(t, carla.accept(code))
	wantError(t, carla.accept(code), "AlreadyAMember")
	wantError(t, carla.get("getInvite", nil, "code", code), "AlreadyAMember")
	ok(t, dora.accept(code))
	wantError(t, emil.accept(code), "InviteNotFound")
	wantError(t, emil.get("getInvite", nil, "code", code), "InviteNotFound")
	wantError(t, carla.post("createInvite", object{}, nil), "RoleTooLow")
	code = w.invite(member, 1)
	w.Clock.Advance(8 * 24 * time.Hour)
	emil.Login()
	wantError(t, emil.accept(code), "InviteNotFound")
}

// A role counts from the next request on.
func TestRoles(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	room := w.owner.room("Tomatoes", false)
	mo, alice, gus := w.join("mona", w.PDS, moderator), w.join("alice", w.elsewhere, member), w.join("gus", w.PDS, guest)
	_, err := gus.say(room, "May I?", false)
	wantError(t, err, "ScopeMissingError")
	ok(t, gus.get("getHistory", nil, "room", room))
	_, err = mo.write("createRecord", "room", "", object{"name": "Beans"})
	ok(t, err)
	_, err = alice.write("createRecord", "room", "", object{"name": "Weeds"})
	wantError(t, err, "ScopeMissingError")
	_, err = alice.write("createRecord", "authorship", "", object{"author": string(mo.DID), "subject": "at://" + string(w.community) + "/a.b.c/d"})
	wantError(t, err, "ScopeMissingError")
	wantError(t, mo.post("createInvite", object{"role": "moderator"}, nil), "RoleTooLow")
	wantError(t, mo.post("banMember", object{"member": w.owner.DID}, nil), "RoleTooLow")
	wantError(t, mo.post("setRole", object{"member": alice.DID, "role": "guest"}, nil), "RoleTooLow")

	ok(t, w.owner.post("setRole", object{"member": mo.DID, "role": "guest"}, nil))
	_, err = mo.write("createRecord", "room", "", object{"name": "More beans"})
	wantError(t, err, "ScopeMissingError")
	wantError(t, mo.post("createInvite", object{}, nil), "RoleTooLow")

	wantError(t, w.owner.post("leaveCommunity", object{}, nil), "OwnerStays")
	ok(t, w.owner.post("setRole", object{"member": alice.DID, "role": "owner"}, nil))
	wantError(t, w.owner.post("setRole", object{"member": gus.DID, "role": "member"}, nil), "RoleTooLow")
	ok(t, w.owner.post("leaveCommunity", object{}, nil))
	wantError(t, w.owner.get("getCommunity", nil), "NotAMember")
	var acts actPage
	ok(t, alice.get("listActs", &acts, "refused", "true"))
	if len(acts.Acts) == 0 || acts.Acts[0].Actor != mo.DID || acts.Acts[0].Refused != "ScopeMissingError" {
		t.Errorf("the newest refusal: %+v", acts.Acts)
	}

	ok(t, alice.post("deleteCommunity", object{}, nil))
	var mine struct{ Communities []communityView }
	ok(t, gus.get("listCommunities", &mine))
	if len(mine.Communities) != 0 {
		t.Errorf("still there: %+v", mine.Communities)
	}
	wantError(t, gus.get("getHistory", nil, "room", room), "NotAMember")
}

// A ban cuts streams, makes tickets useless and refuses the way back. No time has to
// pass for that: the clock stands still, and nothing is looked at again by itself.
func TestBan(t *testing.T) {
	t.Parallel()
	w := newTown(t, func(cfg *pds.Config) {
		cfg.Stream.Recheck, cfg.Live.Recheck, cfg.Live.Poll = 24*time.Hour, 24*time.Hour, 24*time.Hour
	})
	alice := w.join("alice", w.PDS, member)
	for _, name := range []string{"here", "elsewhere"} {
		home := map[string]*pdstest.PDS{"here": w.PDS, "elsewhere": w.elsewhere}[name]
		p := w.join(name, home, member)
		room, secret := w.owner.room("Public "+name, false), w.owner.room("Private "+name, true, p)
		watching, ticket := p.watch(room, secret), p.ticket()
		_, err := w.owner.say(secret, "welcome", true)
		ok(t, err)
		watching.until("welcome")
		wantError(t, p.post("banMember", object{"member": w.owner.DID}, nil), "RoleTooLow")
		ok(t, w.owner.post("banMember", object{"member": p.DID, "reason": "noise"}, nil))
		if end := watching.until("no frame has this"); !strings.Contains(end, "NotAMember") {
			t.Errorf("%s: the stream ended with %s", name, end)
		}
		if s, err := p.tryWatch(ticket); err == nil {
			if end := s.until("no frame has this"); !strings.Contains(end, "NotAMember") {
				t.Errorf("%s: a stream by an old ticket: %s", name, end)
			}
		}
		wantError(t, p.accept(w.invite(member, 1)), "Banned")
		_, err = p.say(room, "again", false)
		wantError(t, err, "ActorNotPermitted")
		_, err = p.say(secret, "again", true)
		wantError(t, err, "NotAMember")
		var banned memberPage
		wantError(t, alice.get("listMembers", nil, "banned", "true"), "RoleTooLow")
		ok(t, w.owner.get("listMembers", &banned, "banned", "true"))
		if len(banned.Members) != 1 || banned.Members[0].Member != p.DID || banned.Members[0].Reason != "noise" {
			t.Errorf("%s: banned: %+v", name, banned.Members)
		}
		// Who comes back is not in the private rooms any more.
		ok(t, w.owner.post("unbanMember", object{"member": p.DID}, nil))
		ok(t, p.accept(w.invite(member, 1)))
		wantError(t, p.get("getHistory", nil, "room", secret), "RoomNotFound")
	}
}

// A stream brings messages, edits, typing, presence and new rooms, and goes on where
// it was.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	alice, bob := w.join("alice", w.PDS, member), w.join("bob", w.elsewhere, member)
	room := w.owner.room("Tomatoes", false)
	secret := w.owner.room("Plans", true, alice)
	a, b := alice.watch(room, secret), bob.watch(room, secret)
	b.until("watch#lost", secret, "RoomNotFound")
	a.until("watch#signal", "here/"+string(bob.DID))
	b.typing(room)
	b.typing(secret) // which is not passed on
	a.until("watch#signal", "room/"+string(w.community)+"/"+room, "typing/"+string(bob.DID))
	id, err := bob.say(room, "first", false)
	ok(t, err)
	frame := a.until("watch#message", `"text":"first"`, string(bob.DID))
	if strings.Contains(frame, string(w.community)+"/"+secret) {
		t.Errorf("in the wrong room: %s", frame)
	}
	_, err = bob.write("putRecord", "message", id, object{"room": room, "text": "better"})
	ok(t, err)
	a.until("watch#message", `"text":"better"`)
	a.until("watch#redaction", `"redacts":1`)
	_, err = alice.say(secret, "for us", true)
	ok(t, err)
	cursor := struct {
		Payload struct{ Cursor string }
	}{}
	ok(t, json.Unmarshal([]byte(a.until("watch#message", `"text":"for us"`)), &cursor))

	// Meanwhile; then from the cursor on.
	ok(t, a.conn.CloseNow())
	_, err = w.owner.say(secret, "missed", true)
	ok(t, err)
	a = alice.watch()
	a.follow(secret, cursor.Payload.Cursor)
	if frame := a.until("watch#message", secret); !strings.Contains(frame, `"text":"missed"`) {
		t.Errorf("resumed with %s", frame)
	}

	// Out of a private room, and the notice of it.
	ok(t, w.owner.post("changeRoom", object{"room": secret, "remove": []syntax.DID{alice.DID}}, nil))
	a.until("watch#lost", secret)
	b.until("watch#message", "notices", "changed")
	wantError(t, alice.post("sendMessage", object{"room": secret, "text": "hello?"}, nil), "RoomNotFound")

	// And in again, on the same stream.
	ok(t, w.owner.post("changeRoom", object{"room": secret, "add": []syntax.DID{alice.DID}}, nil))
	a.follow(secret, cursor.Payload.Cursor)
	a.until("watch#message", secret, `"text":"missed"`)
}

// The program is small enough to be read in one sitting.
func TestSize(t *testing.T) {
	files, err := filepath.Glob("*.go")
	ok(t, err)
	lines := 0
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			text, err := os.ReadFile(name)
			ok(t, err)
			lines += bytes.Count(text, []byte("\n"))
		}
	}
	if lines == 0 || lines >= 1500 {
		t.Errorf("%d lines of Go", lines)
	}
}
