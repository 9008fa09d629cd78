package pds_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

const (
	updateRequestNSID = "com.atproto.server.requestEmailUpdate"
	updateNSID        = "com.atproto.server.updateEmail"
	deleteRequestNSID = "com.atproto.server.requestAccountDelete"
)

// isConfirmed asks for the session.
func isConfirmed(a *pdstest.Account) (email string, yes bool) {
	var out struct {
		Email          string
		EmailConfirmed bool
	}
	a.Get("com.atproto.server.getSession", nil, &out)
	return out.Email, out.EmailConfirmed
}

// TestEmailConfirmation covers requestEmailConfirmation and confirmEmail.
func TestEmailConfirmation(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	confirm := func(email, token string) error {
		return post(t, srv, confirmNSID, "Bearer "+a.Access, map[string]any{"email": email, "token": token}, nil)
	}
	wantError(t, confirm(a.Email, "AAAAA-AAAAA"), http.StatusBadRequest, "InvalidToken")
	a.Post(confirmationNSID, nil, nil)
	first := srv.Mail.Code(a.Email)
	a.Post(confirmationNSID, nil, nil)
	code := srv.Mail.Code(a.Email)
	b.Post(confirmationNSID, nil, nil)
	for _, c := range []struct{ what, email, token, want string }{
		{"another address", b.Email, code, "InvalidEmail"},
		{"no address", "", code, "InvalidEmail"},
		{"a replaced code", a.Email, first, "InvalidToken"},
		{"the code of another", a.Email, srv.Mail.Code(b.Email), "InvalidToken"},
		{"no code", a.Email, "", "InvalidToken"},
	} {
		t.Log(c.what)
		wantError(t, confirm(c.email, c.token), http.StatusBadRequest, c.want)
	}
	if _, yes := isConfirmed(a); yes {
		t.Error("confirmed by a bad code")
	}
	seq := lastSeq(t, srv)
	ok(t, confirm(strings.ToUpper(a.Email), " "+strings.ToLower(code)+" "))
	if _, yes := isConfirmed(a); !yes {
		t.Error("not confirmed")
	}
	if got := eventsAfter(t, srv, seq); len(got) != 0 {
		t.Errorf("the network was told: %v", got)
	}
	wantError(t, confirm(a.Email, code), http.StatusBadRequest, "InvalidToken") // used

	a.Post(confirmationNSID, nil, nil)
	late := srv.Mail.Code(a.Email)
	srv.Clock.Advance(15*time.Minute + time.Second)
	wantError(t, confirm(a.Email, late), http.StatusBadRequest, "ExpiredToken")
	a.Post(confirmationNSID, nil, nil)
	code = srv.Mail.Code(a.Email)
	for range 10 {
		wantError(t, confirm(a.Email, "AAAAA-AAAAA"), http.StatusBadRequest, "InvalidToken")
	}
	wantError(t, confirm(a.Email, code), http.StatusBadRequest, "InvalidToken") // ten wrong tries

	editAccount(t, srv, b.DID, func(a *storage.Account) { a.Email = "" })
	wantError(t, post(t, srv, confirmationNSID, "Bearer "+b.Access, nil, nil), http.StatusBadRequest, "InvalidRequest")
	wantError(t, post(t, srv, confirmNSID, "Bearer "+b.Access, map[string]any{"email": "b@example.com", "token": "x"}, nil),
		http.StatusBadRequest, "InvalidEmail")
}

