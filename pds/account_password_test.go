package pds_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const doResetNSID = "com.atproto.server.resetPassword"

// wantEnded fails unless nothing works any more of what was signed in before.
func wantEnded(t *testing.T, srv *pdstest.PDS, old ...*sessionAnswer) {
	t.Helper()
	for _, s := range old {
		if err := get(t, srv, "com.atproto.server.getSession", s.access(), nil, nil); err == nil {
			t.Error("an access token lives on")
		}
		if _, err := refresh(t, srv, s.refresh()); err == nil {
			t.Error("a refresh token lives on")
		}
	}
}

// TestPasswordReset: a code is good once, for 15 minutes, and ends all
// sessions.
func TestPasswordReset(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	request := func(email string) {
		t.Helper()
		ok(t, post(t, srv, resetNSID, "", map[string]any{"email": email}, nil))
	}
	reset := func(token, password string) error {
		return post(t, srv, doResetNSID, "", map[string]any{"token": token, "password": password}, nil)
	}
	old := login(t, srv, a.Email, a.Password)
	byApp := login(t, srv, a.Email, newAppPassword(t, a, "app", false))
	other := login(t, srv, b.Email, b.Password)

	request(" " + strings.ToUpper(a.Email))
	first := srv.Mail.Code(a.Email)
	request(a.Email)
	code := srv.Mail.Code(a.Email)
	a.Post(confirmationNSID, nil, nil)
	for what, c := range map[string]struct{ token, password, want string }{
		"unknown":                   {"AAAAA-AAAAA", "a new password", "InvalidToken"},
		"empty":                     {"", "a new password", "InvalidToken"},
		"replaced":                  {first, "a new password", "InvalidToken"},
		"for something else":        {srv.Mail.Code(a.Email), "a new password", "InvalidToken"},
		"no password":               {code, "", "InvalidRequest"},
		"a password that is longer": {code, strings.Repeat("x", 257), "InvalidRequest"},
	} {
		t.Log(what)
		wantError(t, reset(c.token, c.password), http.StatusBadRequest, c.want)
	}
	if err := get(t, srv, "com.atproto.server.getSession", old.access(), nil, nil); err != nil {
		t.Fatal("a failed reset ends sessions:", err)
	}
	seq := lastSeq(t, srv)
	long := strings.Repeat("x", 256)
	ok(t, reset(strings.ToLower(code), long))
	if got := eventsAfter(t, srv, seq); len(got) != 0 {
		t.Errorf("the network was told: %v", got)
	}
	wantEnded(t, srv, old, byApp)
	if err := get(t, srv, "com.atproto.server.getSession", other.access(), nil, nil); err != nil {
		t.Error("the session of another account ended:", err)
	}
	wantError(t, post(t, srv, createSession, "", map[string]any{"identifier": a.DID, "password": a.Password}, nil),
		http.StatusUnauthorized, "AuthenticationRequired")
	login(t, srv, string(a.DID), long)
	wantError(t, reset(code, "a new password"), http.StatusBadRequest, "InvalidToken") // used

	request(a.Email)
	late := srv.Mail.Code(a.Email)
	srv.Clock.Advance(15*time.Minute + time.Second)
	wantError(t, reset(late, "a new password"), http.StatusBadRequest, "ExpiredToken")

	// Accounts that are hidden may get a new password, and stay hidden.
	setTakedown(t, srv, a.DID, true)
	request(a.Email)
	ok(t, reset(srv.Mail.Code(a.Email), "a new password"))
	if acct, _ := account(t, srv, a.DID); acct.TakedownRef == "" {
		t.Error("the takedown is gone")
	}
}

