package oauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// members is a program's own table of users.
type members map[syntax.DID]struct{ name, password string }

func (m members) Account(_ context.Context, did syntax.DID) (oauth.Account, error) {
	member, ok := m[did]
	if !ok {
		return oauth.Account{}, oauth.ErrAccountNotFound
	}
	return oauth.Account{DID: did, Handle: syntax.Handle(member.name)}, nil
}

func (m members) SignIn(ctx context.Context, identifier, password string) (oauth.Account, error) {
	for did, member := range m {
		if member.name == identifier && member.password == password { // yours are hashed
			return m.Account(ctx, did)
		}
	}
	return oauth.Account{}, oauth.ErrWrongCredentials
}

// An authorization server for a program that is no PDS, and an address that its
// tokens open.
func Example() {
	db, err := sqlite.OpenMemory(sqlite.Options{}) // sqlite.Open("oauth.db", ...) to keep it
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	server, err := oauth.New(oauth.Config{
		Issuer:   "https://notes.example.com",
		Store:    storage.DocsOf(db),
		Accounts: members{"did:web:alice.example.com": {"alice.example.com", "correct horse"}},
		Secret:   []byte("32 random bytes that stay secret"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	notes := server.Verifier().Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := oauth.TokenFrom(r.Context())
		if !token.Scope.Allows(scope.Repo{Collection: "com.example.note", Action: scope.Create}) {
			http.Error(w, "the app was not given this permission", http.StatusForbidden)
			return
		}
		fmt.Fprintln(w, "hello", token.Account)
	}), nil)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if server.Handles(r.URL.Path) {
			server.ServeHTTP(w, r)
			return
		}
		notes.ServeHTTP(w, r)
	})

	// What an app sees first.
	get := func(address string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, address, nil))
		return rec
	}
	answer := get("https://notes.example.com/notes")
	fmt.Println(answer.Code, answer.Header().Get("WWW-Authenticate"))
	var metadata struct {
		PAR string `json:"pushed_authorization_request_endpoint"`
	}
	answer = get("https://notes.example.com/.well-known/oauth-authorization-server")
	err = json.Unmarshal(answer.Body.Bytes(), &metadata)
	fmt.Println(answer.Code, metadata.PAR, err)
	// Output:
	// 401 DPoP algs="ES256"
	// 200 https://notes.example.com/oauth/par <nil>
}
