package pds_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	ticketNSID = "com.example.chat.getTicket"
	chatNSID   = "com.example.chat.listen"
)

// whoMessage is what the stream of a chatHouse says at first.
type whoMessage struct {
	Account syntax.DID `json:"account"`
	Actor   syntax.DID `json:"actor"`
	Client  string     `json:"client"`
	Kind    string     `json:"kind"`
	Origin  string     `json:"origin"`
	Scopes  []string   `json:"scopes"`
}

// chat adds a subscription that says who listens, and a method for its tickets.
// ban keeps an actor out.
func chat(srv *pds.Server) (ban *sync.Map) {
	ban = new(sync.Map)
	rule := xrpc.Required(func(_ context.Context, c *xrpc.Caller) error {
		if _, banned := ban.Load(c.Actor); banned {
			return xrpc.NewError(403, "Banned", "You are banned")
		}
		return nil
	})
	srv.Handle(srv.TicketMethod(ticketNSID), xrpc.Subscription(chatNSID, rule, func(ctx context.Context, _ *xrpc.None, s *xrpc.Stream) error {
		c := xrpc.CallerFrom(ctx)
		if err := s.Send(ctx, "#who", whoMessage{c.Account, c.Actor, c.Client, c.Kind.String(), c.Origin.String(), c.Scopes}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}), xrpc.Subscription("com.example.chat.public", xrpc.Public(), func(context.Context, *xrpc.None, *xrpc.Stream) error { return nil }))
	return ban
}

// getTicket asks for a ticket with an Authorization header.
func getTicket(t *testing.T, srv *pdstest.PDS, auth string) (out pds.Ticket, err error) {
	t.Helper()
	err = post(t, srv, ticketNSID, auth, map[string]any{"lxm": chatNSID}, &out)
	return out, err
}

// listener is an open stream, or one that was refused.
type listener struct {
	t    *testing.T
	conn *websocket.Conn
	resp *http.Response
}

func listen(t *testing.T, srv *pdstest.PDS, nsid string, header http.Header, protocols ...string) *listener {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http")+"/xrpc/"+nsid, &websocket.DialOptions{HTTPHeader: header, Subprotocols: protocols})
	ok(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &listener{t, conn, resp}
}

// withTicket opens the chat.
func withTicket(t *testing.T, srv *pdstest.PDS, ticket pds.Ticket) *listener {
	t.Helper()
	return listen(t, srv, chatNSID, nil, "xrpc.v1.json", ticket.Subprotocol)
}

func (l *listener) next() string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	_, data, err := l.conn.Read(ctx)
	if end, isClose := errors.AsType[websocket.CloseError](err); isClose {
		return "close " + end.Code.String() + " " + end.Reason
	}
	ok(l.t, err)
	return string(data)
}

// hears fails unless the stream is open.
func (l *listener) hears() *listener {
	l.t.Helper()
	if got := l.next(); !strings.Contains(got, chatNSID+"#who") {
		l.t.Fatalf("the first frame is %s", got)
	}
	return l
}

// cut fails unless the stream ends, with an error. With neverPoll nothing ends it
// but that the server is told.
func (l *listener) cut(name string) {
	l.t.Helper()
	if got := l.next(); !strings.HasPrefix(got, `{"$type":"error","error":"`+name+`"`) {
		l.t.Fatalf("not cut with %s: %s", name, got)
	}
	if got := l.next(); got != "close StatusPolicyViolation "+name {
		l.t.Errorf("%s, want %s", got, name)
	}
}

func TestTicketOpensOneStream(t *testing.T) {
	t.Parallel()
	log := make(lines, 1000)
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	chat(srv.Server)
	alice := srv.CreateAccount("alice")
	ticket, err := getTicket(t, srv, "Bearer "+alice.Access)
	ok(t, err)
	if left := ticket.Expires.Sub(srv.Clock.Now()); left <= pds.TicketLife-30*time.Second || left > pds.TicketLife {
		t.Errorf("it expires in %v", left)
	}
	l := withTicket(t, srv, ticket)
	if got := l.resp.Header.Values("Sec-WebSocket-Protocol"); len(got) != 1 || got[0] != "xrpc.v1.json" {
		t.Errorf("the answer's protocol is %q", got)
	}
	want := `{"$type":"message","payload":{"$type":"com.example.chat.listen#who","account":"` + string(alice.DID) + `","actor":"` + string(alice.DID) +
		`","client":"","kind":"ticket","origin":"session","scopes":["com.atproto.access"]}}`
	if got := l.next(); got != want {
		t.Errorf("frame %s, want %s", got, want)
	}
	withTicket(t, srv, ticket).cut("InvalidToken")

	// Neither log nor store has it.
	secret := strings.TrimPrefix(ticket.Subprotocol, pds.TicketProtocol)
	second, err := getTicket(t, srv, "Bearer "+alice.Access)
	ok(t, err)
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		docs, err := tx.ScanDocs("ticket", storage.Scan{Limit: 10})
		if len(docs) != 1 || docs[0].Owner != alice.DID {
			t.Errorf("documents %+v", docs)
		}
		for _, d := range docs {
			if text := d.Key + string(d.Value); strings.Contains(text, strings.TrimPrefix(second.Subprotocol, pds.TicketProtocol)) {
				t.Errorf("the store has the ticket: %s", text)
			}
		}
		return err
	}))
	for line := ""; !strings.Contains(line, "method="+chatNSID); {
		select {
		case line = <-log:
		case <-time.After(20 * time.Second):
			t.Fatal("the stream is not in the log")
		}
		if strings.Contains(line, secret) {
			t.Errorf("the log has the ticket: %s", line)
		}
	}
}

