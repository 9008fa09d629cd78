// Command oauth is a service for notes that is no PDS, and that apps of the AT
// Protocol may use. Users and notes are in tables of its own; the OAuth server
// beside them has another file. Add a user, and start it:
//
//	echo 'a long password' | go run ./examples/oauth -add alice.example.com
//	go run ./examples/oauth
//
// Alice is did:web:alice.example.com. On the network, apps look up that this DID
// names the service, see package oauth.
package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	_ "modernc.org/sqlite" // the driver of the service's own tables

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/oauth/totp"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

//go:embed pages
var pages embed.FS

// tables are the service's own. For the OAuth server they are an oauth.Accounts.
type tables struct{ *sql.DB }

// Account implements oauth.Accounts.
func (t tables) Account(ctx context.Context, did syntax.DID) (a oauth.Account, err error) {
	err = t.QueryRowContext(ctx, "SELECT did, handle FROM users WHERE did = ?", did).Scan(&a.DID, &a.Handle)
	if errors.Is(err, sql.ErrNoRows) {
		err = oauth.ErrAccountNotFound
	}
	return a, err
}

// SignIn implements oauth.Accounts. If there is no such user it takes as long.
func (t tables) SignIn(ctx context.Context, identifier, password string) (a oauth.Account, err error) {
	var salt, hash []byte
	row := t.QueryRowContext(ctx, "SELECT did, handle, salt, hash FROM users WHERE ? IN (did, handle)", identifier)
	if err = row.Scan(&a.DID, &a.Handle, &salt, &hash); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return a, err
	}
	if subtle.ConstantTimeCompare(hashed(password, salt), hash) != 1 {
		return a, oauth.ErrWrongCredentials
	}
	return a, nil
}

func hashed(password string, salt []byte) []byte {
	return must(pbkdf2.Key(sha256.New, password, salt, 600_000, sha256.Size))
}

// notes takes and lists the notes of a user, for apps that were allowed to.
func (t tables) notes(w http.ResponseWriter, r *http.Request) {
	token := oauth.TokenFrom(r.Context())
	if missing := token.Scope.Missing(scope.Repo{Collection: "com.example.note", Action: scope.Create}); missing != "" {
		http.Error(w, "the app needs the scope "+missing, http.StatusForbidden)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10_000))
	if err != nil {
		http.Error(w, "a note has 10,000 bytes at most", http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodPost {
		_, err = t.ExecContext(r.Context(), "INSERT INTO notes (did, text) VALUES (?, ?)", token.Account, string(text))
	}
	var list string
	row := t.QueryRowContext(r.Context(), "SELECT coalesce(group_concat(text, char(10) ORDER BY id), '') FROM notes WHERE did = ?", token.Account)
	if err = errors.Join(err, row.Scan(&list)); err != nil {
		http.Error(w, "that did not work", http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, list)
}

func main() {
	address := flag.String("url", "http://localhost:2586", "where the service is reached")
	listen := flag.String("listen", "localhost:2586", "where it listens")
	data := flag.String("data", "notes-data", "folder of its files")
	add := flag.String("add", "", "handle of a user to add, with the password from the standard input")
	flag.Parse()
	must(0, os.MkdirAll(*data, 0o700))
	own := tables{must(sql.Open("sqlite", *data+"/notes.db?_pragma=busy_timeout(5000)"))}
	must(own.Exec(`CREATE TABLE IF NOT EXISTS users (did TEXT PRIMARY KEY, handle TEXT UNIQUE, salt BLOB, hash BLOB);
		CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, did TEXT, text TEXT)`))
	if *add != "" {
		handle, salt := must(syntax.ParseHandle(strings.ToLower(*add))), []byte(rand.Text())
		hash := hashed(strings.TrimSpace(string(must(io.ReadAll(os.Stdin)))), salt)
		must(own.Exec("INSERT INTO users VALUES (?, ?, ?, ?)", "did:web:"+handle, handle, salt, hash))
		return
	}
	secret, err := os.ReadFile(*data + "/secret")
	if errors.Is(err, fs.ErrNotExist) {
		secret = []byte(rand.Text() + rand.Text())
		err = os.WriteFile(*data+"/secret", secret, 0o600)
	}
	must(0, err)
	store := must(sqlite.Open(*data+"/oauth.db", sqlite.Options{}))
	server := must(oauth.New(oauth.Config{
		Issuer: *address, DevMode: strings.HasPrefix(*address, "http:"),
		Store: storage.DocsOf(store), Accounts: own, Secret: secret, Logger: slog.Default(),
		SecondFactor: must(totp.New(totp.Config{Store: storage.DocsOf(store), Secret: secret, Issuer: "Notebook"})),
		UI: must(ui.New(ui.Options{
			Branding: ui.Branding{Name: "Notebook", Colors: ui.Colors{Primary: "#0b6e4f"}},
			Overlay:  must(fs.Sub(pages, "pages")), // sign-in.html instead of that of package ui
		})),
	}))
	go func() {
		for range time.Tick(time.Minute) {
			must(store.Maintain(context.Background(), storage.Budget{})) // removes what has expired
		}
	}()
	http.Handle("/notes", xrpc.CORS(server.Verifier().Protect(http.HandlerFunc(own.notes), slog.Default())))
	http.Handle("/", server) // its paths are those that the protocol and package oauth set
	log.Printf("serving %s; /account is for its users", *address)
	log.Fatal(http.ListenAndServe(*listen, nil))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
