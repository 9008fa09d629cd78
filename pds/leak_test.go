package pds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/metrics"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// openMark is a text of public things. Every output that could show a secret
// shows it, or something else that is public.
const openMark = "mark00open"

// openNSID is a public method of the embedder.
const openNSID = "com.example." + openMark

// village is a server on which a group, its members and their private room have
// left secrets everywhere.
type village struct {
	*house
	view         *fakeService
	log, trace   *logLines
	registry     *prometheus.Registry
	alice, carol *pdstest.Account // a member, and somebody else
	bob          *pdstest.Account // a member with an account elsewhere
	group        *pdstest.Account
	blobs        []string // CIDs, of public and private ones

	secrets []secret
	inside  []string // what those who may see the secrets see
}

// plant makes a secret: a text that stands nowhere but where it is put.
func (v *village) plant(what string) string {
	text := mark(strings.ReplaceAll(what, " ", ""), len(v.secrets)+1)
	v.keep(what, text)
	return text
}

// keep declares something secret that the server or its owner has made.
func (v *village) keep(what, text string) {
	v.t.Helper()
	if len(text) < 8 {
		v.t.Fatalf("%s is %q", what, text)
	}
	v.secrets = append(v.secrets, secret{what: what, text: text})
}

// see notes what somebody sees who may.
func (v *village) see(x any, err error) {
	v.t.Helper()
	ok(v.t, err)
	text, err := json.Marshal(x)
	ok(v.t, err)
	v.inside = append(v.inside, string(text))
}

