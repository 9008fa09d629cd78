package pds_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// signingKeyOf returns the signing key of an account.
func signingKeyOf(t *testing.T, srv *pdstest.PDS, did syntax.DID) atcrypto.PrivateKey {
	t.Helper()
	var d storage.Doc
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		d, err = tx.GetDoc("signing-key", string(did))
		return err
	}))
	key, err := srv.Config.Keys.Open(t.Context(), d.Value)
	ok(t, err)
	return key
}

// sessionJWT makes a session token as any server with the secret would.
func sessionJWT(t *testing.T, srv *pdstest.PDS, typ string, claims map[string]any) string {
	t.Helper()
	return hs256(t, srv.Config.Secret, map[string]any{"typ": typ, "alg": "HS256"}, claims)
}

func hs256(t *testing.T, secret []byte, header, claims map[string]any) string {
	t.Helper()
	input := segment(t, header) + "." + segment(t, claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func serviceDID(srv *pdstest.PDS) string {
	return "did:web:" + strings.ReplaceAll(strings.TrimPrefix(srv.URL, "http://"), ":", "%3A")
}

// Hashes as the reference server stores them: of "correct horse" for an
// account, of "aaaa-bbbb-cccc-dddd" for an app password.
const (
	adoptedPassword = "correct horse"
	adoptedHash     = "00112233445566778899aabbccddeeff:" +
		"3e19ebeabf15ad17c24de695284e79441c0d80c6d98b95a3c052c58a0d57b09f" +
		"83b0742a5805af28a0b5bbcf673af62819b91eb830a104fb0bb42def767f52aa"
	adoptedApp     = "aaaa-bbbb-cccc-dddd"
	adoptedAppHash = "e253131024780eb99e0d600853180dac:" +
		"d6ec160b748d41b37b16a9da1a96db387c9fecd02d12bf37db276691c8cf5ca5" +
		"611c3e46e4fd367f977c012565e8e26c05d49ac1c47243f016b48b7fbfe7fc77"
)

func TestAdoptedPasswords(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	editAccount(t, srv, alice.DID, func(a *storage.Account) { a.PasswordHash = adoptedHash })
	value, err := json.Marshal(map[string]any{"hash": adoptedAppHash, "privileged": true, "createdAt": srv.Clock.Now()})
	ok(t, err)
	ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		_, err := tx.PutDoc(storage.Doc{Kind: "app-password", Key: string(alice.DID) + "/phone", Owner: alice.DID, Value: value})
		return err
	}))
	s := login(t, srv, string(alice.DID), adoptedApp)
	if scope := claimsOf(t, s.AccessJwt)["scope"]; scope != "com.atproto.appPassPrivileged" {
		t.Errorf("scope %v", scope)
	}
	if a, _ := account(t, srv, alice.DID); a.PasswordHash != adoptedHash {
		t.Errorf("an app password changed the account's hash to %q", a.PasswordHash)
	}
	wantError(t, post(t, srv, createSession, "",
		map[string]any{"identifier": alice.DID, "password": "correct horsf"}, nil), 401, "AuthenticationRequired")

	// The first login writes a new kind of hash; the password stays.
	for range 2 {
		login(t, srv, string(alice.DID), adoptedPassword)
		if a, _ := account(t, srv, alice.DID); !strings.HasPrefix(a.PasswordHash, "$argon2id$") {
			t.Errorf("after a login the hash is %q", a.PasswordHash)
		}
	}
	login(t, srv, string(alice.DID), adoptedApp)
}

func TestAdoptedTokens(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	now := srv.Clock.Now()
	access := map[string]any{
		"scope": "com.atproto.access", "sub": alice.DID, "aud": serviceDID(srv), "iat": now.Unix(), "exp": now.Unix() + 7200,
	}
	refreshClaims := map[string]any{
		"scope": "com.atproto.refresh", "sub": alice.DID, "aud": serviceDID(srv), "jti": "V0tl3a+/AAAA",
		"iat": now.Unix(), "exp": now.Unix() + 7200,
	}
	newAppPassword(t, alice, "phone", false)
	ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		_, err := tx.PutDoc(storage.Doc{
			Kind: "session", Key: "V0tl3a+/AAAA", Owner: alice.DID, Expires: now.Add(2 * time.Hour), Value: []byte(`{"app":"phone"}`),
		})
		return err
	}))
	ok(t, get(t, srv, getSession, "Bearer "+sessionJWT(t, srv, "at+jwt", access), nil, nil))
	s, err := refresh(t, srv, sessionJWT(t, srv, "refresh+jwt", refreshClaims))
	ok(t, err)
	if scope := claimsOf(t, s.AccessJwt)["scope"]; scope != "com.atproto.appPass" {
		t.Errorf("scope %v", scope)
	}
	_, err = refresh(t, srv, s.RefreshJwt)
	ok(t, err)

	// An epoch ends them, those of the same second included.
	editAccount(t, srv, alice.DID, func(a *storage.Account) { a.TokensAfter = now })
	wantError(t, get(t, srv, getSession, "Bearer "+sessionJWT(t, srv, "at+jwt", access), nil, nil), 400, "ExpiredToken")
	_, err = refresh(t, srv, sessionJWT(t, srv, "refresh+jwt", refreshClaims))
	wantError(t, err, 400, "ExpiredToken")
	access["iat"] = now.Unix() + 1
	ok(t, get(t, srv, getSession, "Bearer "+sessionJWT(t, srv, "at+jwt", access), nil, nil))
}

