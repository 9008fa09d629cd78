// Command authserver is an OAuth server in a program that is no PDS: a service
// for notes, with a table of users of its own. Apps of the AT Protocol sign in
// here without being registered, and write notes with the tokens they get.
//
//	go run ./examples/authserver
//
// serves http://localhost:2585. Sign in as alice.example.com or bob.example.com;
// the passwords are printed. Everything is forgotten when it ends.
package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

const address = "http://localhost:2585"

// user is a row of the table of users.
type user struct {
	handle   syntax.Handle
	salt     [16]byte
	password []byte // hashed
}

// users is the table. What an OAuth server has to know of it are two methods.
type users map[syntax.DID]*user

var _ oauth.Accounts = users{}

// Account implements oauth.Accounts.
func (u users) Account(_ context.Context, did syntax.DID) (oauth.Account, error) {
	row, ok := u[did]
	if !ok {
		return oauth.Account{}, oauth.ErrAccountNotFound
	}
	return oauth.Account{DID: did, Handle: row.handle}, nil
}

// SignIn implements oauth.Accounts. It takes the same time whether there is such
// a user or not.
func (u users) SignIn(ctx context.Context, identifier, password string) (oauth.Account, error) {
	did, row := syntax.DID(""), &user{}
	for d, r := range u {
		if identifier == r.handle.String() || identifier == d.String() {
			did, row = d, r
		}
	}
	hash, err := hashed(password, row.salt)
	if err != nil {
		return oauth.Account{}, err
	}
	if subtle.ConstantTimeCompare(hash, row.password) != 1 {
		return oauth.Account{}, oauth.ErrWrongCredentials
	}
	return u.Account(ctx, did)
}

func (u users) add(name, password string) error {
	row := &user{handle: syntax.Handle(name + ".example.com")}
	rand.Read(row.salt[:]) // never fails
	var err error
	row.password, err = hashed(password, row.salt)
	u[syntax.DID("did:web:"+name+".example.com")] = row
	return err
}

func hashed(password string, salt [16]byte) ([]byte, error) {
	return pbkdf2.Key(sha256.New, password, salt[:], 600_000, 32)
}

// notes is the service: each user has a list of texts.
type notes struct {
	mu    sync.Mutex // guards following
	texts map[syntax.DID][]string
}

func (n *notes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := oauth.TokenFrom(r.Context())
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Method == http.MethodPost {
		// What the user has allowed the app to do, in the language of scopes.
		if missing := token.Scope.Missing(scope.Repo{Collection: "com.example.note", Action: scope.Create}); missing != "" {
			http.Error(w, "the app needs the scope "+missing, http.StatusForbidden)
			return
		}
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1000))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n.texts[token.Account] = append(n.texts[token.Account], string(text))
	}
	fmt.Fprintln(w, strings.Join(n.texts[token.Account], "\n"))
}

// newHandler puts the service and its OAuth server together.
func newHandler(accounts oauth.Accounts, store storage.DocStore, secret []byte) (http.Handler, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	server, err := oauth.New(oauth.Config{
		Issuer: address, DevMode: true, // plain http
		Store: store, Accounts: accounts, Secret: secret, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", server)
	mux.Handle("/notes", server.Verifier().Protect(&notes{texts: map[syntax.DID][]string{}}, log))
	return mux, nil
}

func main() {
	store, err := sqlite.OpenMemory(sqlite.Options{}) // sqlite.Open keeps what it is told
	if err != nil {
		log.Fatal(err)
	}
	table := users{}
	for _, name := range []string{"alice", "bob"} {
		password := rand.Text()
		if err := table.add(name, password); err != nil {
			log.Fatal(err)
		}
		log.Printf("%s.example.com has the password %s", name, password)
	}
	handler, err := newHandler(table, storage.DocsOf(store), []byte(rand.Text()+rand.Text()))
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("serving %s", address)
	log.Fatal(http.ListenAndServe("localhost:2585", handler))
}