// lines takes what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestTicketIsUsedOnce(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	chat(srv.Server)
	ticket, err := getTicket(t, srv, "Bearer "+srv.CreateAccount("alice").Access)
	ok(t, err)
	var open, refused atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		l := withTicket(t, srv, ticket)
		wg.Go(func() {
			_, data, _ := l.conn.Read(t.Context())
			switch {
			case bytes.Contains(data, []byte("#who")):
				open.Add(1)
			case bytes.Contains(data, []byte(`"InvalidToken"`)):
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if open.Load() != 1 || refused.Load() != 49 {
		t.Errorf("%d streams are open, %d were refused", open.Load(), refused.Load())
	}
}

func TestTicketLimits(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	chat(srv.Server)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	auth := "Bearer " + alice.Access
	first, err := getTicket(t, srv, auth)
	ok(t, err)
	srv.Clock.Advance(pds.TicketLife - 20*time.Second)
	withTicket(t, srv, first).hears()
	late, err := getTicket(t, srv, auth)
	ok(t, err)
	srv.Clock.Advance(pds.TicketLife)
	withTicket(t, srv, late).cut("InvalidToken")

	var tickets []pds.Ticket
	for range pds.MaxTickets {
		ticket, err := getTicket(t, srv, auth)
		ok(t, err)
		tickets = append(tickets, ticket)
	}
	_, err = getTicket(t, srv, auth)
	wantError(t, err, 429, "TooManyTickets")
	_, err = getTicket(t, srv, "Bearer "+bob.Access) // has tickets of their own
	ok(t, err)
	withTicket(t, srv, tickets[0]).hears()
	_, err = getTicket(t, srv, auth)
	ok(t, err)
	srv.Clock.Advance(pds.TicketLife)
	_, err = getTicket(t, srv, auth)
	ok(t, err)
}

func TestTicketForms(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	chat(srv.Server)
	alice := srv.CreateAccount("alice")
	auth := "Bearer " + alice.Access
	for _, lxm := range []string{"com.example.chat.public", "com.example.none", ticketNSID, "com.atproto.sync.subscribeRepos", "com.atproto.repo.createRecord", "x", ""} {
		wantError(t, post(t, srv, ticketNSID, auth, map[string]any{"lxm": lxm}, nil), 400, "InvalidRequest")
	}
	wantError(t, post(t, srv, ticketNSID, "", map[string]any{"lxm": chatNSID}, nil), 401, "AuthMissing")
	wantError(t, post(t, srv, ticketNSID, adminAuth, map[string]any{"lxm": chatNSID}, nil), 403, "Forbidden")

	for _, protocol := range []string{
		pds.TicketProtocol, pds.TicketProtocol + "x", pds.TicketProtocol + strings.Repeat("A", 42), pds.TicketProtocol + strings.Repeat("A", 43),
		pds.TicketProtocol + base64.RawURLEncoding.EncodeToString(make([]byte, 33)), pds.TicketProtocol + strings.Repeat("x", 4000),
	} {
		listen(t, srv, chatNSID, nil, "xrpc.v1.json", protocol).cut("InvalidToken")
	}
	ticket, err := getTicket(t, srv, auth)
	ok(t, err)
	listen(t, srv, chatNSID, nil, "xrpc.v1.json", ticket.Subprotocol, ticket.Subprotocol).cut("InvalidToken")
	// Only offered twice, it was not looked up. In the wrong place it is used up.
	other := "com.example.chat.other"
	srv.Handle(xrpc.Subscription(other, xrpc.Required(nil), func(context.Context, *xrpc.None, *xrpc.Stream) error { return nil }))
	listen(t, srv, other, nil, "xrpc.v1.json", ticket.Subprotocol).cut("InvalidToken")
	withTicket(t, srv, ticket).cut("InvalidToken")
	// It opens no other methods.
	ticket, err = getTicket(t, srv, auth)
	ok(t, err)
	_, err = srv.Call(t.Context(), "GET", "com.atproto.server.getSession", nil, http.Header{"Sec-Websocket-Protocol": {ticket.Subprotocol}}, nil)
	wantError(t, err, 400, "InvalidToken")

	// A header decides alone, whatever is offered.
	ticket, err = getTicket(t, srv, auth)
	ok(t, err)
	l := listen(t, srv, chatNSID, http.Header{"Authorization": {"Bearer x"}}, "xrpc.v1.json", ticket.Subprotocol)
	l.cut("InvalidToken")
	withTicket(t, srv, ticket).hears()
	listen(t, srv, chatNSID, http.Header{"Authorization": {auth}}, "xrpc.v1.json").hears()

	// A subscriber that offers nothing else gets the default protocol.
	ticket, err = getTicket(t, srv, auth)
	ok(t, err)
	l = listen(t, srv, chatNSID, nil, ticket.Subprotocol)
	if got := l.resp.Header.Get("Sec-WebSocket-Protocol"); got != "" || !strings.Contains(l.next(), string(alice.DID)) {
		t.Errorf("protocol %q", got)
	}
}

// What somebody could do is over when what it rests on is: open streams are cut,
// unused tickets are no good, and there are no new ones.
func TestTicketEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, neverPoll)
	ban := chat(srv.Server)
	admin := func(nsid string, in map[string]any) { ok(t, post(t, srv, nsid, adminAuth, in, nil)) }
	appPassword := func(a *pdstest.Account) string {
		var app struct{ Password string }
		a.Post("com.atproto.server.createAppPassword", map[string]any{"name": "chat"}, &app)
		var s struct{ AccessJwt string }
		srv.Post("com.atproto.server.createSession", "", map[string]any{"identifier": a.DID, "password": app.Password}, &s)
		return "Bearer " + s.AccessJwt
	}
	access := func(a *pdstest.Account) string { return "Bearer " + a.Access }
	for name, test := range map[string]struct {
		auth func(a *pdstest.Account) string
		end  func(a *pdstest.Account)
		want string
	}{
		"newpassword": {access, func(a *pdstest.Account) {
			admin("com.atproto.admin.updateAccountPassword", map[string]any{"did": a.DID, "password": "another password"})
		}, "ExpiredToken"},
		"takedown": {access, func(a *pdstest.Account) {
			admin(updateSubjectStatus, map[string]any{"subject": repoRef(a), "takedown": map[string]any{"applied": true}})
		}, "AccountTakedown"},
		"deletion": {access, func(a *pdstest.Account) {
			admin("com.atproto.admin.deleteAccount", map[string]any{"did": a.DID})
		}, "AccountNotFound"},
		"leaver": {access, func(a *pdstest.Account) {
			ok(t, post(t, srv, "com.atproto.server.deleteSession", "Bearer "+a.Refresh, nil, nil))
		}, "ExpiredToken"},
		"appuser": {appPassword, func(a *pdstest.Account) {
			a.Post("com.atproto.server.revokeAppPassword", map[string]any{"name": "chat"}, nil)
		}, "ExpiredToken"},
		"takendownapp": {appPassword, func(a *pdstest.Account) {
			admin(updateSubjectStatus, map[string]any{"subject": repoRef(a), "takedown": map[string]any{"applied": true}})
		}, "AccountTakedown"},
		"banned": {access, func(a *pdstest.Account) {
			ban.Store(a.DID, true)
			srv.Recheck(a.DID)
		}, "Banned"},
	} {
		t.Run(name, func(t *testing.T) {
			a := srv.CreateAccount(name)
			auth := test.auth(a)
			ticket := func() pds.Ticket {
				t.Helper()
				ticket, err := getTicket(t, srv, auth)
				ok(t, err)
				return ticket
			}
			unused := ticket()
			byTicket := withTicket(t, srv, ticket()).hears()
			byHeader := listen(t, srv, chatNSID, http.Header{"Authorization": {auth}}, "xrpc.v1.json").hears()
			test.end(a)
			byTicket.cut(test.want)
			byHeader.cut(test.want)
			want := test.want
			if name == "deletion" {
				want = "InvalidToken" // it is gone with the account
			}
			withTicket(t, srv, unused).cut(want)
			if _, err := getTicket(t, srv, auth); err == nil && name != "banned" {
				t.Error("there is a new ticket")
			}
		})
	}
}

