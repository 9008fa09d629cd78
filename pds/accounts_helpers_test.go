package pds_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// Authorization headers.

var adminAuth = "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+pdstest.AdminPassword))

// post calls a procedure and returns the answer or the error of the call.
func post(t *testing.T, srv *pdstest.PDS, nsid, auth string, in, out any) error {
	t.Helper()
	return call(t, srv, http.MethodPost, nsid, auth, nil, in, out)
}

func get(t *testing.T, srv *pdstest.PDS, nsid, auth string, params url.Values, out any) error {
	t.Helper()
	return call(t, srv, http.MethodGet, nsid, auth, params, nil, out)
}

func call(t *testing.T, srv *pdstest.PDS, method, nsid, auth string, params url.Values, in, out any) error {
	t.Helper()
	h := http.Header{}
	if auth != "" {
		h.Set("Authorization", auth)
	}
	data, err := srv.Call(context.WithoutCancel(t.Context()), method, nsid, params, h, in)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(data, out)
}

// wantError fails unless err is an answer with this status and name; an empty
// name stands for any.
func wantError(t *testing.T, err error, status int, name string) {
	t.Helper()
	var e *pdstest.Error
	if !errors.As(err, &e) || e.Status != status || name != "" && e.Name != name {
		t.Fatalf("got %v, want %d %s", err, status, name)
	}
}

// ok fails unless err is nil.
func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// signUp is the input of a good createAccountNSID, for the parts that do not
// matter to a test.
func signUp(srv *pdstest.PDS, name string) map[string]any {
	return map[string]any{
		"handle": name + srv.Config.HandleDomains[0], "email": name + "@example.com", "password": "password of " + name,
	}
}

func with(in map[string]any, kv ...any) map[string]any {
	for i := 0; i < len(kv); i += 2 {
		in[kv[i].(string)] = kv[i+1]
	}
	return in
}

type signedUp struct {
	DID                   syntax.DID
	Handle                syntax.Handle
	AccessJwt, RefreshJwt string
	DidDoc                json.RawMessage
}

// account returns the stored account, or false.
func account(t *testing.T, srv *pdstest.PDS, did syntax.DID) (a storage.Account, found bool) {
	t.Helper()
	err := srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		a, err = tx.Account(did)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return a, false
	}
	ok(t, err)
	return a, true
}

// accounts counts all stored accounts, pending ones included.
func accounts(t *testing.T, srv *pdstest.PDS) (n int) {
	t.Helper()
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		list, err := tx.ListAccounts(storage.AccountCursor{}, 1000)
		n = len(list)
		return err
	}))
	return n
}

// lastSeq returns the highest number of an event.
func lastSeq(t *testing.T, srv *pdstest.PDS) (seq int64) {
	t.Helper()
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		seq, err = tx.LastSeq()
		return err
	}))
	return seq
}

