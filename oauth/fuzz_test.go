package oauth_test

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"testing"
	"unicode/utf8"

	"github.com/pdskit/pdskit/oauth"
)

func checkForm(t *testing.T, form map[string]string, err error) {
	if err != nil {
		if _, ok := err.(*oauth.Error); !ok {
			t.Fatalf("error of type %T", err)
		}
		return
	}
	for name, value := range form {
		if value == "" || !utf8.ValidString(value) || len(value) > 16<<10 {
			t.Fatalf("%q is %q", name, value)
		}
	}
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a=b&a=c", "a=%zz", "a;b", "client_id=https%3A%2F%2Fapp.example.org&scope=atproto+x", "%00=%00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		form, err := oauth.ParseForm(body)
		checkForm(t, form, err)
	})
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{"{}", `{"a":"b"}`, `{"a":1,"a":2}`, `{"a":{}}`, `{"a":null,"b":true,"c":1e5}`, `{"\ud800":"\udc00"}`, "[]", `{"a":"b"}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		form, err := oauth.ParseJSON(body)
		checkForm(t, form, err)
	})
}

// FuzzEndpoints sends any body and headers to each endpoint: nothing panics, and
// each answer is JSON.
func FuzzEndpoints(f *testing.F) {
	f.Add("application/json", `{"client_id":"http://localhost","grant_type":"refresh_token","refresh_token":"ref-"}`, "x.y.z")
	f.Add("application/x-www-form-urlencoded", "client_id=http%3A%2F%2Flocalhost&response_type=code", "")
	e := newEnv(f)
	f.Fuzz(func(t *testing.T, contentType, body, proof string) {
		for _, path := range []string{"/oauth/par", "/oauth/token", "/oauth/revoke"} {
			r := httptest.NewRequest(http.MethodPost, issuer+path, bytes.NewReader([]byte(body)))
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("DPoP", proof)
			rec := httptest.NewRecorder()
			e.srv.ServeHTTP(rec, r)
			if rec.Code < 400 || rec.Code >= 500 || rec.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
			}
		}
	})
}

func FuzzRefreshToken(f *testing.F) {
	// Each process of the fuzzer has a secret of its own, and so a good token of
	// its own.
	e := newEnv(f, func(c *oauth.Config) { c.Secret = []byte(rand.Text() + rand.Text()) })
	good := e.newApp("app.example.org").signedIn().refresh
	f.Add(good)
	f.Add("ref-")
	f.Fuzz(func(t *testing.T, token string) {
		if _, _, ok := e.srv.ParseRefreshToken(token); ok && token != good {
			t.Fatalf("%q is taken for authentic", token)
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	e := newEnv(f)
	a := e.newApp("app.example.org")
	token := a.signedIn().access
	f.Add("DPoP "+token, "")
	f.Add("Bearer x", a.resourceProof(token))
	v := e.srv.Verifier()
	f.Fuzz(func(t *testing.T, authorization, proof string) {
		r := httptest.NewRequest(http.MethodGet, issuer+"/xrpc/com.example.get", nil)
		r.Header.Set("Authorization", authorization)
		r.Header.Set("DPoP", proof)
		if got, err := v.Verify(r); got != nil {
			t.Fatal("a token without a good proof is accepted")
		} else if _, ok := err.(*oauth.Error); err != nil && !ok {
			t.Fatalf("error %v", err)
		}
	})
}