// TestEmailUpdate covers requestEmailUpdate and updateEmail.
func TestEmailUpdate(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	update := func(email, token string) error {
		return post(t, srv, updateNSID, "Bearer "+a.Access, map[string]any{"email": email, "token": token}, nil)
	}
	request := func() bool {
		var out struct{ TokenRequired bool }
		a.Post(updateRequestNSID, nil, &out)
		return out.TokenRequired
	}

	// Not confirmed: no code is needed, and none is sent.
	if request() || len(srv.Mail.To(a.Email)) != 0 {
		t.Error("a code for an address that was never confirmed")
	}
	wantError(t, update("alice2@example.com", "AAAAA-AAAAA"), http.StatusBadRequest, "InvalidToken")
	ok(t, update("Alice2@Example.com", ""))
	if email, yes := isConfirmed(a); email != "alice2@example.com" || yes {
		t.Errorf("address %s, confirmed %t", email, yes)
	}

	editAccount(t, srv, a.DID, confirmed)
	wantError(t, update("alice3@example.com", ""), http.StatusBadRequest, "TokenRequired")
	wantError(t, update("alice3@example.com", "AAAAA-AAAAA"), http.StatusBadRequest, "InvalidToken")
	if !request() {
		t.Error("no code for a confirmed address")
	}
	code := srv.Mail.Code("alice2@example.com")
	a.Post(deleteRequestNSID, nil, nil)
	other := srv.Mail.Code("alice2@example.com")
	wantError(t, update("alice3@example.com", other), http.StatusBadRequest, "InvalidToken") // for something else
	for what, email := range map[string]string{
		"malformed": "alice", "disposable": "alice@mailinator.com", "in use": strings.ToUpper(b.Email), "empty": "",
	} {
		t.Log(what)
		wantError(t, update(email, code), http.StatusBadRequest, "InvalidRequest")
	}
	// What was refused for its address has not used the code up.
	ok(t, update("alice3@example.com", code))
	if email, yes := isConfirmed(a); email != "alice3@example.com" || yes {
		t.Errorf("address %s, confirmed %t", email, yes)
	}
	if got := login(t, srv, "alice3@example.com", a.Password); got.DID != a.DID {
		t.Errorf("login gives %+v", got)
	}
	// All other codes are void.
	wantError(t, post(t, srv, "com.atproto.server.deleteAccount", "", map[string]any{
		"did": a.DID, "password": a.Password, "token": other,
	}, nil), http.StatusBadRequest, "InvalidToken")

	editAccount(t, srv, a.DID, confirmed)
	request()
	code = srv.Mail.Code("alice3@example.com")
	srv.Clock.Advance(15*time.Minute + time.Second)
	wantError(t, update("alice4@example.com", code), http.StatusBadRequest, "ExpiredToken")
}

// TestEmailUpdateRaces lets many accounts take one address: one gets it.
func TestEmailUpdateRaces(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	const n = 8
	results := make(chan error, n)
	for i := range n {
		a := srv.CreateAccount("alice" + string(rune('a'+i)))
		go func() {
			results <- post(t, srv, updateNSID, "Bearer "+a.Access, map[string]any{"email": "wanted@example.com"}, nil)
		}()
	}
	won := 0
	for range n {
		if err := <-results; err == nil {
			won++
		} else {
			wantError(t, err, http.StatusBadRequest, "InvalidRequest")
		}
	}
	if won != 1 {
		t.Errorf("%d accounts got the address", won)
	}
}

// TestAdminUpdatesEmail covers admin.updateAccountEmail.
func TestAdminUpdatesEmail(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	editAccount(t, srv, a.DID, confirmed)
	a.Post(deleteRequestNSID, nil, nil)
	code := srv.Mail.Code(a.Email)
	update := func(account, email string) error {
		return post(t, srv, "com.atproto.admin.updateAccountEmail", adminAuth, map[string]any{"account": account, "email": email}, nil)
	}
	ok(t, update(string(a.Handle), "Alice@mailinator.com")) // an administrator may choose any
	if email, yes := isConfirmed(a); email != "alice@mailinator.com" || yes {
		t.Errorf("address %s, confirmed %t", email, yes)
	}
	wantError(t, post(t, srv, "com.atproto.server.deleteAccount", "", map[string]any{
		"did": a.DID, "password": a.Password, "token": code,
	}, nil), http.StatusBadRequest, "InvalidToken")
	setTakedown(t, srv, b.DID, true)
	ok(t, update(string(b.DID), "b@example.com"))
	for _, c := range [][2]string{{string(a.DID), "b@example.com"}, {string(a.DID), "nonsense"}, {"nobody.test", "x@example.com"}} {
		wantError(t, update(c[0], c[1]), http.StatusBadRequest, "InvalidRequest")
	}
}

// TestCheckSignupQueue: nobody waits here.
func TestCheckSignupQueue(t *testing.T) {
	t.Parallel()
	a := pdstest.New(t).CreateAccount("alice")
	var out struct{ Activated bool }
	a.Get("com.atproto.temp.checkSignupQueue", nil, &out)
	if !out.Activated {
		t.Error("an account waits")
	}
}
