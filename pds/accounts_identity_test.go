package pds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

const (
	resolveHandleNSID = "com.atproto.identity.resolveHandle"
	updateHandleNSID  = "com.atproto.identity.updateHandle"
)

// fakeDirectory answers for some identities itself.
type fakeDirectory struct {
	pds.Directory

	mu      sync.Mutex // guards following 2 fields
	handles map[syntax.Handle]syntax.DID
	docs    map[syntax.DID]*atid.DIDDocument
}

func withDirectory(dir **fakeDirectory) func(*pds.Config) {
	return func(cfg *pds.Config) {
		*dir = &fakeDirectory{
			Directory: cfg.Directory,
			handles:   map[syntax.Handle]syntax.DID{}, docs: map[syntax.DID]*atid.DIDDocument{},
		}
		cfg.Directory = *dir
	}
}

func (d *fakeDirectory) put(h syntax.Handle, did syntax.DID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handles[h] = did
}

// putDocument makes d the one that knows a did:web.
func (d *fakeDirectory) putDocument(t *testing.T, did syntax.DID, handle, endpoint, key string) {
	t.Helper()
	pub, err := atcrypto.ParsePublicDIDKey(key)
	ok(t, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.docs[did] = &atid.DIDDocument{
		DID: did, AlsoKnownAs: []string{"at://" + handle},
		VerificationMethod: []atid.DocVerificationMethod{{
			ID: did.String() + "#atproto", Type: "Multikey", Controller: did.String(), PublicKeyMultibase: pub.Multibase(),
		}},
		Service: []atid.DocService{{ID: "#atproto_pds", Type: "AtprotoPersonalDataServer", ServiceEndpoint: endpoint}},
	}
}

func (d *fakeDirectory) ResolveHandle(_ context.Context, h syntax.Handle) (syntax.DID, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if did, found := d.handles[h]; found {
		return did, nil
	}
	return "", atid.ErrHandleNotFound
}

func (d *fakeDirectory) VerifyHandle(ctx context.Context, h syntax.Handle, did syntax.DID) error {
	got, err := d.ResolveHandle(ctx, h)
	if err == nil && got != did {
		err = atid.ErrHandleMismatch
	}
	return err
}

func (d *fakeDirectory) Refresh(ctx context.Context, did syntax.DID) (*atid.Identity, error) {
	d.mu.Lock()
	doc := d.docs[did]
	d.mu.Unlock()
	if doc == nil {
		return d.Directory.Refresh(ctx, did)
	}
	id := atid.ParseIdentity(doc)
	return &id, nil
}

func (d *fakeDirectory) LookupDID(ctx context.Context, did syntax.DID) (*atid.Identity, error) {
	d.mu.Lock()
	_, own := d.docs[did]
	d.mu.Unlock()
	if own {
		return d.Refresh(ctx, did)
	}
	return d.Directory.LookupDID(ctx, did)
}

func (d *fakeDirectory) ResolveDIDRaw(ctx context.Context, did syntax.DID) (json.RawMessage, error) {
	d.mu.Lock()
	doc := d.docs[did]
	d.mu.Unlock()
	if doc == nil {
		return d.Directory.ResolveDIDRaw(ctx, did)
	}
	return json.Marshal(doc)
}

func resolve(t *testing.T, srv *pdstest.PDS, handle string) (syntax.DID, error) {
	t.Helper()
	var out struct{ DID syntax.DID }
	err := get(t, srv, resolveHandleNSID, "", url.Values{"handle": {handle}}, &out)
	return out.DID, err
}

func TestResolveHandle(t *testing.T) {
	t.Parallel()
	var dir *fakeDirectory
	srv := pdstest.New(t, withDirectory(&dir))
	a, gone := srv.CreateAccount("alice"), srv.CreateAccount("gone")
	gone.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	dir.put("bob.example.org", "did:plc:bobbobbobbobbobbobbobbob")
	dir.put("gone.test", gone.DID) // not asked for own domains
	for _, c := range []struct {
		what, handle string
		want         syntax.DID
		name         string
	}{
		{"local", "alice.test", a.DID, ""},
		{"normalised", "ALICE.Test", a.DID, ""},
		{"unknown under own domain", "nobody.test", "", "HandleNotFound"},
		{"own bare domain", "test", "", "InvalidRequest"},
		{"inactive", "gone.test", "", "HandleNotFound"},
		{"foreign", "bob.example.org", "did:plc:bobbobbobbobbobbobbobbob", ""},
		{"foreign, unknown", "carol.example.org", "", "InvalidRequest"},
		{"malformed", "not_a_handle", "", "InvalidRequest"},
	} {
		got, err := resolve(t, srv, c.handle)
		var e *pdstest.Error
		if c.name == "" && (err != nil || got != c.want) {
			t.Errorf("%s: %s, %v", c.what, got, err)
		} else if c.name != "" && (!errors.As(err, &e) || e.Status != http.StatusBadRequest || e.Name != c.name) {
			t.Errorf("%s: %v, want 400 %s", c.what, err, c.name)
		}
	}
}

func TestResolveHandleAsksTheAppView(t *testing.T) {
	t.Parallel()
	appView := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("handle") {
		case "bob.example.org":
			fmt.Fprint(w, `{"did":"did:plc:bobbobbobbobbobbobbobbob"}`)
		case "odd.example.org":
			fmt.Fprint(w, `{"did":"bob"}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(appView.Close)
	srv := pdstest.New(t, func(cfg *pds.Config) {
		cfg.AppView = pds.Service{URL: appView.URL, DID: "did:web:appview.test"}
		cfg.Transport = http.DefaultTransport
	})
	if did, err := resolve(t, srv, "bob.example.org"); err != nil || did != "did:plc:bobbobbobbobbobbobbobbob" {
		t.Error(did, err)
	}
	for _, h := range []string{"carol.example.org", "odd.example.org"} {
		_, err := resolve(t, srv, h)
		wantError(t, err, http.StatusBadRequest, "InvalidRequest")
	}
}

func TestHandleChange(t *testing.T) {
	t.Parallel()
	var dir *fakeDirectory
	var reg *faultyRegistry
	srv := pdstest.New(t, withDirectory(&dir), withRegistry(&reg))
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	change := func(h string) error {
		return post(t, srv, updateHandleNSID, "Bearer "+a.Access, map[string]any{"handle": h}, nil)
	}
	document := func() string {
		t.Helper()
		state, err := srv.PLC.Client().State(t.Context(), a.DID)
		ok(t, err)
		return state.AlsoKnownAs[0]
	}
	log := func() int {
		t.Helper()
		entries, err := srv.PLC.Client().AuditLog(t.Context(), a.DID)
		ok(t, err)
		return len(entries)
	}

	// What is refused leaves the document alone.
	b.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	for _, c := range []struct{ handle, name string }{
		{"bob.test", "HandleNotAvailable"},
		{"admin.test", "HandleNotAvailable"},
		{"al.test", "InvalidHandle"},
		{"alice.example.org", "InvalidRequest"}, // does not resolve
	} {
		wantError(t, change(c.handle), http.StatusBadRequest, c.name)
	}
	dir.put("alice.example.org", b.DID)
	wantError(t, change("alice.example.org"), http.StatusBadRequest, "InvalidRequest")
	if log() != 1 || document() != "at://alice.test" {
		t.Fatalf("%d operations, %s", log(), document())
	}

	dir.put("alice.example.org", a.DID)
	for i, h := range []string{"alicia.test", "alice.example.org"} {
		seq := lastSeq(t, srv)
		ok(t, change(h))
		if log() != i+2 || document() != "at://"+h {
			t.Errorf("%d operations, %s", log(), document())
		}
		if d := cmp.Diff([]string{"#identity"}, eventsAfter(t, srv, seq)); d != "" {
			t.Error(d)
		}
		events := allEvents(t, srv)
		if last := events[len(events)-1]; last.Handle.String() != h || last.DID != a.DID {
			t.Errorf("event %+v", last)
		}
		ok(t, post(t, srv, "com.atproto.server.createSession", "", map[string]any{"identifier": h, "password": a.Password}, nil))
		if did, err := resolve(t, srv, h); did != a.DID {
			t.Error(did, err)
		}
	}
	// The old one is free, and no longer a login.
	_, err := resolve(t, srv, "alice.test")
	wantError(t, err, http.StatusBadRequest, "HandleNotFound")
	wantError(t, post(t, srv, "com.atproto.server.createSession", "", map[string]any{"identifier": "alice.test", "password": a.Password}, nil),
		http.StatusUnauthorized, "")

	// The same again: no operation, but an event.
	seq := lastSeq(t, srv)
	ok(t, change("alice.example.org"))
	if d := cmp.Diff([]string{"#identity"}, eventsAfter(t, srv, seq)); d != "" || log() != 3 {
		t.Error(d, log())
	}

	// A failing directory changes nothing here; the handle can be tried again.
	seq = lastSeq(t, srv)
	reg.set(func(r *faultyRegistry) { r.update = &identity.PLCError{Status: 400, Message: "no thanks"} })
	wantError(t, change("ally.test"), http.StatusBadRequest, "InvalidRequest")
	reg.set(func(r *faultyRegistry) { r.update = context.DeadlineExceeded })
	wantError(t, change("ally.test"), http.StatusGatewayTimeout, "UpstreamTimeout")
	// Nobody knows whether the document names it: it stays reserved for a while.
	wantError(t, post(t, srv, createAccountNSID, "", signUp(srv, "ally"), nil), http.StatusBadRequest, "HandleNotAvailable")
	if got, _ := account(t, srv, a.DID); got.Handle != "alice.example.org" || lastSeq(t, srv) != seq {
		t.Errorf("handle %s", got.Handle)
	}
	reg.set(func(r *faultyRegistry) { r.update = nil })
	ok(t, change("ally.test"))
}

// TestRacingHandleChanges: the document of a loser never names the handle.
func TestRacingHandleChanges(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	const racers = 6
	var won atomic.Int32
	var wg sync.WaitGroup
	list := make([]*pdstest.Account, racers)
	for i := range list {
		list[i] = srv.CreateAccount(fmt.Sprintf("racer%d", i))
	}
	for _, a := range list {
		wg.Go(func() {
			err := post(t, srv, updateHandleNSID, "Bearer "+a.Access, map[string]any{"handle": "winner.test"}, nil)
			var e *pdstest.Error
			if err == nil {
				won.Add(1)
			} else if !errors.As(err, &e) || e.Name != "HandleNotAvailable" {
				t.Errorf("%s: %v", a.Handle, err)
			}
		})
	}
	wg.Go(func() { // a sign-up joins the race
		if err := post(t, srv, createAccountNSID, "", signUp(srv, "winner"), nil); err == nil {
			won.Add(1)
		}
	})
	wg.Wait()
	named := 0
	for _, a := range list {
		state, err := srv.PLC.Client().State(t.Context(), a.DID)
		ok(t, err)
		got, _ := account(t, srv, a.DID)
		if state.AlsoKnownAs[0] != "at://"+got.Handle.String() {
			t.Errorf("%s: the document says %s", got.Handle, state.AlsoKnownAs[0])
		}
		if got.Handle == "winner.test" {
			named++
		}
	}
	if won.Load() != 1 || named > 1 {
		t.Errorf("%d winners, %d named so", won.Load(), named)
	}
}

func TestHandleChangeOfTheServersDIDDocument(t *testing.T) {
	t.Parallel()
	var dir *fakeDirectory
	srv := pdstest.New(t, withDirectory(&dir))
	did := syntax.DID("did:web:eve.example.org")
	a, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{
		Handle: "eve.test", DID: did, Email: "eve@example.com", Password: "password of eve",
	})
	ok(t, err)
	acct := &pdstest.Account{PDS: srv, DID: did, Password: "password of eve"}
	acct.Login()
	activate := func() error {
		return post(t, srv, "com.atproto.server.activateAccount", "Bearer "+acct.Access, nil, nil)
	}
	wantError(t, activate(), http.StatusBadRequest, "InvalidRequest") // no document

	doc := func(handle, endpoint, key string) {
		t.Helper()
		dir.putDocument(t, did, handle, endpoint, key)
	}
	stranger, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	pub, err := stranger.PublicKey()
	ok(t, err)
	doc("eve.test", "https://elsewhere.example.com", a.KeyID)
	wantError(t, activate(), http.StatusBadRequest, "InvalidRequest")
	doc("eve.test", srv.URL, pub.DIDKey())
	wantError(t, activate(), http.StatusBadRequest, "InvalidRequest")
	doc("eve.test", srv.URL, a.KeyID)
	ok(t, activate())

	change := func(h string) error {
		return post(t, srv, updateHandleNSID, "Bearer "+acct.Access, map[string]any{"handle": h}, nil)
	}
	wantError(t, change("evelyn.test"), http.StatusBadRequest, "InvalidRequest")
	if got, _ := account(t, srv, did); got.Handle != "eve.test" {
		t.Errorf("handle %s", got.Handle)
	}
	doc("evelyn.test", srv.URL, a.KeyID)
	ok(t, change("evelyn.test"))
	if got, _ := account(t, srv, did); got.Handle != "evelyn.test" {
		t.Errorf("handle %s", got.Handle)
	}
}

func TestAdminChangesHandle(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	change := func(auth, handle string) error {
		return post(t, srv, "com.atproto.admin.updateAccountHandle", auth, map[string]any{"did": a.DID, "handle": handle}, nil)
	}
	wantError(t, change("Bearer "+a.Access, "admin.test"), http.StatusUnauthorized, "")
	wantError(t, change("", "admin.test"), http.StatusUnauthorized, "AuthMissing")
	wantError(t, change(adminAuth, string(b.Handle)), http.StatusBadRequest, "HandleNotAvailable")
	wantError(t, change(adminAuth, "al.test"), http.StatusBadRequest, "InvalidHandle")
	ok(t, change(adminAuth, "admin.test")) // reserved
	state, err := srv.PLC.Client().State(t.Context(), a.DID)
	ok(t, err)
	if state.AlsoKnownAs[0] != "at://admin.test" {
		t.Errorf("document: %v", state.AlsoKnownAs)
	}
	if did, err := resolve(t, srv, "admin.test"); did != a.DID {
		t.Error(did, err)
	}
	wantError(t, post(t, srv, "com.atproto.admin.updateAccountHandle", adminAuth,
		map[string]any{"did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "handle": "alicia.test"}, nil), http.StatusBadRequest, "")
}

// TestBareServiceDomain: an administrator may give away the domain itself, which
// this server proves.
func TestBareServiceDomain(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.HandleDomains = []string{".pds.test"} })
	a := srv.CreateAccount("alice")
	wantError(t, post(t, srv, updateHandleNSID, "Bearer "+a.Access, map[string]any{"handle": "pds.test"}, nil), http.StatusBadRequest, "InvalidRequest")
	_, err := resolve(t, srv, "pds.test")
	wantError(t, err, http.StatusBadRequest, "HandleNotFound")
	ok(t, post(t, srv, "com.atproto.admin.updateAccountHandle", adminAuth, map[string]any{"did": a.DID, "handle": "pds.test"}, nil))
	if did, err := resolve(t, srv, "pds.test"); did != a.DID {
		t.Error(did, err)
	}
}

func TestResolveIdentity(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	var info struct {
		DID    syntax.DID
		Handle syntax.Handle
		DidDoc struct{ ID syntax.DID }
	}
	for _, id := range []string{"alice.test", string(a.DID)} {
		ok(t, get(t, srv, "com.atproto.identity.resolveIdentity", "", url.Values{"identifier": {id}}, &info))
		if info.DID != a.DID || info.Handle != "alice.test" || info.DidDoc.ID != a.DID {
			t.Errorf("%s: %+v", id, info)
		}
	}
	a.Post("com.atproto.identity.refreshIdentity", map[string]any{"identifier": "alice.test"}, &info)
	if info.Handle != "alice.test" {
		t.Errorf("refreshed: %+v", info)
	}
	wantError(t, post(t, srv, "com.atproto.identity.refreshIdentity", "", map[string]any{"identifier": "alice.test"}, nil),
		http.StatusUnauthorized, "AuthMissing")
	var doc struct{ DidDoc struct{ ID syntax.DID } }
	ok(t, get(t, srv, "com.atproto.identity.resolveDid", "", url.Values{"did": {string(a.DID)}}, &doc))
	if doc.DidDoc.ID != a.DID {
		t.Errorf("document %+v", doc)
	}

	const unknown = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	wantError(t, get(t, srv, "com.atproto.identity.resolveDid", "", url.Values{"did": {unknown}}, nil), 400, "DidNotFound")
	wantError(t, get(t, srv, "com.atproto.identity.resolveIdentity", "", url.Values{"identifier": {unknown}}, nil), 400, "DidNotFound")
	wantError(t, get(t, srv, "com.atproto.identity.resolveIdentity", "", url.Values{"identifier": {"nobody.test"}}, nil), 400, "HandleNotFound")
	b := srv.CreateAccount("bob")
	ok(t, srv.Config.Registry.Tombstone(t.Context(), b.DID))
	ok(t, srv.Config.Directory.Purge(t.Context(), b.DID.AtIdentifier()))
	wantError(t, get(t, srv, "com.atproto.identity.resolveDid", "", url.Values{"did": {string(b.DID)}}, nil), 400, "DidDeactivated")
}
