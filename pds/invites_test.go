package pds_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

const (
	createCodesNSID  = "com.atproto.server.createInviteCodes"
	ownCodesNSID     = "com.atproto.server.getAccountInviteCodes"
	listCodesNSID    = "com.atproto.admin.getInviteCodes"
	disableCodesNSID = "com.atproto.admin.disableInviteCodes"
)

type inviteCode struct {
	Code, ForAccount, CreatedBy, CreatedAt string
	Available                              int
	Disabled                               bool
	Uses                                   []struct{ UsedBy, UsedAt string }
}

func codesOf(list []inviteCode) (codes []string) {
	for _, c := range list {
		codes = append(codes, c.Code)
	}
	return codes
}

// giveCodes makes codes for an account, or for the administrator.
func giveCodes(t *testing.T, srv *pdstest.PDS, account string, count, uses int) []string {
	t.Helper()
	in := map[string]any{"codeCount": count, "useCount": uses}
	if account != "" {
		in["forAccounts"] = []string{account}
	}
	var out struct{ Codes []struct{ Codes []string } }
	srv.Post(createCodesNSID, adminAuth, in, &out)
	return out.Codes[0].Codes
}

func joinBy(t *testing.T, srv *pdstest.PDS, name, code string) (*signedUp, error) {
	t.Helper()
	out := new(signedUp)
	err := post(t, srv, createAccountNSID, "", with(signUp(srv, name), "inviteCode", code), out)
	return out, err
}

// ownCodes returns the codes of an account, which makes those it has earned.
func ownCodes(t *testing.T, srv *pdstest.PDS, access string, params url.Values) []inviteCode {
	t.Helper()
	var out struct{ Codes []inviteCode }
	srv.Get(ownCodesNSID, "Bearer "+access, params, &out)
	return out.Codes
}

func TestInviteCodesAreEarned(t *testing.T) {
	t.Parallel()
	const interval = 24 * time.Hour
	epoch := pdstest.NewClock().Now().Add(10 * interval)
	srv := pdstest.New(t, func(c *pds.Config) {
		c.InviteRequired, c.InviteInterval, c.InviteEpoch = true, interval, epoch
		c.Limits.AccessTTL = 365 * interval
	})
	a, err := joinBy(t, srv, "alice", giveCodes(t, srv, "", 1, 1)[0])
	ok(t, err)
	own := func() []inviteCode { return ownCodes(t, srv, a.AccessJwt, nil) }
	wait := func(d time.Duration) { srv.Clock.Advance(d) }

	// Gifts are listed but do not count; nothing is earned before the epoch.
	giveCodes(t, srv, string(a.DID), 7, 3)
	wait(9 * interval)
	if got := own(); len(got) != 7 || got[0].CreatedBy != "admin" || got[0].Available != 3 {
		t.Fatalf("codes %+v", got)
	}
	wait(3 * interval) // epoch and two intervals
	if got := ownCodes(t, srv, a.AccessJwt, url.Values{"createAvailable": {"false"}}); len(got) != 7 {
		t.Fatalf("%d codes that nobody asked to be made", len(got))
	}
	got := own()
	if len(got) != 9 || len(own()) != 9 {
		t.Fatalf("%d codes", len(got))
	}
	var earned []string
	for _, c := range got {
		if c.CreatedBy == string(a.DID) {
			earned = append(earned, c.Code)
			if c.Available != 1 || c.ForAccount != string(a.DID) || c.Disabled || len(c.Uses) != 0 {
				t.Errorf("earned %+v", c)
			}
		}
	}
	// At most five are open; a used one makes room, while there is something
	// earned that was not taken.
	wait(20 * interval)
	if got := own(); len(got) != 7+5 {
		t.Fatalf("%d codes", len(got))
	}
	friend, err := joinBy(t, srv, "fiona", earned[0])
	ok(t, err)
	got = own()
	if len(got) != 7+6 {
		t.Fatalf("%d codes after one was used", len(got))
	}
	i := slices.IndexFunc(got, func(c inviteCode) bool { return c.Code == earned[0] })
	if len(got[i].Uses) != 1 || got[i].Uses[0].UsedBy != string(friend.DID) {
		t.Errorf("uses %+v", got[i].Uses)
	}
	if open := ownCodes(t, srv, a.AccessJwt, url.Values{"includeUsed": {"false"}}); slices.Contains(codesOf(open), earned[0]) || len(open) != 7+5 {
		t.Errorf("open codes %v", codesOf(open))
	}
	// An account that came after the epoch earns from its creation on.
	wait(interval - time.Minute)
	if got := ownCodes(t, srv, friend.AccessJwt, nil); len(got) != 0 {
		t.Errorf("the friend has %d codes", len(got))
	}
	wait(2 * time.Minute)
	if got := ownCodes(t, srv, friend.AccessJwt, nil); len(got) != 1 {
		t.Errorf("the friend has %d codes", len(got))
	}

	// Invites that are disabled: what is earned does not work, what is there does.
	srv.Post("com.atproto.admin.disableAccountInvites", adminAuth, map[string]any{"account": friend.DID, "note": "spam"}, nil)
	wait(2 * interval)
	if got := ownCodes(t, srv, friend.AccessJwt, nil); len(got) != 1 {
		t.Errorf("disabled codes are shown: %+v", got)
	}
	info := accountInfo(t, srv, friend.DID)
	if len(info.Invites) < 2 || !*info.InvitesDisabled {
		t.Fatalf("info %+v", info)
	}
	for i, c := range info.Invites {
		_, err := joinBy(t, srv, fmt.Sprint("guest", i), c.Code)
		if c.Disabled {
			wantError(t, err, 400, "InvalidInviteCode")
		} else {
			ok(t, err)
		}
	}
	srv.Post("com.atproto.admin.enableAccountInvites", adminAuth, map[string]any{"account": friend.DID}, nil)
	wait(interval)
	if got := ownCodes(t, srv, friend.AccessJwt, nil); len(got) != 2 {
		t.Errorf("the friend has %d codes that are not disabled", len(got))
	}
	wantError(t, post(t, srv, "com.atproto.admin.disableAccountInvites", adminAuth,
		map[string]any{"account": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}, nil), 400, "NotFound")
}