func TestTicketSurvivesRefresh(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, neverPoll)
	chat(srv.Server)
	alice := srv.CreateAccount("alice")
	ticket, err := getTicket(t, srv, "Bearer "+alice.Access)
	ok(t, err)
	var s struct{ AccessJwt string }
	ok(t, post(t, srv, "com.atproto.server.refreshSession", "Bearer "+alice.Refresh, nil, &s))
	l := withTicket(t, srv, ticket).hears()
	srv.Recheck(alice.DID)
	again, err := getTicket(t, srv, "Bearer "+s.AccessJwt)
	ok(t, err)
	withTicket(t, srv, again).hears()
	alice.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	alice.Post("com.atproto.server.activateAccount", nil, nil)
	srv.Recheck(alice.DID)
	ok(t, post(t, srv, "com.atproto.server.deleteSession", "Bearer "+alice.Refresh, nil, nil))
	l.cut("ExpiredToken") // and not before
}

// A rule that looks at the account sees the one of now.
func TestStreamOfDeactivatedAccount(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, neverPoll)
	chat(srv.Server)
	srv.Replace(xrpc.Subscription(chatNSID, srv.OwnMethodRule(), func(ctx context.Context, _ *xrpc.None, s *xrpc.Stream) error {
		if err := s.Send(ctx, "#who", whoMessage{}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}))
	alice := srv.CreateAccount("alice")
	auth := "Bearer " + alice.Access
	ticket, err := getTicket(t, srv, auth)
	ok(t, err)
	unused, err := getTicket(t, srv, auth)
	ok(t, err)
	open := []*listener{withTicket(t, srv, ticket).hears(), listen(t, srv, chatNSID, http.Header{"Authorization": {auth}}, "xrpc.v1.json").hears()}
	alice.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	for _, l := range open {
		l.cut("AccountDeactivated")
	}
	withTicket(t, srv, unused).cut("AccountDeactivated")
}

