package pds_test

import (
	"context"
	"errors"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
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

// A quota of bytes by what the account stores.
func TestStateUsage(t *testing.T) {
	t.Parallel()
	const most = 20
	srv := withPolicy(t, func(_ context.Context, w *pds.Write) error {
		if w.Upload == nil {
			return nil
		}
		used, err := w.State.Usage(w.Account)
		if err == nil && used.BlobBytes+w.Upload.Size > most {
			err = xrpc.NewError(400, "QuotaExceeded", "Enough")
		}
		return err
	})
	a := srv.CreateAccount("alice")
	done := make(chan error)
	for _, text := range []string{"0123456", "1234567", "2345678", "3456789"} {
		go func() { _, err := upload(t, a, "text/plain", []byte(text)); done <- err }()
	}
	stored := 0
	for range 4 {
		if err := <-done; err == nil {
			stored++
		} else {
			wantError(t, err, 400, "QuotaExceeded")
		}
	}
	ok(t, srv.View(t.Context(), func(st *pds.State) error {
		used, err := st.Usage(a.DID)
		if used.BlobBytes != 14 || used.Blobs != 2 || stored != 2 || used.Handle != a.Handle {
			t.Errorf("%+v, %d were stored", used, stored)
		}
		if _, err := st.Usage("did:plc:nobody"); !errors.Is(err, storage.ErrNotFound) || xrpc.ErrorName(err) != "AccountNotFound" {
			t.Errorf("of nobody: %v", err)
		}
		return err
	}))
}
