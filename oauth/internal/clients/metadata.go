package clients

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/scope"
)

// Limits of what a client declares.
const (
	// MaxRedirectURIs is how many redirect URIs a client may have.
	MaxRedirectURIs = 100
	// MaxKeys is how many keys a client may publish.
	MaxKeys = 50
)

// Ways of a client to authenticate, in Metadata.TokenEndpointAuthMethod and
// Assertion.Method.
const (
	// AuthNone is the way of public clients.
	AuthNone = "none"
	// AuthPrivateKeyJWT is the way of confidential clients, RFC 7523.
	AuthPrivateKeyJWT = "private_key_jwt"
)

const (
	applicationWeb    = "web"
	applicationNative = "native"
	responseCode      = "code"
	grantCode         = "authorization_code"
	grantRefresh      = "refresh_token"
	scopeAtproto      = "atproto"
)

// Metadata is what a client declares of itself, RFC 7591 section 2. In the hands
// of a [Resolver] it is valid and complete: defaults are filled in, and what is
// only for display is empty where it was not valid.
type Metadata struct {
	ClientID                    string          `json:"client_id"`
	ClientName                  string          `json:"client_name"` // any text
	ClientURI                   string          `json:"client_uri"`
	LogoURI                     string          `json:"logo_uri"`
	TosURI                      string          `json:"tos_uri"`
	PolicyURI                   string          `json:"policy_uri"`
	RedirectURIs                []string        `json:"redirect_uris"`
	ResponseTypes               []string        `json:"response_types"`
	GrantTypes                  []string        `json:"grant_types"`
	Scope                       string          `json:"scope"` // scope texts, a space between each two
	ApplicationType             string          `json:"application_type"`
	SubjectType                 string          `json:"subject_type"`
	TokenEndpointAuthMethod     string          `json:"token_endpoint_auth_method"`
	TokenEndpointAuthSigningAlg string          `json:"token_endpoint_auth_signing_alg"`
	JWKS                        json.RawMessage `json:"jwks"`
	JWKSURI                     string          `json:"jwks_uri"`
	DPoPBoundAccessTokens       bool            `json:"dpop_bound_access_tokens"`
	TLSBoundAccessTokens        bool            `json:"tls_client_certificate_bound_access_tokens"`
}

// unsupported are members that ask for what the server does not do. A client
// that relies on them would not get what it expects.
var unsupported = []string{
	"default_max_age",
	"userinfo_signed_response_alg",
	"id_token_signed_response_alg",
	"userinfo_encrypted_response_alg",
	"authorization_encrypted_response_enc",
	"authorization_details_types",
}

// newClient makes a client of a metadata document. The id is that of the
// document for registered clients, and must be for others.
func newClient(class Class, id string, document []byte, algs []string) (*Client, error) {
	members, err := jose.ParseObject(document)
	if err != nil {
		return nil, &Error{Code: CodeInvalidClientMetadata, Description: "the document is not strict JSON", Err: err}
	}
	for _, name := range unsupported {
		if value, ok := members[name]; ok && string(value) != "null" {
			return nil, invalidMetadata("%s is not supported", name)
		}
	}
	c := &Client{ID: id, Class: class}
	if err := jose.DecodeJSON(document, &c.Metadata); err != nil {
		return nil, &Error{Code: CodeInvalidClientMetadata, Description: "a member of the document has the wrong type", Err: err}
	}
	if c.Metadata.ClientID != id {
		return nil, invalidMetadata("client_id of the document is not the requested one")
	}
	if class == Discoverable {
		if c.url, err = parseDiscoverable(id); err != nil {
			return nil, err
		}
	}
	for _, check := range []func() error{c.checkFlow, c.checkRedirects} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if err := c.checkAuthentication(algs); err != nil {
		return nil, err
	}
	c.dropBadDisplay()
	return c, nil
}

// checkFlow checks what a client wants to do, and fills in defaults.
func (c *Client) checkFlow() error {
	m := &c.Metadata
	if m.ResponseTypes == nil {
		m.ResponseTypes = []string{responseCode}
	}
	if m.GrantTypes == nil {
		m.GrantTypes = []string{grantCode}
	}
	if m.ApplicationType == "" {
		m.ApplicationType = applicationWeb
	}
	if !slices.Contains(m.ResponseTypes, responseCode) {
		return invalidMetadata("response_types does not have code")
	}
	for i, grant := range m.GrantTypes {
		switch {
		case grant != grantCode && grant != grantRefresh:
			return invalidMetadata("grant_types has something other than authorization_code and refresh_token")
		case slices.Contains(m.GrantTypes[:i], grant):
			return invalidMetadata("grant_types has duplicates")
		}
	}
	switch {
	case !c.HasGrant(grantCode):
		return invalidMetadata("grant_types does not have authorization_code")
	case m.ApplicationType != applicationWeb && m.ApplicationType != applicationNative:
		return invalidMetadata("application_type is neither web nor native")
	case m.SubjectType != "" && m.SubjectType != "public":
		return invalidMetadata("subject_type is not public")
	case !m.DPoPBoundAccessTokens:
		return invalidMetadata("dpop_bound_access_tokens is not true")
	case m.TLSBoundAccessTokens:
		return invalidMetadata("tls_client_certificate_bound_access_tokens is not supported")
	}
	if err := checkScope(m.Scope); err != nil {
		return invalidMetadata("scope: %v", err)
	}
	return nil
}

