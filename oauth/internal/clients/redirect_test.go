package clients_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/internal/clients"
)

func TestDeclaredRedirects(t *testing.T) {
	long := "https://app.example.com/" + strings.Repeat("x", clients.MaxURL-len("https://app.example.com/"))
	for _, tt := range []struct {
		uri    string
		web    string // what is wrong with it for a web client; empty if nothing
		native string
	}{
		{"https://app.example.com/cb", "", ""},
		{"https://app.example.com", "", ""},
		{"https://app.example.com?x=y", "", ""},
		{"https://app.example.com/cb?x=y", "", ""},
		{"https://app.example.com/@x", "", ""},
		{long, "", ""},
		{long + "x", "too long", "too long"},
		{"https://other.example.net/cb", "", "origin of its client id"},
		{"https://app.example.com:8443/cb", "", "origin of its client id"},
		{"https://app.example.com:443/cb", "default port", "default port"},
		{"https://app.example.com:/cb", "port is not valid", "port is not valid"},
		{"https://app.example.com:08443/cb", "port is not valid", "port is not valid"},
		{"https://u@app.example.com/cb", "user name", "user name"},
		{"https://app.example.com/cb#x", "fragment", "fragment"},
		{"https://app.example.com/cb#", "fragment", "fragment"},
		{"https://localhost/cb", "localhost", "localhost"},
		{"https://app.localhost/cb", "local domain", "local domain"},
		{"https://127.0.0.1/cb", "IP address", "IP address"},
		{"https://[::1]/cb", "IP address", "IP address"},
		{"https://app/cb", "no domain", "no domain"},
		{"https:/app.example.com/cb", "does not begin with https://", "does not begin with https://"},
		{"HTTPS://app.example.com/cb", "scheme is not https", "not a host name backwards"},
		{"http://127.0.0.1/cb", "for native", ""},
		{"http://127.0.0.1", "for native", ""},
		{"http://127.0.0.1:8080/cb", "for native", ""},
		{"http://[::1]/cb", "for native", ""},
		{"http://[::1]:65535/cb", "for native", ""},
		{"http://[::1]:65536/cb", "port is not valid", "port is not valid"},
		{"http://127.0.0.1:0/cb", "port is not valid", "port is not valid"},
		{"http://127.0.0.1:80/cb", "for native", "default port"},
		{"http://localhost/cb", "plain http", "plain http"},
		{"http://127.0.0.2/cb", "plain http", "plain http"},
		{"http://127.0.0.1.example.com/cb", "plain http", "plain http"},
		{"http://127.1/cb", "plain http", "plain http"},
		{"http://[::ffff:127.0.0.1]/cb", "plain http", "plain http"},
		{"http://[0:0:0:0:0:0:0:1]/cb", "plain http", "plain http"},
		{"http://u@127.0.0.1/cb", "plain http", "plain http"},
		{"http://127.0.0.1:80@evil.com/cb", "port is not valid", "port is not valid"},
		{"http://app.example.com/cb", "plain http", "plain http"},
		{"com.example.app:/cb", "not https", ""},
		{"com.example.app:/", "not https", ""},
		{"com.example.app://cb", "not https", "one slash"},
		{"com.example.app:///cb", "not https", "one slash"},
		{"com.example.app:cb", "not https", "one slash"},
		{"com.example.app:", "not https", "one slash"},
		{"com.example.app:/cb?x", "not https", "no query"},
		{"com.example.app:/cb#x", "fragment", "fragment"},
		{"com.example:/cb", "not https", "host of the client id"},
		{"com.example.app.sub:/cb", "not https", "host of the client id"},
		{"app.example.com:/cb", "not https", "host of the client id"},
		{"COM.example.app:/cb", "not https", "not a host name backwards"},
		{"myapp:/cb", "not https", "not a host name backwards"},
		{"javascript:alert(1)", "not https", "not a host name backwards"},
		{"data:text/html,x", "not https", "not a host name backwards"},
		{"file:///etc/passwd", "not https", "not a host name backwards"},
		{"/cb", "no scheme", "no scheme"},
		{"", "no scheme", "no scheme"},
		{"https://app.example.com/c b", "percent-encoded", "percent-encoded"},
		{"https://app.example.com/cb\r\nx: y", "percent-encoded", "percent-encoded"},
		{"https://app.example.com\\@evil.com/", "percent-encoded", "percent-encoded"},
	} {
		for kind, says := range map[string]string{"web": tt.web, "native": tt.native} {
			c, err := load(t, with(webApp, object{"application_type": kind, "redirect_uris": []string{"https://app.example.com/", tt.uri}}))
			switch {
			case says != "":
				wantError(t, err, clients.CodeInvalidClientMetadata, "redirect_uris, element 2: ")
				wantError(t, err, clients.CodeInvalidClientMetadata, says)
			case err != nil:
				t.Errorf("%s %q: %v", kind, tt.uri, err)
			case !c.MatchRedirect(tt.uri):
				t.Errorf("%s %q does not match itself", kind, tt.uri)
			}
		}
	}
}

