package adopt_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adopt"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/storage/storagetest"
)

// heir is the stores of a server that is to be.
type heir struct {
	store storage.Store
	blobs storage.BlobStore
	keys  pds.Keys
}

func newHeir(t testing.TB) *heir {
	t.Helper()
	store, err := sqlite.OpenMemory(sqlite.Options{})
	ok(t, err)
	t.Cleanup(func() { store.Close() })
	keys, err := pds.SealedKeys(pds.NewMasterKey())
	ok(t, err)
	return &heir{storagetest.Counting(store), blobs.NewMemory(storage.SystemClock()), keys}
}

func (h *heir) options(r *reference) adopt.Options {
	return adopt.Options{From: adopt.SourceIn(r.dir), Store: h.store, Blobs: h.blobs, Keys: h.keys}
}

// serve starts a server on the stores, as the one that the source was.
func (h *heir) serve(t testing.TB, secret []byte) *pdstest.PDS {
	t.Helper()
	return pdstest.New(t, func(c *pds.Config) {
		c.Store, c.Blobs, c.Keys, c.Secret, c.ServiceDID = h.store, h.blobs, h.keys, secret, "did:web:pds.test"
	})
}

// check fails the test unless everything of an account is there and sound.
func (h *heir) check(t testing.TB, m *member) {
	t.Helper()
	c, err := pds.CheckAccount(t.Context(), h.store, h.blobs, m.did, true)
	ok(t, err)
	if len(c.Faults) > 0 || c.Records != int64(len(m.records)) || c.Missing != 0 {
		t.Errorf("%s: %+v, want %d records", m.name, c, len(m.records))
	}
	ok(t, h.store.View(t.Context(), func(tx storage.Tx) error {
		head, err := tx.Head(m.did)
		if err == nil && (head.CID != m.head || head.Rev != m.rev) {
			t.Errorf("%s: head %s %s, want %s %s", m.name, head.CID, head.Rev, m.head, m.rev)
		}
		return err
	}))
}

// adoptAll runs an adoption that finds nothing wrong.
func adoptAll(t testing.TB, h *heir, r *reference) *adopt.Report {
	t.Helper()
	report, err := adopt.Run(t.Context(), h.options(r))
	ok(t, err)
	if len(report.Findings) > 0 || report.LeftOut > 0 {
		t.Fatalf("findings: %+v", report.Findings)
	}
	return report
}