// A ticket that was not used is good after a restart.
func TestTicketSurvivesRestart(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	chat(srv.Server)
	ticket, err := getTicket(t, srv, "Bearer "+srv.CreateAccount("alice").Access)
	ok(t, err)
	again, err := pds.New(srv.Config)
	ok(t, err)
	chat(again)
	web := httptest.NewServer(again)
	t.Cleanup(web.Close)
	t.Cleanup(func() { ok(t, again.Shutdown(context.WithoutCancel(t.Context()))) })
	other := *srv
	other.Server, other.URL = again, web.URL
	withTicket(t, &other, ticket).hears()
	withTicket(t, srv, ticket).cut("InvalidToken")
}

// Members of other servers come by a service token, which gives one ticket.
func TestTicketByServiceToken(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, neverPoll)
	ban := chat(srv.Server)
	home := srv.Another()
	bob := home.CreateAccount("bob")
	token := func() string {
		t.Helper()
		var out struct{ Token string }
		bob.Get("com.atproto.server.getServiceAuth", url.Values{"aud": {serviceDID(srv)}, "lxm": {ticketNSID}}, &out)
		return "Bearer " + out.Token
	}
	auth := token()
	ticket, err := getTicket(t, srv, auth)
	ok(t, err)
	_, err = getTicket(t, srv, auth)
	wantError(t, err, 401, "BadJwt")
	l := withTicket(t, srv, ticket)
	if got := l.next(); !strings.Contains(got, `"actor":"`+string(bob.DID)+`","client":"","kind":"ticket","origin":"service"`) {
		t.Errorf("frame %s", got)
	}
	unused, err := getTicket(t, srv, token())
	ok(t, err)
	ban.Store(bob.DID, true)
	srv.Recheck(bob.DID)
	l.cut("Banned")
	withTicket(t, srv, unused).cut("Banned")
	ban.Clear()

	// Nobody tells when a session elsewhere ends.
	ticket, err = getTicket(t, srv, token())
	ok(t, err)
	l = withTicket(t, srv, ticket).hears()
	srv.Clock.Advance(pds.ServiceStreamLife - pds.TicketLife)
	srv.Recheck(bob.DID)
	again, err := getTicket(t, srv, token())
	ok(t, err)
	withTicket(t, srv, again).hears()
	srv.Clock.Advance(pds.TicketLife)
	srv.Recheck(bob.DID)
	l.cut("JwtExpired")
}

