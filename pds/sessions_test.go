package pds_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

const (
	createSession  = "com.atproto.server.createSession"
	refreshSession = "com.atproto.server.refreshSession"
	deleteSession  = "com.atproto.server.deleteSession"
	getSession     = "com.atproto.server.getSession"
)

// sessionAnswer is what the session methods answer.
type sessionAnswer struct {
	AccessJwt, RefreshJwt string
	DID                   syntax.DID
	Handle                string
	Email                 string
	EmailConfirmed        *bool
	Active                bool
	Status                string
	DidDoc                map[string]any
}

func (a *sessionAnswer) access() string  { return "Bearer " + a.AccessJwt }
func (a *sessionAnswer) refresh() string { return "Bearer " + a.RefreshJwt }

// login signs in and fails the test unless that works.
func login(t *testing.T, srv *pdstest.PDS, identifier, password string) *sessionAnswer {
	t.Helper()
	out := new(sessionAnswer)
	ok(t, post(t, srv, createSession, "", map[string]any{"identifier": identifier, "password": password}, out))
	return out
}

// refresh uses a refresh token.
func refresh(t *testing.T, srv *pdstest.PDS, token string) (*sessionAnswer, error) {
	t.Helper()
	out := new(sessionAnswer)
	return out, post(t, srv, refreshSession, "Bearer "+token, nil, out)
}

// claimsOf decodes the payload of a token without looking at its signature.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	return segmentOf(t, token, 1)
}

func segmentOf(t *testing.T, token string, i int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[i])
	ok(t, err)
	var out map[string]any
	ok(t, json.Unmarshal(data, &out))
	return out
}

// sessionDocs returns the documents of an account's sessions.
func sessionDocs(t *testing.T, srv *pdstest.PDS, did syntax.DID) (docs []storage.Doc) {
	t.Helper()
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		docs, err = tx.ScanOwner(did, "session")
		return err
	}))
	return docs
}

// editAccount changes the row of an account behind the server's back.
func editAccount(t *testing.T, srv *pdstest.PDS, did syntax.DID, edit func(*storage.Account)) {
	t.Helper()
	ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		a, err := tx.Account(did)
		if err != nil {
			return err
		}
		edit(&a)
		_, err = tx.PutAccount(a)
		return err
	}))
}

func setTakedown(t *testing.T, srv *pdstest.PDS, did syntax.DID, applied bool) {
	t.Helper()
	ok(t, post(t, srv, "com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": did},
		"takedown": map[string]any{"applied": applied},
	}, nil))
}

func TestLoginByHandleDIDAndEmail(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for _, identifier := range []string{
		string(alice.Handle), strings.ToUpper(string(alice.Handle)), string(alice.DID), strings.ToUpper(string(alice.DID)),
		alice.Email, strings.ToUpper(alice.Email),
	} {
		s := login(t, srv, identifier, alice.Password)
		if s.DID != alice.DID || s.Handle != string(alice.Handle) || s.Email != alice.Email || s.EmailConfirmed == nil ||
			*s.EmailConfirmed || !s.Active || s.Status != "" || s.DidDoc != nil {
			t.Errorf("login as %s: %+v", identifier, s)
		}
		var info sessionAnswer
		ok(t, get(t, srv, getSession, s.access(), nil, &info))
		if info.DID != alice.DID || info.Handle != s.Handle || info.Email != alice.Email || !info.Active {
			t.Errorf("getSession after login as %s: %+v", identifier, info)
		}
	}
}

func TestSessionTokenForm(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	s := login(t, srv, string(alice.DID), alice.Password)
	if h := segmentOf(t, s.AccessJwt, 0); h["typ"] != "at+jwt" || h["alg"] != "HS256" {
		t.Errorf("access header %v", h)
	}
	if h := segmentOf(t, s.RefreshJwt, 0); h["typ"] != "refresh+jwt" || h["alg"] != "HS256" {
		t.Errorf("refresh header %v", h)
	}
	service := "did:web:" + strings.ReplaceAll(strings.TrimPrefix(srv.URL, "http://"), ":", "%3A")
	access, refresh := claimsOf(t, s.AccessJwt), claimsOf(t, s.RefreshJwt)
	for _, c := range []map[string]any{access, refresh} {
		if c["aud"] != service || c["sub"] != string(alice.DID) {
			t.Errorf("claims %v", c)
		}
	}
	if access["scope"] != "com.atproto.access" || access["exp"].(float64)-access["iat"].(float64) != 7200 {
		t.Errorf("access claims %v", access)
	}
	if refresh["scope"] != "com.atproto.refresh" || refresh["exp"].(float64)-refresh["iat"].(float64) != 90*24*3600 {
		t.Errorf("refresh claims %v", refresh)
	}
	if id, err := base64.RawStdEncoding.DecodeString(refresh["jti"].(string)); err != nil || len(id) != 32 {
		t.Errorf("jti %v: %d bytes, %v", refresh["jti"], len(id), err)
	}
}

