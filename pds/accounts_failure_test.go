package pds_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

var errInjected = errors.New("injected failure")

// wantNoTrace fails unless nothing is left of a sign-up: no account, no
// document, no event, no living DID, and the same input works.
func wantNoTrace(t *testing.T, srv *pdstest.PDS, reg *faultyRegistry, in map[string]any, auth string) {
	t.Helper()
	if n := accounts(t, srv); n != 0 {
		t.Errorf("%d accounts are left", n)
	}
	if seq := lastSeq(t, srv); seq != 0 {
		t.Errorf("an event was appended: %d", seq)
	}
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		for _, kind := range []string{"creation", "signing-key", "session", "invite-use", "job", "job-due", "migration", "handle-hold"} {
			docs, err := tx.ScanDocs(kind, storage.Scan{Limit: 10})
			if err != nil {
				return err
			}
			if len(docs) > 0 {
				t.Errorf("%d documents of kind %s are left: %q", len(docs), kind, docs[0].Key)
			}
		}
		return nil
	}))
	for _, did := range reg.submitted {
		if there, err := reg.Registry.Exists(t.Context(), did); err != nil || there {
			t.Errorf("%s lives on: %v", did, err)
		}
	}
	if err := post(t, srv, createAccountNSID, auth, in, nil); err != nil {
		t.Errorf("the second attempt: %v", err)
	}
}

// TestSignUpFailureLeavesNoTrace fails each Update of a sign-up, before and
// after it takes effect, and each call to the PLC directory.
func TestSignUpFailureLeavesNoTrace(t *testing.T) {
	t.Parallel()
	inviteOf := func(t *testing.T, srv *pdstest.PDS) string {
		var code struct{ Code string }
		ok(t, post(t, srv, "com.atproto.server.createInviteCode", adminAuth, map[string]any{"useCount": 1}, &code))
		return code.Code
	}
	for _, stage := range []string{"reserve", "Apply"} {
		t.Run(stage+" does not happen", func(t *testing.T) {
			t.Parallel()
			var store *faultyStore
			var reg *faultyRegistry
			srv := pdstest.New(t, withFaults(t, &store), withRegistry(&reg))
			in := with(signUp(srv, "alice"), "inviteCode", inviteOf(t, srv))
			store.arm(stage, errInjected, false)
			wantError(t, post(t, srv, createAccountNSID, "", in, nil), http.StatusInternalServerError, "InternalServerError")
			wantNoTrace(t, srv, reg, in, "")
		})
	}
	t.Run("reserve reports failure but happened", func(t *testing.T) {
		t.Parallel()
		var store *faultyStore
		var reg *faultyRegistry
		srv := pdstest.New(t, withFaults(t, &store), withRegistry(&reg))
		in := with(signUp(srv, "alice"), "inviteCode", inviteOf(t, srv))
		store.arm("reserve", errInjected, true)
		wantError(t, post(t, srv, createAccountNSID, "", in, nil), http.StatusInternalServerError, "InternalServerError")
		wantNoTrace(t, srv, reg, in, "")
	})
	t.Run("finish reports failure but happened", func(t *testing.T) {
		t.Parallel()
		var store *faultyStore
		srv := pdstest.New(t, withFaults(t, &store))
		store.arm("Apply", errInjected, true)
		var out signedUp
		ok(t, post(t, srv, createAccountNSID, "", signUp(srv, "alice"), &out))
		ok(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+out.AccessJwt, nil, nil))
	})
	for _, c := range []struct {
		what   string
		err    error
		status int
		name   string
	}{
		{"refused", &identity.PLCError{Status: 400, Message: "no thanks"}, 400, "InvalidRequest"},
		{"unreachable", fmt.Errorf("%w: %w", identity.ErrPLCUnavailable, &net.OpError{Op: "dial", Err: errInjected}), 502, "UpstreamFailure"},
	} {
		t.Run("PLC "+c.what, func(t *testing.T) {
			t.Parallel()
			var reg *faultyRegistry
			srv := pdstest.New(t, withRegistry(&reg))
			in := with(signUp(srv, "alice"), "inviteCode", inviteOf(t, srv))
			reg.set(func(r *faultyRegistry) { r.submit = c.err })
			wantError(t, post(t, srv, createAccountNSID, "", in, nil), c.status, c.name)
			reg.set(func(r *faultyRegistry) { r.submit = nil; r.submitted = nil })
			wantNoTrace(t, srv, reg, in, "")
		})
	}
}