// eventsAfter returns the kinds of the events after seq, in order, with what
// #account events say.
func eventsAfter(t *testing.T, srv *pdstest.PDS, seq int64) []string {
	t.Helper()
	kinds := []string{}
	for _, ev := range allEvents(t, srv) {
		if ev.Seq <= seq {
			continue
		}
		kind := ev.Kind
		if kind == "#account" {
			kind += " " + map[bool]string{true: "active"}[ev.Active] + ev.Status
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// outsider is an identity that lives somewhere else.
type outsider struct {
	DID    syntax.DID
	Handle syntax.Handle
	Key    atcrypto.PrivateKey

	registry *identity.PLCRegistry
}

func newOutsider(t *testing.T, srv *pdstest.PDS, handle syntax.Handle) *outsider {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	rotation, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	pub, err := key.PublicKey()
	ok(t, err)
	o := &outsider{Handle: handle, Key: key, registry: identity.NewPLCRegistry(srv.PLC.Client(), rotation, "")}
	did, op, err := o.registry.New(t.Context(), identity.NewIdentity{
		Handle: handle, SigningKey: pub, PDS: "https://elsewhere.example.com",
	})
	ok(t, err)
	ok(t, o.registry.Submit(t.Context(), did, op))
	o.DID = did
	return o
}

// token returns a service token of the outsider for a method of srv.
func (o *outsider) token(t *testing.T, srv *pdstest.PDS, lxm string) string {
	t.Helper()
	now := srv.Clock.Now()
	var aud struct{ DID string }
	ok(t, get(t, srv, "com.atproto.server.describeServer", "", nil, &aud))
	header := segment(t, map[string]any{"typ": "JWT", "alg": "ES256K"})
	claims := segment(t, map[string]any{
		"iss": o.DID, "aud": aud.DID, "lxm": lxm, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"jti": fmt.Sprint(now.UnixNano()),
	})
	sig, err := o.Key.HashAndSign([]byte(header + "." + claims))
	ok(t, err)
	return "Bearer " + header + "." + claims + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func segment(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	ok(t, err)
	return base64.RawURLEncoding.EncodeToString(data)
}

// moveHere makes the outsider's identity name srv as its server, with the keys
// that srv recommends.
func (o *outsider) moveHere(t *testing.T, srv *pdstest.PDS, auth string) {
	t.Helper()
	var want struct {
		AlsoKnownAs         []string
		VerificationMethods map[string]string
		RotationKeys        []string
		Services            map[string]identity.Service
	}
	ok(t, get(t, srv, "com.atproto.identity.getRecommendedDidCredentials", auth, nil, &want))
	ok(t, o.registry.Update(t.Context(), o.DID, func(op *identity.Operation) error {
		op.AlsoKnownAs, op.VerificationMethods = want.AlsoKnownAs, want.VerificationMethods
		op.Services = want.Services
		op.RotationKeys = append(want.RotationKeys, op.RotationKeys...)
		return nil
	}))
}

// moveAway gives the outsider's identity back its own key and server.
func (o *outsider) moveAway(t *testing.T) {
	t.Helper()
	pub, err := o.Key.PublicKey()
	ok(t, err)
	ok(t, o.registry.Update(t.Context(), o.DID, func(op *identity.Operation) error {
		op.VerificationMethods["atproto"] = pub.DIDKey()
		op.Services["atproto_pds"] = identity.Service{Type: "AtprotoPersonalDataServer", Endpoint: "https://elsewhere.example.com"}
		return nil
	}))
}

// faultyStore lets one Update fail that does a certain thing.
type faultyStore struct {
	storage.Store
	clock *pdstest.Clock // of the store and its server

	mu    sync.Mutex // guards following 3 fields
	stage string     // what the Update does: a method of probe or a kind of documents, empty for none
	err   error
	late  bool // the Update takes effect all the same
}

func (s *faultyStore) Unwrap() storage.Store { return s.Store }

func (s *faultyStore) arm(stage string, err error, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage, s.err, s.late = stage, err, late
}

func (s *faultyStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	s.mu.Lock()
	stage, fault, late := s.stage, s.err, s.late
	s.mu.Unlock()
	if stage == "" {
		return s.Store.Update(ctx, fn)
	}
	hit := false
	err := s.Store.Update(ctx, func(tx storage.Tx) error {
		p := &probe{Tx: tx, did: map[string]bool{}}
		if err := fn(p); err != nil {
			return err
		}
		if hit = p.did[stage]; hit && !late {
			return fault
		}
		return nil
	})
	if hit {
		s.arm("", nil, false)
		if err == nil {
			return fault
		}
	}
	return err
}

// probe notes what a transaction does.
type probe struct {
	storage.Tx
	did map[string]bool
}

func (p *probe) PutAccount(a storage.Account) (int64, error) {
	p.did["PutAccount"] = true
	p.did["reserve"] = p.did["reserve"] || a.Pending
	return p.Tx.PutAccount(a)
}

func (p *probe) Apply(c *storage.Commit) error {
	p.did["Apply"] = true
	return p.Tx.Apply(c)
}

func (p *probe) PutDoc(d storage.Doc) (int64, error) {
	p.did[d.Kind] = true
	return p.Tx.PutDoc(d)
}

func (p *probe) DeleteAccount(did syntax.DID) error {
	p.did["DeleteAccount"] = true
	return p.Tx.DeleteAccount(did)
}

// withFaults puts a faultyStore into a test server.
func withFaults(t *testing.T, store **faultyStore) func(*pds.Config) {
	return func(cfg *pds.Config) {
		clock := pdstest.NewClock()
		inner, err := sqlite.OpenMemory(sqlite.Options{Clock: clock})
		ok(t, err)
		t.Cleanup(func() { _ = inner.Close() })
		*store = &faultyStore{Store: inner, clock: clock}
		cfg.Store = *store
	}
}

// faultyRegistry lets calls to the PLC directory fail.
type faultyRegistry struct {
	identity.Registry

	mu sync.Mutex // guards following fields
	// Errors that Submit, Update, Sign, Exists and Tombstone return; nil: they work.
	submit, update, sign, exists, tombstone error
	// arrived says that Submit and Update fail only after the operation has
	// arrived.
	arrived    bool
	tombstones []syntax.DID
	submitted  []syntax.DID
	onSubmit   func()
}

func (r *faultyRegistry) set(change func(r *faultyRegistry)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

func (r *faultyRegistry) Submit(ctx context.Context, did syntax.DID, op *identity.Operation) error {
	r.mu.Lock()
	err, arrived, hook := r.submit, r.arrived, r.onSubmit
	r.submitted = append(r.submitted, did)
	r.mu.Unlock()
	if hook != nil {
		hook()
	}
	if err == nil || arrived {
		if e := r.Registry.Submit(ctx, did, op); e != nil {
			return e
		}
	}
	return err
}

func (r *faultyRegistry) Update(ctx context.Context, did syntax.DID, change func(*identity.Operation) error) error {
	r.mu.Lock()
	err, arrived := r.update, r.arrived
	r.mu.Unlock()
	if err == nil || arrived {
		if e := r.Registry.Update(ctx, did, change); e != nil {
			return e
		}
	}
	return err
}

func (r *faultyRegistry) Sign(ctx context.Context, did syntax.DID, change func(*identity.Operation) error) (*identity.Operation, error) {
	r.mu.Lock()
	err := r.sign
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return r.Registry.Sign(ctx, did, change)
}

func (r *faultyRegistry) Exists(ctx context.Context, did syntax.DID) (bool, error) {
	r.mu.Lock()
	err := r.exists
	r.mu.Unlock()
	if err != nil {
		return false, err
	}
	return r.Registry.Exists(ctx, did)
}

func (r *faultyRegistry) Tombstone(ctx context.Context, did syntax.DID) error {
	r.mu.Lock()
	err := r.tombstone
	r.tombstones = append(r.tombstones, did)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.Registry.Tombstone(ctx, did)
}

// withRegistry puts a faultyRegistry into a test server.
func withRegistry(reg **faultyRegistry) func(*pds.Config) {
	return func(cfg *pds.Config) {
		*reg = &faultyRegistry{Registry: cfg.Registry}
		cfg.Registry = *reg
	}
}

// isStatus reports whether err is an answer with this status.
func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*pdstest.Error](err)
	return ok && e.Status == status
}
