package identity_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/identity"
)

type fixture struct {
	plc      *identity.MemoryPLC
	reg      *identity.PLCRegistry
	server   atcrypto.PrivateKey
	serverID string
	user     atcrypto.PrivateKey
	userID   string
	pub      atcrypto.PublicKey
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{plc: newPLC(t, identity.MemoryPLCConfig{NoRateLimit: true})}
	f.server, f.serverID = newKey(t)
	f.user, f.userID = newKey(t)
	pub, err := f.user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	f.pub = pub
	f.reg = identity.NewPLCRegistry(f.plc.Client(), f.server, "")
	return f
}

func (f *fixture) create(t testing.TB) syntax.DID {
	t.Helper()
	did, op, err := f.reg.New(t.Context(), identity.NewIdentity{
		Handle: "Alice.test", SigningKey: f.pub, PDS: "https://pds.test", RecoveryKey: f.userID,
		Services: map[string]identity.Service{"bsky_chat": {Type: "Chat", Endpoint: "https://chat.test"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := f.reg.Exists(t.Context(), did); ok || err != nil {
		t.Fatalf("New submitted: %v, %v", ok, err)
	}
	// Twice: a crashed caller repeats it.
	for range 2 {
		if err := f.reg.Submit(t.Context(), did, op); err != nil {
			t.Fatal(err)
		}
	}
	return did
}

func (f *fixture) entries(t testing.TB, did syntax.DID) []identity.LogEntry {
	t.Helper()
	entries, err := f.plc.Client().AuditLog(t.Context(), did)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.VerifyLog(did, entries); err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestRegistryLifecycle(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	did := f.create(t)
	state, err := f.plc.Client().State(ctx, did)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(state.RotationKeys, []string{f.userID, f.serverID}) || state.AlsoKnownAs[0] != "at://alice.test" ||
		state.Services["bsky_chat"].Endpoint != "https://chat.test" || state.Services["atproto_pds"].Endpoint != "https://pds.test" ||
		state.VerificationMethods["atproto"] != f.userID {
		t.Errorf("created %+v", state)
	}

	setHandle := func(op *identity.Operation) error { op.SetHandle("bob.test"); return nil }
	for range 2 { // the second makes no difference and is not submitted
		if err := f.reg.Update(ctx, did, setHandle); err != nil {
			t.Fatal(err)
		}
	}
	entries := f.entries(t, did)
	if len(entries) != 2 {
		t.Fatalf("%d operations, want 2", len(entries))
	}
	op := entries[1].Operation
	if op.AlsoKnownAs[0] != "at://bob.test" || op.Services["bsky_chat"].Type != "Chat" || op.Prev == nil || *op.Prev != entries[0].CID {
		t.Errorf("updated to %+v", op)
	}

	stop := errors.New("stop")
	if err := f.reg.Update(ctx, did, func(*identity.Operation) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error of change: %v", err)
	}
	if err := f.reg.Update(ctx, did, func(op *identity.Operation) error { op.Type = "plc_tombstone"; return nil }); !errors.Is(err, identity.ErrInvalidOperation) {
		t.Errorf("change of type: %v", err)
	}
	if err := f.reg.Update(ctx, did, func(op *identity.Operation) error {
		op.VerificationMethods["x"] = "no key"
		return nil
	}); !errors.Is(err, identity.ErrInvalidOperation) {
		t.Errorf("bad change: %v", err)
	}
	// Keys of kinds that atproto does not use are carried over.
	const ed25519 = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
	for _, change := range []func(op *identity.Operation){
		func(op *identity.Operation) { op.VerificationMethods["ed"] = ed25519 },
		func(op *identity.Operation) { op.SetHandle("carol.test") },
	} {
		if err := f.reg.Update(ctx, did, func(op *identity.Operation) error { change(op); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := f.plc.Client().Document(ctx, did); err != nil || !strings.Contains(string(raw), strings.TrimPrefix(ed25519, "did:key:")) {
		t.Errorf("document: %s, %v", raw, err)
	}
	stranger, _ := newKey(t)
	if err := identity.NewPLCRegistry(f.plc.Client(), stranger, "").Update(ctx, did, func(op *identity.Operation) error {
		op.SetHandle("evil.test")
		return nil
	}); !errors.Is(err, identity.ErrNotRotationKey) {
		t.Errorf("stranger: %v", err)
	}
	if len(f.entries(t, did)) != 4 {
		t.Error("a failed update left an operation")
	}

	if ok, err := f.reg.Exists(ctx, did); !ok || err != nil {
		t.Errorf("Exists = %v, %v", ok, err)
	}
	for range 2 {
		if err := f.reg.Tombstone(ctx, did); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.entries(t, did)) != 5 {
		t.Error("the second tombstone was submitted")
	}
	if ok, err := f.reg.Exists(ctx, did); ok || err != nil {
		t.Errorf("Exists after the end = %v, %v", ok, err)
	}
	if err := f.reg.Update(ctx, did, setHandle); !errors.Is(err, identity.ErrTombstoned) {
		t.Errorf("update after the end: %v", err)
	}
	const nobody = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	if err := f.reg.Update(ctx, nobody, setHandle); !errors.Is(err, atid.ErrDIDNotFound) {
		t.Errorf("update of nobody: %v", err)
	}
	if err := f.reg.Tombstone(ctx, nobody); !errors.Is(err, atid.ErrDIDNotFound) {
		t.Errorf("tombstone of nobody: %v", err)
	}
}

func TestRegistrySigns(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	did := f.create(t)
	move := func(op *identity.Operation) error {
		op.Services["atproto_pds"] = identity.Service{Type: "AtprotoPersonalDataServer", Endpoint: "https://elsewhere.test"}
		return nil
	}
	op, err := f.reg.Sign(ctx, did, move)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.entries(t, did)) != 1 {
		t.Error("Sign has submitted")
	}
	if _, err := op.Verify([]string{f.serverID}); err != nil || op.Services["bsky_chat"].Endpoint != "https://chat.test" {
		t.Errorf("signed %+v, %v", op, err)
	}
	// Whoever has it submits it.
	if err := f.plc.Client().Submit(ctx, did, op); err != nil {
		t.Fatal(err)
	}
	if log := f.entries(t, did); *log[1].Operation.Prev != log[0].CID {
		t.Errorf("the operation follows %s", *log[1].Operation.Prev)
	}
	// One that makes no difference is signed all the same.
	if op, err := f.reg.Sign(ctx, did, move); err != nil || op.Sig == "" {
		t.Errorf("no difference: %v, %v", op, err)
	}

	stop := errors.New("stop")
	stranger, _ := newKey(t)
	for _, c := range []struct {
		what   string
		reg    identity.Registry
		did    syntax.DID
		change func(op *identity.Operation) error
		want   error
	}{
		{"error of change", f.reg, did, func(*identity.Operation) error { return stop }, stop},
		{"type", f.reg, did, func(op *identity.Operation) error { op.Type = "plc_tombstone"; return nil }, identity.ErrInvalidOperation},
		{"bad key", f.reg, did, func(op *identity.Operation) error { op.RotationKeys[0] = "x"; return nil }, identity.ErrInvalidOperation},
		{"too many names", f.reg, did, func(op *identity.Operation) error {
			op.AlsoKnownAs = make([]string, identity.MaxAlsoKnownAs+1)
			return nil
		}, identity.ErrOperationTooLarge},
		{"stranger", identity.NewPLCRegistry(f.plc.Client(), stranger, ""), did, move, identity.ErrNotRotationKey},
		{"nobody", f.reg, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", move, atid.ErrDIDNotFound},
	} {
		if op, err := c.reg.Sign(ctx, c.did, c.change); !errors.Is(err, c.want) || op != nil {
			t.Errorf("%s: %v, %v, want %v", c.what, op, err, c.want)
		}
	}
	if err := f.reg.Tombstone(ctx, did); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reg.Sign(ctx, did, move); !errors.Is(err, identity.ErrTombstoned) {
		t.Errorf("after the end: %v", err)
	}
}

func TestRegistryUpdatesLegacyGenesis(t *testing.T) {
	server, s := newKey(t)
	_, r := newKey(t)
	legacy := sign(t, &identity.Operation{Type: "create", Legacy: &identity.LegacyCreate{SigningKey: s, RecoveryKey: r, Handle: "old.test", Service: "https://pds.test"}}, server)
	did, err := legacy.DID()
	if err != nil {
		t.Fatal(err)
	}
	// Only an old log can hold it.
	log := &listLog{entries: []identity.LogEntry{{DID: did, Operation: *legacy, CID: *cidOf(t, legacy), CreatedAt: epoch}}}
	p := newPLC(t, identity.MemoryPLCConfig{Log: log})
	reg := identity.NewPLCRegistry(p.Client(), server, "")
	if err := reg.Update(t.Context(), did, func(*identity.Operation) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if len(log.entries) != 1 {
		t.Fatal("no change was submitted")
	}
	if err := reg.Update(t.Context(), did, func(op *identity.Operation) error { op.SetHandle("new.test"); return nil }); err != nil {
		t.Fatal(err)
	}
	state, err := identity.VerifyLog(did, log.entries)
	if err != nil || state.AlsoKnownAs[0] != "at://new.test" || !slices.Equal(state.RotationKeys, []string{r, s}) {
		t.Errorf("%+v, %v", state, err)
	}
}

// An operation of somebody else between reading and submitting must not be lost.
func TestRegistryUpdateRetries(t *testing.T) {
	f := newFixture(t)
	did := f.create(t)
	calls := 0
	err := f.reg.Update(t.Context(), did, func(op *identity.Operation) error {
		calls++
		if calls == 1 {
			if err := f.reg.Update(t.Context(), did, func(op *identity.Operation) error {
				op.Services["other"] = identity.Service{Type: "O", Endpoint: "https://o.test"}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		op.SetHandle("bob.test")
		return nil
	})
	if err != nil || calls != 2 {
		t.Fatalf("%v after %d calls", err, calls)
	}
	state, err := f.plc.Client().State(t.Context(), did)
	if err != nil || state.AlsoKnownAs[0] != "at://bob.test" || state.Services["other"].Type != "O" {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestRegistrySubmitNullified(t *testing.T) {
	f := newFixture(t)
	did := f.create(t)
	g := new(f.entries(t, did)[0].CID)
	lost := sign(t, operation(g, "lost.test", f.userID, f.serverID), f.server)
	if err := f.reg.Submit(t.Context(), did, lost); err != nil {
		t.Fatal(err)
	}
	if err := f.reg.Submit(t.Context(), did, sign(t, operation(g, "kept.test", f.userID, f.serverID), f.user)); err != nil {
		t.Fatal(err)
	}
	var refused *identity.PLCError
	if err := f.reg.Submit(t.Context(), did, lost); !errors.As(err, &refused) || refused.Status != 400 {
		t.Errorf("nullified operation again: %v", err)
	}
}

func TestRegistryNewRefuses(t *testing.T) {
	f := newFixture(t)
	for name, id := range map[string]identity.NewIdentity{
		"no key":        {Handle: "a.test", PDS: "https://pds.test"},
		"no PDS":        {Handle: "a.test", SigningKey: f.pub},
		"bad recovery":  {Handle: "a.test", SigningKey: f.pub, PDS: "https://pds.test", RecoveryKey: "nope"},
		"long endpoint": {Handle: "a.test", SigningKey: f.pub, PDS: "https://" + strings.Repeat("p", 600)},
	} {
		_, _, err := f.reg.New(t.Context(), id)
		if !errors.Is(err, identity.ErrInvalidOperation) && !errors.Is(err, identity.ErrOperationTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := identity.NewPLCRegistry(f.plc.Client(), f.server, "no key")
	if _, _, err := broken.New(t.Context(), identity.NewIdentity{SigningKey: f.pub, PDS: "https://pds.test"}); err == nil {
		t.Error("a recovery key that does not parse was accepted")
	}
}

func TestRotationKeys(t *testing.T) {
	f := newFixture(t)
	_, operator := newKey(t)
	with := identity.NewPLCRegistry(f.plc.Client(), f.server, operator)
	for _, c := range []struct {
		reg      *identity.PLCRegistry
		recovery string
		want     []string
	}{
		{f.reg, "", []string{f.serverID}},
		{f.reg, f.userID, []string{f.userID, f.serverID}},
		{with, "", []string{operator, f.serverID}},
		{with, f.userID, []string{f.userID, operator, f.serverID}},
		{with, operator, []string{operator, f.serverID}},
		{with, f.serverID, []string{f.serverID, operator}},
	} {
		if got := c.reg.RotationKeys(c.recovery); !slices.Equal(got, c.want) {
			t.Errorf("RotationKeys(%q) = %v, want %v", c.recovery, got, c.want)
		}
	}
}

func TestPLCClientErrors(t *testing.T) {
	const did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	var requests atomic.Int64
	var answer atomic.Pointer[http.HandlerFunc]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		(*answer.Load())(w, r)
	}))
	defer srv.Close()
	client, err := identity.NewPLCClient(srv.URL+"/", nil) // the operator's host may be private
	if err != nil {
		t.Fatal(err)
	}
	if client.URL() != srv.URL {
		t.Errorf("URL = %q", client.URL())
	}
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		status  int
		message string
		is      error
	}{
		{"404", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			w.Write([]byte(`{"message":"DID not registered: x"}`))
		}, 404, "DID not registered: x", atid.ErrDIDNotFound},
		{"410", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }, 410, "Gone", atid.ErrDIDNotFound},
		{"429 text", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "slow down", 429) }, 429, "Too Many Requests", nil},
		{"500 list", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); w.Write([]byte(`[1]`)) }, 500, "Internal Server Error", identity.ErrPLCUnavailable},
		{"unknown status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) }, 599, "no message", identity.ErrPLCUnavailable},
		{"long message", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			w.Write([]byte(`{"message":"` + strings.Repeat("ü", 2000) + `"}`))
		}, 400, strings.Repeat("ü", 512), nil},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 302) }, 302, "Found", nil},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`<html>`)) }, 0, "", identity.ErrPLCUnavailable},
		{"half an answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("{"))
		}, 0, "", identity.ErrPLCUnavailable},
		{"too long", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(make([]byte, identity.MaxPLCBody+1))
		}, 0, "", identity.ErrBodyTooLarge},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "", identity.ErrPLCUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer.Store(&c.answer)
			_, err := client.LastOperation(t.Context(), did)
			var got *identity.PLCError
			switch {
			case err == nil:
				t.Fatal("no error")
			case c.is != nil && !errors.Is(err, c.is):
				t.Errorf("err = %v, want %v", err, c.is)
			case c.status == 0:
			case !errors.As(err, &got) || got.Status != c.status || got.Message != c.message:
				t.Errorf("err = %v, want %d %s", err, c.status, c.message)
			}
		})
	}
	before := requests.Load()
	for _, bad := range []syntax.DID{"", "did:web:example.com", "did:plc:short", "did:plc:aaaaaaaaaaaaaaaaaaaaaaa1", "did:plc:AAAAAAAAAAAAAAAAAAAAAAAA", "did:plc:../../../../../../etc/pwd"} {
		if _, err := client.Document(t.Context(), bad); !errors.Is(err, atid.ErrDIDNotFound) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := client.Submit(t.Context(), did, &identity.Operation{Type: identity.TypeOperation}); !errors.Is(err, identity.ErrUnsigned) {
		t.Errorf("unsigned: %v", err)
	}
	if requests.Load() != before {
		t.Error("hopeless calls made requests")
	}
	foreign := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"did":"did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"}`))
	})
	answer.Store(&foreign)
	if _, err := client.State(t.Context(), did); !errors.Is(err, identity.ErrPLCUnavailable) {
		t.Errorf("data of another DID: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Document(ctx, did); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, bad := range []string{"", "plc.directory", "ftp://plc.directory", "https://", "https://u:p@plc.directory", "https://plc.directory/?x", "https://plc.directory/#x", "://"} {
		if _, err := identity.NewPLCClient(bad, nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
