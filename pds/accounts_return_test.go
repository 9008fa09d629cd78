package pds_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// TestReturningDID: the tokens of a deleted account are no good for a new
// account of the same DID.
func TestReturningDID(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	o := newOutsider(t, srv, "eve.elsewhere.test")
	in := with(signUp(srv, "eve"), "did", o.DID)
	var before, after signedUp
	ok(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), in, &before))
	ok(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+before.AccessJwt, nil, nil))
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": o.DID}, nil))
	srv.Clock.Advance(time.Second)
	ok(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), in, &after))
	wantError(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+before.AccessJwt, nil, nil), http.StatusBadRequest, "ExpiredToken")
	wantError(t, post(t, srv, "com.atproto.server.refreshSession", "Bearer "+before.RefreshJwt, nil, nil), http.StatusBadRequest, "ExpiredToken")
	ok(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+after.AccessJwt, nil, nil))
	ok(t, post(t, srv, "com.atproto.server.refreshSession", "Bearer "+after.RefreshJwt, nil, nil))
}
