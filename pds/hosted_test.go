package pds_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// An account whose did:web document this server serves is active at once; the
// server's own DID may be one.
func TestHostedDIDWeb(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) {
		c.DocumentServices = map[string]identity.Service{
			"rooms": {Type: "ExampleRooms", Endpoint: "https://rooms.example.com"},
			"files": {Type: "ExampleFiles", Endpoint: "https://files.example.com"},
		}
	})
	did := syntax.DID("did:web:" + strings.ReplaceAll(strings.TrimPrefix(srv.URL, "http://"), ":", "%3A"))
	document := func() (out struct {
		ID                 string
		AlsoKnownAs        []string
		VerificationMethod []struct{ ID, PublicKeyMultibase string }
		Service            []struct{ ID, Type, ServiceEndpoint string }
	}) {
		t.Helper()
		resp, err := http.Get(srv.URL + "/.well-known/did.json")
		ok(t, err)
		defer resp.Body.Close()
		ok(t, json.NewDecoder(resp.Body).Decode(&out))
		return out
	}
	before := document()
	if before.ID != string(did) || len(before.VerificationMethod) != 0 || len(before.Service) != 3 ||
		before.Service[1].ID != "#files" || before.Service[2].ServiceEndpoint != "https://rooms.example.com" {
		t.Errorf("%+v", before)
	}
	seq := lastSeq(t, srv)
	acct, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{DID: did, Handle: "the-service.test"})
	ok(t, err)
	if !acct.Active() {
		t.Errorf("%+v", acct)
	}
	if diff := cmp.Diff([]string{"identity", "account", "commit", "sync"}, kinds(eventsAfter(t, srv, seq))); diff != "" {
		t.Error(diff)
	}
	after := document()
	if len(after.VerificationMethod) != 1 || "did:key:"+after.VerificationMethod[0].PublicKeyMultibase != acct.KeyID ||
		after.AlsoKnownAs[0] != "at://the-service.test" || len(after.Service) != 3 {
		t.Errorf("%+v", after)
	}
	ok(t, srv.DeactivateAccount(t.Context(), did, acct.CreatedAt.AddDate(1, 0, 0), pds.By{Actor: did}))
	ok(t, srv.ActivateAccount(t.Context(), did, pds.By{Actor: did}))
	ok(t, srv.TakeDownAccount(t.Context(), did, "", pds.By{}))
	if a, err := srv.Account(t.Context(), string(did)); err != nil || a.TakedownRef == "" {
		t.Errorf("%+v %v", a, err)
	}
	if got := document(); len(got.VerificationMethod) != 0 {
		t.Errorf("the document of an account that is taken down: %+v", got)
	}
	ok(t, srv.RestoreAccount(t.Context(), did, pds.By{}))
	ok(t, srv.UpdateHandle(t.Context(), did, "new-name.test", pds.By{Actor: did}))
	ok(t, srv.DeleteAccount(t.Context(), did, pds.By{Actor: did}))
	if _, found := account(t, srv, did); found {
		t.Error("the account is there")
	}
	// Elsewhere it is an identity to be proved, as ever.
	other, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{DID: "did:web:elsewhere.example.com", Handle: "elsewhere.test"})
	ok(t, err)
	if other.Active() {
		t.Error("an account with a foreign did:web is active")
	}
}

// kinds returns the first words of what eventsAfter says.
func kinds(events []string) (out []string) {
	for _, e := range events {
		kind, _, _ := strings.Cut(strings.TrimPrefix(e, "#"), " ")
		out = append(out, kind)
	}
	return out
}