// TestSilentPLCDirectory: no answer leaves the outcome open. The names stay
// reserved until it is known, then the sign-up is finished or undone.
func TestSilentPLCDirectory(t *testing.T) {
	t.Parallel()
	for _, arrived := range []bool{true, false} {
		t.Run(fmt.Sprintf("arrived=%t", arrived), func(t *testing.T) {
			t.Parallel()
			var reg *faultyRegistry
			srv := pdstest.New(t, withRegistry(&reg))
			reg.set(func(r *faultyRegistry) {
				r.submit, r.exists, r.arrived = context.DeadlineExceeded, context.DeadlineExceeded, arrived
			})
			in := signUp(srv, "alice")
			wantError(t, post(t, srv, createAccountNSID, "", in, nil), http.StatusGatewayTimeout, "UpstreamTimeout")
			did := reg.submitted[0]
			a, found := account(t, srv, did)
			if !found || !a.Pending {
				t.Fatalf("the account is not reserved: %+v", a)
			}
			// Nothing of it is public, and nobody else gets its names.
			wantError(t, get(t, srv, "com.atproto.sync.getRepoStatus", "", map[string][]string{"did": {string(did)}}, nil), 400, "RepoNotFound")
			wantError(t, get(t, srv, "com.atproto.identity.resolveHandle", "", map[string][]string{"handle": {"alice.test"}}, nil), 400, "HandleNotFound")
			wantError(t, post(t, srv, createAccountNSID, "", in, nil), 400, "HandleNotAvailable")
			reg.set(func(r *faultyRegistry) { r.submit, r.exists = nil, nil })

			ok(t, srv.SettlePendingAccounts(t.Context())) // too early
			if a, found := account(t, srv, did); !found || !a.Pending {
				t.Fatal("settled before its time")
			}
			srv.Clock.Advance(6 * time.Minute)
			ok(t, srv.SettlePendingAccounts(t.Context()))
			a, found = account(t, srv, did)
			if found != arrived || a.Pending {
				t.Fatalf("found %t, pending %t", found, a.Pending)
			}
			if !arrived {
				wantNoTrace(t, srv, &faultyRegistry{}, in, "")
				return
			}
			if got := eventsAfter(t, srv, 0); !slices.Equal(got, []string{"#identity", "#account active", "#commit", "#sync"}) {
				t.Error(got)
			}
			ok(t, post(t, srv, "com.atproto.server.createSession", "", map[string]any{
				"identifier": "alice.test", "password": in["password"],
			}, nil))
			ok(t, srv.SettlePendingAccounts(t.Context())) // nothing more to do
			if n := len(eventsAfter(t, srv, 0)); n != 4 {
				t.Errorf("%d events", n)
			}
		})
	}
}

// TestSilentAnswerThatArrived: the answer is lost, but the directory has the
// operation: the sign-up succeeds.
func TestSilentAnswerThatArrived(t *testing.T) {
	t.Parallel()
	var reg *faultyRegistry
	srv := pdstest.New(t, withRegistry(&reg))
	reg.set(func(r *faultyRegistry) { r.submit, r.arrived = context.DeadlineExceeded, true })
	var out signedUp
	ok(t, post(t, srv, createAccountNSID, "", signUp(srv, "alice"), &out))
	ok(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+out.AccessJwt, nil, nil))
}

// TestUndoIsResumed: the DID was registered, the account could not be
// completed, and the directory refuses the tombstone at first.
func TestUndoIsResumed(t *testing.T) {
	t.Parallel()
	var store *faultyStore
	var reg *faultyRegistry
	srv := pdstest.New(t, withFaults(t, &store), withRegistry(&reg))
	reg.set(func(r *faultyRegistry) { r.tombstone = errInjected })
	store.arm("Apply", errInjected, false)
	in := signUp(srv, "alice")
	wantError(t, post(t, srv, createAccountNSID, "", in, nil), http.StatusInternalServerError, "")
	did := reg.submitted[0]
	if a, found := account(t, srv, did); !found || !a.Pending {
		t.Fatal("forgotten before its DID was ended")
	}
	reg.set(func(r *faultyRegistry) { r.tombstone = nil })
	store.clock.Advance(6 * time.Minute)
	ok(t, srv.SettlePendingAccounts(t.Context()))
	wantNoTrace(t, srv, reg, in, "")
}

// TestBroughtDIDCutOff is the last but one part of 22.26: a sign-up with a DID
// of its own that fails leaves an account that works, or none at all, and never
// ends the DID.
func TestBroughtDIDCutOff(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%t", late), func(t *testing.T) {
			t.Parallel()
			var store *faultyStore
			var reg *faultyRegistry
			srv := pdstest.New(t, withFaults(t, &store), withRegistry(&reg))
			o := newOutsider(t, srv, "eve.elsewhere.test")
			in := with(signUp(srv, "eve"), "did", o.DID)
			store.arm("Apply", errInjected, late)
			err := post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), in, nil)
			_, found := account(t, srv, o.DID)
			if (err == nil) != found {
				t.Fatalf("answer %v, account found: %t", err, found)
			}
			if !found {
				ok(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), in, nil))
			}
			ok(t, post(t, srv, "com.atproto.server.createSession", "", map[string]any{
				"identifier": string(o.DID), "password": in["password"],
			}, nil))
			if there, err := reg.Exists(t.Context(), o.DID); !there || len(reg.tombstones) > 0 {
				t.Errorf("the brought DID was ended: %v %v", err, reg.tombstones)
			}
		})
	}
}
