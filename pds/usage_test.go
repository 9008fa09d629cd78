package pds_test

import (
	"testing"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	ok(t, attach(t, alice, "a", mustUpload(t, alice, "text/plain", "12345").ref()))
	mustUpload(t, bob, "text/plain", "123")
	first, next, err := srv.Usage(t.Context(), storage.AccountCursor{}, 1)
	ok(t, err)
	second, next, err := srv.Usage(t.Context(), next, 5000)
	ok(t, err)
	end, _, err := srv.Usage(t.Context(), next, 1)
	ok(t, err)
	if len(first) != 1 || first[0].DID != alice.DID || first[0].Records != 1 || first[0].BlobBytes != 5 || first[0].RepoBytes == 0 {
		t.Errorf("first %+v", first)
	}
	if len(second) != 1 || second[0].DID != bob.DID || second[0].Records != 0 || second[0].BlobBytes != 3 || len(end) != 0 {
		t.Errorf("second %+v, end %+v", second, end)
	}
	totals, err := srv.Config.Store.(storage.Totaler).Totals(t.Context())
	ok(t, err)
	if totals.RepoBytes != first[0].RepoBytes+second[0].RepoBytes || totals.BlobBytes != 8 || totals.TemporaryBlobs != 1 || totals.Accounts != 2 {
		t.Errorf("totals %+v", totals)
	}
}
