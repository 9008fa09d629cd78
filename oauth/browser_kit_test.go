package oauth_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/oauth"
)

// A site is a server behind real HTTP, at its own address, and whoever uses it.
type site struct {
	*env
	people *people
	http   *httptest.Server
	slept  *sleeps
}

// newSite makes a site with accounts that can do everything.
func newSite(t *testing.T, change ...func(*oauth.Config)) *site {
	t.Helper()
	s := &site{people: newPeople(), slept: &sleeps{}}
	s.env = newEnv(t, append([]func(*oauth.Config){func(c *oauth.Config) {
		c.Accounts = s.people
		c.Limits.Rates.DevicePerIP.Points = -1
	}}, change...)...)
	s.people.clock = s.clock
	s.people.server = func() *oauth.Server { return s.srv }
	s.restart()
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.srv.ServeHTTP(w, r) }))
	s.http.StartTLS()
	t.Cleanup(s.http.Close)
	return s
}

// restart makes a new server on the same store, which does not sleep.
func (s *site) restart() {
	s.env.restart()
	s.srv.SetSleep(s.slept.sleep)
}

// browser is a browser without scripts. It keeps cookies, sends what browsers
// send, and refuses what they refuse.
type browser struct {
	*site
	t        *testing.T
	agent    string
	jar      http.CookieJar
	client   *http.Client
	verifier string // of the last start
}

func (s *site) newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	address := s.http.Listener.Addr().String()
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{site: s, t: t, agent: "Test/1.0", jar: jar, client: &http.Client{
		Transport: transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// page is what a browser shows: one of ours, or the address of an app that it
// was sent to.
type page struct {
	b      *browser
	t      *testing.T
	Status int
	Header http.Header
	URL    *url.URL
	Body   string
	doc    *html.Node
	Away   *url.URL // where it left us for, instead of the rest
}

// open goes to an address as if it was followed from elsewhere.
func (b *browser) open(address string) *page {
	b.t.Helper()
	return b.follow(b.request(http.MethodGet, address, nil, "cross-site"), nil)
}

// visit goes to an address as if it was typed, or is one of a page of ours.
func (b *browser) visit(address string) *page {
	b.t.Helper()
	return b.follow(b.request(http.MethodGet, address, nil, "same-origin"), nil)
}

func (b *browser) request(method, address string, form url.Values, from string) *http.Request {
	b.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = issuer + address
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	h := r.Header
	h.Set("User-Agent", b.agent)
	h.Set("Sec-Fetch-Mode", "navigate")
	h.Set("Sec-Fetch-Dest", "document")
	h.Set("Sec-Fetch-Site", from)
	if method == http.MethodPost {
		h.Set("Content-Type", "application/x-www-form-urlencoded")
		h.Set("Origin", issuer)
	}
	return r
}

// follow sends a request and follows redirects, as far as the page that it comes
// from lets forms go.
func (b *browser) follow(r *http.Request, from *page) *page {
	b.t.Helper()
	for range 10 {
		p := b.send(r)
		if p.Status < 300 || p.Status > 399 {
			return p
		}
		if p.Status != http.StatusSeeOther && r.Method == http.MethodPost {
			b.t.Fatalf("a form is answered with %d", p.Status)
		}
		to, err := r.URL.Parse(p.Header.Get("Location"))
		if err != nil {
			b.t.Fatal(err)
		}
		if from != nil && !from.formMayReach(to) {
			b.t.Fatalf("the Content-Security-Policy %q keeps the browser from %s", from.Header.Get("Content-Security-Policy"), to)
		}
		if to.Scheme+"://"+to.Host != issuer {
			p.Away = to
			return p
		}
		r = b.request(http.MethodGet, to.String(), nil, r.Header.Get("Sec-Fetch-Site"))
	}
	b.t.Fatal("too many redirects")
	return nil
}

// send sends one request.
func (b *browser) send(r *http.Request) *page {
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
	doc, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		b.t.Fatal(err)
	}
	return &page{b: b, t: b.t, Status: resp.StatusCode, Header: resp.Header, URL: r.URL, Body: string(body), doc: doc}
}

// formMayReach reports whether the page lets a form, or a redirect after it, go
// to an address.
func (p *page) formMayReach(to *url.URL) bool {
	for directive := range strings.SplitSeq(p.Header.Get("Content-Security-Policy"), ";") {
		fields := strings.Fields(directive)
		if len(fields) == 0 || fields[0] != "form-action" {
			continue
		}
		if to.Scheme+"://"+to.Host == issuer {
			return slices.Contains(fields, "'self'")
		}
		return slices.Contains(fields, to.Scheme+":")
	}
	return false
}

// nodes returns the elements with a name, in order.
func nodes(root *html.Node, names ...string) (list []*html.Node) {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && slices.Contains(names, n.Data) {
			list = append(list, n)
		}
	}
	return list
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// formTo returns the form that goes to a path, which ends with the given text.
func (p *page) formTo(action string) *html.Node {
	p.t.Helper()
	var found []string
	for _, f := range nodes(p.doc, "form") {
		if attr(f, "method") != "post" {
			p.t.Fatalf("a form with the method %q", attr(f, "method"))
		}
		if strings.HasSuffix(attr(f, "action"), action) {
			return f
		}
		found = append(found, attr(f, "action"))
	}
	p.t.Fatalf("%s, status %d: no form goes to %q, but to %q\n%s", p.URL, p.Status, action, found, p.text())
	return nil
}

func (p *page) hasForm(action string) bool {
	return slices.ContainsFunc(nodes(p.doc, "form"), func(f *html.Node) bool { return strings.HasSuffix(attr(f, "action"), action) })
}

// values returns what a browser would send for a form as it is shown.
func values(form *html.Node) url.Values {
	out := url.Values{}
	for _, n := range nodes(form, "input", "select") {
		name := attr(n, "name")
		if name == "" {
			continue
		}
		switch {
		case n.Data == "select":
			for _, o := range nodes(n, "option") {
				if hasAttr(o, "selected") {
					out.Set(name, attr(o, "value"))
				}
			}
		case attr(n, "type") == "checkbox":
			if hasAttr(n, "checked") {
				out.Add(name, attr(n, "value"))
			}
		default:
			out.Add(name, attr(n, "value"))
		}
	}
	return out
}

// fill returns the values of a form with some set by pairs. A value "-" leaves
// the field out.
func (p *page) fill(action string, pairs ...string) url.Values {
	p.t.Helper()
	v := values(p.formTo(action))
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] == "-" {
			v.Del(pair[0])
		} else {
			v.Set(pair[0], pair[1])
		}
	}
	return v
}