// A reference data directory imports with passwords, keys, blobs and seq.
func TestAdoption(t *testing.T) {
	t.Parallel()
	r := newReference(t)
	alice := r.typical("alice")
	alice.prefer(map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true},
		map[string]any{"$type": "app.bsky.actor.defs#savedFeedsPrefV2", "items": []any{}})
	exec(t, r.accounts, "INSERT INTO app_password VALUES (?, 'phone', ?, ?, 1)", string(alice.did), appHashOf(t, alice.did), iso(r.now))
	for _, s := range [][]any{{"first/token+1", 24 * time.Hour, nil}, {"of+the/phone", 24 * time.Hour, "phone"}, {"expired", -time.Hour, nil}} {
		exec(t, r.accounts, "INSERT INTO refresh_token VALUES (?, ?, ?, NULL, ?)", s[0], string(alice.did), iso(time.Now().Add(s[1].(time.Duration))), s[2])
	}
	exec(t, r.accounts, "INSERT INTO email_token VALUES ('reset_password', ?, 'ABCDE-FGHIJ', ?)", string(alice.did), iso(time.Now()))

	bob := r.typical("bob")
	exec(t, bob.db, "UPDATE record SET takedownRef = 'mod-1' WHERE rkey = 'post1'")
	bad := bob.blob("something bad")
	exec(t, bob.db, "UPDATE blob SET takedownRef = 'mod-2' WHERE cid = ?", bad.String())
	ok(t, os.MkdirAll(filepath.Join(r.dir, "blobs", "quarantine", string(bob.did)), 0o700))
	ok(t, os.Rename(filepath.Join(r.dir, "blobs", string(bob.did), bad.String()), filepath.Join(r.dir, "blobs", "quarantine", string(bob.did), bad.String())))
	bob.blobs = bob.blobs[:1]

	carol := r.typical("carol")
	carol.set("takedownRef", "mod-3")
	dave := r.typical("dave")
	dave.set("deactivatedAt", iso(r.now))
	dave.set("deleteAfter", iso(r.now.Add(-30*24*time.Hour)))
	erin := r.add("erin", "did:web:erin.example.com")
	erin.commit(map[string]any{"app.bsky.feed.post/one": post("one")})
	frank := r.typical("frank")
	frank.set("handle", nil)
	temp := frank.blob("not posted yet")
	exec(t, frank.db, "UPDATE blob SET tempKey = 'sometempkey', createdAt = ? WHERE cid = ?", iso(time.Now()), temp.String())
	ok(t, os.Remove(filepath.Join(r.dir, "blobs", string(frank.did), temp.String())))
	frank.write(filepath.Join("blobs", "tempt"), "sometempkey", "not posted yet")
	stale := frank.blob("uploaded long ago")
	exec(t, frank.db, "UPDATE blob SET createdAt = '2024-01-01T00:00:00.000Z' WHERE cid = ?", stale.String())

	exec(t, r.accounts, "INSERT INTO invite_code VALUES ('pds-aaaaa-bbbbb', 3, 0, 'admin', 'admin', ?), ('pds-ccccc-ddddd', 1, 1, ?, ?, ?)",
		iso(r.now), string(alice.did), string(alice.did), iso(r.now))
	exec(t, r.accounts, "INSERT INTO invite_code_use VALUES ('pds-aaaaa-bbbbb', ?, ?), ('pds-aaaaa-bbbbb', ?, ?)",
		string(bob.did), iso(r.now), string(carol.did), iso(r.now))
	reserved := filepath.Join(r.dir, "actors", "reserved_keys")
	ok(t, os.Mkdir(reserved, 0o700))
	ok(t, os.WriteFile(filepath.Join(reserved, "did:plc:reservedreservedreserved"), alice.key.Bytes(), 0o600))
	pub, err := bob.key.PublicKey()
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(reserved, pub.DIDKey()), bob.key.Bytes(), 0o600))
	// The event with the highest number is gone with its account.
	exec(t, r.events, "UPDATE sqlite_sequence SET seq = seq + 10")
	last := r.lastSeq()
	r.close()

	before := r.files()
	h := newHeir(t)
	report := adoptAll(t, h, r)
	if diff := cmp.Diff(before, r.files()); diff != "" {
		t.Errorf("the source has changed:\n%s", diff)
	}
	if report.Adopted != 6 || report.Accounts != 6 || report.Invites != 2 || report.Reserved != 2 || report.LastSeq != last {
		t.Errorf("report %+v", report)
	}
	for _, m := range r.members {
		h.check(t, m)
	}
	h.accountsAre(t, alice, bob, carol, dave, erin, frank)

	secret := []byte("the secret of both servers")
	srv := h.serve(t, secret)
	for _, identifier := range []string{"alice.test", "alice@example.com", string(alice.did)} {
		signIn(t, srv, identifier, password)
	}
	phone := signIn(t, srv, "alice.test", appPassword)
	if !strings.HasPrefix(phone.AccessJwt, "ey") {
		t.Errorf("no session by the app password: %+v", phone)
	}
	for id, scope := range map[string]string{"first/token+1": "com.atproto.access", "of+the/phone": "com.atproto.appPassPrivileged"} {
		var s session
		srv.Post("com.atproto.server.refreshSession", "Bearer "+refreshToken(t, secret, alice.did, id), nil, &s)
		if got := scopeOf(t, s.AccessJwt); got != scope {
			t.Errorf("the session %s has the scope %s, want %s", id, got, scope)
		}
	}
	s := signIn(t, srv, "alice.test", password)
	var prefs struct{ Preferences []map[string]any }
	srv.Get("app.bsky.actor.getPreferences", "Bearer "+s.AccessJwt, nil, &prefs)
	if len(prefs.Preferences) != 2 || prefs.Preferences[0]["enabled"] != true {
		t.Errorf("preferences %v", prefs.Preferences)
	}
	srv.Post("com.atproto.server.resetPassword", "", map[string]any{"token": "ABCDE-FGHIJ", "password": "another password"}, nil)
	signIn(t, srv, "alice.test", "another password")

	refused := func(status int, name, method, nsid string, params url.Values) {
		t.Helper()
		_, err := srv.Call(t.Context(), method, nsid, params, nil, nil)
		var e *pdstest.Error
		if !errors.As(err, &e) || e.Status != status || e.Name != name {
			t.Errorf("%s: %v, want %d %s", nsid, err, status, name)
		}
	}
	refused(400, "RepoTakendown", http.MethodGet, "com.atproto.sync.getRepo", url.Values{"did": {string(carol.did)}})
	refused(400, "RepoDeactivated", http.MethodGet, "com.atproto.sync.getRepo", url.Values{"did": {string(dave.did)}})
	refused(400, "RecordNotFound", http.MethodGet, "com.atproto.repo.getRecord",
		url.Values{"repo": {string(bob.did)}, "collection": {"app.bsky.feed.post"}, "rkey": {"post1"}})
	refused(400, "BlobNotFound", http.MethodGet, "com.atproto.sync.getBlob", url.Values{"did": {string(bob.did)}, "cid": {bad.String()}})
	picture, err := srv.Call(t.Context(), http.MethodGet, "com.atproto.sync.getBlob", url.Values{"did": {string(bob.did)}, "cid": {bob.blobs[0].String()}}, nil, nil)
	if err != nil || string(picture) != "a picture of bob" {
		t.Errorf("the picture is %q, %v", picture, err)
	}
	// The key that was reserved for a DID is still the one.
	var key struct{ SigningKey string }
	srv.Post("com.atproto.server.reserveSigningKey", "", map[string]any{"did": "did:plc:reservedreservedreserved"}, &key)
	if pub, err = alice.key.PublicKey(); err != nil || key.SigningKey != pub.DIDKey() {
		t.Errorf("the reserved key is %s, want %s", key.SigningKey, pub.DIDKey())
	}
}