func TestSameAnswerForUnknownUserAndWrongPassword(t *testing.T) {
	t.Parallel()
	const floor = 60 * time.Millisecond
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.LoginFloor = floor })
	alice, gone := srv.CreateAccount("alice"), srv.CreateAccount("gone")
	group, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "crew" + srv.Config.HandleDomains[0]})
	ok(t, err)
	app := newAppPassword(t, gone, "phone", false)
	setTakedown(t, srv, gone.DID, true)
	want := ""
	for _, c := range []struct{ name, identifier, password string }{
		{"wrong password", string(alice.Handle), "wrong"},
		{"no such handle", "nobody.test", "wrong"},
		{"no such handle, password like an app password", "nobody.test", "aaaa-bbbb-cccc-dddd"},
		{"wrong app password", string(alice.Handle), "aaaa-bbbb-cccc-dddd"},
		{"no such DID", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "wrong"},
		{"no such address", "nobody@example.com", "wrong"},
		{"not an identifier", "???", "wrong"},
		{"empty", "", ""},
		{"empty password", string(alice.Handle), ""},
		{"account without password", string(group.Handle), ""},
		{"password of 513 characters", string(alice.Handle), strings.Repeat("x", 513)},
		{"wrong password of 512 characters", string(alice.Handle), strings.Repeat("x", 512)},
		{"taken down, wrong password", string(gone.Handle), "wrong"},
		{"taken down, app password", string(gone.Handle), app},
	} {
		began := time.Now()
		_, err := srv.Call(t.Context(), http.MethodPost, createSession, nil, nil,
			map[string]any{"identifier": c.identifier, "password": c.password, "allowTakendown": true})
		took := time.Since(began)
		var e *pdstest.Error
		if !errors.As(err, &e) || e.Status != 401 {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if want == "" {
			want = e.Error()
		}
		if e.Error() != want || want != "401 AuthenticationRequired: Invalid identifier or password" {
			t.Errorf("%s: %v, want %s", c.name, err, want)
		}
		if took < floor {
			t.Errorf("%s: refused after %v, before %v", c.name, took, floor)
		}
	}
}

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	first := login(t, srv, string(alice.DID), alice.Password)

	second, err := refresh(t, srv, first.RefreshJwt)
	ok(t, err)
	if second.DID != alice.DID || second.Handle != string(alice.Handle) || second.Email != alice.Email || !second.Active {
		t.Errorf("refresh answered %+v", second)
	}
	next := claimsOf(t, second.RefreshJwt)["jti"]
	if next == claimsOf(t, first.RefreshJwt)["jti"] {
		t.Error("the refresh token was not rotated")
	}
	ok(t, get(t, srv, getSession, second.access(), nil, nil))
	ok(t, get(t, srv, getSession, first.access(), nil, nil))

	// In its grace the old token gives the same next one.
	srv.Clock.Advance(2*time.Hour - time.Minute)
	again, err := refresh(t, srv, first.RefreshJwt)
	ok(t, err)
	if got := claimsOf(t, again.RefreshJwt)["jti"]; got != next {
		t.Errorf("reuse gave %v, before %v", got, next)
	}
	// Reuse does not prolong the grace.
	srv.Clock.Advance(2 * time.Minute)
	_, err = refresh(t, srv, first.RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")

	third, err := refresh(t, srv, again.RefreshJwt)
	ok(t, err)
	srv.Clock.Advance(90*24*time.Hour + time.Second)
	_, err = refresh(t, srv, third.RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")
	wantError(t, get(t, srv, getSession, third.access(), nil, nil), 400, "ExpiredToken")
	// An expired token may still end its session.
	ok(t, post(t, srv, deleteSession, third.refresh(), nil, nil))
}

func TestRefreshTokenLifeBoundsItsGrace(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	first := login(t, srv, string(alice.DID), alice.Password)
	srv.Clock.Advance(90*24*time.Hour - time.Hour)
	_, err := refresh(t, srv, first.RefreshJwt)
	ok(t, err)
	srv.Clock.Advance(time.Hour)
	_, err = refresh(t, srv, first.RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")
}

func TestDeleteSession(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	first := login(t, srv, string(alice.DID), alice.Password)
	other := login(t, srv, string(alice.DID), alice.Password)
	second, err := refresh(t, srv, first.RefreshJwt)
	ok(t, err)
	for range 2 { // it is idempotent
		ok(t, post(t, srv, deleteSession, second.refresh(), nil, nil))
	}
	// The used token, still in its grace, does not bring the session back.
	for _, token := range []string{second.RefreshJwt, first.RefreshJwt} {
		_, err = refresh(t, srv, token)
		wantError(t, err, 400, "ExpiredToken")
	}
	_, err = refresh(t, srv, other.RefreshJwt)
	ok(t, err)
	wantError(t, post(t, srv, deleteSession, other.access(), nil, nil), 400, "InvalidToken")
	wantError(t, post(t, srv, deleteSession, "", nil, nil), 401, "AuthMissing")
}

func TestRefreshRaces(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	before := len(sessionDocs(t, srv, alice.DID))
	s := login(t, srv, string(alice.DID), alice.Password)
	var mu sync.Mutex // guards following field
	ids := map[any]int{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			data, err := srv.Call(context.WithoutCancel(t.Context()), http.MethodPost, refreshSession, nil,
				http.Header{"Authorization": {s.refresh()}}, nil)
			var out sessionAnswer
			if err == nil {
				err = json.Unmarshal(data, &out)
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[claimsOf(t, out.RefreshJwt)["jti"]]++
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("%d different tokens: %v", len(ids), ids)
	}
	if got := len(sessionDocs(t, srv, alice.DID)); got != before+1 {
		t.Errorf("%d stored sessions, want %d", got, before+1)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.Sessions = 3 })
	alice := srv.CreateAccount("alice")
	var sessions []*sessionAnswer
	for range 4 {
		srv.Clock.Advance(time.Second)
		sessions = append(sessions, login(t, srv, string(alice.DID), alice.Password))
	}
	if got := len(sessionDocs(t, srv, alice.DID)); got != 3 {
		t.Errorf("%d stored sessions, want 3", got)
	}
	_, err := refresh(t, srv, sessions[0].RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")
	for _, s := range sessions[1:] {
		_, err := refresh(t, srv, s.RefreshJwt)
		ok(t, err)
	}

	// However often a session is refreshed, it is one document of bounded size,
	// and the last 16 used tokens are good for another use.
	tokens := []string{sessions[3].RefreshJwt}
	for range 20 {
		s, err := refresh(t, srv, tokens[len(tokens)-1])
		ok(t, err)
		tokens = append(tokens, s.RefreshJwt)
	}
	for i, token := range tokens[:20] {
		_, err := refresh(t, srv, token)
		if i < 20-16 {
			wantError(t, err, 400, "ExpiredToken")
		} else if err != nil {
			t.Errorf("token %d of %d: %v", i, len(tokens), err)
		}
	}
	for _, d := range sessionDocs(t, srv, alice.DID) {
		if len(d.Value) > 1024 {
			t.Errorf("a session of %d bytes", len(d.Value))
		}
	}
}

// A server restored from a backup does not know the last tokens that it gave
// out; the session goes on.
func TestRefreshAfterRestore(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	first := login(t, srv, string(alice.DID), alice.Password)
	key := claimsOf(t, first.RefreshJwt)["jti"].(string)
	var backup storage.Doc
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		backup, err = tx.GetDoc("session", key)
		return err
	}))
	second, err := refresh(t, srv, first.RefreshJwt)
	ok(t, err)
	third, err := refresh(t, srv, second.RefreshJwt)
	ok(t, err)
	ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		now, err := tx.GetDoc("session", key)
		if err != nil {
			return err
		}
		now.Value = backup.Value
		_, err = tx.PutDoc(now)
		return err
	}))
	_, err = refresh(t, srv, third.RefreshJwt)
	ok(t, err)
}

