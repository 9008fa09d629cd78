package pds_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc"
)

// Who speaks for the own account may call methods of the program's own.
func TestOwnMethodRule(t *testing.T) {
	t.Parallel()
	const ask, tell = "com.example.own.ask", "com.example.own.tell"
	h := newHouse(t, func(c *pds.Config) {
		c.DocumentServices = map[string]identity.Service{
			"own":   {Type: "OwnService", Endpoint: c.PublicURL},
			"other": {Type: "OtherService", Endpoint: "https://elsewhere.example.com"},
		}
	})
	who := func(ctx context.Context, _ *struct{}) (*struct{ DID string }, error) {
		return &struct{ DID string }{string(xrpc.CallerFrom(ctx).Actor)}, nil
	}
	h.Handle(xrpc.Query(ask, h.OwnMethodRule(), who), xrpc.Procedure(tell, h.OwnMethodRule(), who), h.TicketMethod(ticketNSID))
	h.Handle(xrpc.Subscription(chatNSID, h.OwnMethodRule(), func(context.Context, *xrpc.None, *xrpc.Stream) error { return nil }))
	alice, bob := h.CreateAccount("alice"), h.Another().CreateAccount("bob")

	auth := "Bearer " + alice.Access
	ok(t, get(t, h.PDS, ask, auth, nil, nil))
	ok(t, post(t, h.PDS, tell, auth, map[string]any{}, nil))
	wantError(t, get(t, h.PDS, ask, "", nil, nil), 401, "AuthMissing")
	_, err := h.Call(t.Context(), "GET", ask, nil, http.Header{"Authorization": {adminAuth}}, nil)
	wantError(t, err, 403, "ActorNotPermitted")

	var made struct{ Password string }
	ok(t, post(t, h.PDS, "com.atproto.server.createAppPassword", auth, map[string]any{"name": "x", "privileged": true}, &made))
	var byApp struct{ AccessJwt string }
	ok(t, post(t, h.PDS, "com.atproto.server.createSession", "", map[string]any{"identifier": alice.DID, "password": made.Password}, &byApp))
	wantError(t, get(t, h.PDS, ask, "Bearer "+byApp.AccessJwt, nil, nil), 403, "ActorNotPermitted")

	// From elsewhere: a procedure's token once, and not for long.
	token := h.serviceToken(bob, tell)
	ok(t, post(t, h.PDS, tell, token, map[string]any{}, nil))
	wantError(t, post(t, h.PDS, tell, token, map[string]any{}, nil), 401, "BadJwt")
	token = h.serviceToken(bob, ask)
	ok(t, get(t, h.PDS, ask, token, nil, nil))
	ok(t, get(t, h.PDS, ask, token, nil, nil))
	late := h.serviceToken(bob, tell, "exp", fmt.Sprint(h.Clock.Now().Add(121*time.Second).Unix()))
	wantError(t, post(t, h.PDS, tell, late, map[string]any{}, nil), 401, "BadJwt")
	var out struct{ Token string }
	for service, want := range map[string]string{"own": "", "other": "BadJwtAudience"} {
		params := url.Values{"aud": {h.serviceDID() + "#" + service}, "lxm": {ask}}
		ok(t, get(t, bob.PDS, "com.atproto.server.getServiceAuth", "Bearer "+bob.Access, params, &out))
		if err := get(t, h.PDS, ask, "Bearer "+out.Token, nil, nil); want == "" {
			ok(t, err)
		} else {
			wantError(t, err, 401, want)
		}
	}

	// By tickets of all of these, but not of an app password.
	for auth, want := range map[string]string{auth: "", h.serviceToken(bob, ticketNSID): "", "Bearer " + byApp.AccessJwt: "ActorNotPermitted"} {
		ticket, err := getTicket(t, h.PDS, auth)
		ok(t, err)
		conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(h.URL, "http")+"/xrpc/"+chatNSID, &websocket.DialOptions{
			Subprotocols: []string{"xrpc.v1.json", ticket.Subprotocol},
		})
		ok(t, err)
		if _, frame, err := conn.Read(t.Context()); want == "" && websocket.CloseStatus(err) != websocket.StatusNormalClosure || !strings.Contains(string(frame), want) {
			t.Errorf("a ticket, want %q: %s %v", want, frame, err)
		}
	}

	// Apps, by name or for the whole service.
	aud := strings.ReplaceAll(h.serviceDID(), "%", "%25") + "%23"
	for scope, want := range map[string]string{
		"transition:generic repo:*": "ScopeMissingError", "rpc:" + ask + "?aud=" + aud + "own": "",
		"rpc:*?aud=" + aud + "own": "", "rpc:" + ask + "?aud=" + aud + "other": "ScopeMissingError",
	} {
		app := newPerson(t, h.PDS, "atproto "+scope)
		app.signIn(alice)
		if err := app.call("GET", ask, nil, nil, nil); want == "" {
			ok(t, err)
		} else {
			wantError(t, err, 403, want)
		}
	}

	ok(t, h.DeactivateAccount(t.Context(), alice.DID, time.Time{}, pds.By{}))
	wantError(t, get(t, h.PDS, ask, auth, nil, nil), 401, "AccountDeactivated")
}