func TestTicketByOAuth(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, neverPoll)
	chat(srv.Server)
	alice := srv.CreateAccount("alice")
	aud := url.QueryEscape(serviceDID(srv))
	ask := func(p *person) (out pds.Ticket, err error) {
		t.Helper()
		err = p.call("POST", ticketNSID, nil, map[string]any{"lxm": chatNSID}, &out)
		return out, err
	}
	for _, scope := range []string{"atproto", "atproto transition:generic", "atproto repo:*", "atproto rpc:com.example.chat.other?aud=*", "atproto rpc:" + chatNSID + "?aud=did:web:other.test"} {
		app := newPerson(t, srv, scope)
		app.signIn(alice)
		_, err := ask(app)
		wantError(t, err, 403, "ScopeMissingError")
	}
	app := newPerson(t, srv, "atproto rpc:"+chatNSID+"?aud="+aud+"%23atproto_pds")
	app.signIn(alice)
	ticket, err := ask(app)
	ok(t, err)
	l := withTicket(t, srv, ticket)
	if got := l.next(); !strings.Contains(got, `"kind":"ticket","origin":"oauth"`) || !strings.Contains(got, "http://localhost") || !strings.Contains(got, "rpc:"+chatNSID) {
		t.Errorf("frame %s", got)
	}
	unused, err := ask(app)
	ok(t, err)
	if status, code := app.refresh(); status != 200 {
		t.Fatalf("refresh: %d %s", status, code)
	}
	srv.Recheck(alice.DID)
	if status, _ := app.send("/oauth/revoke", url.Values{"client_id": {app.clientID()}, "token": {app.tokens.Access}}, new(any)); status != 200 {
		t.Fatalf("revoke: %d", status)
	}
	l.cut("invalid_token")
	withTicket(t, srv, unused).cut("invalid_token")

	// By the account manager, and with the password.
	// In this order: the second takes away the password that the first needs.
	for _, way := range []struct {
		name string
		end  func()
	}{
		{"ended", func() {
			sessions, err := srv.OAuth().Sessions(t.Context(), alice.DID)
			ok(t, err)
			for _, s := range sessions {
				ok(t, srv.OAuth().EndSession(t.Context(), alice.DID, s.ID))
			}
		}},
		{"password", func() {
			ok(t, post(t, srv, "com.atproto.admin.updateAccountPassword", adminAuth, map[string]any{"did": alice.DID, "password": "another password"}, nil))
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			app := newPerson(t, srv, "atproto rpc:*?aud="+aud+"%23atproto_pds")
			app.signIn(alice)
			ticket, err := ask(app)
			ok(t, err)
			unused, err := ask(app)
			ok(t, err)
			l := withTicket(t, srv, ticket).hears()
			way.end()
			l.cut("invalid_token")
			withTicket(t, srv, unused).cut("invalid_token")
		})
	}
}
