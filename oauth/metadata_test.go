package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

// FAPI2SPFinalDiscoveryEndpointVerification.
func TestServerMetadata(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Resource = "https://api.example.com" })
	got := e.do(httptest.NewRequest(http.MethodGet, issuer+"/.well-known/oauth-authorization-server", nil)).isOK()
	if got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "public, max-age=300" || got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("header %v", got.Header)
	}
	texts := func(values ...any) []any { return values }
	for name, want := range map[string]any{
		"issuer":                                                issuer,
		"authorization_endpoint":                                issuer + "/oauth/authorize",
		"token_endpoint":                                        issuer + "/oauth/token",
		"pushed_authorization_request_endpoint":                 issuer + "/oauth/par",
		"revocation_endpoint":                                   issuer + "/oauth/revoke",
		"jwks_uri":                                              issuer + "/oauth/jwks",
		"response_types_supported":                              texts("code"),
		"response_modes_supported":                              texts("query", "fragment", "form_post"),
		"grant_types_supported":                                 texts("authorization_code", "refresh_token"),
		"code_challenge_methods_supported":                      texts("S256"),
		"token_endpoint_auth_methods_supported":                 texts("none", "private_key_jwt"),
		"token_endpoint_auth_signing_alg_values_supported":      texts("ES256"),
		"dpop_signing_alg_values_supported":                     texts("ES256"),
		"scopes_supported":                                      texts("atproto", "transition:email", "transition:generic", "transition:chat.bsky"),
		"subject_types_supported":                               texts("public"),
		"authorization_response_iss_parameter_supported":        true,
		"require_pushed_authorization_requests":                 true,
		"client_id_metadata_document_supported":                 true,
		"require_request_uri_registration":                      true,
		"request_parameter_supported":                           false,
		"prompt_values_supported":                               texts("none", "login", "consent", "select_account"),
		"display_values_supported":                              texts("page", "popup", "touch"),
		"ui_locales_supported":                                  texts("de", "en", "es"),
		"protected_resources":                                   texts("https://api.example.com"),
		"introspection_endpoint":                                nil,
		"registration_endpoint":                                 nil,
		"userinfo_endpoint":                                     nil,
		"request_object_signing_alg_values_supported":           nil,
		"tls_client_certificate_bound_access_tokens":            nil,
		"revocation_endpoint_auth_methods_supported":            texts("none", "private_key_jwt"),
		"revocation_endpoint_auth_signing_alg_values_supported": texts("ES256"),
	} {
		if !reflect.DeepEqual(got.Body[name], want) {
			t.Errorf("%s is %v, want %v", name, got.Body[name], want)
		}
	}

	resource := e.do(httptest.NewRequest(http.MethodGet, issuer+"/.well-known/oauth-protected-resource", nil)).isOK()
	for name, want := range map[string]any{
		"resource": "https://api.example.com", "authorization_servers": texts(issuer), "bearer_methods_supported": texts("header"), "scopes_supported": []any{},
	} {
		if !reflect.DeepEqual(resource.Body[name], want) {
			t.Errorf("%s is %v, want %v", name, resource.Body[name], want)
		}
	}
	if head := e.do(httptest.NewRequest(http.MethodHead, issuer+"/.well-known/oauth-protected-resource", nil)); head.Status != 200 {
		t.Errorf("HEAD: %d", head.Status)
	}
}

// withSignUps is a table of users to which people can add themselves.
type withSignUps struct{ *users }

func (withSignUps) HandleDomains() []string                          { return []string{".example.com"} }
func (withSignUps) InviteRequired() bool                             { return false }
func (withSignUps) CheckHandle(context.Context, syntax.Handle) error { return nil }
func (u withSignUps) SignUp(ctx context.Context, _ oauth.NewAccount) (oauth.Account, error) {
	return u.Account(ctx, alice)
}

func TestMetadataWithSignUp(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Accounts = withSignUps{newUsers()} })
	got := e.do(httptest.NewRequest(http.MethodGet, issuer+"/.well-known/oauth-authorization-server", nil))
	if prompts, _ := got.Body["prompt_values_supported"].([]any); len(prompts) != 5 || prompts[4] != "create" {
		t.Errorf("prompts %v", prompts)
	}
	e.newApp("app.example.org").push("prompt", "create").isOK()
}

