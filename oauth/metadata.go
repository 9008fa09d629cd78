package oauth

import (
	"net/http"

	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/oauth/ui"
)

// signingAlgs are the algorithms of client assertions and DPoP proofs.
var signingAlgs = []string{jose.ES256}

const metadataCaching = "public, max-age=300"

// serverMetadata is the document of RFC 8414.
type serverMetadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	PAREndpoint           string   `json:"pushed_authorization_request_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs              []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	DPoPAlgs              []string `json:"dpop_signing_alg_values_supported"`
	Scopes                []string `json:"scopes_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	Prompts               []string `json:"prompt_values_supported"`
	Displays              []string `json:"display_values_supported"`
	UILocales             []string `json:"ui_locales_supported,omitempty"`
	ProtectedResources    []string `json:"protected_resources"`
	IssParameter          bool     `json:"authorization_response_iss_parameter_supported"`
	RequirePAR            bool     `json:"require_pushed_authorization_requests"`
	RequireRegistration   bool     `json:"require_request_uri_registration"`
	RequestParameter      bool     `json:"request_parameter_supported"`
	RequestURIParameter   bool     `json:"request_uri_parameter_supported"`
	ClientIDDocuments     bool     `json:"client_id_metadata_document_supported"`
}

func (s *Server) metadata() serverMetadata {
	prompts := []string{promptNone, promptLogin, promptConsent, promptSelectAccount}
	if s.hasSignUp() {
		prompts = append(prompts, promptCreate)
	}
	authMethods := []string{methodNone, methodKey}
	return serverMetadata{
		Issuer:                s.cfg.Issuer,
		AuthorizationEndpoint: s.cfg.Issuer + pathAuthorize,
		TokenEndpoint:         s.cfg.Issuer + pathToken,
		PAREndpoint:           s.cfg.Issuer + pathPAR,
		RevocationEndpoint:    s.cfg.Issuer + pathRevoke,
		JWKSURI:               s.cfg.Issuer + pathJWKS,
		ResponseTypes:         []string{"code"},
		ResponseModes:         responseModes,
		GrantTypes:            []string{grantCode, grantRefresh},
		ChallengeMethods:      []string{"S256"},
		AuthMethods:           authMethods,
		AuthAlgs:              signingAlgs,
		RevocationAuthMethods: authMethods,
		RevocationAuthAlgs:    signingAlgs,
		DPoPAlgs:              signingAlgs,
		Scopes:                []string{scope.Atproto, scope.TransitionEmail, scope.TransitionGeneric, scope.TransitionChat},
		SubjectTypes:          []string{"public"},
		Prompts:               prompts,
		Displays:              displays,
		UILocales:             s.locales(),
		ProtectedResources:    []string{s.cfg.Resource},
		IssParameter:          true,
		RequirePAR:            true,
		RequireRegistration:   true,
		RequestURIParameter:   true,
		ClientIDDocuments:     true,
	}
}

// locales returns the languages of the pages, if the UI tells.
func (s *Server) locales() (out []string) {
	if teller, ok := s.cfg.UI.(interface{ Locales() []ui.Locale }); ok {
		for _, locale := range teller.Locales() {
			out = append(out, locale.Tag)
		}
	}
	return out
}

func (s *Server) serveMetadata(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", metadataCaching)
	writeJSON(w, http.StatusOK, s.metadata())
	return nil
}

// resourceMetadata is the document of RFC 9728.
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Scopes               []string `json:"scopes_supported"`
	Documentation        string   `json:"resource_documentation"`
}

func (s *Server) serveResourceMetadata(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", metadataCaching)
	writeJSON(w, http.StatusOK, resourceMetadata{
		Resource:             s.cfg.Resource,
		AuthorizationServers: []string{s.cfg.Issuer},
		BearerMethods:        []string{"header"},
		Scopes:               []string{},
		Documentation:        "https://atproto.com",
	})
	return nil
}

func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) error {
	keys, err := s.keySet(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", metadataCaching)
	writeJSON(w, http.StatusOK, keys)
	return nil
}