// checkScope checks the form of a declared scope, RFC 6749 section 3.3, and that
// it has atproto. What its values mean is not looked at.
func checkScope(text string) error {
	if text == "" {
		return errors.New("it is missing")
	}
	if len(text) > scope.MaxLength {
		return errors.New("it is too long")
	}
	seen := make(map[string]struct{})
	for value := range strings.SplitSeq(text, " ") {
		if value == "" {
			return errors.New("values are not separated by single spaces")
		}
		for i := range len(value) {
			if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
				return errors.New("it has characters that no scope may have")
			}
		}
		if _, ok := seen[value]; ok {
			return errors.New("it has duplicates")
		}
		seen[value] = struct{}{}
	}
	if _, ok := seen[scopeAtproto]; !ok {
		return errors.New("it does not have atproto")
	}
	return nil
}

func (c *Client) checkRedirects() error {
	uris := c.Metadata.RedirectURIs
	switch {
	case len(uris) == 0:
		return invalidMetadata("redirect_uris is missing")
	case len(uris) > MaxRedirectURIs:
		return invalidMetadata("redirect_uris has more than %d elements", MaxRedirectURIs)
	}
	for i, uri := range uris {
		if err := c.checkRedirect(uri); err != nil {
			return invalidMetadata("redirect_uris, element %d: %v", i+1, err)
		}
	}
	return nil
}

// checkAuthentication checks how a client proves who it is, and reads its keys
// if they are in the document.
func (c *Client) checkAuthentication(algs []string) error {
	m := &c.Metadata
	hasKeys := len(m.JWKS) > 0 && string(m.JWKS) != "null"
	if hasKeys && m.JWKSURI != "" {
		return invalidMetadata("there are both jwks and jwks_uri")
	}
	switch m.TokenEndpointAuthMethod {
	case AuthNone:
		if m.TokenEndpointAuthSigningAlg != "" {
			return invalidMetadata("token_endpoint_auth_signing_alg does not go with the method none")
		}
	case AuthPrivateKeyJWT:
		switch {
		case m.ApplicationType == applicationNative:
			return invalidMetadata("native clients have token_endpoint_auth_method none")
		case m.TokenEndpointAuthSigningAlg == "":
			return invalidMetadata("token_endpoint_auth_signing_alg is missing")
		case !slices.Contains(algs, m.TokenEndpointAuthSigningAlg):
			return invalidMetadata("token_endpoint_auth_signing_alg is not supported")
		case !hasKeys && m.JWKSURI == "":
			return invalidMetadata("there is neither jwks nor jwks_uri")
		}
	case "":
		return invalidMetadata("token_endpoint_auth_method is missing")
	default:
		return invalidMetadata("token_endpoint_auth_method is neither none nor private_key_jwt")
	}
	if hasKeys {
		keys, err := parseKeys(m.JWKS)
		if err != nil {
			return &Error{Code: CodeInvalidClientMetadata, Description: "jwks is not a set of public keys with different kid", Err: err}
		}
		c.keys = keys
	}
	if m.JWKSURI != "" {
		u, err := parseWebURL(m.JWKSURI)
		if err == nil && u.port != "" {
			err = errors.New("it has a port")
		}
		if err != nil {
			return invalidMetadata("jwks_uri: %v", err)
		}
	}
	return nil
}

// parseKeys reads a key set of a client, which has at least one key.
func parseKeys(data []byte) (*jose.KeySet, error) {
	keys, err := jose.ParseKeySet(data, MaxKeys)
	if err != nil {
		return nil, err
	}
	if keys.Len() == 0 {
		return nil, errors.New("the set is empty")
	}
	return keys, nil
}

// dropBadDisplay empties the links that may not be shown. They do no harm to the
// flow, so that a client is not refused for them.
func (c *Client) dropBadDisplay() {
	m := &c.Metadata
	for _, link := range []*string{&m.LogoURI, &m.TosURI, &m.PolicyURI} {
		if _, err := parseWebURL(*link); err != nil {
			*link = ""
		}
	}
	if u, err := parseWebURL(m.ClientURI); err != nil || c.Class == Discoverable && !isParent(u, c.url) {
		m.ClientURI = ""
	}
}

// isParent reports whether a URL has the same origin as another, and its path
// leads to that of the other or above.
func isParent(u, of webURL) bool {
	return u.origin() == of.origin() &&
		(u.path == of.path || strings.HasPrefix(of.path, strings.TrimSuffix(u.path, "/")+"/"))
}