func TestKeys(t *testing.T) {
	keys := func(e *env) (ids []string) {
		t.Helper()
		got := e.do(httptest.NewRequest(http.MethodGet, issuer+"/oauth/jwks", nil)).isOK()
		for _, key := range got.Body["keys"].([]any) {
			jwk := key.(object)
			if jwk["kty"] != "EC" || jwk["crv"] != "P-256" || jwk["d"] != nil || jwk["kid"] == "" {
				t.Errorf("key %v", jwk)
			}
			ids = append(ids, jwk["kid"].(string))
		}
		return ids
	}
	generate := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	t.Run("made once", func(t *testing.T) {
		e := newEnv(t)
		first := keys(e)
		e.restart()
		if again := keys(e); len(first) != 1 || !reflect.DeepEqual(first, again) {
			t.Errorf("keys %v, then %v", first, again)
		}
		// Several processes on one store agree.
		e = newEnv(t)
		seen := make(chan string, 20)
		race(20, func(int) {
			srv, err := oauth.New(e.cfg)
			if err != nil {
				t.Error(err)
				return
			}
			rec := httptest.NewRecorder()
			srv.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, issuer+"/oauth/jwks", nil))
			seen <- rec.Body.String()
		})
		want := <-seen
		for range 19 {
			if got := <-seen; got != want {
				t.Fatalf("keys %s and %s", got, want)
			}
		}
	})
	t.Run("configured and old", func(t *testing.T) {
		e := newEnv(t, func(c *oauth.Config) { c.Key = generate() })
		a := e.newApp("app.example.org")
		got := a.signedIn()
		first := keys(e)
		e.cfg.OldKeys = []*ecdsa.PublicKey{&e.cfg.Key.PublicKey}
		e.cfg.Key = generate()
		e.restart()
		if now := keys(e); len(now) != 2 || now[1] != first[0] {
			t.Errorf("keys %v, then %v", first, now)
		}
		a.mustUse(got.access)
		a.post("/oauth/revoke", map[string]string{"token": got.access}).isOK()
		a.mustBeDead(got.access)
	})
}

func TestConfig(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*oauth.Config){
		"Issuer: \"\"":                       func(c *oauth.Config) { c.Issuer = "" },
		"not https":                          func(c *oauth.Config) { c.Issuer = "http://pds.example.com"; c.DevMode = true },
		"http on a loopback host in DevMode": func(c *oauth.Config) { c.Issuer = "http://localhost:2583" },
		"more than scheme and host":          func(c *oauth.Config) { c.Issuer = issuer + "/" },
		"Config.Issuer":                      func(c *oauth.Config) { c.Issuer = "https://pds.example.com:443" },
		"in lower case":                      func(c *oauth.Config) { c.Issuer = "https://PDS.example.com" },
		"Config.Resource":                    func(c *oauth.Config) { c.Resource = "https://x@y.example.com" },
		"Config.Store":                       func(c *oauth.Config) { c.Store = nil },
		"Config.Accounts":                    func(c *oauth.Config) { c.Accounts = nil },
		"Config.Secret":                      func(c *oauth.Config) { c.Secret = make([]byte, oauth.MinSecretBytes-1) },
		"Config.Key":                         func(c *oauth.Config) { c.Key = p384 },
		"Config.OldKeys":                     func(c *oauth.Config) { c.OldKeys = []*ecdsa.PublicKey{nil} },
		"Config.Limits.CodeTTL":              func(c *oauth.Config) { c.Limits.CodeTTL = -1 },
		"Config.Limits.Sessions":             func(c *oauth.Config) { c.Limits.Sessions = -1 },
		"Config.Limits.NonceRotation":        func(c *oauth.Config) { c.Limits.NonceRotation = 101 * time.Second },
		"Registered":                         func(c *oauth.Config) { c.Clients = append(c.Clients, []byte(`{}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			change(&e.cfg)
			want, _, _ := strings.Cut(name, ":")
			if _, err := oauth.New(e.cfg); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, good := range []string{"http://localhost:2583", "http://127.0.0.1:1", "http://[::1]:8080", "https://a.example:8443"} {
		newEnv(t, func(c *oauth.Config) { c.Issuer, c.DevMode = good, true })
	}
}

func TestRegisteredClient(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) {
		c.Clients = append(c.Clients, []byte(`{
			"client_id": "our-app", "redirect_uris": ["https://app.example.com/callback"], "scope": "atproto transition:generic",
			"grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none", "dpop_bound_access_tokens": true
		}`))
	})
	a := &app{env: e, id: "our-app", redirect: "https://app.example.com/callback", key: newKey(t)}
	a.mustUse(a.signedIn().access)
	if len(e.web.fetched) > 0 {
		t.Errorf("fetched %v", e.web.fetched)
	}
}