func TestMatchRedirect(t *testing.T) {
	loopback := func(query string) *clients.Client {
		c, err := newResolver(t, clients.Config{}).Client(t.Context(), "http://localhost"+query)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	native := func(uris ...string) *clients.Client {
		c, err := load(t, with(with(webApp, nativeApp), object{"redirect_uris": uris}))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, tt := range []struct {
		name   string
		client *clients.Client
		yes    []string
		no     []string
	}{
		{
			"loopback, defaults", loopback(""),
			[]string{"http://127.0.0.1/", "http://127.0.0.1", "http://127.0.0.1:80/", "http://127.0.0.1:1/", "http://127.0.0.1:65535/", "http://[::1]:3000/", "http://[::1]:3000"},
			[]string{
				"http://127.0.0.1/cb", "http://127.0.0.1/?x", "http://127.0.0.1:/", "http://127.0.0.1:0/", "http://127.0.0.1:080/", "http://127.0.0.1:65536/",
				"http://localhost/", "http://localhost:3000/", "https://127.0.0.1/", "http://127.0.0.1:3000//", "http://127.0.0.1:3000/#", "HTTP://127.0.0.1/", "http://127.0.0.2/", "http://[::]/", "",
			},
		},
		{
			"loopback, declared with a port", loopback("?redirect_uri=http%3A%2F%2F127.0.0.1%3A8080%2Fcb%3Fa%3Db&redirect_uri=http://[::1]:80/"),
			[]string{"http://127.0.0.1:8080/cb?a=b", "http://127.0.0.1/cb?a=b", "http://127.0.0.1:9090/cb?a=b", "http://[::1]/", "http://[::1]:99/"},
			[]string{"http://[::1]:8080/cb?a=b", "http://127.0.0.1:8080/cb", "http://127.0.0.1:8080/cb?a=b&c", "http://127.0.0.1:8080/cb%3Fa=b", "http://127.0.0.1/"},
		},
		{
			"native", native("http://127.0.0.1/cb", "http://[::1]:8080/cb", "com.example.app:/cb", "https://app.example.com/cb"),
			[]string{"http://127.0.0.1/cb", "http://127.0.0.1:5000/cb", "http://127.0.0.1:80/cb", "http://[::1]:8080/cb", "com.example.app:/cb", "https://app.example.com/cb"},
			[]string{"http://[::1]/cb", "http://[::1]:8081/cb", "http://127.0.0.1/", "http://127.0.0.1/CB", "https://app.example.com:8443/cb", "https://app.example.com:443/cb", "com.example.app://cb", "com.example.app:/cb/"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, uri := range tt.yes {
				if !tt.client.MatchRedirect(uri) {
					t.Errorf("%q is refused", uri)
				}
			}
			for _, uri := range tt.no {
				if tt.client.MatchRedirect(uri) {
					t.Errorf("%q is accepted", uri)
				}
			}
		})
	}
}

func TestAttack17RedirectTricks(t *testing.T) {
	c, err := load(t, with(webApp, object{"redirect_uris": []string{"https://app.example.com/cb", "https://app.example.com/x?y=z"}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{
		"https://app.example.com@evil.com/cb", "https://evil.com@app.example.com/cb", "https://app.example.com:x@evil.com/cb",
		"https://app.example.com/cb2", "https://app.example.com/cb/", "https://app.example.com/cb/../evil", "https://app.example.com/cb/%2e%2e/evil", "https://app.example.com/cb%2f", "https://app.example.com%2fcb", "https://app.example.com/%63b",
		"https://app.example.com.evil.com/cb", "https://evilapp.example.com/cb", "https://evil.com/https://app.example.com/cb",
		"https://app.example.com./cb", "https://APP.example.com/cb", "HTTPS://app.example.com/cb", "https://app.example.com/CB",
		"https://app.example.com:443/cb", "https://app.example.com:8443/cb", "https://app.example.com:/cb", "http://app.example.com/cb", "http://app.example.com:443/cb",
		"https://app.example.com/cb?", "https://app.example.com/cb?x=y", "https://app.example.com/cb#", "https://app.example.com/cb#x", "https://app.example.com/x?y=z&y=w", "https://app.example.com/x?Y=z",
		"https:app.example.com/cb", "https:/app.example.com/cb", "https:///app.example.com/cb", "//app.example.com/cb", "/cb", "https:\\\\app.example.com\\cb", "https://app.example.com\\cb", "https://app.example.com/cb\\", " https://app.example.com/cb", "https://app.example.com/cb ", "https://app.example.com/cb\n", "https://app.example.com/cb\x00", "https://app.example.com/\tcb",
		"javascript:alert(1)//https://app.example.com/cb", "data:text/html,https://app.example.com/cb", "com.example.app://cb", "com.example.app:/cb",
		"http://127.0.0.1/cb", "http://[::1]/cb", "https://[::ffff:127.0.0.1]/cb", "https://[::1%25eth0]/cb", "https://127.1/cb", "https://app.example.com\u3002/cb", "https://app\uff0eexample.com/cb", "",
	} {
		if c.MatchRedirect(uri) {
			t.Errorf("%q is accepted", uri)
		}
	}
	native, err := load(t, with(with(webApp, nativeApp), object{"redirect_uris": []string{"http://127.0.0.1/cb", "http://[::1]/cb"}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{
		"http://127.0.0.1:80@evil.com/cb", "http://127.0.0.1@evil.com/cb", "http://127.0.0.1.evil.com/cb", "http://127.0.0.1:evil.com/cb", "http://127.0.0.1:+80/cb", "http://127.0.0.1:-1/cb", "http://127.0.0.1: 80/cb",
		"http://127.0.0.1:80:80/cb", "http://2130706433/cb", "http://0x7f.1/cb", "http://127.1/cb", "http://[::1]evil.com/cb", "http://[::1%25lo]/cb", "http://[::ffff:127.0.0.1]/cb", "http://[0:0:0:0:0:0:0:1]:80/cb", "http://127.0.0.1:5000\\@evil.com/cb", "http://127.0.0.1:5000/cb?x", "http://127.0.0.1:5000/cb#", "http://127.0.0.1:5000/x/../cb", "http://localhost/cb", "https://127.0.0.1/cb",
	} {
		if native.MatchRedirect(uri) {
			t.Errorf("%q is accepted", uri)
		}
	}
}

// FuzzMatchRedirect checks what is not declared as such, but matches: it leads
// to a loopback address, and differs from what is declared in the port alone.
func FuzzMatchRedirect(f *testing.F) {
	var all []*clients.Client
	r := newResolver(f, clients.Config{})
	for _, id := range []string{"http://localhost", "http://localhost?scope=atproto&redirect_uri=http%3A%2F%2F127.0.0.1%3A8080%2Fcb%3Fx&redirect_uri=http://[::1]/y"} {
		c, err := r.Client(f.Context(), id)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, c)
	}
	c, err := load(f, with(with(webApp, nativeApp), object{"redirect_uris": []string{"http://127.0.0.1/cb", "com.example.app:/cb", "https://app.example.com/cb"}}))
	if err != nil {
		f.Fatal(err)
	}
	all = append(all, c)
	for _, uri := range []string{"http://127.0.0.1:80/", "http://[::1]:1/y", "http://127.0.0.1:1/cb?x", "http://127.0.0.1:1@evil.com/cb", "com.example.app:/cb", "http://127.0.0.1:99/cb#"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		for _, c := range all {
			if !c.MatchRedirect(uri) || slices.Contains(c.Metadata.RedirectURIs, uri) {
				continue
			}
			u, err := url.Parse(uri)
			if err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" || u.User != nil || strings.Contains(uri, "#") {
				t.Errorf("%q is accepted, %v", uri, err)
				continue
			}
			same := func(declared string) bool {
				d, err := url.Parse(declared)
				return err == nil && d.Hostname() == u.Hostname() && d.RequestURI() == u.RequestURI()
			}
			if !slices.ContainsFunc(c.Metadata.RedirectURIs, same) {
				t.Errorf("%q is accepted by %q", uri, c.Metadata.RedirectURIs)
			}
		}
	})
}
