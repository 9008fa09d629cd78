package pds_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// serve sends a request to the server without a network.
func serve(b *testing.B, srv *pdstest.PDS, verb, nsid, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(verb, "http://localhost/xrpc/"+nsid, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	srv.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		b.Fatalf("%s: %d %s", nsid, rec.Code, rec.Body)
	}
	return rec
}

func quickly(c *pds.Config) { c.ValidateOutput, c.CheckCommits, c.Logger = false, false, nil }

func BenchmarkRefreshSession(b *testing.B) {
	srv := pdstest.New(b, quickly)
	alice := srv.CreateAccount("alice")
	token := alice.Refresh
	b.ReportAllocs()
	for b.Loop() {
		var out struct{ RefreshJwt string }
		if err := json.Unmarshal(serve(b, srv, http.MethodPost, refreshSession, token).Body.Bytes(), &out); err != nil {
			b.Fatal(err)
		}
		token = out.RefreshJwt
	}
}

// BenchmarkGetSession is mostly the check of an access token.
func BenchmarkGetSession(b *testing.B) {
	srv := pdstest.New(b, quickly)
	alice := srv.CreateAccount("alice")
	b.ReportAllocs()
	for b.Loop() {
		serve(b, srv, http.MethodGet, getSession, alice.Access)
	}
}

// BenchmarkGetServiceAuth opens the signing key and signs.
func BenchmarkGetServiceAuth(b *testing.B) {
	srv := pdstest.New(b, quickly)
	alice := srv.CreateAccount("alice")
	b.ReportAllocs()
	for b.Loop() {
		serve(b, srv, http.MethodGet, getServiceAuth+"?aud=did:web:api.example.com", alice.Access)
	}
}