func TestForgedSessionTokens(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	now := srv.Clock.Now().Unix()
	for _, c := range []struct {
		name   string
		change func(header, claims map[string]any)
		secret []byte
		want   string // empty: accepted
	}{
		{name: "good"},
		{name: "other secret", secret: []byte("another secret of a server"), want: "InvalidToken"},
		{name: "no algorithm", change: func(h, _ map[string]any) { h["alg"] = "none" }, want: "InvalidToken"},
		{name: "other algorithm", change: func(h, _ map[string]any) { h["alg"] = "HS512" }, want: "InvalidToken"},
		{name: "no type", change: func(h, _ map[string]any) { delete(h, "typ") }, want: "InvalidToken"},
		{name: "refresh type", change: func(h, _ map[string]any) { h["typ"] = "refresh+jwt" }, want: "InvalidToken"},
		{name: "other aud", change: func(_, c map[string]any) { c["aud"] = "did:web:elsewhere.example.com" }, want: "InvalidToken"},
		{name: "no aud", change: func(_, c map[string]any) { delete(c, "aud") }, want: "InvalidToken"},
		{name: "sub no DID", change: func(_, c map[string]any) { c["sub"] = "alice" }, want: "InvalidToken"},
		{name: "no exp", change: func(_, c map[string]any) { delete(c, "exp") }, want: "InvalidToken"},
		{name: "lxm", change: func(_, c map[string]any) { c["lxm"] = "com.atproto.repo.getRecord" }, want: "InvalidToken"},
		{name: "cnf", change: func(_, c map[string]any) { c["cnf"] = map[string]any{"jkt": "x"} }, want: "InvalidToken"},
		{name: "unknown scope", change: func(_, c map[string]any) { c["scope"] = "com.atproto.everything" }, want: "InvalidToken"},
		{name: "refresh scope", change: func(_, c map[string]any) { c["scope"] = "com.atproto.refresh" }, want: "InvalidToken"},
		{name: "expires now", change: func(_, c map[string]any) { c["exp"] = now }, want: "ExpiredToken"},
	} {
		header := map[string]any{"typ": "at+jwt", "alg": "HS256"}
		claims := map[string]any{
			"scope": "com.atproto.access", "sub": alice.DID, "aud": serviceDID(srv), "iat": now, "exp": now + 60,
		}
		if c.change != nil {
			c.change(header, claims)
		}
		if c.secret == nil {
			c.secret = srv.Config.Secret
		}
		err := get(t, srv, getSession, "Bearer "+hs256(t, c.secret, header, claims), nil, nil)
		var e *pdstest.Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.As(err, &e) || e.Status != 400 || e.Name != c.want):
			t.Errorf("%s: %v, want 400 %s", c.name, err, c.want)
		}
	}
}

// deadStore fails every transaction while it is dead.
type deadStore struct {
	storage.Store
	dead atomic.Bool
}

var errDead = errors.New("the disk is on fire")

func (s *deadStore) Unwrap() storage.Store { return s.Store }

func (s *deadStore) View(ctx context.Context, fn func(storage.Tx) error) error {
	if s.dead.Load() {
		return errDead
	}
	return s.Store.View(ctx, fn)
}

func (s *deadStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if s.dead.Load() {
		return errDead
	}
	return s.Store.Update(ctx, fn)
}

// A failure of the storage is never an answer that makes clients log out.
func TestStorageFailureIsNoAuthError(t *testing.T) {
	t.Parallel()
	for _, nsid := range []string{
		getSession, refreshSession, deleteSession, createSession, getServiceAuth, "com.atproto.server.listAppPasswords",
		"com.atproto.server.checkAccountStatus", "app.bsky.actor.getPreferences", "com.atproto.server.reserveSigningKey",
		"com.atproto.server.createAppPassword", "com.atproto.server.revokeAppPassword", "app.bsky.actor.putPreferences",
	} {
		t.Run(nsid, func(t *testing.T) {
			t.Parallel()
			var store *deadStore
			srv := pdstest.New(t, func(c *pds.Config) {
				inner, err := sqlite.OpenMemory(sqlite.Options{Clock: c.Clock})
				ok(t, err)
				t.Cleanup(func() { _ = inner.Close() })
				store = &deadStore{Store: inner}
				c.Store = store
				c.Logger = nil
			})
			alice := srv.CreateAccount("alice")
			auth, verb, in := "Bearer "+alice.Access, http.MethodGet, any(nil)
			for _, m := range srv.Methods() {
				if m.NSID() == nsid && m.Type() == "procedure" {
					verb = http.MethodPost
				}
			}
			switch nsid {
			case refreshSession, deleteSession:
				auth = "Bearer " + alice.Refresh
			case createSession:
				in = map[string]any{"identifier": alice.Handle, "password": alice.Password}
			case "com.atproto.server.reserveSigningKey":
				in = map[string]any{}
			case "com.atproto.server.createAppPassword", "com.atproto.server.revokeAppPassword":
				in = map[string]any{"name": "phone"}
			case "app.bsky.actor.putPreferences":
				in = map[string]any{"preferences": []any{}}
			}
			params := map[string][]string{"aud": {"did:web:api.example.com"}}
			if verb == http.MethodPost {
				params = nil
			}
			ok(t, call(t, srv, verb, nsid, auth, params, in, nil))
			if nsid == deleteSession {
				alice.Login()
				auth = "Bearer " + alice.Refresh
			}
			if nsid == refreshSession {
				alice.Login()
				auth = "Bearer " + alice.Refresh
			}
			store.dead.Store(true)
			err := call(t, srv, verb, nsid, auth, params, in, nil)
			store.dead.Store(false)
			wantError(t, err, 500, "InternalServerError")
			var e *pdstest.Error
			if errors.As(err, &e) && strings.Contains(e.Message, "fire") {
				t.Errorf("the answer tells too much: %v", err)
			}
		})
	}
}