// accountsAre compares the rows of accounts and of some blobs.
func (h *heir) accountsAre(t *testing.T, alice, bob, carol, dave, erin, frank *member) {
	t.Helper()
	ok(t, h.store.View(t.Context(), func(tx storage.Tx) error {
		list, err := tx.ListAccounts(storage.AccountCursor{}, 100)
		if err != nil {
			return err
		}
		order := make([]syntax.DID, 0, len(list))
		for i := range list {
			a := &list[i]
			order = append(order, a.DID)
			if a.Pending || a.Active() != (a.DID != carol.did && a.DID != dave.did) {
				t.Errorf("account %+v", a)
			}
		}
		if want := []syntax.DID{alice.did, bob.did, carol.did, dave.did, erin.did, frank.did}; !slices.Equal(order, want) {
			t.Errorf("the order is %v, want %v", order, want)
		}
		if list[0].EmailConfirmedAt.IsZero() || list[0].PasswordHash != passwordHash || list[2].TakedownRef != "mod-3" || list[5].Handle != "" {
			t.Errorf("accounts %+v", list)
		}
		// Deleting has waited for long; it waits a little longer.
		if left := time.Until(list[3].DeleteAfter); left < pds.AdoptedDeletionGrace-time.Minute || left > pds.AdoptedDeletionGrace {
			t.Errorf("dave is deleted in %v", left)
		}
		if rec, err := tx.Record(bob.did, "app.bsky.feed.post", "post1"); err != nil || rec.TakedownRef != "mod-1" || rec.Rev >= bob.rev {
			t.Errorf("bob's record %+v, %v", rec, err)
		}
		if likes, err := tx.ListBacklinks(alice.did, "app.bsky.feed.like", "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/x", 5); err != nil || len(likes) != 1 {
			t.Errorf("alice's likes %v, %v", likes, err)
		}
		temp, err := tx.ListTemporaryBlobs(time.Now().Add(time.Hour), 10)
		if err != nil || len(temp) != 1 || temp[0].Owner != frank.did {
			t.Errorf("temporary blobs %+v, %v", temp, err)
		}
		return nil
	}))
}

// Who followed the old server goes on where they were: the same events with
// the same numbers, then the new ones above, each fitting the last.
func TestAdoptionContinuesTheFirehose(t *testing.T) {
	t.Parallel()
	r := newReference(t)
	old := r.typical("old")
	exec(t, r.events, "UPDATE repo_seq SET sequencedAt = '2026-01-01T00:00:00.000Z'")
	gone := r.lastSeq()
	alice := r.typical("alice")
	last := r.lastSeq()
	r.close()
	h := newHeir(t)
	if report := adoptAll(t, h, r); int64(report.Events) != last-gone {
		t.Errorf("%d events, want %d", report.Events, last-gone)
	}
	srv := h.serve(t, []byte("the secret of both servers"))
	s := signIn(t, srv, "alice.test", password)
	srv.Post("com.atproto.repo.createRecord", "Bearer "+s.AccessJwt,
		map[string]any{"repo": alice.did, "collection": "app.bsky.feed.post", "record": post("new here")}, nil)

	read := func(cursor int64, n int) []*pdstest.Event {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		sub, err := srv.Subscribe(ctx, cursor)
		ok(t, err)
		var list []*pdstest.Event
		for range n {
			ev, err := sub.Next(ctx)
			ok(t, err)
			list = append(list, ev)
		}
		return list
	}
	list := read(last-3, 4)
	for i, ev := range list[:3] {
		if ev.Seq != last-2+int64(i) || ev.DID != alice.did {
			t.Errorf("event %d is %+v, want the number %d", i, ev, last-2+int64(i))
		}
	}
	if ev := list[2]; ev.Kind != "#commit" || ev.Commit != alice.head {
		t.Errorf("the last old event is %+v", ev)
	}
	fresh := list[3]
	if fresh.Seq < 1e15 || fresh.Since != alice.rev || fresh.PrevData != alice.data {
		t.Errorf("the new event is %+v, want it after %s", fresh, alice.rev)
	}
	for _, cursor := range []int64{last, last + 1000} { // the last, and one beyond
		if ev := read(cursor, 1)[0]; ev.Seq != fresh.Seq {
			t.Errorf("after %d comes %+v", cursor, ev)
		}
	}
	if ev := read(gone-1, 1)[0]; ev.Kind != "#info" || ev.Name != "OutdatedCursor" {
		t.Errorf("after events that were not taken over comes %+v", ev)
	}
	if ev := read(gone, 1)[0]; ev.Seq != gone+1 {
		t.Errorf("after %d comes %+v", gone, ev)
	}
	h.check(t, old)
}

