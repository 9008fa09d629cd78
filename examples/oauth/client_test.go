package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

const redirect = "http://127.0.0.1/callback"

type object = map[string]any

func encoded(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// app is a program in development that uses the service, with its DPoP key.
type app struct {
	t               *testing.T
	server          string // its address
	scope, verifier string
	key             *ecdsa.PrivateKey
	nonce           string
	access          string
}

func newApp(t *testing.T, server, scope string) *app {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &app{t: t, server: server, scope: scope, verifier: rand.Text() + rand.Text(), key: key}
}

func (a *app) id() string {
	return "http://localhost?" + url.Values{"redirect_uri": {redirect}, "scope": {a.scope}}.Encode()
}

// proof makes a DPoP proof, RFC 9449 section 4.2.
func (a *app) proof(method, address, token string) string {
	a.t.Helper()
	point, err := a.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		a.t.Fatal(err)
	}
	claims := object{"jti": rand.Text(), "htm": method, "htu": address, "iat": time.Now().Unix()}
	if a.nonce != "" {
		claims["nonce"] = a.nonce
	}
	if token != "" {
		claims["ath"] = encoded(sum(token))
	}
	var parts []string
	for _, part := range []object{
		{"typ": "dpop+jwt", "alg": "ES256", "jwk": object{"kty": "EC", "crv": "P-256", "x": encoded(point[1:33]), "y": encoded(point[33:])}},
		claims,
	} {
		data, err := json.Marshal(part)
		if err != nil {
			a.t.Fatal(err)
		}
		parts = append(parts, encoded(data))
	}
	input := strings.Join(parts, ".")
	r, s, err := ecdsa.Sign(rand.Reader, a.key, sum(input))
	if err != nil {
		a.t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + encoded(signature)
}

// send sends a request with a proof, and once more if the server wants another
// nonce.
func (a *app) send(method, path, contentType, body string) (status int, text string) {
	a.t.Helper()
	for range 2 {
		r, err := http.NewRequestWithContext(a.t.Context(), method, a.server+path, strings.NewReader(body))
		if err != nil {
			a.t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		token := ""
		if !strings.HasPrefix(path, "/oauth/") {
			token = a.access
			r.Header.Set("Authorization", "DPoP "+token)
		}
		r.Header.Set("DPoP", a.proof(method, a.server+path, token))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			a.t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			a.t.Fatal(err)
		}
		status, text, a.nonce = resp.StatusCode, string(data), resp.Header.Get("DPoP-Nonce")
		if status != http.StatusBadRequest && status != http.StatusUnauthorized || !strings.Contains(text, "use_dpop_nonce") {
			break
		}
	}
	return status, text
}

// endpoint sends parameters to one of the OAuth server's.
func (a *app) endpoint(path string, values url.Values) (answer map[string]any) {
	a.t.Helper()
	values.Set("client_id", a.id())
	status, text := a.send(http.MethodPost, path, "application/x-www-form-urlencoded", values.Encode())
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status >= 300 {
		a.t.Fatalf("%s: %d %s", path, status, text)
	}
	return answer
}

// authorizeURL pushes a request, and returns where the app sends a browser.
func (a *app) authorizeURL() string {
	a.t.Helper()
	answer := a.endpoint("/oauth/par", url.Values{
		"response_type": {"code"}, "redirect_uri": {redirect}, "scope": {a.scope}, "state": {"the state"},
		"code_challenge": {encoded(sum(a.verifier))}, "code_challenge_method": {"S256"},
	})
	uri, _ := answer["request_uri"].(string)
	return a.server + "/oauth/authorize?" + url.Values{"client_id": {a.id()}, "request_uri": {uri}}.Encode()
}

// exchange makes tokens of what the browser brought back, and returns whose they
// are.
func (a *app) exchange(back *url.URL) (did string) {
	a.t.Helper()
	q := back.Query()
	if !strings.HasPrefix(back.String(), redirect+"?") || q.Get("iss") != a.server || q.Get("state") != "the state" {
		a.t.Fatalf("the browser was sent to %s", back)
	}
	answer := a.endpoint("/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {redirect}, "code_verifier": {a.verifier},
	})
	a.access, _ = answer["access_token"].(string)
	did, _ = answer["sub"].(string)
	return did
}

// browser keeps cookies and runs no scripts.
type browser struct {
	t      *testing.T
	server string
	client *http.Client
}

func newBrowser(t *testing.T, server string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, server, &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), server+"/") {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// page is what the browser shows, or the address of the app to which it was sent.
type page struct {
	b      *browser
	status int
	body   string
	doc    *html.Node
	away   *url.URL
}

func (b *browser) open(address string) *page {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

func (b *browser) do(r *http.Request) *page {
	b.t.Helper()
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	p := &page{b: b, status: resp.StatusCode, body: string(body)}
	if p.doc, err = html.Parse(strings.NewReader(p.body)); err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		if p.away, err = resp.Location(); err != nil {
			b.t.Fatal(err)
		}
	}
	return p
}

// elements returns those with a name.
func elements(root *html.Node, name string) (list []*html.Node) {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			list = append(list, n)
		}
	}
	return list
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// form returns the form that goes to an address with this end, or nil.
func (p *page) form(end string) *html.Node {
	for _, f := range elements(p.doc, "form") {
		if strings.HasSuffix(attribute(f, "action"), end) {
			return f
		}
	}
	return nil
}

// submit sends a form with some of its fields filled in.
func (p *page) submit(end string, pairs ...string) *page {
	t := p.b.t
	t.Helper()
	form := p.form(end)
	if form == nil {
		t.Fatalf("no form goes to %s: %d %s", end, p.status, p.body)
	}
	values := url.Values{}
	for _, n := range elements(form, "input") {
		if attribute(n, "type") != "checkbox" {
			values.Add(attribute(n, "name"), attribute(n, "value"))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.b.server+attribute(form, "action"), strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", p.b.server)
	return p.b.do(r)
}

// follow follows the link whose address has this end.
func (p *page) follow(end string) *page {
	p.b.t.Helper()
	for _, a := range elements(p.doc, "a") {
		if strings.HasSuffix(attribute(a, "href"), end) {
			return p.b.open(p.b.server + attribute(a, "href"))
		}
	}
	p.b.t.Fatalf("no link to %s: %d %s", end, p.status, p.body)
	return nil
}