func TestAccessTokenCannotRefreshNorRefreshTokenCall(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	s := login(t, srv, string(alice.DID), alice.Password)
	_, err := refresh(t, srv, s.AccessJwt)
	wantError(t, err, 400, "InvalidToken")
	wantError(t, get(t, srv, getSession, s.refresh(), nil, nil), 400, "InvalidToken")
	wantError(t, post(t, srv, "com.atproto.repo.createRecord", s.refresh(), map[string]any{
		"repo": alice.DID, "collection": "com.example.note", "record": map[string]any{},
	}, nil), 400, "InvalidToken")
}

func TestTakedownEndsSessions(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	s := login(t, srv, string(alice.DID), alice.Password)
	setTakedown(t, srv, alice.DID, true)
	wantError(t, get(t, srv, getSession, s.access(), nil, nil), 401, "AccountTakedown")
	_, err := refresh(t, srv, s.RefreshJwt)
	wantError(t, err, 401, "AccountTakedown")
	in := map[string]any{"identifier": alice.Handle, "password": alice.Password}
	wantError(t, post(t, srv, createSession, "", in, nil), 401, "AccountTakedown")

	// On request there are tokens, which open only the way out.
	in["allowTakendown"] = true
	var narrow sessionAnswer
	ok(t, post(t, srv, createSession, "", in, &narrow))
	if narrow.Active || narrow.Status != "takendown" || claimsOf(t, narrow.AccessJwt)["scope"] != "com.atproto.takendown" {
		t.Errorf("narrow session %+v, %v", narrow, claimsOf(t, narrow.AccessJwt))
	}
	_, err = refresh(t, srv, narrow.RefreshJwt)
	wantError(t, err, 401, "AccountTakedown")
	wantError(t, get(t, srv, getSession, narrow.access(), nil, nil), 400, "InvalidToken")
	ok(t, get(t, srv, "com.atproto.sync.getRepo", narrow.access(), url.Values{"did": {string(alice.DID)}}, nil))
	wantError(t, get(t, srv, "com.atproto.sync.getLatestCommit", narrow.access(),
		url.Values{"did": {string(alice.DID)}}, nil), 400, "InvalidToken")
	auth := func(lxm string) error {
		params := url.Values{"aud": {"did:web:pds.example.com"}}
		if lxm != "" {
			params.Set("lxm", lxm)
		}
		return get(t, srv, "com.atproto.server.getServiceAuth", narrow.access(), params, nil)
	}
	ok(t, auth("com.atproto.server.createAccount"))
	wantError(t, auth("app.bsky.feed.getFeed"), 400, "InvalidToken")
	wantError(t, auth(""), 400, "InvalidToken")

	// Neither the old tokens nor the narrow ones come back with the account.
	setTakedown(t, srv, alice.DID, false)
	wantError(t, get(t, srv, getSession, s.access(), nil, nil), 400, "ExpiredToken")
	for _, token := range []string{s.RefreshJwt, narrow.RefreshJwt} {
		_, err = refresh(t, srv, token)
		wantError(t, err, 400, "ExpiredToken")
	}
	ok(t, get(t, srv, getSession, login(t, srv, string(alice.DID), alice.Password).access(), nil, nil))
}

