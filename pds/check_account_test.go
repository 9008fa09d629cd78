package pds_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// TestCheckAccount finds nothing in a sound account and each kind of damage in
// others.
func TestCheckAccount(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(t *testing.T, srv *pdstest.PDS, a *pdstest.Account, blob storage.Blob)
		fault  string
	}{
		"sound": {func(*testing.T, *pdstest.PDS, *pdstest.Account, storage.Blob) {}, ""},
		"bytes of a blob gone": {func(t *testing.T, srv *pdstest.PDS, _ *pdstest.Account, b storage.Blob) {
			ok(t, srv.Config.Blobs.Delete(t.Context(), b.Key))
		}, "are gone"},
		"bytes of a blob changed": {func(t *testing.T, srv *pdstest.PDS, _ *pdstest.Account, b storage.Blob) {
			ok(t, srv.Config.Blobs.Delete(t.Context(), b.Key))
			_, err := srv.Config.Blobs.Put(t.Context(), b.Key, strings.NewReader("Picture"))
			ok(t, err)
		}, "not the right ones"},
		"another key": {func(t *testing.T, srv *pdstest.PDS, a *pdstest.Account, _ storage.Blob) {
			other := srv.CreateAccount("bob")
			ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
				mine, err := tx.Account(a.DID)
				ok(t, err)
				his, err := tx.Account(other.DID)
				ok(t, err)
				mine.KeyID = his.KeyID
				_, err = tx.PutAccount(mine)
				return err
			}))
		}, "not signed by the account's key"},
		"a record that is not in the tree": {func(t *testing.T, srv *pdstest.PDS, a *pdstest.Account, _ storage.Blob) {
			ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
				mine, err := tx.Account(a.DID)
				ok(t, err)
				head, err := tx.Head(a.DID)
				ok(t, err)
				base := head.CID
				head.Rev += "x"
				return tx.Apply(&storage.Commit{
					DID: a.DID, Base: base, AccountVersion: mine.Version, KeyID: mine.KeyID, Head: head,
					Deletes: []storage.RecordPath{{Collection: noteCollection, RKey: "a"}},
				})
			}))
		}, "is in the tree and not stored"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := pdstest.New(t)
			alice := srv.CreateAccount("alice")
			up := mustUpload(t, alice, "text/plain", "picture")
			ok(t, attach(t, alice, "a", up.ref()))
			link, err := cid.Decode(up.Ref.Link)
			ok(t, err)
			var blob storage.Blob
			ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
				blob, err = tx.Blob(alice.DID, link)
				return err
			}))
			c.damage(t, srv, alice, blob)
			got, err := pds.CheckAccount(t.Context(), srv.Config.Store, srv.Config.Blobs, alice.DID, true)
			ok(t, err)
			text := strings.Join(got.Faults, "\n")
			if (text == "") != (c.fault == "") || !strings.Contains(text, c.fault) {
				t.Errorf("faults %q, want %q", got.Faults, c.fault)
			}
			if got.Blobs+got.Missing != 1 && c.fault != "is in the tree and not stored" {
				t.Errorf("%+v", got)
			}
		})
	}
	srv := pdstest.New(t)
	if _, err := pds.CheckAccount(t.Context(), srv.Config.Store, srv.Config.Blobs, "did:plc:nobody", false); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
}

func basic(user, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// TestAdminOnly guards a route of a program, and the server's own check.
func TestAdminOnly(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	own := srv.AdminOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for _, c := range []struct {
		auth        string
		status, own int
	}{
		{"", 401, 401},
		{"Bearer " + alice.Access, 401, 401},
		{basic("admin", "wrong"), 401, 401},
		{basic("admin", pdstest.AdminPassword), 200, http.StatusTeapot},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/admin/check?"+url.Values{"did": {string(alice.DID)}}.Encode(), nil)
		ok(t, err)
		r.Header.Set("Authorization", c.auth)
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		var out pds.AccountCheck
		if resp.StatusCode != c.status || c.status == 200 && (json.NewDecoder(resp.Body).Decode(&out) != nil || out.DID != alice.DID) {
			t.Errorf("%q: %s, %+v", c.auth, resp.Status, out)
		}
		resp.Body.Close()
		w := httptest.NewRecorder()
		own.ServeHTTP(w, r)
		if w.Code != c.own {
			t.Errorf("%q: a program's route answers %d, want %d", c.auth, w.Code, c.own)
		}
	}
}
