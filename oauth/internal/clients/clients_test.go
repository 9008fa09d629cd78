package clients_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/oauth/internal/clients"
	"github.com/pdskit/pdskit/oauth/internal/jose"
)

const (
	appID  = "https://app.example.com/oauth/client-metadata.json"
	keysAt = "https://app.example.com/oauth/jwks.json"
)

// web is a transport that answers by itself.
type web struct {
	mu    sync.Mutex // guards following 2 fields
	pages map[string]func(*http.Request) (*http.Response, error)
	asked []string
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.asked = append(w.asked, r.URL.String())
	page := w.pages[r.URL.String()]
	w.mu.Unlock()
	if page == nil {
		return answer(404, "text/plain", "nothing here"), nil
	}
	return page(r)
}

// serve answers a URL by a function from now on.
func (w *web) serve(url string, page func(*http.Request) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pages == nil {
		w.pages = make(map[string]func(*http.Request) (*http.Response, error))
	}
	w.pages[url] = page
}

// put answers a URL with JSON from now on.
func (w *web) put(url, body string) {
	w.serve(url, func(*http.Request) (*http.Response, error) { return answer(200, "application/json", body), nil })
}

// hits returns how often URLs were asked for, all of them together.
func (w *web) hits() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

func answer(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {contentType}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1,
	}
}

// object is a JSON object under construction.
type object = map[string]any

// with returns a copy with changes; nil takes a member out.
func with(o, changes object) object {
	out := maps.Clone(o)
	for name, value := range changes {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

// webApp is the document of a public client that runs in browsers.
var webApp = object{
	"client_id":                  appID,
	"redirect_uris":              []string{"https://app.example.com/callback"},
	"grant_types":                []string{"authorization_code", "refresh_token"},
	"scope":                      "atproto transition:generic",
	"token_endpoint_auth_method": "none",
	"dpop_bound_access_tokens":   true,
}

// backend is the change that makes webApp confidential.
var backend = object{
	"token_endpoint_auth_method":      "private_key_jwt",
	"token_endpoint_auth_signing_alg": "ES256",
	"jwks_uri":                        keysAt,
}

// nativeApp is the change that makes webApp native.
var nativeApp = object{"application_type": "native"}

func text(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func newResolver(t testing.TB, cfg clients.Config) *clients.Resolver {
	t.Helper()
	r, err := clients.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// load resolves a document under the id that it has.
func load(t testing.TB, document object) (*clients.Client, error) {
	t.Helper()
	w := &web{}
	id := document["client_id"].(string)
	w.put(id, text(t, document))
	return newResolver(t, clients.Config{Transport: w}).Client(t.Context(), id)
}

// wantError checks that err is a refusal with a code, which says a text.
func wantError(t testing.TB, err error, code, says string) {
	t.Helper()
	e, ok := errors.AsType[*clients.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Description, says) {
		t.Errorf("got %v, want %s with %q", err, code, says)
		return
	}
	for _, c := range []byte(e.Description) {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			t.Errorf("%q has %q, which no error_description may have", e.Description, c)
		}
	}
}

// signer signs with a key under a kid of its own choice.
type signer struct {
	jose.Signer
	kid string
}

func (s signer) KeyID() string { return s.kid }

func newSigner(t testing.TB, kid string) signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewES256(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer{s, kid}
}

// jwk returns the public key as JSON, with its kid and changes.
func (s signer) jwk(t testing.TB, changes object) object {
	t.Helper()
	var key object
	if err := json.Unmarshal([]byte(text(t, s.Public())), &key); err != nil {
		t.Fatal(err)
	}
	return with(with(key, object{"kid": s.kid}), changes)
}

func jwks(t testing.TB, signers ...signer) object {
	t.Helper()
	keys := []object{}
	for _, s := range signers {
		keys = append(keys, s.jwk(t, nil))
	}
	return object{"keys": keys}
}
