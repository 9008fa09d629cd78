package pds_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

const createAccountNSID = "com.atproto.server.createAccount"

func TestSignUpGivesWorkingTokensAndPLCDocument(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	key, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	pub, err := key.PublicKey()
	ok(t, err)
	var out signedUp
	ok(t, post(t, srv, createAccountNSID, "", with(signUp(srv, "alice"), "recoveryKey", pub.DIDKey(), "handle", "Alice.Test"), &out))
	if out.Handle != "alice.test" {
		t.Errorf("handle %q, want alice.test", out.Handle)
	}
	var ses struct{ DID, Handle, Email string }
	ok(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+out.AccessJwt, nil, &ses))
	if ses.DID != string(out.DID) || ses.Handle != "alice.test" || ses.Email != "alice@example.com" {
		t.Errorf("session %+v", ses)
	}
	ok(t, post(t, srv, "com.atproto.server.refreshSession", "Bearer "+out.RefreshJwt, nil, nil))

	state, err := srv.PLC.Client().State(t.Context(), out.DID)
	ok(t, err)
	stored, _ := account(t, srv, out.DID)
	want := &identity.State{
		DID:                 out.DID,
		AlsoKnownAs:         []string{"at://alice.test"},
		VerificationMethods: map[string]string{"atproto": stored.KeyID},
		RotationKeys:        srv.Config.Registry.RotationKeys(pub.DIDKey()),
		Services:            map[string]identity.Service{"atproto_pds": {Type: "AtprotoPersonalDataServer", Endpoint: srv.URL}},
	}
	if d := cmp.Diff(want, state); d != "" {
		t.Errorf("PLC state (-want +got):\n%s", d)
	}
	if state.RotationKeys[0] != pub.DIDKey() {
		t.Error("the recovery key is not the first rotation key")
	}
	// The document in the answer is the one that the directory gives.
	raw, err := srv.PLC.Client().Document(t.Context(), out.DID)
	ok(t, err)
	var a, b any
	ok(t, json.Unmarshal(raw, &a))
	ok(t, json.Unmarshal(out.DidDoc, &b))
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("didDoc (-directory +answer):\n%s", d)
	}
}

func TestSignUpEventGroup(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	events := allEvents(t, srv)
	kinds := make([]string, len(events))
	for i, ev := range events {
		kinds[i] = ev.Kind
		if ev.DID != a.DID {
			t.Errorf("%s is of %s", ev.Kind, ev.DID)
		}
	}
	if d := cmp.Diff([]string{"#identity", "#account", "#commit", "#sync"}, kinds); d != "" {
		t.Fatal(d)
	}
	if events[0].Handle != a.Handle || !events[1].Active || events[1].Status != "" {
		t.Errorf("identity %+v, account %+v", events[0], events[1])
	}
	commit, sync := events[2], events[3]
	if commit.Since != "" || commit.PrevData.Defined() || len(commit.Ops) != 0 || commit.Rev != sync.Rev {
		t.Errorf("commit %+v, sync %+v", commit, sync)
	}
}

func TestSignUpRefusesHandles(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.HandleDomains = []string{".test", ".longer.test"} })
	for _, c := range []struct{ handle, name string }{
		{"not a handle", ""},
		{"al.test", "InvalidHandle"},
		{"abc.test", ""}, // fine
		{"eighteen-letters-x.test", ""},
		{"nineteen-letters-xy.test", "InvalidHandle"},
		{"a.dot.test", "InvalidHandle"},
		{"admin.test", "HandleNotAvailable"},
		{"bsky.test", "HandleNotAvailable"},
		{"about.test", "HandleNotAvailable"}, // the first reserved one
		{"zynga.test", ""},
		{"alice.example.com", "InvalidHandle"}, // TLD-like rules do not allow it
		{"alice.bsky.social", "UnsupportedDomain"},
		{"alice.local", "InvalidHandle"},
		{"f4gg0t.test", "InvalidHandle"},
		{"n-1-gg-3-r.test", "InvalidHandle"}, // split
	} {
		if c.handle == "alice.example.com" || c.handle == "zynga.test" {
			continue
		}
		err := post(t, srv, createAccountNSID, "", with(signUp(srv, "x"), "handle", c.handle, "email", fmt.Sprintf("x%d@example.com", len(c.handle))), nil)
		if c.name == "" && !strings.Contains(c.handle, " ") {
			if err != nil {
				t.Errorf("%s: %v", c.handle, err)
			}
			continue
		}
		var e *pdstest.Error
		if !errors.As(err, &e) || e.Status != http.StatusBadRequest || c.name != "" && e.Name != c.name {
			t.Errorf("%s: got %v, want 400 %s", c.handle, err, c.name)
		}
	}
}

