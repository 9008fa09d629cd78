// Package clients knows the apps that come to an authorization server: what
// their client ids mean, where their metadata comes from and whether it is
// valid, which redirect URIs they may use, and how they prove who they are.
//
//	r, err := clients.New(clients.Config{Transport: transport})
//	// ...
//	c, err := r.Client(ctx, "https://app.example.com/oauth/client-metadata.json")
//	// ...
//	c.MatchRedirect(redirectURI)
//	r.Authenticate(ctx, c, assertionType, assertion, issuer, jkt)
//
// A client id has one of three classes, told from its text alone. An https URL
// leads to the metadata document of a [Discoverable] client. "http://localhost",
// with parameters, describes a [Loopback] client under development; nothing is
// fetched. Any other id belongs to a [Registered] client of the configuration.
//
// Documents and key sets are fetched through the guarded transport of package
// identity, at most a few at a time, and kept for minutes in caches of bounded
// size. What a client shows of itself (name, logo, links) is what it claims;
// whether people get to see it is decided elsewhere.
//
// The rules are those of the atproto OAuth specification and of OAuth Client ID
// Metadata Documents, over RFC 7591 (metadata), RFC 8252 (redirect URIs of native
// apps) and RFC 7523 (assertions).
package clients
