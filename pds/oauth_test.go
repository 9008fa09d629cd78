package pds_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// person is a browser together with the app that it signs in to: a program in
// development, "http://localhost".
type person struct {
	t       *testing.T
	srv     *pdstest.PDS
	browser *http.Client
	key     *ecdsa.PrivateKey
	nonce   string
	scope   string
	secret  string // the code verifier of the newest request
	code    string // for which it got its tokens
	proxy   string // the header atproto-proxy of calls
	tokens  struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Scope   string `json:"scope"`
		Sub     string `json:"sub"`
	}
}

const callback = "http://127.0.0.1/"

func newPerson(t *testing.T, srv *pdstest.PDS, scope string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	ok(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	return &person{t: t, srv: srv, scope: scope, key: key, browser: &http.Client{
		Jar: jar,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			r.Header.Del("Origin") // browsers send none with a GET
			if strings.HasPrefix(r.URL.String(), callback) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}}
}

// client is the app's own, without the browser's cookies.
func (p *person) client() *http.Client { return &http.Client{Transport: p.browser.Transport} }

func (p *person) clientID() string {
	return "http://localhost?" + url.Values{"scope": {p.scope}, "redirect_uri": {callback}}.Encode()
}

// proof makes a DPoP proof (RFC 9449).
func (p *person) proof(method, address, token string) string {
	p.t.Helper()
	point := p.key.PublicKey
	enc := base64.RawURLEncoding.EncodeToString
	raw, err := point.Bytes()
	ok(p.t, err)
	claims := map[string]any{
		"jti": rand.Text(), "htm": method, "htu": address, "iat": p.srv.Clock.Now().Unix(),
	}
	if p.nonce != "" {
		claims["nonce"] = p.nonce
	}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = enc(sum[:])
	}
	input := segment(p.t, map[string]any{
		"typ": "dpop+jwt", "alg": "ES256",
		"jwk": map[string]any{"kty": "EC", "crv": "P-256", "x": enc(raw[1:33]), "y": enc(raw[33:])},
	}) + "." + segment(p.t, claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, sum[:])
	ok(p.t, err)
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + enc(sig)
}