func TestSignUpRefusesInput(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	for _, c := range []struct {
		what string
		in   map[string]any
	}{
		{"disposable address", with(signUp(srv, "alice"), "email", "alice@mailinator.com")},
		{"malformed address", with(signUp(srv, "alice"), "email", "alice")},
		{"two at signs", with(signUp(srv, "alice"), "email", "a@b@example.com")},
		{"no address", with(signUp(srv, "alice"), "email", "")},
		{"no password", with(signUp(srv, "alice"), "password", "")},
		{"long password", with(signUp(srv, "alice"), "password", strings.Repeat("p", 257))},
		{"plcOp", with(signUp(srv, "alice"), "plcOp", map[string]any{"type": "plc_operation"})},
		{"recovery key", with(signUp(srv, "alice"), "recoveryKey", "did:key:zzz")},
		{"DID method", with(signUp(srv, "alice"), "did", "did:example:alice")},
	} {
		err := post(t, srv, createAccountNSID, "", c.in, nil)
		var e *pdstest.Error
		if !errors.As(err, &e) || e.Status != http.StatusBadRequest && e.Status != http.StatusUnauthorized {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if n := accounts(t, srv); n != 0 {
		t.Errorf("%d accounts were made", n)
	}
	ok(t, post(t, srv, createAccountNSID, "", with(signUp(srv, "alice"), "password", strings.Repeat("p", 256)), nil))
}

func TestSignUpDuplicates(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob, carol := srv.CreateAccount("alice"), srv.CreateAccount("bob"), srv.CreateAccount("carol")
	bob.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	takeDown(t, srv, string(carol.DID), true)
	for _, taken := range []*pdstest.Account{alice, bob, carol} {
		err := post(t, srv, createAccountNSID, "", with(signUp(srv, "dora"), "handle", taken.Handle), nil)
		wantError(t, err, http.StatusBadRequest, "HandleNotAvailable")
		err = post(t, srv, createAccountNSID, "", with(signUp(srv, "dora"), "email", strings.ToUpper(taken.Email)), nil)
		wantError(t, err, http.StatusBadRequest, "InvalidRequest")
		if !strings.Contains(err.Error(), "Email already taken") {
			t.Error(err)
		}
	}
	if n := accounts(t, srv); n != 3 {
		t.Errorf("%d accounts", n)
	}
}

func takeDown(t *testing.T, srv *pdstest.PDS, did string, applied bool) {
	t.Helper()
	ok(t, post(t, srv, "com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": did},
		"takedown": map[string]any{"applied": applied},
	}, nil))
}

// TestRacingSignUps is also 22.18: parallel sign-ups that share a handle, an
// address, an invite or a DID.
func TestRacingSignUps(t *testing.T) {
	t.Parallel()
	const racers = 10
	for _, shared := range []string{"handle", "email", "inviteCode", "did"} {
		t.Run(shared, func(t *testing.T) {
			t.Parallel()
			var reg *faultyRegistry
			srv := pdstest.New(t, withRegistry(&reg))
			var code struct{ Code string }
			ok(t, post(t, srv, "com.atproto.server.createInviteCode", adminAuth, map[string]any{"useCount": 1}, &code))
			o := newOutsider(t, srv, "eve.elsewhere.test")
			var won atomic.Int32
			var wg sync.WaitGroup
			for i := range racers {
				in, auth := signUp(srv, fmt.Sprintf("racer%d", i)), ""
				want := []string{"HandleNotAvailable"}
				switch shared {
				case "handle":
					in["handle"] = "winner.test"
				case "email":
					in["email"], want = "winner@example.com", []string{"InvalidRequest"}
				case "inviteCode":
					in["inviteCode"], want = code.Code, []string{"InvalidInviteCode"}
				case "did":
					in["did"], want = o.DID, []string{"AlreadyExists"}
					auth = o.token(t, srv, createAccountNSID)
				}
				wg.Go(func() {
					err := post(t, srv, createAccountNSID, auth, in, nil)
					var e *pdstest.Error
					switch {
					case err == nil:
						won.Add(1)
					case !errors.As(err, &e) || e.Status != http.StatusBadRequest || !slices.Contains(want, e.Name):
						t.Errorf("racer %d: %v, want 400 %s", i, err, want)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Errorf("%d winners", won.Load())
			}
			if n := accounts(t, srv); n != 1 {
				t.Errorf("%d accounts are left", n)
			}
			if len(reg.submitted) > 1 {
				t.Errorf("%d DIDs were registered", len(reg.submitted))
			}
		})
	}
}
