package dpop_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
)

// accepts reports whether a proof for one address passes at another.
func (b *bench) accepts(t testing.TB, proofURL, address string) bool {
	t.Helper()
	p := b.proof()
	p.URL = proofURL
	p.Token = ""
	r := httptest.NewRequest("POST", "/", http.NoBody)
	r.Header.Set("DPoP", p.Sign(t, b.signer))
	_, err := b.checker.Check(r, address, "")
	if code := codeOf(t, err); code != "" && code != dpop.CodeInvalidProof {
		t.Fatalf("%s at %s: %v", proofURL, address, err)
	}
	return err == nil
}

func TestAddress(t *testing.T) {
	b := newBench(t)
	for address, same := range map[string][]string{
		"https://pds.example.com/oauth/token": {
			"https://pds.example.com/oauth/token", "HTTPS://PDS.Example.COM/oauth/token", "https://pds.example.com:443/oauth/token", "https://pds.example.com:/oauth/token",
			"https://pds.example.com/oauth/token?", "https://pds.example.com/oauth/token?a=b", "https://pds.example.com/oauth/token#", "https://pds.example.com/oauth/token?a#b?c",
			"https://pds.example.com/%6Fauth/%74oken", "https://pds.example.com/./oauth/x/../token", "https://pds.example.com/oauth/%2e/token", "https://pds.example.com/oauth/x/%2E%2e/token", "https://pds.example.com/../oauth/token",
		},
		"https://pds.example.com":                {"https://pds.example.com/", "https://pds.example.com?x", "https://pds.example.com/."},
		"https://pds.example.com/":               {"https://pds.example.com"},
		"https://pds.example.com:8443/a":         {"https://PDS.example.com:8443/a"},
		"http://localhost:2583/xrpc/a.b.c":       {"http://localhost:2583/xrpc/a.b.c?x=1", "http://LOCALHOST:2583/xrpc/a%2Eb.c"},
		"http://localhost/a":                     {"http://localhost:80/a"},
		"http://[::1]:2583/a":                    {"http://[::1]:2583/a?b"},
		"https://pds.example.com/a%2fb%20c":      {"https://pds.example.com/a%2Fb%20c", "https://pds.example.com/a%2Fb c"},
		"https://pds.example.com/[\"^ä]":         {"https://pds.example.com/%5B%22%5E%c3%A4%5d"},
		"https://pds.example.com/a:@!$&'()*+,;=": {"https://pds.example.com/./a:@!$&'()*+,;="},
		"https://pds.example.com/%E4%F6?a=b":     {"https://pds.example.com/%e4%f6"},
		"HTTPS://pds.example.com:443/a/../b?x#":  {"https://pds.example.com/b"},
	} {
		for _, htu := range same {
			if !b.accepts(t, htu, address) {
				t.Errorf("%s is not %s", htu, address)
			}
		}
	}
	for _, htu := range []string{
		"", "/oauth/token", "//pds.example.com/oauth/token", "pds.example.com/oauth/token", "https:/oauth/token", "https:pds.example.com/oauth/token", "https:///oauth/token", "https://:443/oauth/token",
		"http://pds.example.com/oauth/token", "http://pds.example.com:443/oauth/token", "https://pds.example.com:80/oauth/token", "https://pds.example.com:8443/oauth/token", "https://pds.example.com:0443/oauth/token",
		"ftp://pds.example.com/oauth/token", "wss://pds.example.com/oauth/token",
		"https://user@pds.example.com/oauth/token", "https://user:pass@pds.example.com/oauth/token", "https://@pds.example.com/oauth/token", "https://pds.example.com@evil.example/oauth/token",
		"https://pds.example.com.evil.example/oauth/token", "https://evil.example/pds.example.com/oauth/token", "https://pds.example.com./oauth/token", "https://alice.pds.example.com/oauth/token",
		"https://pds.example.com/oauth/token/", "https://pds.example.com/oauth/Token", "https://pds.example.com//oauth/token", "https://pds.example.com/oauth//token", "https://pds.example.com/oauth%2Ftoken", "https://pds.example.com/oauth\\token",
		"https://pds.example.com/oauth/token%00", "https://pds.example.com/oauth/token%", "https://pds.example.com/oauth/token%zz", "https://pds.example.com/oauth/token%20", "https://pds.example.com/oauth/token\n", " https://pds.example.com/oauth/token", "https://pds.example.com /oauth/token",
		"https://pds.example.com/oauth/token%3Fa", "https://pds.example.com/oauth/token;a", "https://pds.example.com/oauth/%252e/token", "https://pds.example.com/oauth", "https://pds.example.com/", "https://pds.example.com/oauth/token/..",
	} {
		if b.accepts(t, htu, "https://pds.example.com/oauth/token") {
			t.Errorf("%q passed", htu)
		}
	}
	if b.accepts(t, "", "") || b.accepts(t, "https://a.example/b%2Fc", "https://a.example/b/c") || b.accepts(t, "https://a.example/b%2Fc d", "https://a.example/b/c d") {
		t.Error("different addresses passed")
	}
}