// A session as a group is nobody's own.
func TestOwnMethodsNotAsGroup(t *testing.T) {
	t.Parallel()
	const ask = "com.example.own.ask"
	h, group := newOpenHouse(t, nil)
	h.Handle(xrpc.Query(ask, h.OwnMethodRule(), func(context.Context, *struct{}) (*struct{}, error) { return &struct{}{}, nil }))
	alice := h.CreateAccount("alice")
	scope := "rpc:" + ask + "?aud=" + strings.ReplaceAll(h.serviceDID(), "%", "%25") + "%23atproto_pds"
	h.role(alice.DID, scope)
	app := newPerson(t, h.PDS, "atproto "+scope)
	pg := app.submitOne(app.enter(alice), "/account", url.Values{"account": {string(group.DID)}, "actor": {string(alice.DID)}}, nil)
	app.finish(app.submit(pg, "/consent", nil))
	wantError(t, app.call("GET", ask, nil, nil, nil), 403, "ActorNotPermitted")
}

// Who looks at a topic knows the numbers of what is published next, and nobody
// comes in between.
func TestStateTopic(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	ctx := t.Context()
	ok(t, srv.Live().Create(ctx, live.Topic{Name: roomTopic}))
	key := pds.DocumentKey{Kind: "com.example.seq"}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			err := srv.Update(ctx, func(st *pds.State) error {
				info, err := st.Topic(roomTopic)
				if err != nil {
					return err
				}
				k := key
				k.Key = fmt.Sprint(info.Last + 1)
				if err := st.PutJSON(k, n); err != nil {
					return err
				}
				return st.Publish(roomTopic, map[string]int{"n": n})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	page, err := srv.Live().Page(ctx, roomTopic, live.Query{})
	ok(t, err)
	if len(page.Entries) != 8 {
		t.Fatalf("%d entries", len(page.Entries))
	}
	ok(t, srv.View(ctx, func(st *pds.State) error {
		for _, e := range page.Entries {
			k := key
			k.Key = fmt.Sprint(e.Seq)
			d, err := st.Get(k)
			if err != nil {
				return err
			}
			var n int
			if err := d.JSON(&n); err != nil {
				return err
			}
			if got := fmt.Sprintf(`{"n":%d}`, n); got != string(e.Data) {
				t.Errorf("entry %d is %s, its document says %s", e.Seq, e.Data, got)
			}
		}
		_, err := st.Topic("none")
		if !errors.Is(err, live.ErrNotFound) {
			t.Errorf("a topic that is not there: %v", err)
		}
		return nil
	}))
}
