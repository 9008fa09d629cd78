package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage/blobs"
)

// town is a community server in a test, with a second server whose accounts are
// elsewhere.
type town struct {
	*pdstest.PDS
	t         *testing.T
	app       *app
	elsewhere *pdstest.PDS
	community syntax.DID
	owner     *person
}

// What some methods answer.
type (
	communityPage struct{ Rooms []roomView }
	logPage       struct{ Entries []live.Entry }
	actPage       struct{ Acts []pds.Act }
	memberPage    struct{ Members []memberView }
)

// person is somebody who calls methods through the own server, wherever that is.
type person struct {
	*pdstest.Account
	town *town
}

func newTown(t *testing.T, adjust ...func(*pds.Config)) *town {
	t.Helper()
	w := &town{t: t}
	w.PDS = pdstest.New(t, append(adjust, func(cfg *pds.Config) {
		cfg.ServiceDID = syntax.DID("did:web:localhost%3A" + cfg.PublicURL[strings.LastIndex(cfg.PublicURL, ":")+1:])
		var err error
		w.app, err = configure(cfg, blobs.NewMemory(nil))
		ok(t, err)
	})...)
	w.app.register(w.Server)
	w.elsewhere = w.Another()
	w.owner = w.person("olga", w.PDS)
	var made struct{ Community syntax.DID }
	ok(t, w.owner.post("createCommunity", object{"name": "garden", "title": "The garden"}, &made))
	w.community = made.Community
	return w
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, name string) {
	t.Helper()
	if e, is := errors.AsType[*pdstest.Error](err); !is || e.Name != name {
		t.Fatalf("got %v, want %s", err, name)
	}
}

func (w *town) person(name string, home *pdstest.PDS) *person {
	w.t.Helper()
	return &person{home.CreateAccount(name), w}
}

// join makes somebody a member.
func (w *town) join(name string, home *pdstest.PDS, r role) *person {
	w.t.Helper()
	p := w.person(name, home)
	ok(w.t, p.accept(w.invite(r, 1)))
	return p
}

func (w *town) invite(r role, uses int) string {
	w.t.Helper()
	var made struct{ Code string }
	ok(w.t, w.owner.post("createInvite", object{"role": r, "uses": uses}, &made))
	return made.Code
}

func (p *person) accept(code string) error { return p.post("acceptInvite", object{"code": code}, nil) }

func (p *person) header() http.Header {
	return http.Header{"Authorization": {"Bearer " + p.Access}, "Atproto-Proxy": {p.town.app.audience()}}
}

// post calls a procedure, for the community of the test.
func (p *person) post(name string, in object, out any) error {
	if _, named := in["community"]; !named && p.town.community != "" {
		in["community"] = p.town.community
	}
	data, err := p.PDS.Call(p.town.t.Context(), "POST", namespace+name, nil, p.header(), in)
	if err == nil && out != nil {
		err = json.Unmarshal(data, out)
	}
	return err
}

// get calls a query; params are names and values.
func (p *person) get(name string, out any, params ...string) error {
	query := url.Values{"community": {string(p.town.community)}}
	for i := 0; i < len(params); i += 2 {
		query.Set(params[i], params[i+1])
	}
	data, err := p.PDS.Call(p.town.t.Context(), "GET", namespace+name, query, p.header(), nil)
	if err == nil && out != nil {
		err = json.Unmarshal(data, out)
	}
	return err
}

// write creates, replaces or deletes a record of the community.
func (p *person) write(method, collection, rkey string, record object) (string, error) {
	in := object{"repo": p.town.community, "collection": namespace + collection}
	if rkey != "" {
		in["rkey"] = rkey
	}
	if record != nil {
		record["createdAt"] = syntax.DatetimeNow()
		in["record"] = record
	}
	var out struct{ URI syntax.ATURI }
	err := p.post(method, in, &out)
	return string(out.URI.RecordKey()), err
}

// room makes a room, public or private with others.
func (p *person) room(name string, private bool, others ...*person) string {
	p.town.t.Helper()
	if !private {
		id, err := p.write("createRecord", "room", "", object{"name": name})
		ok(p.town.t, err)
		return id
	}
	add := []syntax.DID{}
	for _, o := range others {
		add = append(add, o.DID)
	}
	var made struct{ ID string }
	ok(p.town.t, p.post("createRoom", object{"name": name, "add": add}, &made))
	return made.ID
}

// say sends a message to a public or private room.
func (p *person) say(room, text string, private bool) (id string, err error) {
	if !private {
		return p.write("createRecord", "message", "", object{"room": room, "text": text})
	}
	var made struct{ ID string }
	err = p.post("sendMessage", object{"room": room, "text": text}, &made)
	return made.ID, err
}

