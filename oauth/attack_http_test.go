package oauth_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
)

func TestAttack41_LargeAndDeepBodies(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	send := func(contentType string, body io.Reader) answer {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, issuer+"/oauth/par", body)
		r.Header.Set("Content-Type", contentType)
		return e.do(r)
	}
	const form, js = "application/x-www-form-urlencoded", "application/json"
	endless := &counting{Reader: io.LimitReader(zeros{}, 1<<30)}
	send(form, endless).is(413, "invalid_request")
	if endless.n > 200<<10 {
		t.Errorf("%d bytes of a body were read", endless.n)
	}
	send(js, strings.NewReader(strings.Repeat("[", 50<<10))).is(400, "invalid_request")
	send(js, strings.NewReader(`{"a":`+strings.Repeat(`{"a":`, 9000)+"1"+strings.Repeat("}", 9001))).is(400, "invalid_request")
	// The edge: 100 KiB.
	pad := func(n int) string {
		body := "client_id=x"
		for i := 0; len(body) < n; i++ {
			body += fmt.Sprintf("&p%d=%s", i, strings.Repeat("x", 1000))
		}
		return body[:n]
	}
	send(form, strings.NewReader(pad(100<<10))).is(400, "invalid_client")
	send(form, strings.NewReader(pad(100<<10+1))).is(413, "invalid_request")

	// Parameters.
	a.push("state", strings.Repeat("s", oauth.MaxParameterBytes)).isOK()
	a.push("state", strings.Repeat("s", oauth.MaxParameterBytes+1)).is(400, "invalid_request")
	a.push("client_id", "https://"+strings.Repeat("x", oauth.MaxParameterBytes)).is(400, "invalid_request")
	a.push("unknown", strings.Repeat("x", oauth.MaxParameterBytes+1)).is(400, "invalid_request")
	a.push("scope", "atproto "+strings.Repeat("x", 16<<10)).is(400, "invalid_request")
	a.push("state", "\xff").is(400, "invalid_request")
	a.push("state", "a\x00b").is(400, "invalid_request")
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestAttack43_Floods(t *testing.T) {
	rates := unlimited
	newClients := func(r *oauth.Rates) { r.NewClientPerIP = oauth.Rate{Points: 3, Window: time.Minute} }
	for name, c := range map[string]struct {
		limit func(*oauth.Rates)
		send  func(e *env, i int) answer
	}{
		"PAR by address": {
			limit: func(r *oauth.Rates) { r.PARPerIP = oauth.Rate{Points: 3, Window: time.Minute} },
			send: func(e *env, i int) answer {
				return e.do(httptest.NewRequest(http.MethodPost, issuer+"/oauth/par", nil))
			},
		},
		"token by address": {
			limit: func(r *oauth.Rates) { r.TokenPerIP = oauth.Rate{Points: 3, Window: time.Minute} },
			send: func(e *env, i int) answer {
				return e.do(httptest.NewRequest(http.MethodPost, issuer+[]string{"/oauth/token", "/oauth/revoke"}[i%2], nil))
			},
		},
		"random clients": {
			limit: newClients,
			send: func(e *env, i int) answer {
				path := []string{"/oauth/par", "/oauth/token", "/oauth/revoke"}[i%3]
				r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(fmt.Sprintf("client_id=https://client%d.example.org/x", i)))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				return e.do(r)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, func(cfg *oauth.Config) {
				cfg.Limits.Rates = rates
				c.limit(&cfg.Limits.Rates)
			})
			for i := range 3 {
				if got := c.send(e, i); got.Status == 429 {
					t.Fatalf("request %d is refused", i)
				}
			}
			got := c.send(e, 3).is(429, "temporarily_unavailable")
			if got.Header.Get("Retry-After") != "60" {
				t.Errorf("Retry-After %q", got.Header.Get("Retry-After"))
			}
			if n := len(e.web.fetched); n > 3 {
				t.Errorf("%d documents were fetched", n)
			}
			e.clock.advance(time.Minute)
			if got := c.send(e, 4); got.Status == 429 {
				t.Error("refused after a minute")
			}
		})
	}
	t.Run("PAR by client", func(t *testing.T) {
		e := newEnv(t, func(cfg *oauth.Config) {
			cfg.Limits.Rates = unlimited
			cfg.Limits.Rates.PARPerClient = oauth.Rate{Points: 3, Window: time.Minute}
			cfg.Limits.Rates.NewClientPerIP = oauth.Rate{Points: 2, Window: time.Minute} // a known client costs nothing
		})
		a := e.newApp("app.example.org")
		for range 3 {
			a.push().isOK()
		}
		a.push().is(429, "temporarily_unavailable")
	})
	t.Run("addresses", func(t *testing.T) {
		e := newEnv(t, func(cfg *oauth.Config) {
			cfg.Limits.Rates = unlimited
			cfg.Limits.Rates.PARPerIP = oauth.Rate{Points: 1, Window: time.Minute}
			cfg.ClientIP = func(r *http.Request) netip.Addr { return netip.MustParseAddr(r.Header.Get("Test-IP")) }
		})
		for _, c := range []struct {
			ip     string
			status int
		}{
			{"192.0.2.1", 415}, {"192.0.2.1", 429}, {"192.0.2.2", 415}, {"::ffff:192.0.2.1", 429},
			{"2001:db8::1", 415}, {"2001:db8::2", 429}, {"2001:db8:0:1::1", 415},
		} {
			r := httptest.NewRequest(http.MethodPost, issuer+"/oauth/par", nil)
			r.Header.Set("Test-IP", c.ip)
			if got := e.do(r); got.Status != c.status {
				t.Errorf("%s: status %d, want %d", c.ip, got.Status, c.status)
			}
		}
	})
}

