package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// errCut is the error of a connection that was cut.
var errCut = errors.New("the connection was cut")

// cutter is a transport that cuts one connection: before the request arrives or
// before its answer does.
type cutter struct {
	at    int64 // which request; zero: none
	after bool
	count atomic.Int64
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	cut := c.count.Add(1) == c.at
	if cut && !c.after {
		return nil, errCut
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if cut && err == nil {
		resp.Body.Close()
		return nil, errCut
	}
	return resp, err
}

// move is an account that moves.
type move struct {
	t        *testing.T
	from, to *pdstest.PDS
	account  *pdstest.Account
	dataDir  string
	asked    []string
	answers  map[string]func() string // by the first word of the question
	said     bytes.Buffer
}

func newMoveTest(t *testing.T, from, to *pdstest.PDS, name string) *move {
	m := &move{t: t, from: from, to: to, account: from.CreateAccount(name), dataDir: t.TempDir()}
	m.answers = map[string]func() string{
		"Password": func() string { return m.account.Password },
		"Code":     func() string { return from.Mail.Code(m.account.Email) },
	}
	return m
}

// start makes a mover, as a new process would.
func (m *move) start(transport http.RoundTripper) *mover {
	m.t.Helper()
	state, err := loadMove(m.dataDir, string(m.account.DID))
	if err != nil {
		m.t.Fatal(err)
	}
	state.From, state.Old = m.from.URL, string(m.account.Handle)
	client := noRedirects(transport)
	v := &mover{
		moveState: state,
		here:      &peer{base: m.to.URL, client: client, tokens: &state.Here},
		there:     &peer{base: m.from.URL, client: client, tokens: &state.There},
		plc:       m.to.PLC.Client(),
		invite: func(ctx context.Context) (string, error) {
			a := &admin{base: m.to.URL, password: pdstest.AdminPassword, client: client}
			return a.newInvite(ctx, 1)
		},
		ask: func(prompt string) (string, error) {
			m.asked = append(m.asked, prompt)
			word, _, _ := strings.Cut(prompt, " ")
			if answer := m.answers[word]; answer != nil {
				return answer(), nil
			}
			return "", fmt.Errorf("nobody knows an answer to %q", prompt)
		},
		say:  func(format string, args ...any) { fmt.Fprintf(&m.said, format+"\n", args...) },
		idle: transferIdle,
	}
	return v
}

func (m *move) run(transport http.RoundTripper) error {
	m.t.Helper()
	return m.start(transport).run(m.t.Context())
}

// upload stores a blob on the old server.
func (m *move) upload(data string) (ref map[string]any, c string) {
	m.t.Helper()
	var out struct{ Blob map[string]any }
	body, err := m.from.Call(m.t.Context(), http.MethodPost, "com.atproto.repo.uploadBlob", nil,
		http.Header{"Authorization": {"Bearer " + m.account.Access}, "Content-Type": {"text/plain"}}, []byte(data))
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return out.Blob, out.Blob["ref"].(map[string]any)["$link"].(string)
}

// fill gives the account records with blobs, and preferences.
func (m *move) fill(records int) (cids []string) {
	m.t.Helper()
	for i := range records {
		ref, c := m.upload(fmt.Sprint("blob ", i))
		m.account.CreateRecord("com.example.note", map[string]any{"text": fmt.Sprint("note ", i), "file": ref})
		cids = append(cids, c)
	}
	m.account.Post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{
		map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true},
	}}, nil)
	return cids
}