// Calls that race make what was earned once.
func TestInviteCodesAreEarnedOnce(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired, c.InviteInterval = true, time.Hour })
	a, err := joinBy(t, srv, "alice", giveCodes(t, srv, "", 1, 1)[0])
	ok(t, err)
	srv.Clock.Advance(90 * time.Minute)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := get(t, srv, ownCodesNSID, "Bearer "+a.AccessJwt, nil, nil)
			if err == nil {
				won.Add(1)
			} else if !strings.Contains(err.Error(), "DuplicateCreate") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := ownCodes(t, srv, a.AccessJwt, nil); len(got) != 1 || won.Load() == 0 {
		t.Errorf("%d codes, %d calls succeeded", len(got), won.Load())
	}
}

func TestInviteCodesWithoutAnInterval(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteInterval = time.Hour }) // not required
	a := srv.CreateAccount("alice")
	srv.Clock.Advance(90 * time.Minute)
	if got := ownCodes(t, srv, a.Access, nil); len(got) != 0 {
		t.Errorf("codes %+v", got)
	}
	if _, err := pds.New(func() pds.Config { c := srv.Config; c.InviteInterval = -1; return c }()); err == nil || !strings.Contains(err.Error(), "InviteInterval") {
		t.Errorf("a negative interval: %v", err)
	}
}

func TestInviteCodesAreListed(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired = true })
	page := func(params url.Values) (out struct {
		Cursor string
		Codes  []inviteCode
	}) {
		t.Helper()
		srv.Get(listCodesNSID, adminAuth, params, &out)
		return out
	}
	if got := page(nil); len(got.Codes) != 0 || got.Cursor != "" {
		t.Errorf("an empty list: %+v", got)
	}
	var codes []string // oldest first
	for range 7 {
		codes = append(codes, giveCodes(t, srv, "", 1, 5)...)
		srv.Clock.Advance(time.Second)
	}
	for i, uses := range []int{0, 2, 0, 3, 0, 0, 1} {
		for j := range uses {
			_, err := joinBy(t, srv, fmt.Sprintf("user%d%d", i, j), codes[i])
			ok(t, err)
		}
	}
	recent := slices.Clone(codes)
	slices.Reverse(recent)
	usage := []string{codes[3], codes[1], codes[6], codes[5], codes[4], codes[2], codes[0]}
	for sort, want := range map[string][]string{"": recent, "recent": recent, "usage": usage} {
		for _, limit := range []string{"1", "2", "3", "7", "500"} {
			var got []string
			cursor := ""
			for {
				p := page(url.Values{"sort": {sort}, "limit": {limit}, "cursor": {cursor}})
				got = append(got, codesOf(p.Codes)...)
				if cursor = p.Cursor; cursor == "" || len(got) > len(codes) {
					break
				}
			}
			if sort == "" && limit == "1" {
				continue // an empty sort is none of the known values, and the default
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s by %s: %s", sort, limit, d)
			}
		}
	}
	for _, bad := range []url.Values{{"sort": {"age"}}, {"limit": {"0"}}, {"limit": {"501"}}} {
		wantError(t, get(t, srv, listCodesNSID, adminAuth, bad, nil), 400, "InvalidRequest")
	}
}