// submit sends a form of the page and follows where it leads.
func (p *page) submit(action string, pairs ...string) *page {
	p.t.Helper()
	return p.b.follow(p.formRequest(action, p.fill(action, pairs...)), p)
}

// formRequest is the request that a form of the page makes.
func (p *page) formRequest(action string, form url.Values) *http.Request {
	p.t.Helper()
	return p.b.request(http.MethodPost, attr(p.formTo(action), "action"), form, "same-origin")
}

// link follows a link of the page whose address has the given text.
func (p *page) link(part string) *page {
	p.t.Helper()
	for _, a := range nodes(p.doc, "a") {
		if strings.Contains(attr(a, "href"), part) {
			return p.b.visit(attr(a, "href"))
		}
	}
	p.t.Fatalf("%s: no link to %q\n%s", p.URL, part, p.text())
	return nil
}

// text returns what somebody reads.
func (p *page) text() string {
	var b strings.Builder
	for n := range p.doc.Descendants() {
		switch {
		case n.Type == html.TextNode:
			b.WriteString(n.Data)
		case n.Type == html.ElementNode && !slices.Contains([]string{"wbr", "bdi", "strong", "span"}, n.Data):
			b.WriteString(" ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// is requires a status and a form or text.
func (p *page) is(status int, want string) *page {
	p.t.Helper()
	if p.Status != status || want != "" && !p.hasForm(want) && !strings.Contains(p.text(), want) {
		p.t.Fatalf("%s: status %d, want %d with %q\n%s", p.URL, p.Status, status, want, p.text())
	}
	return p
}

// field returns the value of a field of the page.
func (p *page) field(name string) string {
	for _, n := range nodes(p.doc, "input") {
		if attr(n, "name") == name {
			return attr(n, "value")
		}
	}
	return ""
}

// answered returns what the app gets at its redirect URI.
func (p *page) answered(a *app) url.Values {
	p.t.Helper()
	if p.Away == nil {
		p.t.Fatalf("%s: status %d, the browser did not go back to the app\n%s", p.URL, p.Status, p.text())
	}
	to := *p.Away
	query := to.Query()
	if to.Fragment != "" {
		var err error
		if query, err = url.ParseQuery(to.Fragment); err != nil {
			p.t.Fatal(err)
		}
	}
	to.RawQuery, to.Fragment = "", ""
	if to.String() != a.redirect {
		p.t.Fatalf("the browser went to %s", to.String())
	}
	if query.Get("iss") != issuer || query.Get("state") != "the state" {
		p.t.Fatalf("the answer is %v", query)
	}
	return query
}

// code requires a code.
func (p *page) code(a *app) string {
	p.t.Helper()
	q := p.answered(a)
	if q.Get("code") == "" {
		p.t.Fatalf("the answer is %v", q)
	}
	return q.Get("code")
}

// refusedWith requires an error.
func (p *page) refusedWith(a *app, code string) {
	p.t.Helper()
	if q := p.answered(a); q.Get("error") != code || q.Get("code") != "" {
		p.t.Fatalf("the answer is %v, want the error %s", q, code)
	}
}

// authorizeURL is where an app sends a browser.
func (a *app) authorizeURL(requestURI string) string {
	return issuer + "/oauth/authorize?" + url.Values{"client_id": {a.id}, "request_uri": {requestURI}}.Encode()
}

// start pushes a request and opens it.
func (b *browser) start(a *app, change ...string) *page {
	b.t.Helper()
	b.verifier = verifier + rand.Text()
	return b.open(a.authorizeURL(a.pushed(append([]string{"code_challenge", challengeOf(b.verifier)}, change...)...)))
}

// tokens makes tokens of the code with which the browser came back to the app.
func (b *browser) tokens(a *app, p *page) answer {
	b.t.Helper()
	return a.exchange(p.code(a), "code_verifier", b.verifier).isOK()
}

// signInPage goes on from the first page to that for identifier and password.
func (p *page) signInPage() *page {
	p.t.Helper()
	if p.hasForm("/sign-in") {
		return p
	}
	return p.link("/sign-in?")
}

// signIn signs in as alice, on a page for it or the one before.
func (p *page) signIn(pairs ...string) *page {
	p.t.Helper()
	return p.signInPage().submit("/sign-in", append([]string{"identifier", "alice.example.com", "password", alicePassword}, pairs...)...)
}

// cookie returns the value of a cookie of the site.
func (b *browser) cookie(name string) string {
	u, _ := url.Parse(issuer)
	for _, c := range b.jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// setCookie changes a cookie.
func (b *browser) setCookie(name, value string) {
	u, _ := url.Parse(issuer)
	b.jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
}

// copyOf returns a browser with the same cookies: that of a thief.
func (b *browser) copyOf() *browser {
	other := b.newBrowser(b.t)
	u, _ := url.Parse(issuer)
	other.jar.SetCookies(u, b.jar.Cookies(u))
	return other
}

type config = oauth.Config

// trustAll trusts every client.
func trustAll(context.Context, oauth.ClientInfo) oauth.Trust { return oauth.Trusted }

// lexicons are permission sets by NSID.
type lexicons map[syntax.NSID]string

func (l lexicons) PermissionSet(_ context.Context, nsid syntax.NSID) ([]byte, error) {
	if lexicon, ok := l[nsid]; ok {
		return []byte(lexicon), nil
	}
	return nil, errors.New("no such lexicon")
}

// permissionSet is the lexicon of a permission set with a title.
func permissionSet(nsid, title string) string {
	lexicon, err := json.Marshal(object{"lexicon": 1, "id": nsid, "defs": object{"main": object{
		"type": "permission-set", "title": title, "detail": title, "permissions": []object{
			{"type": "permission", "resource": "repo", "collection": []string{nsid[:strings.LastIndex(nsid, ".")] + ".note"}},
		},
	}}})
	if err != nil {
		panic(err)
	}
	return string(lexicon)
}
