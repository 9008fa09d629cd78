// Command indigo is an app made with indigo's OAuth client, which reaches
// everything at one port of this machine:
//
//	indigo -port PORT -ca FILE -origin https://app.example.dev -handle HANDLE [-key]
//
// It prints its documents and the address where its user has to go, as lines of
// JSON, reads the address to which the user was sent back, goes through the
// life of a session and prints what it has seen of it.
//
// It is a module of its own, because importing the client re-registers ES256
// for the whole process.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/auth/oauth"
	"github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

func main() {
	var a app
	flag.IntVar(&a.port, "port", 0, "port of the world")
	flag.StringVar(&a.caFile, "ca", "", "file with the world's certificate authority")
	flag.StringVar(&a.origin, "origin", "", "origin of the app")
	flag.StringVar(&a.handle, "handle", "", "handle of the user")
	flag.BoolVar(&a.confidential, "key", false, "whether the app has a key of its own")
	flag.Parse()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the client warns of each nonce
	a.in, a.out = bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := a.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "indigo:", err)
		os.Exit(1)
	}
}

type app struct {
	port         int
	caFile       string
	origin       string
	handle       string
	confidential bool

	in  *bufio.Scanner
	out *json.Encoder
}

// documents is what the app publishes.
type documents struct {
	Client oauth.ClientMetadata `json:"client"`
	Keys   oauth.JWKS           `json:"keys"`
}

// report is what has become of a session.
type report struct {
	Account      syntax.DID `json:"account"`
	Scopes       []string   `json:"scopes"`
	URI          string     `json:"uri"`
	Renewed      bool       `json:"renewed"`
	AfterRenewal string     `json:"afterRenewal"` // URI of a second record
	Refused      []string   `json:"refused"`      // what the former tokens were refused, after signing out
}

func (a *app) run(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	config, err := a.config()
	if err != nil {
		return err
	}
	store := oauth.NewMemStore()
	oa := oauth.NewClientApp(&config, store)
	oa.Client, oa.Resolver.Client = client, client
	oa.Dir = &identity.BaseDirectory{
		PLCURL: "https://plc.oauth-test.dev", HTTPClient: *client, SkipDNSDomainSuffixes: []string{".dev"},
	}
	docs := documents{Client: config.ClientMetadata(), Keys: config.PublicJWKS()}
	if a.confidential {
		keys := a.origin + "/jwks.json"
		docs.Client.JWKSURI = &keys
	}
	if err := a.out.Encode(docs); err != nil {
		return err
	}
	if _, err := a.line(); err != nil { // the documents are out
		return err
	}
	start, err := oa.StartAuthFlow(ctx, a.handle)
	if err != nil {
		return err
	}
	if err := a.out.Encode(start); err != nil {
		return err
	}
	back, err := a.line()
	if err != nil {
		return err
	}
	callback, err := url.Parse(back)
	if err != nil {
		return err
	}
	data, err := oa.ProcessCallback(ctx, callback.Query())
	if err != nil {
		return err
	}
	seen, err := live(ctx, oa, store, data)
	if err != nil {
		return err
	}
	return a.out.Encode(seen)
}

// live goes through the life of a session.
func live(ctx context.Context, oa *oauth.ClientApp, store *oauth.MemStore, data *oauth.ClientSessionData) (seen report, err error) {
	seen.Account, seen.Scopes = data.AccountDID, data.Scopes
	session, err := oa.ResumeSession(ctx, data.AccountDID, data.SessionID)
	if err != nil {
		return seen, err
	}
	if seen.URI, err = write(ctx, session); err != nil {
		return seen, err
	}
	first := session.Data.AccessToken
	second, err := session.RefreshTokens(ctx)
	if err != nil {
		return seen, err
	}
	seen.Renewed = first != second
	if seen.AfterRenewal, err = write(ctx, session); err != nil {
		return seen, err
	}

	kept := *session.Data
	if err := oa.Logout(ctx, data.AccountDID, data.SessionID); err != nil {
		return seen, err
	}
	if err := store.SaveSession(ctx, kept); err != nil {
		return seen, err
	}
	if session, err = oa.ResumeSession(ctx, data.AccountDID, data.SessionID); err != nil {
		return seen, err
	}
	if _, err := write(ctx, session); err != nil {
		seen.Refused = append(seen.Refused, err.Error())
	}
	if _, err := session.RefreshTokens(ctx); err != nil {
		seen.Refused = append(seen.Refused, err.Error())
	}
	return seen, nil
}

// write makes a record and returns its URI.
func write(ctx context.Context, session *oauth.ClientSession) (string, error) {
	c := session.APIClient()
	var out struct{ URI string }
	err := c.Post(ctx, "com.atproto.repo.createRecord", map[string]any{
		"repo":       c.AccountDID,
		"collection": "app.bsky.feed.post",
		"record": map[string]any{
			"$type": "app.bsky.feed.post", "text": "by an app of indigo", "createdAt": syntax.DatetimeNow(),
		},
	}, &out)
	return out.URI, err
}

func (a *app) config() (oauth.ClientConfig, error) {
	config := oauth.NewPublicConfig(a.origin+"/client.json", a.origin+"/callback", []string{"atproto", "repo:app.bsky.feed.post"})
	if !a.confidential {
		return config, nil
	}
	key, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		return config, err
	}
	return config, config.SetClientSecret(key, "key-1")
}

// client reaches every name at the port of the world.
func (a *app) client() (*http.Client, error) {
	ca, err := os.ReadFile(a.caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", a.caFile)
	}
	address := fmt.Sprintf("127.0.0.1:%d", a.port)
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}}, nil
}

// line reads what the test has to say.
func (a *app) line() (string, error) {
	if !a.in.Scan() {
		return "", errors.Join(io.ErrUnexpectedEOF, a.in.Err())
	}
	return strings.TrimSpace(a.in.Text()), nil
}