func TestAttack58_ParserDifferentials(t *testing.T) {
	a, token := withSession(t)
	// A proof whose JSON is read in two ways is refused, although its signature
	// is good.
	raw := func(header, claims string) string {
		input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		signature, err := a.key.Sign([]byte(input))
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	jwk := string(publicJWK(t, a.key))
	header := `{"typ":"dpop+jwt","alg":"ES256","jwk":` + jwk + `}`
	claims := func(jti string, iat string) string {
		return fmt.Sprintf(`{"jti":%q,"htm":"POST","htu":%q,"iat":%s,"nonce":%q}`, jti, issuer+"/oauth/token", iat, a.nonce)
	}
	now := fmt.Sprint(a.clock.Now().Unix())
	a.sendProof(raw(header, claims("1", now))).is(400, "unsupported_grant_type")
	for name, proof := range map[string]string{
		"duplicate alg":     raw(`{"alg":"none","typ":"dpop+jwt","alg":"ES256","jwk":`+jwk+`}`, claims("2", now)),
		"duplicate claim":   raw(header, strings.Replace(claims("3", now), `{`, `{"htm":"GET",`, 1)),
		"escaped duplicate": raw(header, strings.Replace(claims("4", now), `{`, `{"ht\u006d":"GET",`, 1)),
		"iat as text":       raw(header, claims("5", `"`+now+`"`)),
		"names in case":     raw(header, strings.ReplaceAll(claims("6", now), `"htm"`, `"HTM"`)),
		"typ in case":       raw(strings.Replace(header, `"typ"`, `"Typ"`, 1), claims("7", now)),
		"two values":        raw(header+header, claims("8", now)),
		"trailing text":     raw(header, claims("9", now)+"x"),
		"a list":            raw("["+header+"]", claims("10", now)),
		"not UTF-8":         raw(header, strings.Replace(claims("11", now), `{`, "{\"x\":\"\xff\",", 1)),
		"deep":              raw(header, strings.Replace(claims("12", now), `{`, `{"x":`+strings.Repeat("[", 9)+strings.Repeat("]", 9)+`,`, 1)),
		"padding":           raw(header, claims("13", now)) + "==",
		"newline":           strings.Replace(raw(header, claims("14", now)), ".", "\n.", 1),
	} {
		t.Run(name, func(t *testing.T) {
			a.in(t)
			a.sendProof(proof).is(400, "invalid_dpop_proof")
		})
	}
	a.mustUse(token)
}

func TestAttack59_OtherHosts(t *testing.T) {
	e := newEnv(t)
	paths := []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server", "/oauth/jwks", "/oauth/par", "/oauth/token", "/oauth/revoke", "/oauth/authorize", "/account"}
	for _, path := range paths {
		for _, host := range []string{"alice.pds.example.com", "example.com", "pds.example.com.thief.example.org", "pds.example.com:8443", "", "127.0.0.1", "localhost"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host = host
			r.Header.Set("X-Forwarded-Host", "pds.example.com")
			if got := e.do(r); got.Status != 404 {
				t.Errorf("%s on %q: status %d", path, host, got.Status)
			}
		}
		if !e.srv.Handles(path) {
			t.Errorf("%s is not handled", path)
		}
	}
	for _, host := range []string{"pds.example.com", "PDS.example.com", "pds.example.com:443"} {
		r := httptest.NewRequest(http.MethodGet, "/oauth/jwks", nil)
		r.Host = host
		if got := e.do(r); got.Status != 200 {
			t.Errorf("on %q: status %d", host, got.Status)
		}
	}
	for _, path := range []string{"/", "/xrpc/com.example.get", "/accounts", "/oauthx", "/.well-known/atproto-did"} {
		if e.srv.Handles(path) {
			t.Errorf("%s is handled", path)
		}
	}
	t.Run("development", func(t *testing.T) {
		e := newEnv(t, func(c *oauth.Config) { c.Issuer, c.DevMode = "http://localhost:2583", true })
		for host, status := range map[string]int{"localhost:2583": 200, "127.0.0.1:2583": 200, "[::1]:2583": 200, "alice.localhost:2583": 404, "thief.example.org": 404} {
			r := httptest.NewRequest(http.MethodGet, "/oauth/jwks", nil)
			r.Host = host
			if got := e.do(r); got.Status != status {
				t.Errorf("on %q: status %d, want %d", host, got.Status, status)
			}
		}
	})
	t.Run("resource elsewhere", func(t *testing.T) {
		e := newEnv(t, func(c *oauth.Config) { c.Resource = "https://api.example.com" })
		for path, status := range map[string]int{"/.well-known/oauth-protected-resource": 200, "/oauth/jwks": 404} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host = "api.example.com"
			if got := e.do(r); got.Status != status {
				t.Errorf("%s: status %d, want %d", path, got.Status, status)
			}
		}
	})
}