// check fails unless the account is on the new server with all that it had, and
// deactivated on the old one. It returns the account there.
func (m *move) check(before *pdstest.Repo, blobs []string) *pdstest.Account {
	t := m.t
	t.Helper()
	_, password, _ := strings.Cut(m.said.String(), "password")
	a := &pdstest.Account{PDS: m.to, DID: m.account.DID, Password: strings.Fields(password)[0]}
	a.Login()
	if got := a.Export().Records; !maps.Equal(got, before.Records) {
		t.Errorf("records %v, want %v", got, before.Records)
	}
	var status struct {
		Activated, ValidDid                          bool
		ExpectedBlobs, ImportedBlobs, IndexedRecords int
	}
	a.Get("com.atproto.server.checkAccountStatus", nil, &status)
	if !status.Activated || !status.ValidDid || status.ImportedBlobs != len(blobs) || status.IndexedRecords != len(before.Records) {
		t.Errorf("status %+v", status)
	}
	for _, c := range blobs {
		if _, err := m.to.Call(t.Context(), http.MethodGet, "com.atproto.sync.getBlob", url.Values{"did": {string(a.DID)}, "cid": {c}}, nil, nil); err != nil {
			t.Errorf("blob %s: %v", c, err)
		}
	}
	var prefs struct{ Preferences []map[string]any }
	a.Get("app.bsky.actor.getPreferences", nil, &prefs)
	if len(prefs.Preferences) != 1 || prefs.Preferences[0]["enabled"] != true {
		t.Errorf("preferences %v", prefs.Preferences)
	}
	var old struct{ Status string }
	m.from.Get("com.atproto.sync.getRepoStatus", "", url.Values{"did": {string(a.DID)}}, &old)
	if old.Status != "deactivated" {
		t.Errorf("on the old server: %q", old.Status)
	}
	if left, err := filepath.Glob(filepath.Join(m.dataDir, movesDir, "*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return a
}

// Full move between two servers, with counts; what is the user's own in the
// identity comes along.
func TestMoveIn(t *testing.T) {
	t.Parallel()
	from := pdstest.New(t)
	to := from.Another(func(c *pds.Config) { c.InviteRequired = true })
	m := newMoveTest(t, from, to, "alice")
	blobs := m.fill(5)
	own := didKey(t)
	labeler := identity.Service{Type: "AtprotoLabeler", Endpoint: "https://labels.example.com"}
	if err := from.Config.Registry.Update(t.Context(), m.account.DID, func(op *identity.Operation) error {
		op.RotationKeys = append([]string{own}, op.RotationKeys...)
		op.Services["atproto_labeler"] = labeler
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// One blob is lost to moderation.
	from.Post("com.atproto.admin.updateSubjectStatus", adminAuthorization(), map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoBlobRef", "did": m.account.DID, "cid": blobs[2]},
		"takedown": map[string]any{"applied": true},
	}, nil)
	before := m.account.Export()
	if err := m.run(http.DefaultTransport); err != nil {
		t.Fatal(err)
	}
	a := m.check(before, slices.Delete(slices.Clone(blobs), 2, 3))
	if a.Handle != "alice.pds2.test" || len(m.asked) != 2 {
		t.Errorf("handle %s, asked %q", a.Handle, m.asked)
	}
	for _, want := range []string{blobs[2], "5 records", "8. deactivate", "alice.pds2.test"} {
		if !strings.Contains(m.said.String(), want) {
			t.Errorf("nothing was said of %q:\n%s", want, m.said.String())
		}
	}
	state, err := to.PLC.Client().State(t.Context(), a.DID)
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]string{own}, to.Config.Registry.RotationKeys("")...); !slices.Equal(state.RotationKeys, want) {
		t.Errorf("rotation keys %v, want %v", state.RotationKeys, want)
	}
	if state.Services["atproto_labeler"] != labeler {
		t.Errorf("services %v", state.Services)
	}
	if _, err := m.to.Call(t.Context(), http.MethodPost, "com.atproto.repo.createRecord", nil, http.Header{"Authorization": {"Bearer " + a.Access}},
		map[string]any{"repo": a.DID, "collection": "com.example.note", "record": map[string]any{"text": "here"}}); err != nil {
		t.Error(err)
	}
	kinds := ""
	for _, ev := range to.Events(4) {
		kinds += ev.Kind
	}
	if kinds != "#identity#account#identity#sync#commit"[:len(kinds)] {
		t.Errorf("events %s", kinds)
	}
}

// A move that is cut at any request, there or back, goes on when it is started
// again.
func TestMoveInIsResumed(t *testing.T) {
	t.Parallel()
	from := pdstest.New(t)
	to := from.Another(func(c *pds.Config) { c.InviteRequired = true })
	step := int64(1)
	if testing.Short() {
		step = 5
	}
	total := int64(1)
	for n := int64(1); n <= total; n += step {
		for _, after := range []bool{false, true} {
			m := newMoveTest(t, from, to, fmt.Sprintf("user%d%v", n, after))
			blobs := m.fill(2)
			before := m.account.Export()
			first := &cutter{at: n, after: after}
			if err := m.run(first); !errors.Is(err, errCut) {
				t.Fatalf("cut at %d, after it %v: %v", n, after, err)
			}
			second := new(cutter)
			if err := m.run(second); err != nil {
				t.Fatalf("cut at %d, after it %v: then %v\n%s", n, after, err, m.said.String())
			}
			m.check(before, blobs)
			if n == 1 {
				total = second.count.Load() // of a move that nothing cuts
			}
			if t.Failed() {
				t.Fatalf("cut at %d, after it %v", n, after)
			}
		}
	}
	if total < 15 {
		t.Errorf("only %d requests: the test does not test", total)
	}
}

// What is written while the account moves comes along.
func TestMoveInCopiesWhatIsWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	from := pdstest.New(t)
	to := from.Another()
	m := newMoveTest(t, from, to, "alice")
	blobs := m.fill(1)
	code := m.answers["Code"]
	m.answers["Code"] = func() string {
		ref, c := m.upload("late")
		m.account.CreateRecord("com.example.note", map[string]any{"text": "late", "file": ref})
		blobs = append(blobs, c)
		return code()
	}
	if err := m.run(http.DefaultTransport); err != nil {
		t.Fatal(err)
	}
	if len(blobs) != 2 {
		t.Fatalf("asked %q", m.asked)
	}
	m.account.Login()
	before, err := pdstest.ReadRepo(m.exportOf(m.account))
	if err != nil {
		t.Fatal(err)
	}
	m.check(before, blobs)
}

