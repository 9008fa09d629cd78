package pds_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

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

	body, feed := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/xrpc/com.atproto.repo.importRepo", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header(alice)
	done := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	deadline := time.Now().Add(20 * time.Second)
	for short(alice).Status != http.StatusServiceUnavailable {
		if time.Now().After(deadline) {
			t.Fatal("a second import of the account is not refused")
		}
	}
	if e := short(bob); e.Status != http.StatusBadRequest {
		t.Errorf("an import of another account: %v", e)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if e := short(alice); e.Status != http.StatusBadRequest {
		t.Errorf("an import after the first has ended: %v", e)
	}
}