// history reads the log of a room from its end, in pages, and returns what a client
// shows: the text of each message in order, with its author and reactions.
func (p *person) history(room string, page int) []string {
	p.town.t.Helper()
	newest := map[string]*said{}
	reactions := map[string][]string{}
	before := ""
	for {
		var out logPage
		params := []string{"room", room, "limit", fmt.Sprint(page)}
		if before != "" {
			params = append(params, "before", before)
		}
		ok(p.town.t, p.get("getHistory", &out, params...))
		for _, e := range out.Entries {
			var s said
			if e.Data == nil {
				continue
			}
			ok(p.town.t, json.Unmarshal(e.Data, &s))
			switch {
			case s.Type == "reaction":
				key := s.ID + string(s.Author) + s.Emoji
				if newest[key] == nil && !s.Gone {
					reactions[s.ID] = append(reactions[s.ID], s.Emoji)
				}
				newest[key] = &said{}
			case newest[s.ID] == nil:
				newest[s.ID] = &s
			}
		}
		if len(out.Entries) < page {
			break
		}
		before = fmt.Sprint(out.Entries[page-1].Seq)
	}
	byNumber := map[int64]string{}
	top := int64(0)
	for _, s := range newest {
		if s.Number > 0 {
			text := strings.TrimPrefix(string(s.Author), "did:plc:")[:4] + ": " + s.Text + strings.Join(reactions[s.ID], "")
			if s.Author == p.DID {
				text = "me: " + s.Text + strings.Join(reactions[s.ID], "")
			}
			byNumber[s.Number] = text
			top = max(top, s.Number)
		}
	}
	out := []string{}
	for n := range top {
		if text, there := byNumber[n+1]; there {
			out = append(out, text)
		}
	}
	return out
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Members with accounts here and elsewhere talk in public and private rooms.
func TestRooms(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	alice, bob := w.join("alice", w.PDS, member), w.join("bob", w.elsewhere, member)
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("private %v", private), func(t *testing.T) {
			opener := w.owner
			room := opener.room("Tomatoes", private, alice, bob)
			first, err := alice.say(room, "Hello Bob", private)
			ok(t, err)
			second, err := bob.say(room, "Helo Alice", private)
			ok(t, err)
			edit := func(p *person, id, text string) error {
				if private {
					return p.post("editMessage", object{"room": room, "id": id, "text": text}, nil)
				}
				_, err := p.write("putRecord", "message", id, object{"room": room, "text": text})
				return err
			}
			remove := func(p *person, id string) error {
				if private {
					return p.post("deleteMessage", object{"room": room, "id": id}, nil)
				}
				_, err := p.write("deleteRecord", "message", id, nil)
				return err
			}
			react := func(p *person, id, emoji string) (string, error) {
				if private {
					return "", p.post("reactTo", object{"room": room, "id": id, "emoji": emoji}, nil)
				}
				return p.write("createRecord", "reaction", "", object{"room": room, "message": id, "emoji": emoji})
			}
			ok(t, edit(bob, second, "Hello Alice"))
			ok(t, edit(bob, second, "Hello, Alice"))
			wantError(t, edit(alice, second, "I am a fool"), "RoleTooLow")
			wantError(t, edit(w.owner, second, "I am a fool"), "RoleTooLow")
			_, err = react(alice, second, "🍅")
			ok(t, err)
			key, err := react(alice, second, "👋")
			ok(t, err)
			if private {
				ok(t, alice.post("reactTo", object{"room": room, "id": second, "emoji": "👋", "undo": true}, nil))
			} else {
				_, err = bob.write("deleteRecord", "reaction", key, nil)
				wantError(t, err, "RoleTooLow")
				_, err = alice.write("deleteRecord", "reaction", key, nil)
				ok(t, err)
			}
			b := strings.TrimPrefix(string(bob.DID), "did:plc:")[:4]
			for _, page := range []int{2, 100} {
				same(t, alice.history(room, page), []string{"me: Hello Bob", b + ": Hello, Alice🍅"})
			}
			third, err := alice.say(room, "This is spam", private)
			ok(t, err)
			wantError(t, remove(bob, third), "RoleTooLow")
			ok(t, remove(w.owner, third))
			ok(t, remove(alice, first))
			if err := remove(alice, first); private {
				wantError(t, err, "MessageNotFound")
			} else {
				ok(t, err) // as deleteRecord is
			}
			same(t, alice.history(room, 3), []string{b + ": Hello, Alice🍅"})
		})
	}
}
