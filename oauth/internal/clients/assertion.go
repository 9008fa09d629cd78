package clients

import (
	"context"
	"encoding/json"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// AssertionType is the client_assertion_type of private_key_jwt, RFC 7523
// section 2.2.
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Limits of client assertions.
const (
	// MaxAssertion is how many bytes an assertion may have.
	MaxAssertion = 8 << 10
	// MaxJTI is how many bytes its jti may have.
	MaxJTI = 256
	// AssertionAge is how old an assertion may be, besides ClockSkew.
	AssertionAge = 60 * time.Second
	// ClockSkew is how far the clock of a client may be from ours.
	ClockSkew = 30 * time.Second
)

// Assertion says how a client proved who it is. A session is bound to all of it
// but the last two: later requests have to come with the same. For a public
// client there is a Method only.
type Assertion struct {
	Method string // AuthNone or AuthPrivateKeyJWT
	Alg    string // that the assertion is signed with
	KeyID  string // kid of the key that did
	JKT    string // thumbprint of that key, RFC 7638
	// JTI is the name of the assertion. The caller sees to it that the client
	// uses it once, in the transaction of what the assertion is good for. For a
	// public client it is empty.
	JTI string
	// Expires is when the assertion is refused for its age. Until then the JTI
	// has to be remembered.
	Expires time.Time
}

// claims are those of an assertion that we look at. Clients send others too.
type claims struct {
	Issuer    string            `json:"iss"`
	Subject   string            `json:"sub"`
	Audience  json.RawMessage   `json:"aud"`
	ID        string            `json:"jti"`
	IssuedAt  *jose.NumericDate `json:"iat"`
	Expires   *jose.NumericDate `json:"exp"`
	NotBefore *jose.NumericDate `json:"nbf"`
	Confirm   *struct {
		JKT *string `json:"jkt"`
	} `json:"cnf"`
}

// Authenticate checks the parameters client_assertion_type and client_assertion
// of a request, both empty if they are absent. Issuer is our own identifier,
// dpopJKT the thumbprint of the key of the DPoP proof that came with the request,
// or that the request is bound to; empty if there is none.
//
// All of RFC 7523 is checked but that the JTI is new. The errors are of type
// *Error, or those of ctx; one that matches [ErrUnknownKey] says that the client
// publishes no such key (any more).
func (r *Resolver) Authenticate(ctx context.Context, c *Client, assertionType, assertion, issuer, dpopJKT string) (*Assertion, error) {
	if !c.Confidential() {
		if assertionType != "" || assertion != "" {
			return nil, invalidClient("a client that is registered with the method none sends no assertion")
		}
		return &Assertion{Method: AuthNone}, nil
	}
	switch {
	case assertionType == "" || assertion == "":
		return nil, invalidClient("client_assertion is missing")
	case assertionType != AssertionType:
		return nil, invalidClient("client_assertion_type is not supported")
	}
	token, err := jose.Parse(assertion, MaxAssertion)
	if err != nil {
		return nil, &Error{Code: CodeInvalidClient, Description: "client_assertion is not a signed token", Err: err}
	}
	alg, keyID := token.Header.Alg, token.Header.KeyID
	switch {
	case alg != c.Metadata.TokenEndpointAuthSigningAlg:
		return nil, invalidClient("client_assertion: alg is not the one in the metadata")
	case keyID == "":
		return nil, invalidClient("client_assertion: kid is missing")
	}
	var cl claims
	if err := jose.DecodeJSON(token.Claims, &cl); err != nil {
		return nil, &Error{Code: CodeInvalidClient, Description: "client_assertion: the claims are not valid", Err: err}
	}
	// What costs nothing comes first: an assertion that is wrong anyway makes us
	// fetch no keys.
	if err := cl.check(c.ID, issuer, r.clock()); err != nil {
		return nil, err
	}
	key, err := r.findKey(ctx, c, keyID)
	if err != nil {
		return nil, err
	}
	if err := token.Verify(key, r.algs); err != nil {
		return nil, &Error{Code: CodeInvalidClient, Description: "client_assertion: the signature is not valid", Err: err}
	}
	jkt := key.Thumbprint()
	switch {
	case jkt == dpopJKT:
		return nil, invalidClient("client_assertion: it is signed with the DPoP key")
	case cl.Confirm != nil && cl.Confirm.JKT != nil && *cl.Confirm.JKT != dpopJKT:
		return nil, invalidClient("client_assertion: cnf names another key than that of the DPoP proof")
	}
	return &Assertion{
		Method: AuthPrivateKeyJWT, Alg: alg, KeyID: keyID, JKT: jkt, JTI: cl.ID,
		// A second more than it takes: in its last moment it is still accepted.
		Expires: cl.IssuedAt.Time().Add(AssertionAge + ClockSkew + time.Second),
	}, nil
}

// check checks the claims that need no key.
func (cl *claims) check(clientID, issuer string, now time.Time) error {
	switch {
	case cl.Issuer != clientID || cl.Subject != clientID:
		return invalidClient("client_assertion: iss and sub are not both the client id")
	case !cl.isFor(issuer):
		return invalidClient("client_assertion: aud is not the issuer alone")
	case cl.ID == "" || len(cl.ID) > MaxJTI:
		return invalidClient("client_assertion: jti is missing or too long")
	case cl.IssuedAt == nil:
		return invalidClient("client_assertion: iat is missing")
	case now.Sub(cl.IssuedAt.Time()) > AssertionAge+ClockSkew:
		return invalidClient("client_assertion: it is too old")
	case cl.IssuedAt.Time().Sub(now) > ClockSkew:
		return invalidClient("client_assertion: iat is in the future")
	case cl.Expires != nil && now.Sub(cl.Expires.Time()) >= ClockSkew:
		return invalidClient("client_assertion: it has expired")
	case cl.NotBefore != nil && cl.NotBefore.Time().Sub(now) > ClockSkew:
		return invalidClient("client_assertion: nbf is in the future")
	}
	return nil
}

// isFor reports whether the audience is the issuer and nobody else, as a text or
// as an array of one. An endpoint's URL is not the issuer (FAPI 2.0, section
// 5.3.2.1).
func (cl *claims) isFor(issuer string) bool {
	var one string
	if json.Unmarshal(cl.Audience, &one) == nil {
		return one == issuer
	}
	var many []string
	return json.Unmarshal(cl.Audience, &many) == nil && len(many) == 1 && many[0] == issuer
}
