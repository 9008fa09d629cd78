package pds_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// errRefused is a PLC directory that refuses.
var errRefused = &identity.PLCError{Status: 400, Message: "no thanks"}

const searchNSID = "com.atproto.admin.searchAccounts"

// TestAccountInfo: account info with invites, in every state.
func TestAccountInfo(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired = true })
	code := giveCodes(t, srv, "", 1, 2)[0]
	up, err := joinBy(t, srv, "alice", code)
	ok(t, err)
	given := giveCodes(t, srv, string(up.DID), 1, 1)[0]
	_, err = joinBy(t, srv, "bob", given)
	ok(t, err)

	v := accountInfo(t, srv, up.DID)
	if v.DID != up.DID || v.Handle != "alice.test" || v.Email != "alice@example.com" || v.IndexedAt == "" ||
		v.EmailConfirmedAt != "" || v.DeactivatedAt != "" || v.InvitesDisabled == nil || *v.InvitesDisabled {
		t.Errorf("info %+v", v)
	}
	if v.InvitedBy == nil || v.InvitedBy.Code != code || v.InvitedBy.ForAccount != "admin" || len(v.InvitedBy.Uses) != 1 {
		t.Errorf("invited by %+v", v.InvitedBy)
	}
	if len(v.Invites) != 1 || v.Invites[0].Code != given || len(v.Invites[0].Uses) != 1 {
		t.Errorf("invites %+v", v.Invites)
	}
	editAccount(t, srv, up.DID, func(a *storage.Account) {
		a.EmailConfirmedAt, a.DeactivatedAt, a.TakedownRef = srv.Clock.Now(), srv.Clock.Now(), "x"
	})
	if v := accountInfo(t, srv, up.DID); v.EmailConfirmedAt == "" || v.DeactivatedAt == "" {
		t.Errorf("info %+v", v)
	}
	const nobody = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	wantError(t, get(t, srv, "com.atproto.admin.getAccountInfo", adminAuth, url.Values{"did": {nobody}}, nil), 400, "NotFound")

	var list struct{ Infos []accountView }
	srv.Get("com.atproto.admin.getAccountInfos", adminAuth, url.Values{"dids": {nobody, string(up.DID)}}, &list)
	if len(list.Infos) != 1 || list.Infos[0].DID != up.DID {
		t.Errorf("infos %+v", list.Infos)
	}
	many := make([]string, 501)
	for i := range many {
		many[i] = nobody
	}
	srv.Get("com.atproto.admin.getAccountInfos", adminAuth, url.Values{"dids": many[:500]}, &list)
	wantError(t, get(t, srv, "com.atproto.admin.getAccountInfos", adminAuth, url.Values{"dids": many}, nil), 400, "InvalidRequest")
}

// Servers without invites say nothing of them.
func TestAccountInfoWithoutInvites(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	if v := accountInfo(t, srv, a.DID); v.InvitedBy != nil || v.Invites != nil || v.InvitesDisabled != nil {
		t.Errorf("info %+v", v)
	}
}

func TestSearchAccounts(t *testing.T) {
	t.Parallel()
	var reg *faultyRegistry
	srv := pdstest.New(t, withRegistry(&reg))
	var all []syntax.DID
	for i := range 5 {
		all = append(all, srv.CreateAccount(fmt.Sprintf("user%d", i)).DID)
		srv.Clock.Advance(time.Second)
	}
	takeDown(t, srv, string(all[1]), true)
	// A sign-up that is not complete is nobody's account.
	reg.set(func(r *faultyRegistry) { r.submit, r.exists = identity.ErrPLCUnavailable, identity.ErrPLCUnavailable })
	wantError(t, post(t, srv, createAccountNSID, "", signUp(srv, "pending"), nil), 502, "")

	search := func(params url.Values) (dids []syntax.DID, cursor string) {
		t.Helper()
		var out struct {
			Cursor   string
			Accounts []accountView
		}
		srv.Get(searchNSID, adminAuth, params, &out)
		for _, a := range out.Accounts {
			dids = append(dids, a.DID)
		}
		return dids, out.Cursor
	}
	for _, limit := range []string{"1", "2", "5", "100"} {
		var got []syntax.DID
		cursor := ""
		for {
			page, next := search(url.Values{"limit": {limit}, "cursor": {cursor}})
			if got, cursor = append(got, page...), next; cursor == "" || len(got) > 10 {
				break
			}
		}
		if d := cmp.Diff(all, got); d != "" {
			t.Errorf("by %s: %s", limit, d)
		}
	}
	for _, c := range []struct {
		email string
		want  []syntax.DID
	}{
		{"user3@example.com", all[3:4]}, {"USER3@Example.com", all[3:4]}, {"user1@example.com", all[1:2]},
		{"nobody@example.com", nil}, {"user3", nil}, {"pending@example.com", nil},
	} {
		if got, cursor := search(url.Values{"email": {c.email}, "limit": {"1"}}); !slices.Equal(got, c.want) || cursor != "" {
			t.Errorf("%s: %v %s", c.email, got, cursor)
		}
	}
	wantError(t, get(t, srv, searchNSID, adminAuth, url.Values{"cursor": {"x"}}, nil), 400, "InvalidRequest")
	wantError(t, get(t, srv, searchNSID, adminAuth, url.Values{"limit": {"101"}}, nil), 400, "InvalidRequest")
}
