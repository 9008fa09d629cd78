package clients_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/internal/clients"
	"github.com/pdskit/pdskit/oauth/scope"
)

func TestMetadata(t *testing.T) {
	key := newSigner(t, "a")
	other := newSigner(t, "b")
	uris := func(n int) []string {
		return slices.Repeat([]string{"https://app.example.com/cb"}, n)
	}
	keys := func(n int) object {
		list := []object{}
		for i := range n {
			list = append(list, key.jwk(t, object{"kid": fmt.Sprint(i)}))
		}
		return object{"keys": list}
	}
	inDocument := with(backend, object{"jwks_uri": nil, "jwks": jwks(t, key)})
	for _, tt := range []struct {
		name string
		base object // on top of webApp
		with object
		says string // empty: valid
	}{
		{"as it is", nil, nil, ""},
		{"redirect_uris absent", nil, object{"redirect_uris": nil}, "redirect_uris is missing"},
		{"redirect_uris empty", nil, object{"redirect_uris": []string{}}, "redirect_uris is missing"},
		{"redirect_uris text", nil, object{"redirect_uris": "https://app.example.com/"}, "wrong type"},
		{"redirect_uris at the limit", nil, object{"redirect_uris": uris(clients.MaxRedirectURIs)}, ""},
		{"redirect_uris above", nil, object{"redirect_uris": uris(clients.MaxRedirectURIs + 1)}, "more than 100"},

		{"response_types", nil, object{"response_types": []string{"code"}}, ""},
		{"response_types more", nil, object{"response_types": []string{"none", "code"}}, ""},
		{"response_types without code", nil, object{"response_types": []string{"token"}}, "response_types"},
		{"response_types empty", nil, object{"response_types": []string{}}, "response_types"},

		{"grant_types absent", nil, object{"grant_types": nil}, ""},
		{"grant_types code", nil, object{"grant_types": []string{"authorization_code"}}, ""},
		{"grant_types without code", nil, object{"grant_types": []string{"refresh_token"}}, "grant_types does not have"},
		{"grant_types empty", nil, object{"grant_types": []string{}}, "grant_types does not have"},
		{"grant_types other", nil, object{"grant_types": []string{"authorization_code", "implicit"}}, "other than"},
		{"grant_types twice", nil, object{"grant_types": []string{"authorization_code", "authorization_code"}}, "duplicates"},

		{"scope absent", nil, object{"scope": nil}, "scope: it is missing"},
		{"scope empty", nil, object{"scope": ""}, "scope: it is missing"},
		{"scope atproto alone", nil, object{"scope": "atproto"}, ""},
		{"scope without atproto", nil, object{"scope": "transition:generic"}, "does not have atproto"},
		{"scope like atproto", nil, object{"scope": "atproto:x Atproto"}, "does not have atproto"},
		{"scope unknown", nil, object{"scope": "whatever!#[]~ atproto"}, ""},
		{"scope twice", nil, object{"scope": "atproto x x"}, "duplicates"},
		{"scope two spaces", nil, object{"scope": "atproto  x"}, "single spaces"},
		{"scope space in front", nil, object{"scope": " atproto"}, "single spaces"},
		{"scope space at the end", nil, object{"scope": "atproto "}, "single spaces"},
		{"scope tab", nil, object{"scope": "atproto\tx"}, "characters"},
		{"scope quotation mark", nil, object{"scope": `atproto x"y`}, "characters"},
		{"scope backslash", nil, object{"scope": `atproto x\y`}, "characters"},
		{"scope not ASCII", nil, object{"scope": "atproto é"}, "characters"},
		{"scope at the limit", nil, object{"scope": "atproto " + strings.Repeat("x", scope.MaxLength-8)}, ""},
		{"scope above", nil, object{"scope": "atproto " + strings.Repeat("x", scope.MaxLength-7)}, "too long"},
		{"scope list", nil, object{"scope": []string{"atproto"}}, "wrong type"},

		{"dpop absent", nil, object{"dpop_bound_access_tokens": nil}, "dpop_bound"},
		{"dpop false", nil, object{"dpop_bound_access_tokens": false}, "dpop_bound"},
		{"dpop text", nil, object{"dpop_bound_access_tokens": "true"}, "wrong type"},
		{"dpop in capitals", nil, object{"dpop_bound_access_tokens": nil, "DPoP_bound_access_tokens": true}, "dpop_bound"},

		{"method absent", nil, object{"token_endpoint_auth_method": nil}, "token_endpoint_auth_method is missing"},
		{"method basic", nil, object{"token_endpoint_auth_method": "client_secret_basic"}, "neither none nor"},
		{"none with alg", nil, object{"token_endpoint_auth_signing_alg": "ES256"}, "does not go with"},
		{"none with keys", nil, object{"jwks": jwks(t, key)}, ""},
		{"none with private key", nil, object{"jwks": object{"keys": []object{key.jwk(t, object{"d": "AQ"})}}}, "public keys"},

		{"confidential", backend, nil, ""},
		{"confidential without alg", backend, object{"token_endpoint_auth_signing_alg": nil}, "alg is missing"},
		{"confidential alg none", backend, object{"token_endpoint_auth_signing_alg": "none"}, "alg is not supported"},
		{"confidential HS256", backend, object{"token_endpoint_auth_signing_alg": "HS256"}, "alg is not supported"},
		{"confidential ES384", backend, object{"token_endpoint_auth_signing_alg": "ES384"}, "alg is not supported"},
		{"confidential without keys", backend, object{"jwks_uri": nil}, "neither jwks nor"},
		{"confidential, keys twice", backend, object{"jwks": jwks(t, key)}, "both jwks and"},
		{"public, keys twice", nil, object{"jwks": jwks(t, key), "jwks_uri": keysAt}, "both jwks and"},
		{"confidential native", backend, nativeApp, "native clients"},

		{"keys", inDocument, nil, ""},
		{"keys null, jwks_uri", inDocument, object{"jwks": json.RawMessage("null"), "jwks_uri": keysAt}, ""},
		{"keys null", inDocument, object{"jwks": json.RawMessage("null")}, "neither jwks nor"},
		{"two keys", inDocument, object{"jwks": jwks(t, key, other)}, ""},
		{"no keys", inDocument, object{"jwks": object{"keys": []object{}}}, "public keys"},
		{"no list of keys", inDocument, object{"jwks": object{}}, "public keys"},
		{"list without set", inDocument, object{"jwks": []object{key.jwk(t, nil)}}, "public keys"},
		{"kid twice", inDocument, object{"jwks": jwks(t, key, key)}, "public keys"},
		{"private key", inDocument, object{"jwks": object{"keys": []object{key.jwk(t, object{"d": "AQ"})}}}, "public keys"},
		{"secret key", inDocument, object{"jwks": object{"keys": []object{{"kty": "oct", "k": "AQ", "kid": "a"}}}}, "public keys"},
		{"keys at the limit", inDocument, object{"jwks": keys(clients.MaxKeys)}, ""},
		{"keys above", inDocument, object{"jwks": keys(clients.MaxKeys + 1)}, "public keys"},

		{"jwks_uri http", backend, object{"jwks_uri": "http://app.example.com/jwks.json"}, "jwks_uri"},
		{"jwks_uri private", backend, object{"jwks_uri": "https://127.0.0.1/jwks.json"}, "jwks_uri"},
		{"jwks_uri port", backend, object{"jwks_uri": "https://app.example.com:8443/jwks.json"}, "jwks_uri: it has a port"},
		{"jwks_uri elsewhere", backend, object{"jwks_uri": "https://keys.example.net/?app=1"}, ""},
		{"jwks_uri bad although public", nil, object{"jwks_uri": "file:///etc/passwd"}, "jwks_uri"},

		{"application_type web", nil, object{"application_type": "web"}, ""},
		{"application_type native", nil, object{"application_type": "native"}, ""},
		{"application_type other", nil, object{"application_type": "browser"}, "application_type"},
		{"subject_type public", nil, object{"subject_type": "public"}, ""},
		{"subject_type pairwise", nil, object{"subject_type": "pairwise"}, "subject_type"},
		{"mTLS false", nil, object{"tls_client_certificate_bound_access_tokens": false}, ""},
		{"mTLS", nil, object{"tls_client_certificate_bound_access_tokens": true}, "tls_client"},
		{"default_max_age", nil, object{"default_max_age": 3600}, "default_max_age"},
		{"default_max_age null", nil, object{"default_max_age": json.RawMessage("null")}, ""},
		{"userinfo_signed_response_alg", nil, object{"userinfo_signed_response_alg": "ES256"}, "userinfo_signed"},
		{"id_token_signed_response_alg", nil, object{"id_token_signed_response_alg": "ES256"}, "id_token_signed"},
		{"userinfo_encrypted_response_alg", nil, object{"userinfo_encrypted_response_alg": "RSA-OAEP"}, "userinfo_encrypted"},
		{"authorization_encrypted_response_enc", nil, object{"authorization_encrypted_response_enc": "A128GCM"}, "authorization_encrypted"},
		{"authorization_details_types", nil, object{"authorization_details_types": []string{"x"}}, "authorization_details"},
		{"unknown members", nil, object{"contacts": []string{"a@b.c"}, "client_name#de": "App", "x": object{"y": nil}}, ""},
		{"client_name not text", nil, object{"client_name": 5}, "wrong type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, with(with(webApp, tt.base), tt.with))
			if tt.says != "" {
				wantError(t, err, clients.CodeInvalidClientMetadata, tt.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Confidential() != (tt.base != nil) {
				t.Errorf("confidential: %v", c.Confidential())
			}
			if m := c.Metadata; !slices.Contains(m.ResponseTypes, "code") || !c.HasGrant("authorization_code") || m.ApplicationType == "" {
				t.Errorf("incomplete: %+v", m)
			}
		})
	}
}

func TestSigningAlgorithms(t *testing.T) {
	w := &web{}
	w.put(appID, text(t, with(webApp, with(backend, object{"token_endpoint_auth_signing_alg": "ES384"}))))
	if _, err := newResolver(t, clients.Config{Transport: w, Algs: []string{"ES256", "ES384"}}).Client(t.Context(), appID); err != nil {
		t.Error(err)
	}
}

// What is wrong with what is only shown does not stop anybody from signing in.
func TestDisplayMembers(t *testing.T) {
	for _, tt := range []struct {
		member, value string
		ok            bool
	}{
		{"logo_uri", "https://cdn.example.net/logo.png?x", true},
		{"logo_uri", "http://cdn.example.net/logo.png", false},
		{"logo_uri", "javascript:alert(1)", false},
		{"logo_uri", "data:image/png;base64,AA", false},
		{"logo_uri", "https://127.0.0.1/logo.png", false},
		{"logo_uri", "https://cdn.example.net/\u202e.png", false},
		{"tos_uri", "https://app.example.com/tos", true},
		{"tos_uri", "https://u@app.example.com/tos", false},
		{"policy_uri", "https://app.example.com/privacy", true},
		{"policy_uri", "//app.example.com/privacy", false},
		{"client_uri", "https://app.example.com", true},
		{"client_uri", "https://app.example.com/", true},
		{"client_uri", "https://app.example.com/oauth", true},
		{"client_uri", "https://app.example.com/oauth/", true},
		{"client_uri", "https://app.example.com/oauth?x=y", true},
		{"client_uri", appID, true},
		{"client_uri", "https://app.example.com/oa", false},
		{"client_uri", "https://app.example.com/other", false},
		{"client_uri", "https://app.example.com/oauth/client-metadata.json/x", false},
		{"client_uri", "https://app.example.com/..", false},
		{"client_uri", "https://www.example.com/", false},
		{"client_uri", "https://app.example.com:8443/", false},
		{"client_uri", "http://app.example.com/", false},
		{"client_uri", "https://localhost/", false},
	} {
		c, err := load(t, with(webApp, object{tt.member: tt.value, "client_name": "App"}))
		if err != nil {
			t.Errorf("%s %s: %v", tt.member, tt.value, err)
			continue
		}
		m := c.Metadata
		got := map[string]string{"logo_uri": m.LogoURI, "tos_uri": m.TosURI, "policy_uri": m.PolicyURI, "client_uri": m.ClientURI}
		want := map[string]string{"logo_uri": "", "tos_uri": "", "policy_uri": "", "client_uri": ""}
		if tt.ok {
			want[tt.member] = tt.value
		}
		for member := range want {
			if got[member] != want[member] {
				t.Errorf("%s %s: shown is %s %q", tt.member, tt.value, member, got[member])
			}
		}
		if m.ClientName != "App" || c.Host() != "app.example.com" {
			t.Errorf("%+v", c)
		}
	}
}

// FuzzMetadata checks that whatever passes keeps the rules that others rely on.
func FuzzMetadata(f *testing.F) {
	key := newSigner(f, "a")
	for _, changes := range []object{nil, backend, nativeApp, with(backend, object{"jwks_uri": nil, "jwks": jwks(f, key)}), {"client_uri": "https://app.example.com/", "scope": "atproto x"}} {
		f.Add([]byte(text(f, with(webApp, changes))))
	}
	f.Add([]byte(`{"client_id":"` + appID + `","client_id":"x"}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		w := &web{}
		w.put(appID, string(document))
		c, err := newResolver(t, clients.Config{Transport: w}).Client(t.Context(), appID)
		if err != nil {
			if _, ok := errors.AsType[*clients.Error](err); !ok {
				t.Errorf("the error is %T", err)
			}
			return
		}
		m := c.Metadata
		if m.ClientID != appID || !m.DPoPBoundAccessTokens || len(m.RedirectURIs) == 0 || !slices.Contains(c.Scopes(), "atproto") || !c.HasGrant("authorization_code") {
			t.Errorf("%s passes", document)
		}
		for _, uri := range m.RedirectURIs {
			if !c.MatchRedirect(uri) || strings.ContainsAny(uri, "#\r\n \\\"") {
				t.Errorf("%q passes", uri)
			}
		}
		if c.Confidential() == (m.TokenEndpointAuthSigningAlg != "ES256") {
			t.Errorf("%s passes with alg %q", m.TokenEndpointAuthMethod, m.TokenEndpointAuthSigningAlg)
		}
	})
}
