package clients

import (
	"slices"
	"strings"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// Client is a client with valid metadata. It is shared: do not change it.
type Client struct {
	// ID is the client_id, as the client writes it.
	ID    string
	Class Class
	// Metadata is what the client declares.
	Metadata Metadata

	url  webURL       // of a discoverable client
	keys *jose.KeySet // those in the document; nil if there are none
}

// Confidential reports whether the client authenticates by a key.
func (c *Client) Confidential() bool {
	return c.Metadata.TokenEndpointAuthMethod == AuthPrivateKeyJWT
}

// HasGrant reports whether the client declares a grant type.
func (c *Client) HasGrant(grant string) bool {
	return slices.Contains(c.Metadata.GrantTypes, grant)
}

// Scopes returns the declared scopes, one by one.
func (c *Client) Scopes() []string { return strings.Split(c.Metadata.Scope, " ") }

// Host is what tells a client that is not trusted from others: the host of its
// id, "localhost" for loopback clients. For registered ones, whose id is no
// URL, it is the id.
func (c *Client) Host() string {
	switch c.Class {
	case Discoverable:
		return c.url.host
	case Loopback:
		return "localhost"
	}
	return c.ID
}