func TestAttack60_Bodies(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	send := func(header http.Header, body string) answer {
		r := httptest.NewRequest(http.MethodPost, issuer+"/oauth/token", strings.NewReader(body))
		r.Header = header
		return e.do(r)
	}
	typed := func(types ...string) http.Header { return http.Header{"Content-Type": types} }
	id := `"client_id":"` + a.id + `"`
	for name, c := range map[string]struct {
		header http.Header
		body   string
		status int
		code   string
	}{
		"JSON":                {typed("application/json"), `{` + id + `}`, 400, "invalid_dpop_proof"},
		"JSON with charset":   {typed("application/json; charset=UTF-8"), `{` + id + `}`, 400, "invalid_dpop_proof"},
		"form with charset":   {typed("application/x-www-form-urlencoded;charset=utf-8"), "client_id=" + a.id, 400, "invalid_dpop_proof"},
		"values of all sorts": {typed("application/json"), `{` + id + `,"a":null,"b":1.5,"c":true,"d":""}`, 400, "invalid_dpop_proof"},
		"duplicate names":     {typed("application/json"), `{` + id + `,` + id + `}`, 400, "invalid_request"},
		"escaped duplicate":   {typed("application/json"), `{` + id + `,"client_\u0069d":"x"}`, 400, "invalid_request"},
		"names in case":       {typed("application/json"), `{"Client_ID":"` + a.id + `"}`, 400, "invalid_request"},
		"nested object":       {typed("application/json"), `{` + id + `,"a":{}}`, 400, "invalid_request"},
		"nested list":         {typed("application/json"), `{"client_id":["` + a.id + `"]}`, 400, "invalid_request"},
		"a list":              {typed("application/json"), `[{` + id + `}]`, 400, "invalid_request"},
		"two values":          {typed("application/json"), `{` + id + `}{}`, 400, "invalid_request"},
		"empty JSON":          {typed("application/json"), ``, 400, "invalid_request"},
		"a text":              {typed("application/json"), `"x"`, 400, "invalid_request"},
		"latin1":              {typed("application/json; charset=iso-8859-1"), `{` + id + `}`, 415, "invalid_request"},
		"utf-16":              {typed("application/x-www-form-urlencoded; charset=utf-16"), "client_id=" + a.id, 415, "invalid_request"},
		"text":                {typed("text/plain"), `{` + id + `}`, 415, "invalid_request"},
		"multipart":           {typed("multipart/form-data; boundary=x"), ``, 415, "invalid_request"},
		"no type":             {http.Header{}, "client_id=" + a.id, 415, "invalid_request"},
		"two types":           {typed("application/json", "text/plain"), `{` + id + `}`, 415, "invalid_request"},
		"compressed":          {http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, `{` + id + `}`, 415, "invalid_request"},
		"bad escapes":         {typed("application/x-www-form-urlencoded"), "client_id=%zz", 400, "invalid_request"},
		"semicolons":          {typed("application/x-www-form-urlencoded"), "client_id=x;a=b", 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			e.in(t)
			got := send(c.header, c.body)
			got.is(c.status, c.code)
			if got.Header.Get("Content-Type") != "application/json" || strings.ContainsAny(got.text("error_description"), `"\`) {
				t.Errorf("answer %v %v", got.Header, got.Body)
			}
		})
	}
}

func TestAttack61_FailuresBurnNothing(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Limits.ClientCache = 10 * time.Second })
	a := e.newConfidential("app.example.org")
	session := a.signedIn()
	code := a.authorized()
	for name, fail := range map[string]func(send func(*app) answer){
		"no nonce": func(send func(*app) answer) {
			bad := *a
			bad.proofClaims = object{"nonce": nil}
			send(&bad).is(400, "use_dpop_nonce")
		},
		"bad proof": func(send func(*app) answer) {
			bad := *a
			bad.proofClaims = object{"htm": "GET"}
			send(&bad).is(400, "invalid_dpop_proof")
		},
		"no proof": func(send func(*app) answer) {
			bad := *a
			bad.withoutProof = true
			send(&bad).is(400, "invalid_dpop_proof")
		},
		"no authentication": func(send func(*app) answer) {
			bad := *a
			bad.auth = nil
			send(&bad).is(400, "invalid_client")
		},
		"unknown client": func(send func(*app) answer) {
			bad := *a
			bad.id = "https://nobody.example.org/client.json"
			send(&bad).is(400, "invalid_client")
		},
	} {
		t.Run(name, func(t *testing.T) {
			e.in(t)
			fail(func(a *app) answer { return a.exchange(code) })
			fail(func(a *app) answer { return a.refresh(session.refresh) })
		})
	}
	t.Run("document unavailable", func(t *testing.T) {
		e.in(t)
		a.web.set(a.id, nil)
		e.clock.advance(10 * time.Second) // the cache
		a.exchange(code).is(400, "invalid_client")
		a.refresh(session.refresh).is(400, "invalid_client")
		a.web.set(a.id, a.metadata)
		e.clock.advance(30 * time.Second) // failures to fetch are forgotten
	})
	t.Run("a third party", func(t *testing.T) {
		e.in(t)
		thief := e.newApp("thief.example.org")
		thief.exchange(code).isInvalidGrant()
		thief.exchange(code, "code_verifier", "x").isInvalidGrant()
	})
	t.Run("unknown grant types", func(t *testing.T) {
		e.in(t)
		a.exchange(code, "grant_type", "password").is(400, "unsupported_grant_type")
		a.exchange(code, "grant_type", "").is(400, "invalid_request")
		a.exchange("").is(400, "invalid_request")
		a.refresh("").is(400, "invalid_request")
	})
	a.mustUse(tokensOf(a.exchange(code)).access)
	a.mustUse(tokensOf(a.refresh(session.refresh)).access)
}