func newVillage(t *testing.T) *village {
	t.Helper()
	v := &village{view: newService(t, answering(200, "application/json", "{}")), log: new(logLines), trace: new(logLines), registry: prometheus.NewRegistry()}
	m := metrics.New()
	v.house, v.group = newOpenHouse(t, nil, withAppView(v.view), func(c *pds.Config) {
		c.Logger = slog.New(slog.NewTextHandler(v.log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
		c.OnServed, c.Tracer = m.OnServed, v.trace
		c.Info.Name = openMark
		c.Policy = pds.PolicyFunc(keepLedger)
		c.SignInAlerts = true
	})
	ok(t, m.Register(v.registry, v.Server))
	v.alice, v.carol, v.bob = v.CreateAccount("alice"), v.CreateAccount("carol"), v.Another().CreateAccount("bob")
	v.Handle(
		xrpc.Query(openNSID, xrpc.Public(), func(context.Context, *xrpc.None) (*map[string]string, error) {
			return &map[string]string{"text": openMark}, nil
		}),
		xrpc.Subscription(watchNSID, xrpc.Public(), func(ctx context.Context, p *watchParams, stream *xrpc.Stream) error {
			members := func(context.Context) error { return xrpc.Forbidden("members only") }
			return v.ServeTopic(ctx, stream, p.Topic, members, live.Options{Cursor: p.Cursor, Client: p.Client})
		}),
	)
	chat(v.Server)
	v.plantRoles()
	v.plantActs()
	v.plantRoom()
	v.plantState()
	v.plantAccounts()
	v.plantBlobs()
	v.plantCredentials()
	return v
}

const (
	ledgerMark  = "mark98ledger"  // in a policy's documents
	unluckyMark = "mark99unlucky" // in a policy's error
)

// keepLedger is a policy that writes a document about each commit, and fails for
// some.
func keepLedger(_ context.Context, w *pds.Write) error {
	for _, op := range w.Ops {
		if op.RKey == "unlucky" {
			return errors.New("the policy says " + unluckyMark)
		}
	}
	if len(w.Ops) == 0 {
		return nil
	}
	return w.State.PutJSON(pds.DocumentKey{Kind: "com.example.ledger", Owner: w.Account, Key: "last"}, ledgerMark)
}

// plantRoles gives members roles. Their scopes name secrets, and so do the
// documents of memberships.
func (v *village) plantRoles() {
	v.role(v.alice.DID, "repo:"+noteCollection, "blob:*/*", "repo:com.example."+v.plant("role"))
	v.role(v.bob.DID, "repo:"+noteCollection)
	key := pds.DocumentKey{Kind: "com.example.member", Owner: v.group.DID, Key: v.plant("membership")}
	ok(v.t, v.Update(v.t.Context(), func(st *pds.State) error {
		return st.PutJSON(key, map[string]string{"nickname": v.plant("nickname")})
	}))
	ok(v.t, v.View(v.t.Context(), func(st *pds.State) error {
		for _, kind := range []string{roleKind, key.Kind} {
			docs, err := st.Scan(kind, v.group.DID, storage.Scan{Limit: 10})
			if err != nil {
				return err
			}
			for _, d := range docs {
				v.inside = append(v.inside, d.Key, string(d.Value))
			}
		}
		return nil
	}))
}

// plantActs lets members, and code in the process, act for the group, in every
// way there is.
func (v *village) plantActs() {
	// Of somebody who never called a method here, nothing is known outside.
	rec, err := repo.RecordFromValue(map[string]any{"text": openMark}, noteCollection)
	ok(v.t, err)
	_, err = v.Apply(v.t.Context(), pds.Batch{
		Account: v.group.DID, Actor: syntax.DID("did:web:" + v.plant("actor") + ".example"), Client: "https://" + v.plant("client") + ".example/app",
		Ops: []pds.Op{{Action: pds.Create, Collection: noteCollection, RKey: openMark, Record: rec}},
	})
	ok(v.t, err)
	// By an alias, from another server.
	create := aliasName + ".createRecord"
	token := v.serviceToken(v.bob, create)
	v.keep("a service token", strings.TrimPrefix(token, "Bearer "))
	ok(v.t, v.write(create, token))
	wantError(v.t, v.write(aliasName+".deleteRecord", v.serviceToken(v.bob, aliasName+".deleteRecord")), 400, "InvalidRequest")
	v.role(v.bob.DID)
	wantError(v.t, v.write(create, v.serviceToken(v.bob, create)), 403, "ActorNotPermitted")
	v.keep("the handle of a member elsewhere", string(v.bob.Handle))
	// As the group, by an app.
	app := newPerson(v.t, v.PDS, "atproto repo:* repo:com.example."+v.plant("app"))
	app.signInAs(v.group, v.alice)
	ok(v.t, app.write(noteCollection))
	wantError(v.t, app.write("com.example.other"), 403, "ScopeMissingError")
	v.keep("an access token", app.tokens.Access)
	v.keep("a refresh token", app.tokens.Refresh)
	v.keep("a code verifier", app.secret)
	v.keep("an authorization code", app.code)
	site, err := url.Parse(v.URL + "/oauth/authorize")
	ok(v.t, err)
	cookies := app.browser.Jar.Cookies(site)
	if len(cookies) == 0 {
		v.t.Error("the browser has no cookie")
	}
	for _, c := range cookies {
		v.keep("the cookie "+c.Name, c.Value)
	}

	for _, refused := range []bool{false, true} {
		v.see(v.Acts(v.t.Context(), v.group.DID, pds.ActQuery{Refused: refused}))
	}
	// Whose acts they are may be said of nobody: where the group is shown, no
	// member is. Logs and traces name who calls.
	aboutGroup := func(o output) bool { return shows(o.text+o.what, string(v.group.DID)) }
	v.secrets = append(v.secrets,
		secret{"a member who acts, from elsewhere", string(v.bob.DID), func(o output) bool { return (o.sink == "log" || o.sink == "trace") && !aboutGroup(o) }},
		secret{"a member who acts", string(v.alice.DID), func(o output) bool { return !aboutGroup(o) || strings.Contains(o.what, listRepos) }},
	)
}

const listRepos = "com.atproto.sync.listRepos"

// plantRoom makes a private room with messages and presence.
func (v *village) plantRoom() {
	hub, topic := v.Live(), "com.example.room/"+v.plant("room")
	ok(v.t, v.Update(v.t.Context(), func(st *pds.State) error {
		return errors.Join(st.CreateTopic(live.Topic{Name: topic}), st.Publish(topic, map[string]string{"text": v.plant("message")}))
	}))
	_, err := hub.Publish(v.t.Context(), topic, map[string]string{"text": v.plant("second message")})
	ok(v.t, err)
	v.see(hub.Page(v.t.Context(), topic, live.Query{}))
	ok(v.t, hub.Redact(v.t.Context(), topic, 2))
	ok(v.t, hub.Signal(topic, "typing/"+v.plant("typist"), map[string]string{"mood": v.plant("mood")}, 5*time.Minute))
	v.see(hub.Signals(topic), nil)
}

// plantState leaves documents of policies, jobs and their failures, and what an
// observer sees.
func (v *village) plantState() {
	v.secrets = append(v.secrets,
		secret{"a policy's document", ledgerMark, nil},
		secret{"a policy's error", unluckyMark, func(o output) bool { return o.sink == "log" }},
	)
	_, err := write(v.t, v.alice, createRecord, map[string]any{"collection": noteCollection, "rkey": "unlucky", "record": map[string]any{}})
	wantError(v.t, err, 500, "InternalServerError")
	v.inside = append(v.inside, unluckyMark)
	ok(v.t, v.View(v.t.Context(), func(st *pds.State) error {
		d, err := st.Get(pds.DocumentKey{Kind: "com.example.ledger", Owner: v.group.DID, Key: "last"})
		v.inside = append(v.inside, string(d.Value))
		return err
	}))

	v.HandleJobs(pds.JobHandler{Kind: "com.example.chore", Run: func(_ context.Context, j pds.Job) error {
		v.inside = append(v.inside, string(j.Data))
		return errors.New("not today")
	}})
	ok(v.t, v.Schedule(v.t.Context(), pds.Job{Kind: "com.example.chore", Name: "one", Owner: v.group.DID, Data: json.RawMessage(`"` + v.plant("chore") + `"`)}))
	v.RunJobs()

	var seen notebook
	v.Observe("com.example.index", seen.observe)
	v.see(seen.wait(v.t, v.PDS), nil)
}

// plantAccounts leaves what only the owner of an account and its server know.
func (v *village) plantAccounts() {
	for _, a := range []*pdstest.Account{v.alice, v.bob} {
		v.keep("an address", a.Email)
		v.keep("a password", a.Password)
	}
	full := "Bearer " + v.alice.Access
	ok(v.t, setPreferences(v.t, v.PDS, full, "["+pref("savedFeedsPref", `,"pinned":[],"saved":["at://did:web:x.example/app.bsky.feed.generator/`+v.plant("preference")+`"]`)+"]"))
	v.inside = append(v.inside, preferences(v.t, v.PDS, full, nil))
	// Of moderation: why something was taken down, and who did what.
	takedown := map[string]any{"subject": repoRef(v.CreateAccount("dave")), "takedown": map[string]any{"applied": true, "ref": v.plant("takedown")}}
	ok(v.t, post(v.t, v.PDS, updateSubjectStatus, adminAuth, takedown, nil))
	ok(v.t, v.Audit(v.t.Context(), pds.AuditEntry{Actor: "admin", Action: "look", Detail: v.plant("audit")}, func(context.Context) error { return nil }))
	v.see(v.AuditLog(v.t.Context(), 0, 100))
}

// plantBlobs leaves a public blob, and one that no public record refers to.
func (v *village) plantBlobs() {
	hidden := v.plant("blob")
	v.inside = append(v.inside, hidden)
	mustUpload(v.t, v.alice, "text/plain", hidden)
	mustUpload(v.t, v.alice, "text/plain", openMark)
	mustWrite(v.t, v.alice, createRecord, map[string]any{"collection": noteCollection, "rkey": openMark, "record": map[string]any{
		"text": openMark, "file": blobRef(rawCID(openMark), "text/plain", len(openMark)),
	}})
	v.blobs = []string{rawCID(openMark), rawCID(hidden)}
}

// plantCredentials uses every kind of credential, rightly and wrongly.
func (v *village) plantCredentials() {
	auth, wrong := "Bearer "+v.alice.Access, v.plant("wrong password")
	v.inside = append(v.inside, wrong)
	v.keep("a session's token", v.alice.Access)
	v.keep("a session's refresh token", v.alice.Refresh)
	v.keep("the administrator's password", pdstest.AdminPassword)
	v.keep("the header of an administrator", strings.TrimPrefix(adminAuth, "Basic "))
	v.keep("the server's secret", string(v.Config.Secret))

	app := newAppPassword(v.t, v.alice, "plain", false)
	v.keep("an app password", app)
	session := login(v.t, v.PDS, string(v.alice.Handle), app)
	v.keep("a token of an app password", session.AccessJwt)
	v.keep("a refresh token of an app password", session.RefreshJwt)
	wantError(v.t, post(v.t, v.PDS, createSession, "", map[string]any{"identifier": v.alice.Email, "password": wrong}, nil), 401, "AuthenticationRequired")
	_, err := refresh(v.t, v.PDS, v.alice.Refresh+"x")
	wantError(v.t, err, 400, "InvalidToken")
	newPerson(v.t, v.PDS, "atproto").submitWrong(v.alice, wrong)

	var invite struct{ Code string }
	ok(v.t, post(v.t, v.PDS, "com.atproto.server.createInviteCode", adminAuth, map[string]any{"useCount": 1}, &invite))
	v.keep("an invite code", invite.Code)
	codes, err := v.CreateInvites(v.t.Context(), 1, 1)
	ok(v.t, err)
	v.keep("an invite code of the program", codes[0])
	for method, in := range map[string]any{
		"com.atproto.server.requestEmailConfirmation":       nil,
		"com.atproto.server.requestPasswordReset":           map[string]any{"email": v.alice.Email},
		"com.atproto.server.requestAccountDelete":           nil,
		"com.atproto.identity.requestPlcOperationSignature": nil,
	} {
		ok(v.t, post(v.t, v.PDS, method, auth, in, nil))
		v.keep("the code of "+method, v.Mail.Code(v.alice.Email))
	}
	ok(v.t, post(v.t, v.PDS, "com.atproto.server.requestEmailConfirmation", auth, nil, nil))
	ok(v.t, post(v.t, v.PDS, "com.atproto.server.confirmEmail", auth, map[string]any{"email": v.alice.Email, "token": v.Mail.Code(v.alice.Email)}, nil))
	ok(v.t, post(v.t, v.PDS, "com.atproto.server.requestEmailUpdate", auth, nil, nil))
	v.keep("a code for another address", v.Mail.Code(v.alice.Email))
	for _, spent := range []bool{false, true} {
		ticket, err := getTicket(v.t, v.PDS, auth)
		ok(v.t, err)
		v.keep("a ticket", strings.TrimPrefix(ticket.Subprotocol, pds.TicketProtocol))
		if spent {
			ok(v.t, withTicket(v.t, v.PDS, ticket).hears().conn.CloseNow())
			if got := withTicket(v.t, v.PDS, ticket).next(); !strings.Contains(got, "InvalidToken") {
				v.t.Errorf("a spent ticket: %s", got)
			}
		}
	}
	wantError(v.t, post(v.t, v.PDS, "com.atproto.server.resetPassword", "", map[string]any{"token": "ABCDE-FGHIJ", "password": wrong}, nil), 400, "InvalidToken")
}

// submitWrong tries to sign an account in with a password that is not its own.
func (p *person) submitWrong(a *pdstest.Account, password string) {
	p.t.Helper()
	values := url.Values{"identifier": {a.Email}, "password": {password}}
	if pg := p.submit(p.signInPage(), "/sign-in", values); pg.status == http.StatusOK {
		p.t.Errorf("a wrong password signs in: %s", pg.text)
	}
}

// Nothing of what is planted stands in anything that others get to see.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	v := newVillage(t)
	for _, s := range v.secrets {
		if strings.HasPrefix(s.text, "mark") && !shows(fmt.Sprint(v.inside), s.text) {
			t.Errorf("%s was not planted", s.what)
		}
	}
	out := new(outputs)
	s := &scan{village: v, out: out, mallory: v.CreateAccount("mallory")}
	s.queries()
	s.subscriptions()
	s.procedures()
	s.routes()
	s.pages()
	s.directory()
	s.metrics()
	s.rest()
	out.check(t, v.secrets)

	did := string(v.group.DID)
	for _, c := range []struct{ sink, what, text string }{
		{"answer", "com.atproto.repo.getRecord", openMark},
		{"answer", "com.atproto.repo.listRecords", openMark},
		{"answer", "com.atproto.sync.getRecord", openMark},
		{"answer", "com.atproto.sync.getRepo", openMark},
		{"answer", "com.atproto.sync.getBlocks", openMark},
		{"answer", "com.atproto.sync.getBlob", openMark},
		{"answer", "com.atproto.sync.listBlobs", v.blobs[0]},
		{"answer", "com.atproto.repo.describeRepo", did},
		{"answer", listRepos, did},
		{"answer", openNSID, openMark},
		{"refusal", "com.atproto.repo.createRecord", "error"},
		{"refusal", "com.atproto.admin.deleteAccount", "error"},
		{"firehose", "", openMark},
		{"stream", watchNSID, "Forbidden"},
		{"route", "/.well-known/atproto-did", did},
		{"route", "/admin/jobs", "AuthenticationRequired"},
		{"page", "/account", "carol.test"},
		{"page", "/oauth/authorize", openMark},
		{"directory", "", did},
		{"metrics", "", openNSID},
		{"log", "", openNSID},
		{"trace", "", openNSID},
		{"app view", "", did},
	} {
		out.wantIn(t, c.sink, c.what, c.text)
	}
}
