package pds_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// openHouse is a house whose members can sign in as the group. groups says which
// groups there are, nil for the own one.
func newOpenHouse(t *testing.T, groups func(context.Context, *pds.State, syntax.DID) ([]syntax.DID, error), adjust ...func(*pds.Config)) (*house, *pdstest.Account) {
	t.Helper()
	var h *house
	if groups == nil {
		groups = func(ctx context.Context, st *pds.State, actor syntax.DID) ([]syntax.DID, error) {
			_, err := st.Get(pds.DocumentKey{Kind: roleKind, Owner: h.group.DID, Key: string(actor)})
			if errors.Is(err, storage.ErrNotFound) {
				return nil, nil
			}
			return []syntax.DID{"did:plc:leftleftleftleftleftleft", h.group.DID}, err
		}
	}
	h = newHouse(t, append(adjust, func(c *pds.Config) { c.Delegation = lister{c.Delegation, groups} })...)
	return h, &pdstest.Account{PDS: h.PDS, DID: h.group.DID}
}

type lister struct {
	pds.Delegation
	groups func(context.Context, *pds.State, syntax.DID) ([]syntax.DID, error)
}

func (l lister) Groups(ctx context.Context, st *pds.State, actor syntax.DID) ([]syntax.DID, error) {
	return l.groups(ctx, st, actor)
}

var _ pds.GroupLister = lister{}

// A member signs in as the group by what every app does; who it was is known
// inside, and nowhere else.
func TestOAuthAsGroup(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil)
	alice := h.CreateAccount("alice")
	h.role(alice.DID, "repo:"+noteCollection, "blob:application/json")
	app := newPerson(t, h.PDS, "atproto repo:* blob:*/* transition:generic transition:email")
	pg := app.enter(alice)
	if text := strings.ReplaceAll(pg.text, "<wbr>", ""); !strings.Contains(text, "the-group.test") || !strings.Contains(text, "alice.test") {
		t.Fatalf("the picker is %s", pg.text)
	}
	pg = app.submitOne(pg, "/account", url.Values{"account": {string(group.DID)}, "actor": {string(alice.DID)}}, nil)
	if text := strings.ReplaceAll(pg.text, "<wbr>", ""); !strings.Contains(text, "the-group.test") || !strings.Contains(text, "alice.test") {
		t.Errorf("the consent page is %s", pg.text)
	}
	app.finish(app.submit(pg, "/consent", nil))
	if app.tokens.Sub != string(group.DID) {
		t.Fatalf("%+v", app.tokens)
	}
	var written struct{ URI syntax.ATURI }
	ok(t, app.call("POST", createRecord, nil, map[string]any{"repo": group.DID, "collection": noteCollection, "record": map[string]any{"text": "x"}}, &written))
	ok(t, app.call("POST", "com.atproto.repo.uploadBlob", nil, map[string]any{"a": 1}, nil))

	// Not beyond the grant, whatever was consented to.
	wantError(t, app.write("com.example.other"), 403, "ScopeMissingError")
	h.role(alice.DID, "repo:"+noteCollection)
	wantError(t, app.call("POST", "com.atproto.repo.uploadBlob", nil, map[string]any{"a": 1}, nil), 403, "ScopeMissingError")
	wantError(t, app.call("POST", "com.atproto.server.deactivateAccount", nil, map[string]any{}, nil), 403, "ScopeMissingError")
	wantError(t, app.call("POST", "com.atproto.identity.updateHandle", nil, map[string]any{"handle": "mine.test"}, nil), 403, "ScopeMissingError")
	wantError(t, app.call("POST", "com.atproto.server.createAppPassword", nil, map[string]any{"name": "x"}, nil), 403, "Forbidden")
	wantError(t, app.call("POST", "com.atproto.identity.requestPlcOperationSignature", nil, nil, nil), 403, "ScopeMissingError")
	preferences := map[string]any{"preferences": []any{}}
	wantError(t, app.call("POST", "app.bsky.actor.putPreferences", nil, preferences, nil), 403, "ScopeMissingError")
	for _, lxm := range []string{aliasName + ".createRecord", createRecord, "com.example.any"} {
		params := url.Values{"aud": {h.serviceDID()}, "lxm": {lxm}}
		wantError(t, app.call("GET", "com.atproto.server.getServiceAuth", params, nil, nil), 403, "ScopeMissingError")
	}
	// It is a session of the group alone: not of the member, nor a way further.
	record := map[string]any{"repo": alice.DID, "collection": noteCollection, "record": map[string]any{}}
	wantError(t, app.call("POST", createRecord, nil, record, nil), 403, "ActorNotPermitted")
	wantError(t, app.call("POST", aliasName+".createRecord", nil, record, nil), 403, "ActorNotPermitted")
	record["repo"] = group.DID
	wantError(t, app.call("POST", aliasName+".createRecord", nil, record, nil), 403, "ActorNotPermitted")

	// Author, event and acts.
	var author syntax.DID
	ok(t, h.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		rec, err := tx.Record(group.DID, noteCollection, written.URI.RecordKey())
		author = rec.Author
		return err
	}))
	if author != alice.DID {
		t.Errorf("the author is %q", author)
	}
	var seen notebook
	h.Observe("test", seen.observe)
	events := seen.wait(t, h.PDS)
	if last := events[len(events)-1]; last.Actor != alice.DID || last.Account != group.DID || last.Client != app.clientID() {
		t.Errorf("the event: %+v", last)
	}
	acts, err := h.Acts(t.Context(), group.DID, pds.ActQuery{})
	ok(t, err)
	if len(acts) != 2 || acts[1].Actor != alice.DID || acts[1].Client != app.clientID() || acts[1].Method != createRecord || acts[0].Change != pds.ChangeUpload {
		t.Errorf("the acts: %+v", acts)
	}
	refused := strings.Join(h.acts(true), "; ")
	for _, want := range []string{
		createRecord + " ScopeMissingError", "uploadBlob ScopeMissingError", "deactivateAccount ScopeMissingError", "createAppPassword Forbidden",
	} {
		if !strings.Contains(refused, want) {
			t.Errorf("%q is not among the refusals: %s", want, refused)
		}
	}

	// What others get to see.
	var session map[string]any
	ok(t, app.call("GET", "com.atproto.server.getSession", nil, nil, &session))
	if session["did"] != string(group.DID) {
		t.Errorf("the session: %v", session)
	}
	public := []string{written.URI.String()}
	for nsid, params := range map[string]url.Values{
		"com.atproto.repo.listRecords":  {"repo": {string(group.DID)}, "collection": {noteCollection}},
		"com.atproto.repo.getRecord":    {"repo": {string(group.DID)}, "collection": {noteCollection}, "rkey": {written.URI.RecordKey().String()}},
		"com.atproto.repo.describeRepo": {"repo": {string(group.DID)}},
		"com.atproto.sync.getRepo":      {"did": {string(group.DID)}},
	} {
		data, err := h.Call(t.Context(), "GET", nsid, params, http.Header{}, nil)
		ok(t, err)
		public = append(public, string(data))
	}
	public = append(public, h.firehoseUpTo(written.URI.RecordKey().String())...)
	for _, text := range public {
		// Of the events of her own account there are some, but none of both.
		if strings.Contains(text, string(alice.DID)) && strings.Contains(text, string(group.DID)) || strings.Contains(text, "alice.test") && strings.Contains(text, "the-group.test") {
			t.Errorf("the actor is shown: %.200q", text)
		}
	}
}