// send posts to an endpoint of OAuth, twice if the server asks for its nonce.
func (p *person) send(path string, form url.Values, out any) (status int, code string) {
	p.t.Helper()
	for range 2 {
		r, err := http.NewRequestWithContext(p.t.Context(), "POST", p.srv.URL+path, strings.NewReader(form.Encode()))
		ok(p.t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("DPoP", p.proof("POST", p.srv.URL+path, ""))
		resp, err := p.client().Do(r)
		ok(p.t, err)
		body, err := io.ReadAll(resp.Body)
		ok(p.t, err)
		resp.Body.Close()
		p.nonce = resp.Header.Get("DPoP-Nonce")
		var failed struct{ Error string }
		ok(p.t, json.Unmarshal(body, &failed))
		status, code = resp.StatusCode, failed.Error
		if code == "use_dpop_nonce" {
			continue
		}
		ok(p.t, json.Unmarshal(body, out))
		break
	}
	return status, code
}

// page is what the browser shows.
type page struct {
	status   int
	text     string
	location string // of a redirect to the app
	base     *url.URL
}

func (p *person) do(r *http.Request, err error) *page {
	p.t.Helper()
	ok(p.t, err)
	resp, err := p.browser.Do(r)
	ok(p.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ok(p.t, err)
	return &page{resp.StatusCode, string(body), resp.Header.Get("Location"), resp.Request.URL}
}

var (
	formTag  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	inputTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// submit fills in the form of a page whose action ends in a path, and sends it.
func (p *person) submit(pg *page, action string, values url.Values) *page {
	p.t.Helper()
	return p.submitOne(pg, action, nil, values)
}

// submitOne is submit for one of several such forms: that with some hidden field.
func (p *person) submitOne(pg *page, action string, hidden, values url.Values) *page {
	p.t.Helper()
	for _, form := range formTag.FindAllStringSubmatch(pg.text, -1) {
		target, err := pg.base.Parse(html.UnescapeString(form[1]))
		ok(p.t, err)
		if !strings.HasSuffix(target.Path, action) {
			continue
		}
		all := url.Values{}
		for _, in := range inputTag.FindAllStringSubmatch(form[2], -1) {
			all.Add(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
		}
		other := false
		for name := range hidden {
			other = other || all.Get(name) != hidden.Get(name)
		}
		if other {
			continue
		}
		maps.Copy(all, values)
		r, err := http.NewRequestWithContext(p.t.Context(), "POST", target.String(), strings.NewReader(all.Encode()))
		ok(p.t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", target.Scheme+"://"+target.Host)
		return p.do(r, nil)
	}
	p.t.Fatalf("no form for %s on the page %d %s", action, pg.status, pg.text)
	return nil
}

// open pushes a request and opens the page for it.
func (p *person) open() *page {
	p.t.Helper()
	p.secret = rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(p.secret))
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	status, code := p.send("/oauth/par", url.Values{
		"client_id": {p.clientID()}, "response_type": {"code"}, "redirect_uri": {callback}, "state": {"my state"},
		"scope": {p.scope}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}, &pushed)
	if status != 201 {
		p.t.Fatalf("PAR: %d %s", status, code)
	}
	q := url.Values{"client_id": {p.clientID()}, "request_uri": {pushed.RequestURI}}
	return p.do(http.NewRequestWithContext(p.t.Context(), "GET", p.srv.URL+"/oauth/authorize?"+q.Encode(), nil))
}

// signInPage opens a request and goes to the sign-in form.
func (p *person) signInPage() *page {
	p.t.Helper()
	pg := p.open()
	if link := regexp.MustCompile(`href="([^"]*/sign-in[^"]*)"`).FindStringSubmatch(pg.text); link != nil && !strings.Contains(pg.text, `name="password"`) {
		target, err := pg.base.Parse(html.UnescapeString(link[1]))
		ok(p.t, err)
		pg = p.do(http.NewRequestWithContext(p.t.Context(), "GET", target.String(), nil))
	}
	return pg
}

// signIn signs an account in, consents and fetches tokens.
func (p *person) signIn(a *pdstest.Account) {
	p.t.Helper()
	p.finish(p.submit(p.enter(a), "/consent", nil))
}

// enter signs an account in, as far as the page after it.
func (p *person) enter(a *pdstest.Account) *page {
	p.t.Helper()
	return p.submit(p.signInPage(), "/sign-in", url.Values{"identifier": {string(a.Handle)}, "password": {a.Password}})
}

// signInAs signs an account in, chooses another that it acts for, consents and
// fetches tokens.
func (p *person) signInAs(group, a *pdstest.Account) {
	p.t.Helper()
	picked := url.Values{"account": {string(group.DID)}, "actor": {string(a.DID)}}
	p.finish(p.submit(p.submitOne(p.enter(a), "/account", picked, nil), "/consent", nil))
}

// finish fetches tokens for the code in a redirect.
func (p *person) finish(pg *page) {
	p.t.Helper()
	back, err := url.Parse(pg.location)
	ok(p.t, err)
	q := back.Query()
	if pg.location == "" || q.Get("state") != "my state" || q.Get("iss") != p.srv.URL || q.Get("code") == "" {
		p.t.Fatalf("the app gets %q with %d %s", pg.location, pg.status, pg.text)
	}
	p.code = q.Get("code")
	status, code := p.send("/oauth/token", url.Values{
		"client_id": {p.clientID()}, "grant_type": {"authorization_code"}, "code": {p.code},
		"redirect_uri": {callback}, "code_verifier": {p.secret},
	}, &p.tokens)
	if status != 200 {
		p.t.Fatalf("token: %d %s", status, code)
	}
}

func (p *person) refresh() (status int, code string) {
	p.t.Helper()
	return p.send("/oauth/token", url.Values{
		"client_id": {p.clientID()}, "grant_type": {"refresh_token"}, "refresh_token": {p.tokens.Refresh},
	}, &p.tokens)
}

// call calls a method as the app.
func (p *person) call(method, nsid string, params url.Values, in, out any) error {
	p.t.Helper()
	for try := 0; ; try++ {
		address := p.srv.URL + "/xrpc/" + nsid
		h := http.Header{
			"Authorization": {"DPoP " + p.tokens.Access},
			"Dpop":          {p.proof(method, address, p.tokens.Access)},
		}
		r, err := http.NewRequestWithContext(p.t.Context(), method, address+"?"+params.Encode(), nil)
		ok(p.t, err)
		if in != nil {
			body, err := json.Marshal(in)
			ok(p.t, err)
			r, err = http.NewRequestWithContext(p.t.Context(), method, address, bytes.NewReader(body))
			ok(p.t, err)
			h.Set("Content-Type", "application/json")
		}
		if p.proxy != "" {
			h.Set("Atproto-Proxy", p.proxy)
		}
		r.Header = h
		resp, err := p.client().Do(r)
		ok(p.t, err)
		body, err := io.ReadAll(resp.Body)
		ok(p.t, err)
		resp.Body.Close()
		if p.nonce = resp.Header.Get("DPoP-Nonce"); p.nonce == "" {
			p.t.Errorf("%s answers without a nonce", nsid)
		}
		if resp.StatusCode == 200 {
			if out != nil {
				ok(p.t, json.Unmarshal(body, out))
			}
			return nil
		}
		var failed struct{ Error, Message string }
		ok(p.t, json.Unmarshal(body, &failed))
		if challenge := resp.Header.Get("WWW-Authenticate"); failed.Error == "use_dpop_nonce" && try == 0 &&
			strings.HasPrefix(challenge, "DPoP ") && strings.Contains(challenge, `error="use_dpop_nonce"`) {
			continue
		}
		return &pdstest.Error{Status: resp.StatusCode, Name: failed.Error, Message: failed.Message}
	}
}

func (p *person) write(collection string) error {
	p.t.Helper()
	return p.call("POST", createRecord, nil, map[string]any{
		"repo": p.tokens.Sub, "collection": collection, "record": map[string]any{"text": "by an app"},
	}, nil)
}

func (p *person) session() error {
	return p.call("GET", "com.atproto.server.getSession", nil, nil, nil)
}

func TestOAuthFromSignInToSignOut(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	p := newPerson(t, srv, "atproto repo:"+noteCollection+"?action=create")
	p.signIn(a)
	if p.tokens.Sub != string(a.DID) || !slices.Contains(strings.Fields(p.tokens.Scope), "atproto") {
		t.Errorf("%+v", p.tokens)
	}
	ok(t, p.write(noteCollection))
	err := p.write("com.example.other")
	wantError(t, err, 403, "ScopeMissingError")
	if !strings.Contains(err.Error(), "repo:com.example.other?action=create") {
		t.Errorf("the scope is not named: %v", err)
	}
	wantError(t, p.call("POST", "com.atproto.server.createAppPassword", nil, map[string]any{"name": "x"}, nil), 403, "Forbidden")
	// The e-mail address is for those who may see it.
	var session map[string]any
	ok(t, p.call("GET", "com.atproto.server.getSession", nil, nil, &session))
	if session["did"] != string(a.DID) || session["email"] != nil {
		t.Errorf("%v", session)
	}
	// The event says by which app it was caused.
	var seen notebook
	srv.Observe("test", seen.observe)
	events := seen.wait(t, srv)
	if last := events[len(events)-1]; last.Client != p.clientID() || last.Actor != a.DID {
		t.Errorf("client %q", last.Client)
	}
	first := p.tokens
	if status, code := p.refresh(); status != 200 {
		t.Fatalf("refresh: %d %s", status, code)
	}
	ok(t, p.write(noteCollection))
	dead := *p
	dead.tokens.Access = first.Access
	wantError(t, dead.session(), 401, "invalid_token")
	if status, _ := p.send("/oauth/revoke", url.Values{"client_id": {p.clientID()}, "token": {p.tokens.Access}}, new(any)); status != 200 {
		t.Errorf("revoke: %d", status)
	}
	wantError(t, p.session(), 401, "invalid_token")
}

// Tokens of OAuth, sessions, and refresh tokens are never taken for each other.
func TestOAuthTokensAndSessionsApart(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	p := newPerson(t, srv, "atproto transition:generic")
	p.signIn(a)
	for name, auth := range map[string]string{
		"an access token as a bearer": "Bearer " + p.tokens.Access,
		"a refresh token of OAuth":    "Bearer " + p.tokens.Refresh,
	} {
		err := get(t, srv, "com.atproto.server.getSession", auth, nil, nil)
		if e, refused := errors.AsType[*pdstest.Error](err); !refused || e.Name != "InvalidToken" {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok(t, p.session())
	for name, token := range map[string]string{"access": a.Access, "refresh": a.Refresh, "code": "cod-" + strings.Repeat("0", 64)} {
		other := *p
		other.tokens.Access = token
		if err := other.session(); err == nil {
			t.Errorf("the %s token of a session works with DPoP", name)
		}
	}
	resp, err := http.Get(srv.URL + "/xrpc/com.atproto.server.getSession")
	ok(t, err)
	resp.Body.Close()
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || got != `DPoP algs="ES256"` {
		t.Errorf("without credentials: %d %q", resp.StatusCode, got)
	}
	// An app password is none for the form.
	var app struct{ Password string }
	ok(t, post(t, srv, "com.atproto.server.createAppPassword", "Bearer "+a.Access, map[string]any{"name": "x"}, &app))
	q := newPerson(t, srv, "atproto")
	pg := q.submit(q.signInPage(), "/sign-in", url.Values{"identifier": {string(a.Handle)}, "password": {app.Password}})
	if pg.status != 401 && pg.status != 400 {
		t.Errorf("an app password signs in: %d", pg.status)
	}
}

// What ends sessions ends those of OAuth in the same moment.
func TestOAuthSessionsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, a *pdstest.Account) error{
		"takedown": func(t *testing.T, a *pdstest.Account) error {
			return post(t, a.PDS, updateSubjectStatus, adminAuth, map[string]any{"subject": repoRef(a), "takedown": map[string]any{"applied": true}}, nil)
		},
		"deletion": func(t *testing.T, a *pdstest.Account) error {
			return post(t, a.PDS, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": a.DID}, nil)
		},
		"account manager": func(t *testing.T, a *pdstest.Account) error {
			sessions, err := a.PDS.OAuth().Sessions(t.Context(), a.DID)
			if err != nil || len(sessions) != 1 {
				return fmt.Errorf("%d sessions, %v", len(sessions), err)
			}
			return a.PDS.OAuth().EndSession(t.Context(), a.DID, sessions[0].ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := pdstest.New(t)
			a := srv.CreateAccount("alice")
			p := newPerson(t, srv, "atproto")
			p.signIn(a)
			ok(t, p.session())
			ok(t, end(t, a))
			if err := p.session(); err == nil {
				t.Error("the token works")
			}
			if status, code := p.refresh(); status != 400 || code != "invalid_grant" {
				t.Errorf("refresh: %d %s", status, code)
			}
		})
	}
}

// A deactivated account is asked to come back before it authorizes an app.
func TestOAuthReactivates(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	ok(t, post(t, srv, "com.atproto.server.deactivateAccount", "Bearer "+a.Access, map[string]any{}, nil))
	p := newPerson(t, srv, "atproto")
	pg := p.submit(p.signInPage(), "/sign-in", url.Values{"identifier": {string(a.Handle)}, "password": {a.Password}})
	pg = p.submit(pg, "/reactivate", nil)
	p.finish(p.submit(pg, "/consent", nil))
	if acct, _ := account(t, srv, a.DID); !acct.Active() {
		t.Error("the account is not active")
	}
	ok(t, p.session())
}

// A person signs up in the middle of a sign-in to an app.
func TestOAuthSignsUp(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	p := newPerson(t, srv, "atproto repo:*")
	pg := p.open()
	link := regexp.MustCompile(`href="([^"]*/sign-up[^"]*)"`).FindStringSubmatch(pg.text)
	if link == nil {
		t.Fatalf("no way to sign up: %s", pg.text)
	}
	target, err := pg.base.Parse(html.UnescapeString(link[1]))
	ok(t, err)
	pg = p.do(http.NewRequestWithContext(t.Context(), "GET", target.String(), nil))
	pg = p.submit(pg, "/sign-up", url.Values{"handle": {"newcomer"}, "domain": {".test"}, "email": {"new@example.com"}, "password": {"a long password"}})
	p.finish(p.submit(pg, "/consent", nil))
	ok(t, p.write(noteCollection))
}

func TestOAuthOff(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.WithoutOAuth = true })
	for _, path := range []string{"/oauth/authorize", "/account", "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"} {
		resp, err := http.Get(srv.URL + path)
		ok(t, err)
		resp.Body.Close()
		if resp.StatusCode != 404 || resp.Header.Get("DPoP-Nonce") != "" {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	err := get(t, srv, "com.atproto.server.getSession", "DPoP x", nil, nil)
	wantError(t, err, 400, "InvalidToken")
	if srv.OAuth() != nil {
		t.Error("there is an authorization server")
	}
}

// What somebody has agreed to goes with the account, and when it is deactivated
// by an app or in the account manager.
func TestOAuthConsentsAreForgotten(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	consents := func() (n int) {
		t.Helper()
		ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
			docs, err := tx.ScanDocs("oauth-consent", storage.Scan{Limit: 10})
			n = len(docs)
			return err
		}))
		return n
	}
	// As the pages store it; a program in development is asked each time.
	agree := func() {
		t.Helper()
		ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
			_, err := tx.PutDoc(storage.Doc{Kind: "oauth-consent", Key: string(a.DID) + "/" + string(a.DID) + "/client", Value: []byte("{}")})
			return err
		}))
	}
	agree()
	ok(t, srv.DeactivateAccount(t.Context(), a.DID, time.Time{}, pds.By{Actor: a.DID}))
	if n := consents(); n != 0 {
		t.Errorf("%d consents of an account that was deactivated", n)
	}
	ok(t, srv.ActivateAccount(t.Context(), a.DID, pds.By{Actor: a.DID}))
	agree()
	ok(t, srv.DeleteAccount(t.Context(), a.DID, pds.By{Actor: a.DID}))
	if n := consents(); n != 0 {
		t.Errorf("%d consents of an account that was deleted", n)
	}
}
