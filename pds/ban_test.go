package pds_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// A ban cuts the live connection, the sessions as the group and the tickets within
// a second, whichever door a member came by: no time has to pass for that, since the
// clock stands still and the server looks at nothing by itself. A demoted role is
// denied on its next request.
func TestBanCutsAll(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil, neverPoll)
	chat(h.Server)
	// A room for members, by a rule that reads their roles.
	ok(t, h.Live().Create(t.Context(), live.Topic{Name: roomTopic}))
	member := func(ctx context.Context, did syntax.DID) error {
		err := h.View(ctx, func(st *pds.State) error {
			_, err := st.Get(pds.DocumentKey{Kind: roleKind, Owner: group.DID, Key: string(did)})
			return err
		})
		if errors.Is(err, storage.ErrNotFound) {
			return xrpc.NewError(403, "NoMember", "You are no member")
		}
		return err
	}
	h.Handle(xrpc.Subscription(watchNSID, xrpc.Required(nil), func(ctx context.Context, p *watchParams, s *xrpc.Stream) error {
		actor := xrpc.CallerFrom(ctx).Actor
		return h.ServeTopic(ctx, s, p.Topic, func(ctx context.Context) error { return member(ctx, actor) }, live.Options{Client: string(actor)})
	}))
	chatRule := xrpc.Required(func(ctx context.Context, c *xrpc.Caller) error { return member(ctx, c.Actor) })
	h.Replace(xrpc.Subscription(chatNSID, chatRule, func(ctx context.Context, _ *xrpc.None, s *xrpc.Stream) error {
		c := xrpc.CallerFrom(ctx)
		if err := s.Send(ctx, "#who", whoMessage{Account: c.Account, Actor: c.Actor}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}))
	rpc := "rpc:" + chatNSID + "?aud=" + url.QueryEscape(h.serviceDID()) + "%23atproto_pds"
	roles := []string{"repo:" + noteCollection, "repo:com.example.other", rpc}
	alice, carol := h.CreateAccount("alice"), h.CreateAccount("carol")
	away := h.Another()
	bob := away.CreateAccount("bob")
	for _, did := range []syntax.DID{alice.DID, bob.DID, carol.DID} {
		h.role(did, roles...)
	}

	// Alice by door A and with her own session, Bob from another server by door B.
	app := newPerson(t, h.PDS, "atproto repo:* "+rpc)
	app.signInAs(group, alice)
	ok(t, app.write(noteCollection))
	ok(t, h.write(aliasName+".createRecord", h.serviceToken(bob, aliasName+".createRecord")))
	asGroup := func() (out pds.Ticket) {
		t.Helper()
		ok(t, app.call("POST", ticketNSID, nil, map[string]any{"lxm": chatNSID}, &out))
		return out
	}
	ticketOf := func(auth string) pds.Ticket {
		t.Helper()
		out, err := getTicket(t, h.PDS, auth)
		ok(t, err)
		return out
	}
	proof := func() http.Header {
		address := h.URL + "/xrpc/" + chatNSID
		return http.Header{"Authorization": {"DPoP " + app.tokens.Access}, "Dpop": {app.proof("GET", address, app.tokens.Access)}}
	}
	watching := func(auth string) *listener {
		t.Helper()
		l := listen(t, h.PDS, watchNSID+"?topic="+roomTopic, http.Header{"Authorization": {auth}}, "xrpc.v1.json")
		_, err := h.Live().Publish(t.Context(), roomTopic, map[string]string{"to": "all"})
		ok(t, err)
		return l
	}
	open := []*listener{
		withTicket(t, h.PDS, asGroup()).hears(),
		listen(t, h.PDS, chatNSID, proof(), "xrpc.v1.json").hears(),
		withTicket(t, h.PDS, ticketOf("Bearer "+alice.Access)).hears(),
		withTicket(t, h.PDS, ticketOf(h.serviceToken(bob, ticketNSID))).hears(),
	}
	unused := []pds.Ticket{asGroup(), ticketOf("Bearer " + alice.Access), ticketOf(h.serviceToken(bob, ticketNSID))}
	stays := withTicket(t, h.PDS, ticketOf("Bearer "+carol.Access)).hears()
	rooms := []*listener{watching("Bearer " + alice.Access), watching(h.serviceToken(bob, watchNSID))}
	staysInRoom := watching("Bearer " + carol.Access)

	// Demoted, they are refused what they may not do any more, and stay.
	for _, did := range []syntax.DID{alice.DID, bob.DID} {
		ok(t, h.Update(t.Context(), func(st *pds.State) error {
			if err := st.Recheck(did); err != nil {
				return err
			}
			return st.PutJSON(pds.DocumentKey{Kind: roleKind, Owner: group.DID, Key: string(did)}, roles[1:])
		}))
	}
	wantError(t, app.write(noteCollection), 403, "ScopeMissingError")
	wantError(t, h.write(aliasName+".createRecord", h.serviceToken(bob, aliasName+".createRecord")), 403, "ScopeMissingError")
	wantError(t, h.write(aliasName+".createRecord", "Bearer "+alice.Access), 403, "ScopeMissingError")
	ok(t, app.write("com.example.other"))

	// Banned, they are out.
	for _, did := range []syntax.DID{alice.DID, bob.DID} {
		ok(t, h.Update(t.Context(), func(st *pds.State) error {
			if err := st.Recheck(did); err != nil {
				return err
			}
			return st.Delete(pds.DocumentKey{Kind: roleKind, Owner: group.DID, Key: string(did)})
		}))
	}
	want := []string{"ActorNotPermitted", "ActorNotPermitted", "NoMember", "NoMember"}
	for i, l := range open {
		l.cut(want[i])
	}
	for _, l := range rooms {
		for frame := l.next(); frame != "close StatusPolicyViolation NoMember"; frame = l.next() {
			if strings.HasPrefix(frame, "close") {
				t.Fatal(frame)
			}
		}
	}
	for i, name := range []string{"ActorNotPermitted", "NoMember", "NoMember"} {
		withTicket(t, h.PDS, unused[i]).cut(name)
	}
	wantError(t, app.session(), 403, "ActorNotPermitted")
	wantError(t, app.call("POST", ticketNSID, nil, map[string]any{"lxm": chatNSID}, nil), 403, "ActorNotPermitted")
	wantError(t, h.write(aliasName+".createRecord", h.serviceToken(bob, aliasName+".createRecord")), 403, "ActorNotPermitted")

	// Carol has noticed nothing.
	_, err := h.Live().Publish(t.Context(), roomTopic, map[string]string{"to": "carol"})
	ok(t, err)
	for got := ""; !strings.Contains(got, "carol"); {
		if got = staysInRoom.next(); strings.HasPrefix(got, "close") {
			t.Fatal(got)
		}
	}
	h.role(carol.DID)
	h.Recheck(carol.DID)
	stays.cut("NoMember") // and not before
}

// The third door.
func TestBanAtDirectDoor(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pds.Config) { c.DirectDelegation = true })
	bob := h.Another().CreateAccount("bob")
	write := func() error { return h.write(createRecord, h.serviceToken(bob, createRecord)) }
	h.role(bob.DID, "repo:"+noteCollection)
	ok(t, write())
	h.role(bob.DID, "repo:com.example.other")
	wantError(t, write(), 403, "ScopeMissingError")
	h.role(bob.DID)
	wantError(t, write(), 403, "ActorNotPermitted")
}

func TestStateRecheckNeedsATransaction(t *testing.T) {
	t.Parallel()
	srv := newHouse(t)
	ok(t, srv.View(t.Context(), func(st *pds.State) error {
		if err := st.Recheck("did:web:alice.test"); !errors.Is(err, pds.ErrReadOnly) {
			t.Errorf("in a View: %v", err)
		}
		return nil
	}))
	var kept *pds.State
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		kept = st
		return st.Recheck("did:web:alice.test")
	}))
	if err := kept.Recheck("did:web:alice.test"); !errors.Is(err, pds.ErrStateClosed) {
		t.Errorf("afterwards: %v", err)
	}
}