// A role that is taken away is gone at the next request, and the session at the
// next refresh. So it is when the member's account is.
func TestOAuthAsGroupEnds(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil)
	alice := h.CreateAccount("alice")
	roles := []string{"repo:" + noteCollection}
	h.role(alice.DID, roles...)
	app := newPerson(t, h.PDS, "atproto repo:*")
	app.signInAs(group, alice)
	ok(t, app.write(noteCollection))
	h.role(alice.DID, "repo:com.example.other")
	wantError(t, app.write(noteCollection), 403, "ScopeMissingError")
	ok(t, app.write("com.example.other"))
	if status, code := app.refresh(); status != 200 {
		t.Fatalf("refresh: %d %s", status, code)
	}
	h.role(alice.DID)
	wantError(t, app.write("com.example.other"), 403, "ActorNotPermitted")
	wantError(t, app.session(), 403, "ActorNotPermitted")
	h.role(alice.DID, roles...)
	ok(t, app.write(noteCollection)) // it was not refreshed meanwhile
	h.role(alice.DID)
	if status, code := app.refresh(); status != 400 || code != "invalid_grant" {
		t.Errorf("refresh: %d %s", status, code)
	}
	h.role(alice.DID, roles...)
	wantError(t, app.session(), 401, "invalid_token")
	if refused := strings.Join(h.acts(true), "; "); !strings.Contains(refused, string(alice.DID)+" com.atproto.server.getSession ActorNotPermitted") {
		t.Errorf("the refusals: %s", refused)
	}

	for _, ended := range []*pdstest.Account{alice, group} {
		app = newPerson(t, h.PDS, "atproto repo:*")
		app.signInAs(group, alice)
		ok(t, app.session())
		takedown := map[string]any{"subject": repoRef(ended), "takedown": map[string]any{"applied": true}}
		ok(t, post(t, h.PDS, updateSubjectStatus, adminAuth, takedown, nil))
		if err := app.session(); err == nil {
			t.Error("the token works")
		}
		if status, code := app.refresh(); status != 400 || code != "invalid_grant" {
			t.Errorf("refresh: %d %s", status, code)
		}
		takedown["takedown"] = map[string]any{"applied": false}
		ok(t, post(t, h.PDS, updateSubjectStatus, adminAuth, takedown, nil))
	}
}