func TestInviteCodesAreDisabled(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired = true })
	free := giveCodes(t, srv, "", 3, 1)
	a, err := joinBy(t, srv, "alice", free[0])
	ok(t, err)
	own := giveCodes(t, srv, string(a.DID), 3, 1)
	disable := func(in map[string]any) error { return post(t, srv, disableCodesNSID, adminAuth, in, nil) }
	wantError(t, disable(map[string]any{"accounts": []string{"admin"}, "codes": free}), 400, "InvalidRequest")
	_, err = joinBy(t, srv, "bob", free[1])
	ok(t, err)
	ok(t, disable(map[string]any{"codes": []string{free[2], own[0], "no-such-code", ""}}))
	for _, code := range []string{free[2], own[0]} {
		_, err := joinBy(t, srv, "carol", code)
		wantError(t, err, 400, "InvalidInviteCode")
	}
	_, err = joinBy(t, srv, "carol", own[1])
	ok(t, err)
	ok(t, disable(map[string]any{"accounts": []string{string(a.DID)}}))
	_, err = joinBy(t, srv, "dave", own[2])
	wantError(t, err, 400, "InvalidInviteCode")
	ok(t, disable(map[string]any{}))
}

// An account can have so many codes and no more.
func TestInviteCodesOfOneAccountAreBounded(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	give := func(count int, accounts ...string) error {
		return post(t, srv, createCodesNSID, adminAuth, map[string]any{"codeCount": count, "useCount": 1, "forAccounts": accounts}, nil)
	}
	const most = 5000
	ok(t, give(most-1, string(a.DID)))
	wantError(t, give(2, string(b.DID), string(a.DID)), 400, "InvalidRequest")
	ok(t, give(1, string(a.DID)))
	wantError(t, give(1, string(a.DID)), 400, "InvalidRequest")
	wantError(t, give(1, "alice.test"), 400, "InvalidRequest")
	if got := ownCodes(t, srv, a.Access, nil); len(got) != most {
		t.Errorf("%d codes", len(got))
	}
	if got := ownCodes(t, srv, b.Access, nil); len(got) != 0 {
		t.Errorf("a refused call left %d codes", len(got))
	}
}

// So many uses of a code are listed; all of them count.
func TestInviteCodeUsesAreBounded(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired = true })
	const listed = 1000
	code := giveCodes(t, srv, "", 1, listed+2)[0]
	for from := 0; from < listed+1; from += 500 {
		ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
			for i := from; i < min(from+500, listed+1); i++ {
				key := fmt.Sprintf("%s/did:plc:%024d", code, i)
				if _, err := tx.PutDoc(storage.Doc{Kind: "invite-use", Key: key, Value: []byte("2026-01-02T03:04:05.000Z")}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	var out struct{ Codes []inviteCode }
	srv.Get(listCodesNSID, adminAuth, nil, &out)
	if len(out.Codes) != 1 || len(out.Codes[0].Uses) != listed {
		t.Errorf("%d uses", len(out.Codes[0].Uses))
	}
}

// A sign-up that fails gives its invite back, everywhere.
func TestInviteCodeOfAFailedSignUp(t *testing.T) {
	t.Parallel()
	var reg *faultyRegistry
	srv := pdstest.New(t, withRegistry(&reg), func(c *pds.Config) { c.InviteRequired = true })
	code := giveCodes(t, srv, "", 1, 1)[0]
	reg.set(func(r *faultyRegistry) { r.submit = errRefused })
	_, err := joinBy(t, srv, "alice", code)
	wantError(t, err, 400, "InvalidRequest")
	reg.set(func(r *faultyRegistry) { r.submit = nil })
	a, err := joinBy(t, srv, "alice", code)
	ok(t, err)
	var out struct{ Codes []inviteCode }
	srv.Get(listCodesNSID, adminAuth, url.Values{"sort": {"usage"}}, &out)
	if len(out.Codes) != 1 || len(out.Codes[0].Uses) != 1 || out.Codes[0].Uses[0].UsedBy != string(a.DID) {
		t.Errorf("codes %+v", out.Codes)
	}
	if by := accountInfo(t, srv, a.DID).InvitedBy; by == nil || by.Code != code {
		t.Errorf("invited by %+v", by)
	}
}

type accountView struct {
	DID                        syntax.DID
	Handle, Email, IndexedAt   string
	EmailConfirmedAt           string
	DeactivatedAt, InviteNote  string
	InvitedBy                  *inviteCode
	Invites                    []inviteCode
	InvitesDisabled            *bool
	RelatedRecords, Signatures []any
}

func accountInfo(t *testing.T, srv *pdstest.PDS, did syntax.DID) (v accountView) {
	t.Helper()
	srv.Get("com.atproto.admin.getAccountInfo", adminAuth, url.Values{"did": {string(did)}}, &v)
	return v
}
