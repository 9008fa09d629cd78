package pds_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
)

// Nobody signs in to a group: not with an empty password, not by its address, and
// not by a password that is asked for at that address.
func TestGroupHasNoCredentials(t *testing.T) {
	t.Parallel()
	const address = "group@example.com"
	h, _ := newOpenHouse(t, nil)
	group, err := h.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "with-address.test", Email: address})
	ok(t, err)
	for _, identifier := range []string{string(group.DID), string(group.Handle), address} {
		for _, password := range []string{"", " ", "a password"} {
			err := post(t, h.PDS, "com.atproto.server.createSession", "", map[string]any{"identifier": identifier, "password": password}, nil)
			wantError(t, err, 401, "AuthenticationRequired")
		}
		app := newPerson(t, h.PDS, "atproto")
		pg := app.submit(app.signInPage(), "/sign-in", url.Values{"identifier": {identifier}, "password": {""}})
		if pg.location != "" || !strings.Contains(pg.text, `name="password"`) {
			t.Errorf("the pages let %s in: %d %s", identifier, pg.status, pg.text)
		}
	}
	ok(t, post(t, h.PDS, "com.atproto.server.requestPasswordReset", "", map[string]any{"email": address}, nil))
	h.RunJobs()
	if mails := h.Mail.To(address); len(mails) != 0 {
		t.Errorf("mail: %+v", mails)
	}
	wantError(t, post(t, h.PDS, "com.atproto.server.resetPassword", "", map[string]any{"token": "", "password": "a new password"}, nil), 400, "InvalidToken")
	// Its key opens nothing here in its own name either.
	for _, method := range []string{aliasName + ".createRecord", createRecord} {
		token, err := h.ServiceToken(t.Context(), group.DID, h.serviceDID(), "com.example.any")
		ok(t, err)
		if err := h.write(method, "Bearer "+token); err == nil {
			t.Errorf("%s took a token for another method", method)
		}
	}
	token, err := h.ServiceToken(t.Context(), h.group.DID, h.serviceDID(), aliasName+".createRecord")
	ok(t, err)
	wantError(t, h.write(aliasName+".createRecord", "Bearer "+token), 403, "ActorNotPermitted")
}

// A group may have services of its own, and a key with which somebody keeps it.
func TestGroupServices(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := didKey(t, newRotationKey(t))
	rooms := identity.Service{Type: "ExampleRooms", Endpoint: "https://rooms.example.com"}
	group, err := h.Server.CreateAccount(t.Context(), pds.NewAccount{
		Handle: "with-rooms.test", RecoveryKey: key,
		Services: map[string]identity.Service{"rooms": rooms, identity.ServicePDS: {Type: "Other", Endpoint: "https://elsewhere.example.com"}},
	})
	ok(t, err)
	state, err := h.PLC.Client().State(t.Context(), group.DID)
	ok(t, err)
	want := map[string]identity.Service{"rooms": rooms, identity.ServicePDS: {Type: identity.ServicePDSType, Endpoint: h.URL}}
	if d := cmp.Diff(want, state.Services); d != "" || state.RotationKeys[0] != key {
		t.Errorf("%v %s", state.RotationKeys, d)
	}
}