// Who is no member does not get in by forms that were changed.
func TestOAuthAsGroupForged(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil)
	alice, bob := h.CreateAccount("alice"), h.CreateAccount("bob")
	h.role(alice.DID, "repo:*")
	newPerson(t, h.PDS, "atproto repo:*").signInAs(group, alice)
	app := newPerson(t, h.PDS, "atproto repo:*")
	pg := app.enter(bob)
	for _, test := range []struct {
		actor syntax.DID
		want  string
	}{{bob.DID, "Access denied"}, {alice.DID, `name="password"`}, {group.DID, `name="password"`}} {
		got := app.submit(pg, "/consent", url.Values{"account": {string(group.DID)}, "actor": {string(test.actor)}})
		if got.location != "" || !strings.Contains(got.text, test.want) {
			t.Errorf("as %s: %d %s", test.actor, got.status, got.text)
		}
	}
	sessions, err := h.OAuth().Sessions(t.Context(), group.DID)
	ok(t, err)
	if len(sessions) != 1 || sessions[0].Actor != alice.DID {
		t.Errorf("%+v", sessions)
	}
	app.finish(app.submit(pg, "/consent", nil))
	if app.tokens.Sub != string(bob.DID) {
		t.Errorf("%+v", app.tokens)
	}
}

// A lister that does not work keeps nobody from the own account.
func TestOAuthAsGroupListerMisbehaves(t *testing.T) {
	t.Parallel()
	for name, groups := range map[string]func(context.Context, *pds.State, syntax.DID) ([]syntax.DID, error){
		"panics": func(context.Context, *pds.State, syntax.DID) ([]syntax.DID, error) { panic("groups") },
		"fails": func(context.Context, *pds.State, syntax.DID) ([]syntax.DID, error) {
			return nil, errors.New("out of order")
		},
		"writes": func(_ context.Context, st *pds.State, actor syntax.DID) ([]syntax.DID, error) {
			return nil, st.Delete(pds.DocumentKey{Kind: roleKind, Owner: actor, Key: "x"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := newOpenHouse(t, groups)
			alice := h.CreateAccount("alice")
			h.role(alice.DID, "repo:*")
			app := newPerson(t, h.PDS, "atproto")
			app.signIn(alice)
			ok(t, app.session())
		})
	}
	// One that lists whom it likes gives nobody rights.
	t.Run("lies", func(t *testing.T) {
		t.Parallel()
		var h *house
		h, group := newOpenHouse(t, func(context.Context, *pds.State, syntax.DID) ([]syntax.DID, error) {
			return []syntax.DID{h.group.DID}, nil
		})
		bob := h.CreateAccount("bob")
		app := newPerson(t, h.PDS, "atproto")
		picked := url.Values{"account": {string(group.DID)}, "actor": {string(bob.DID)}}
		if pg := app.submitOne(app.enter(bob), "/account", picked, nil); pg.status != 403 {
			t.Errorf("%d %s", pg.status, pg.text)
		}
	})
}

// firehoseUpTo returns what the firehose sends, up to the first message with some
// text in it.
func (h *house) firehoseUpTo(text string) (out []string) {
	h.t.Helper()
	conn, _, err := websocket.Dial(h.t.Context(), "ws"+strings.TrimPrefix(h.URL, "http")+"/xrpc/com.atproto.sync.subscribeRepos?cursor=0", nil)
	ok(h.t, err)
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	for len(out) == 0 || !strings.Contains(out[len(out)-1], text) {
		_, data, err := conn.Read(h.t.Context())
		ok(h.t, err)
		out = append(out, string(data))
	}
	return out
}
