package oauth_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

const (
	issuer   = "https://pds.example.com"
	audience = "did:web:pds.example.com"
	alice    = syntax.DID("did:plc:aliceaaaaaaaaaaaaaaaaaaa")
	bob      = syntax.DID("did:plc:bobbbbbbbbbbbbbbbbbbbbbb")
	allScope = "atproto transition:generic transition:email repo:com.example.note rpc:com.example.get?aud=*"
)

// fakeClock is a clock that a test sets. It is also the clock of the store.
type fakeClock struct {
	mu  sync.Mutex // guards following
	now time.Time
}

func newClock() *fakeClock { return &fakeClock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Elapsed implements storage.Clock: all time is explained.
func (c *fakeClock) Elapsed() time.Duration { return c.Now().Sub(time.Unix(0, 0)) }

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// users is a table of users.
type users struct {
	mu       sync.Mutex // guards following
	accounts map[syntax.DID]oauth.Account
	before   func() // called by Account
	mayAct   func() (bool, error)
}

func newUsers() *users {
	return &users{accounts: map[syntax.DID]oauth.Account{
		alice: {DID: alice, Handle: "alice.example.com", Email: "alice@example.com"},
		bob:   {DID: bob, Handle: "bob.example.com"},
	}}
}

func (u *users) Account(_ context.Context, did syntax.DID) (oauth.Account, error) {
	u.mu.Lock()
	before := u.before
	account, ok := u.accounts[did]
	u.mu.Unlock()
	if before != nil {
		before()
	}
	if !ok {
		return oauth.Account{}, oauth.ErrAccountNotFound
	}
	return account, nil
}

func (u *users) SignIn(ctx context.Context, identifier, password string) (oauth.Account, error) {
	if password != "password of "+identifier {
		return oauth.Account{}, oauth.ErrWrongCredentials
	}
	for did, account := range u.accounts {
		if account.Handle.String() == identifier {
			return u.Account(ctx, did)
		}
	}
	return oauth.Account{}, oauth.ErrWrongCredentials
}

// ActsFor implements oauth.Delegates. Nothing is offered.
func (u *users) ActsFor(context.Context, syntax.DID) ([]oauth.Account, error) { return nil, nil }

// MayAct lets Alice act for Bob, unless mayAct says otherwise.
func (u *users) MayAct(_ context.Context, account, actor syntax.DID) (bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.mayAct != nil {
		return u.mayAct()
	}
	return account == bob && actor == alice, nil
}

func (u *users) setStatus(did syntax.DID, status oauth.Status) {
	u.mu.Lock()
	defer u.mu.Unlock()
	account := u.accounts[did]
	account.Status = status
	u.accounts[did] = account
}

// web answers the server's requests.
type web struct {
	mu        sync.Mutex // guards following
	documents map[string]any
	fetched   []string
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetched = append(w.fetched, r.URL.String())
	rec := httptest.NewRecorder()
	switch document := w.documents[r.URL.String()].(type) {
	case nil:
		http.NotFound(rec, r)
	case http.HandlerFunc:
		document(rec, r)
	default:
		rec.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(rec).Encode(document); err != nil {
			return nil, err
		}
	}
	return rec.Result(), nil
}

func (w *web) set(address string, document any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.documents[address] = document
}

func (w *web) count(address string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fetched := range w.fetched {
		if fetched == address {
			n++
		}
	}
	return n
}

// env is a server with everything around it.
type env struct {
	t     testing.TB
	cfg   oauth.Config
	srv   *oauth.Server
	clock *fakeClock
	users *users
	web   *web
	store storage.DocStore
}

// newEnv makes a server on a store in memory. change may change its
// configuration.
func newEnv(t testing.TB, change ...func(*oauth.Config)) *env {
	t.Helper()
	e := &env{t: t, clock: newClock(), users: newUsers(), web: &web{documents: map[string]any{}}}
	store, err := sqlite.OpenMemory(sqlite.Options{Clock: e.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	e.store = storage.DocsOf(store)
	e.cfg = oauth.Config{
		Issuer:    issuer,
		Audience:  audience,
		Store:     e.store,
		Accounts:  e.users,
		Secret:    bytes.Repeat([]byte("s"), 32),
		Transport: e.web,
		Clock:     e.clock.Now,
		Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
		Limits:    oauth.Limits{Rates: unlimited},
		UI:        defaultUI(),
	}
	for _, fn := range change {
		fn(&e.cfg)
	}
	e.restart()
	return e
}

// defaultUI is the UI of all tests, made once.
var defaultUI = sync.OnceValue(func() ui.UI {
	u, err := ui.New(ui.Options{})
	if err != nil {
		panic(err)
	}
	return u
})

// unlimited has no limit that a test could meet by accident.
var unlimited = oauth.Rates{PARPerIP: oauth.Rate{Points: -1}, PARPerClient: oauth.Rate{Points: -1}, TokenPerIP: oauth.Rate{Points: -1}, NewClientPerIP: oauth.Rate{Points: -1}, NewSetPerIP: oauth.Rate{Points: -1}}

// restart makes a new server on the same store.
func (e *env) restart() {
	e.t.Helper()
	srv, err := oauth.New(e.cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	e.srv = srv
}

// in lets a subtest fail in place of the test that has made e.
func (e *env) in(t testing.TB) {
	parent := e.t
	e.t = t
	t.Cleanup(func() { e.t = parent })
}

// newKey makes a P-256 key.
func newKey(t testing.TB) jose.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewES256(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func writeJSON(t testing.TB, w io.Writer, value any) {
	if err := json.NewEncoder(w).Encode(value); err != nil {
		t.Error(err)
	}
}

// object is a JSON object.
type object = map[string]any

// sign makes a token of any header and claims, right or wrong.
func sign(t testing.TB, key jose.Signer, header, claims object) string {
	t.Helper()
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	input := part(header) + "." + part(claims)
	signature, err := key.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func merged(objects ...object) object {
	out := object{}
	for _, o := range objects {
		for name, value := range o {
			if value == nil {
				delete(out, name)
			} else {
				out[name] = value
			}
		}
	}
	return out
}

func sha(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// answer is an answer of the server.
type answer struct {
	t      testing.TB
	Status int
	Header http.Header
	Body   object
}

func (a answer) text(name string) string {
	value, _ := a.Body[name].(string)
	return value
}

// isOK requires success.
func (a answer) isOK() answer {
	a.t.Helper()
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		a.t.Fatalf("status %d, %v", a.Status, a.Body)
	}
	return a
}

// is requires an error.
func (a answer) is(status int, code string) answer {
	a.t.Helper()
	if a.Status != status || a.text("error") != code {
		a.t.Fatalf("got %d %v, want %d %s", a.Status, a.Body, status, code)
	}
	return a
}

func (a answer) isInvalidGrant() answer {
	a.t.Helper()
	return a.is(http.StatusBadRequest, "invalid_grant")
}

// do sends a request.
func (e *env) do(r *http.Request) answer {
	e.t.Helper()
	rec := httptest.NewRecorder()
	e.srv.ServeHTTP(rec, r)
	a := answer{t: e.t, Status: rec.Code, Header: rec.Header()}
	if strings.HasPrefix(rec.Header().Get("Content-Type"), "application/json") {
		dec := json.NewDecoder(rec.Body)
		if err := dec.Decode(&a.Body); err != nil {
			e.t.Fatalf("answer: %v", err)
		}
	}
	return a
}

func requireError(t testing.TB, err error, status int, code string) {
	t.Helper()
	e, ok := errors.AsType[*oauth.Error](err)
	if !ok || e.Code != code || e.Status != status {
		t.Fatalf("got %v, want %d %s", err, status, code)
	}
}