// TestPasswordResetTellsNothing asks for addresses that nobody has.
func TestPasswordResetTellsNothing(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	group := srv.CreateAccount("crowd")
	editAccount(t, srv, group.DID, func(a *storage.Account) { a.PasswordHash = "" })
	for _, email := range []string{"nobody@example.com", group.Email} {
		ok(t, post(t, srv, resetNSID, "", map[string]any{"email": email}, nil))
		// The same work has been done as for an account: one job.
		srv.RunJobs()
		if mails := srv.Mail.To(email); len(mails) != 0 {
			t.Errorf("%s gets %+v", email, mails)
		}
	}
	if list := jobsOf(t, srv, "mail"); len(list) != 0 {
		t.Errorf("jobs are left: %+v", list)
	}
	for _, bad := range []string{"", "nobody", strings.Repeat("x", 250) + "@a.com"} {
		wantError(t, post(t, srv, resetNSID, "", map[string]any{"email": bad}, nil), http.StatusBadRequest, "InvalidRequest")
	}
}

// TestPasswordResetRaces uses one code many times at once.
func TestPasswordResetRaces(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	ok(t, post(t, srv, resetNSID, "", map[string]any{"email": a.Email}, nil))
	code := srv.Mail.Code(a.Email)
	const n = 8
	results := make(chan string, n)
	for i := range n {
		go func() {
			password := "password number " + string(rune('0'+i))
			if post(t, srv, doResetNSID, "", map[string]any{"token": code, "password": password}, nil) != nil {
				password = ""
			}
			results <- password
		}()
	}
	var won []string
	for range n {
		if p := <-results; p != "" {
			won = append(won, p)
		}
	}
	if len(won) != 1 {
		t.Fatalf("%d of %d were accepted", len(won), n)
	}
	login(t, srv, a.Email, won[0])
}

// TestMailLimits: nobody floods a mailbox, by whatever method.
func TestMailLimits(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Limiter = xrpc.NewMemoryLimiter(time.Now, 1000) })
	a := srv.CreateAccount("alice")
	limited := func(what string, points int, request func() error) {
		t.Helper()
		for range points {
			ok(t, request())
		}
		if err := request(); err == nil {
			t.Errorf("%s: request %d is accepted", what, points+1)
		} else {
			wantError(t, err, http.StatusTooManyRequests, "RateLimitExceeded")
		}
	}
	for _, nsid := range []string{confirmationNSID, updateRequestNSID, deleteRequestNSID} {
		limited(nsid, 5, func() error { return post(t, srv, nsid, "Bearer "+a.Access, nil, nil) })
	}
	reset := func(email string) error { return post(t, srv, resetNSID, "", map[string]any{"email": email}, nil) }
	limited("one address", 5, func() error { return reset(a.Email) })
	limited("an address that nobody has", 5, func() error { return reset("nobody@example.com") })
	// 12 requests came from here.
	limited("one client", 3, func() error { return reset(string(syntax.NewTIDNow(0)) + "@example.com") })
	limited("codes", 50, func() error {
		if err := post(t, srv, doResetNSID, "", map[string]any{"token": "AAAAA-AAAAA", "password": "x"}, nil); !isStatus(err, http.StatusBadRequest) {
			return err
		}
		return nil
	})
}

// TestAdminUpdatesPassword covers admin.updateAccountPassword.
func TestAdminUpdatesPassword(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	old := login(t, srv, a.Email, a.Password)
	ok(t, post(t, srv, resetNSID, "", map[string]any{"email": a.Email}, nil))
	code := srv.Mail.Code(a.Email)
	update := func(did, password string) error {
		return post(t, srv, "com.atproto.admin.updateAccountPassword", adminAuth, map[string]any{"did": did, "password": password}, nil)
	}
	ok(t, update(string(a.DID), "an administrator's"))
	wantEnded(t, srv, old)
	login(t, srv, a.Email, "an administrator's")
	wantError(t, post(t, srv, doResetNSID, "", map[string]any{"token": code, "password": "a thief's"}, nil), http.StatusBadRequest, "InvalidToken")
	for _, c := range [][2]string{{"did:plc:nobody", "x"}, {string(a.DID), ""}, {string(a.DID), strings.Repeat("x", 257)}} {
		wantError(t, update(c[0], c[1]), http.StatusBadRequest, "InvalidRequest")
	}
}