// exportOf is what the owner of a deactivated account gets.
func (m *move) exportOf(a *pdstest.Account) []byte {
	m.t.Helper()
	car, err := a.PDS.Call(m.t.Context(), http.MethodGet, "com.atproto.sync.getRepo", url.Values{"did": {string(a.DID)}},
		http.Header{"Authorization": {"Bearer " + a.Access}}, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return car
}

// A wrong password or code, and a handle that is taken, can be mended.
func TestMoveInAnswers(t *testing.T) {
	t.Parallel()
	from := pdstest.New(t)
	to := from.Another()
	to.CreateAccount("bobby").Post("com.atproto.identity.updateHandle", map[string]any{"handle": "alice.pds2.test"}, nil)
	m := newMoveTest(t, from, to, "alice")
	blobs := m.fill(1)
	before := m.account.Export()
	right := m.answers["Password"]
	m.answers["Password"] = func() string { return "wrong" }
	if err := m.run(http.DefaultTransport); err == nil || !strings.Contains(err.Error(), "sign in there") {
		t.Fatal(err)
	}
	m.answers["Password"] = right
	if err := m.run(http.DefaultTransport); err == nil || !strings.Contains(err.Error(), "HandleNotAvailable") {
		t.Fatal(err)
	}
	v := m.start(http.DefaultTransport)
	v.Handle = "alicia.pds2.test"
	code := m.answers["Code"]
	m.answers["Code"] = func() string { return "AAAAA-BBBBB" }
	asked := len(from.Mail.To(m.account.Email)) + 2 // what was mailed is not given up at once
	if err := v.run(t.Context()); err == nil || !strings.Contains(err.Error(), "InvalidToken") {
		t.Fatal(err)
	}
	if n := len(from.Mail.To(m.account.Email)); n != asked {
		t.Errorf("%d mails, want %d", n, asked)
	}
	mails := len(from.Mail.To(m.account.Email))
	empty := true
	m.answers["Code"] = func() string { // first none, to get another mail
		if empty {
			empty = false
			return ""
		}
		return code()
	}
	if err := m.run(http.DefaultTransport); err != nil {
		t.Fatal(err)
	}
	if n := len(from.Mail.To(m.account.Email)); n != mails+2 { // after the wrong ones, and after none
		t.Errorf("%d mails, want %d", n, mails+2)
	}
	m.check(before, blobs)
}

// An account that was taken down can leave.
func TestMoveInOfATakendownAccount(t *testing.T) {
	t.Parallel()
	from := pdstest.New(t)
	to := from.Another()
	m := newMoveTest(t, from, to, "alice")
	blobs := m.fill(1)
	before := m.account.Export()
	from.Post("com.atproto.admin.updateSubjectStatus", adminAuthorization(), map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": m.account.DID},
		"takedown": map[string]any{"applied": true},
	}, nil)
	m.answers["E-mail"] = func() string { return m.account.Email }
	if err := m.run(http.DefaultTransport); err != nil {
		t.Fatal(err, m.said.String())
	}
	_, password, _ := strings.Cut(m.said.String(), "password")
	a := &pdstest.Account{PDS: to, DID: m.account.DID, Password: strings.Fields(password)[0]}
	a.Login()
	if got := a.Export().Records; !maps.Equal(got, before.Records) {
		t.Errorf("records %v, want %v", got, before.Records)
	}
	if _, err := to.Call(t.Context(), http.MethodGet, "com.atproto.sync.getBlob", url.Values{"did": {string(a.DID)}, "cid": {blobs[0]}}, nil, nil); err != nil {
		t.Error(err)
	}
}

// ownDocuments is a directory in which one did:web names whatever server its
// owner says.
type ownDocuments struct {
	pds.Directory
	did syntax.DID

	mu  *sync.Mutex // guards following field
	doc **atid.DIDDocument
}

func (d ownDocuments) get() *atid.DIDDocument {
	d.mu.Lock()
	defer d.mu.Unlock()
	return *d.doc
}

func (d ownDocuments) LookupDID(ctx context.Context, did syntax.DID) (*atid.Identity, error) {
	if did != d.did {
		return d.Directory.LookupDID(ctx, did)
	}
	id := atid.ParseIdentity(d.get())
	return &id, nil
}

func (d ownDocuments) Refresh(ctx context.Context, did syntax.DID) (*atid.Identity, error) {
	if did != d.did {
		return d.Directory.Refresh(ctx, did)
	}
	return d.LookupDID(ctx, did)
}

