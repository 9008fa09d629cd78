package pds_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// One account cannot take all places for imports: a second import of it is
// refused while the first runs, and works again afterwards.
func TestImportOncePerAccount(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	header := func(a *pdstest.Account) http.Header {
		return http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {"application/vnd.ipld.car"}}
	}
	short := func(a *pdstest.Account) *pdstest.Error {
		_, err := srv.Call(t.Context(), http.MethodPost, "com.atproto.repo.importRepo", nil, header(a), []byte{1})
		var answer *pdstest.Error
		if !errors.As(err, &answer) {
			t.Fatalf("an import of one byte: %v", err)
		}
		return answer
	}

	feed, status := holdImport(t, alice, []byte{1}, func() bool { return short(alice).Status == http.StatusServiceUnavailable })
	if e := short(bob); e.Status != http.StatusBadRequest {
		t.Errorf("an import of another account: %v", e)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-status; got != http.StatusBadRequest {
		t.Errorf("the first import, which was empty: %d", got)
	}
	if e := short(alice); e.Status != http.StatusBadRequest {
		t.Errorf("an import after the first has ended: %v", e)
	}
}