// A database of a server that was killed has a log of writes, which counts.
func TestAdoptionReadsWriteAheadLogs(t *testing.T) {
	t.Parallel()
	r := newReference(t)
	m := r.typical("alice")
	// A copy of the files while the databases are open is what a kill leaves.
	dead := *r
	dead.dir = filepath.Join(t.TempDir(), "a folder") // with what URIs escape
	ok(t, os.CopyFS(dead.dir, os.DirFS(r.dir)))
	wals, err := filepath.Glob(filepath.Join(dead.dir, "*-wal"))
	if err != nil || len(wals) != 2 {
		t.Fatalf("logs of writes: %v, %v", wals, err)
	}
	ok(t, os.Chmod(dead.dir, 0o500))
	t.Cleanup(func() { ok(t, os.Chmod(dead.dir, 0o700)) })
	before := dead.files()
	h := newHeir(t)
	opts := h.options(&dead)
	opts.Temp = t.TempDir()
	report, err := adopt.Run(t.Context(), opts)
	ok(t, err)
	if report.Adopted != 1 || len(report.Findings) > 0 {
		t.Errorf("report %+v", report)
	}
	h.check(t, m)
	if diff := cmp.Diff(before, dead.files()); diff != "" {
		t.Errorf("the source has changed:\n%s", diff)
	}
	if left, err := os.ReadDir(opts.Temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

type session struct{ AccessJwt, RefreshJwt string }

func signIn(t testing.TB, srv *pdstest.PDS, identifier, password string) (s session) {
	t.Helper()
	srv.Post("com.atproto.server.createSession", "", map[string]any{"identifier": identifier, "password": password}, &s)
	return s
}

// refreshToken makes a refresh token as the reference server does.
func refreshToken(t testing.TB, secret []byte, did syntax.DID, id string) string {
	t.Helper()
	now := time.Now().Unix()
	var parts []string
	for _, part := range []map[string]any{
		{"typ": "refresh+jwt", "alg": "HS256"},
		{"scope": "com.atproto.refresh", "sub": did, "aud": "did:web:pds.test", "jti": id, "iat": now, "exp": now + 3600},
	} {
		text, err := json.Marshal(part)
		ok(t, err)
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	mac := hmac.New(sha256.New, secret)
	_, err := io.WriteString(mac, strings.Join(parts, "."))
	ok(t, err)
	return strings.Join(append(parts, base64.RawURLEncoding.EncodeToString(mac.Sum(nil))), ".")
}

func scopeOf(t testing.TB, token string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	ok(t, err)
	var claims struct{ Scope string }
	ok(t, json.Unmarshal(raw, &claims))
	return claims.Scope
}

// state is what two adoptions of the same source must agree on.
func (h *heir) state(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	ok(t, h.store.View(t.Context(), func(tx storage.Tx) error {
		list, err := tx.ListAccounts(storage.AccountCursor{}, 1000)
		if err != nil {
			return err
		}
		for _, a := range list {
			head, err := tx.Head(a.DID)
			if err != nil {
				return err
			}
			usage, err := tx.Usage(a.DID)
			if err != nil {
				return err
			}
			a.Version = 0
			out[string(a.DID)] = fmt.Sprintf("%+v %s %+v", a, head.CID, usage)
		}
		events, err := tx.ListEvents(0, 10_000, 1<<30)
		for _, e := range events {
			out[fmt.Sprint(e.Seq)] = fmt.Sprintf("%s %s %x", e.Kind, e.DID, sha256.Sum256(e.Body))
		}
		for _, kind := range []string{"invite", "invite-use", "app-password", "preferences", "session"} {
			docs, err := tx.ScanDocs(kind, storage.Scan{Limit: 1000})
			if err != nil {
				return err
			}
			for _, d := range docs {
				out[kind+" "+d.Key] = string(d.Value)
			}
		}
		return err
	}))
	return out
}