// A did:web moves when its owner has changed the document; until then the move
// waits.
func TestMoveInOfADocumentOfOnesOwn(t *testing.T) {
	t.Parallel()
	const did = syntax.DID("did:web:eve.example.org")
	dir := ownDocuments{did: did, mu: new(sync.Mutex), doc: new(*atid.DIDDocument)}
	with := func(cfg *pds.Config) {
		own := dir
		own.Directory = cfg.Directory
		cfg.Directory = own
	}
	from := pdstest.New(t, with)
	to := from.Another(with)
	publish := func(srv *pdstest.PDS, handle, key string) {
		pub, err := atcrypto.ParsePublicDIDKey(key)
		if err != nil {
			t.Fatal(err)
		}
		dir.mu.Lock()
		defer dir.mu.Unlock()
		*dir.doc = &atid.DIDDocument{
			DID: did, AlsoKnownAs: []string{"at://" + handle},
			VerificationMethod: []atid.DocVerificationMethod{{
				ID: did.String() + "#atproto", Type: "Multikey", Controller: did.String(), PublicKeyMultibase: pub.Multibase(),
			}},
			Service: []atid.DocService{{ID: "#atproto_pds", Type: "AtprotoPersonalDataServer", ServiceEndpoint: srv.URL}},
		}
	}
	stored, err := from.Server.CreateAccount(t.Context(), pds.NewAccount{
		DID: did, Handle: "eve.test", Email: "eve@example.com", Password: "password of eve",
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(from, "eve.test", stored.KeyID)
	a := &pdstest.Account{PDS: from, DID: did, Handle: "eve.test", Email: "eve@example.com", Password: "password of eve"}
	a.Login()
	a.Post("com.atproto.server.activateAccount", nil, nil)
	m := &move{t: t, from: from, to: to, account: a, dataDir: t.TempDir()}
	blobs := m.fill(1)
	before := a.Export()
	m.answers = map[string]func() string{
		"Password": func() string { return a.Password },
		"Press":    func() string { return "" }, // too early
	}
	if err := m.run(http.DefaultTransport); err == nil || !strings.Contains(err.Error(), "activate the account here") {
		t.Fatal(err)
	}
	m.answers["Press"] = func() string {
		_, key, _ := strings.Cut(m.said.String(), "did:key:")
		publish(to, "eve.pds2.test", "did:key:"+strings.Fields(key)[0])
		return ""
	}
	if err := m.run(http.DefaultTransport); err != nil {
		t.Fatal(err)
	}
	m.check(before, blobs)
}

// A server that stands still ends the transfer, and one that sends the client
// elsewhere gets nothing there.
func TestMoveTransfer(t *testing.T) {
	t.Parallel()
	stalled := make(chan struct{})
	t.Cleanup(func() { close(stalled) })
	var elsewhere atomic.Int64
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/elsewhere":
			elsewhere.Add(1)
		case r.URL.Query().Get("redirect") != "":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		default:
			_, _ = io.WriteString(w, "some")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-stalled:
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(old.Close)
	here := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(here.Close)
	client := noRedirects(nil)
	m := &mover{
		moveState: new(moveState), idle: 50 * time.Millisecond,
		here: &peer{base: here.URL, client: client}, there: &peer{base: old.URL, client: client},
	}
	if _, err := m.transfer(t.Context(), "a.b.c", nil, "d.e.f", nil); !errors.Is(err, errIdle) {
		t.Errorf("a transfer that stands still: %v", err)
	}
	var refused *peerError
	if _, err := m.transfer(t.Context(), "a.b.c", url.Values{"redirect": {"1"}}, "d.e.f", nil); !errors.As(err, &refused) || refused.status != http.StatusFound || elsewhere.Load() != 0 {
		t.Errorf("a redirect: %v, %d requests", err, elsewhere.Load())
	}
}

// The state is the operator's alone to read, and one that is damaged is named.
func TestMoveState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	m, err := loadMove(dir, did)
	if err != nil {
		t.Fatal(err)
	}
	m.Password, m.There.Refresh = "secret", "token"
	if err := m.save(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(m.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := loadMove(dir, did)
	if err != nil || again.Password != "secret" || again.There.Refresh != "token" {
		t.Errorf("loaded %+v, %v", again, err)
	}
	for _, damage := range []string{`{"did":"did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"}`, `{`, ``} {
		if err := os.WriteFile(m.file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadMove(dir, did); err == nil || !strings.Contains(err.Error(), m.file) {
			t.Errorf("%q: %v", damage, err)
		}
	}
}

func adminAuthorization() string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth("admin", pdstest.AdminPassword)
	return r.Header.Get("Authorization")
}

func didKey(t *testing.T) string {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pub.DIDKey()
}