func TestEpochCutsLiveTokens(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	s := login(t, srv, string(alice.DID), alice.Password)
	now := srv.Clock.Now()
	editAccount(t, srv, alice.DID, func(a *storage.Account) { a.TokensAfter = now })
	wantError(t, get(t, srv, getSession, s.access(), nil, nil), 400, "ExpiredToken")
	_, err := refresh(t, srv, s.RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")
	// New tokens work in the very same millisecond.
	s = login(t, srv, string(alice.DID), alice.Password)
	ok(t, get(t, srv, getSession, s.access(), nil, nil))
	_, err = refresh(t, srv, s.RefreshJwt)
	ok(t, err)
}

func TestDeactivatedAccountKeepsItsSession(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	ok(t, post(t, srv, "com.atproto.server.deactivateAccount", "Bearer "+alice.Access, map[string]any{}, nil))
	s := login(t, srv, string(alice.DID), alice.Password)
	if s.Active || s.Status != "deactivated" {
		t.Errorf("login answered %+v", s)
	}
	s, err := refresh(t, srv, s.RefreshJwt)
	ok(t, err)
	var info sessionAnswer
	ok(t, get(t, srv, getSession, s.access(), nil, &info))
	if info.Active || info.Status != "deactivated" {
		t.Errorf("getSession answered %+v", info)
	}
	wantError(t, post(t, srv, "com.atproto.repo.createRecord", s.access(), map[string]any{
		"repo": alice.DID, "collection": "com.example.note", "record": map[string]any{},
	}, nil), 401, "AccountDeactivated")
}

func TestSessionDocumentOnRequest(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.DidDocInSession = true })
	alice := srv.CreateAccount("alice")
	s := login(t, srv, string(alice.DID), alice.Password)
	refreshed, err := refresh(t, srv, s.RefreshJwt)
	ok(t, err)
	for _, doc := range []map[string]any{s.DidDoc, refreshed.DidDoc} {
		if doc["id"] != string(alice.DID) {
			t.Errorf("didDoc %v", doc)
		}
	}
}

func TestSessionOfDeletedAccount(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	s := login(t, srv, string(alice.DID), alice.Password)
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": alice.DID}, nil))
	wantError(t, get(t, srv, getSession, s.access(), nil, nil), 403, "AccountNotFound")
	_, err := refresh(t, srv, s.RefreshJwt)
	wantError(t, err, 403, "AccountNotFound")
	ok(t, post(t, srv, deleteSession, s.refresh(), nil, nil))
}
