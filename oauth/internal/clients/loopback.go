package clients

import (
	"net/url"
	"slices"
	"strings"
)

// loopbackName is what loopback clients are called.
const loopbackName = "Development client"

// newLoopback makes a loopback client of its id: "http://localhost", perhaps a
// slash, perhaps a query with the parameters scope and redirect_uri.
func newLoopback(id string) (*Client, error) {
	if err := checkChars(id); err != nil {
		return nil, invalidClient("client_id: %v", err)
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(id, loopbackPrefix), "/")
	query, found := strings.CutPrefix(rest, "?")
	if !found && rest != "" {
		return nil, invalidClient("client_id: http://localhost takes neither port nor path")
	}
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, invalidClient("client_id: malformed query")
	}
	for name := range params {
		if name != "scope" && name != "redirect_uri" {
			return nil, invalidClient("client_id: http://localhost takes the parameters scope and redirect_uri only")
		}
	}
	c := &Client{ID: id, Class: Loopback, Metadata: Metadata{
		ClientID:                id,
		ClientName:              loopbackName,
		RedirectURIs:            []string{"http://127.0.0.1/", "http://[::1]/"},
		ResponseTypes:           []string{responseCode},
		GrantTypes:              []string{grantCode, grantRefresh},
		Scope:                   scopeAtproto,
		ApplicationType:         applicationNative,
		TokenEndpointAuthMethod: AuthNone,
		DPoPBoundAccessTokens:   true,
	}}
	if scopes, ok := params["scope"]; ok {
		if len(scopes) > 1 {
			return nil, invalidClient("client_id: scope appears more than once")
		}
		c.Metadata.Scope = scopes[0]
	}
	if err := checkScope(c.Metadata.Scope); err != nil {
		return nil, invalidClient("client_id: scope: %v", err)
	}
	if uris, ok := params["redirect_uri"]; ok {
		for i, uri := range uris {
			if _, err := parseLoopbackURI(uri); err != nil {
				return nil, invalidClient("client_id: redirect_uri %d: %v", i+1, err)
			}
		}
		c.Metadata.RedirectURIs = slices.Clone(uris)
	}
	return c, nil
}
