package dpop

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// Limits of a proof.
const (
	MaxProofBytes = 8 << 10
	MaxIDBytes    = 256 // of "jti"

	MaxAge   = 180 * time.Second // how far "iat" may lie back
	MaxAhead = 60 * time.Second  // how far "iat" may lie ahead; "nbf" as well
	Leeway   = 30 * time.Second  // how long "exp" may have passed
)

// Codes of an [Error] (RFC 9449 sections 5, 7.1 and 8).
const (
	CodeUseNonce     = "use_dpop_nonce"
	CodeInvalidProof = "invalid_dpop_proof"
)

// Error says why a proof was refused. The description is plain ASCII without
// quotation marks or backslashes, fit for the client.
type Error struct {
	Code        string // CodeUseNonce or CodeInvalidProof
	Description string
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

func invalid(description string) error { return &Error{CodeInvalidProof, description} }

// Proof is what a checked proof shows.
type Proof struct {
	JKT    string // thumbprint of its key
	JTI    string // its identifier, not empty
	Alg    string
	Issued time.Time
}

// Checker checks proofs. Its fields must not change while it is in use; then it
// may be used by any number of goroutines.
type Checker struct {
	Algs   []string         // allowed algorithms; nil is ES256 alone
	Nonces *Nonces          // required
	Clock  func() time.Time // nil is time.Now
}

// TokenHash returns the hash of an access token that a proof for it carries as
// "ath" (RFC 9449 section 4.2).
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Check checks the proof in a request (RFC 9449 section 4.3) for the address
// htu, which the server knows from its configuration, and for the access token
// whose [TokenHash] is ath. An authorization server, to which no access token is
// sent, gives "", and then a proof that names one is refused.
//
// A request without proof is nil, nil. All errors are of type *[Error]. Whether
// the key is the right one, and whether the proof is new, is not checked.
func (c *Checker) Check(r *http.Request, htu, ath string) (*Proof, error) {
	headers := r.Header.Values("DPoP")
	switch {
	case len(headers) == 0:
		return nil, nil
	case len(headers) > 1:
		return nil, invalid("more than one DPoP header")
	case len(headers[0]) > MaxProofBytes:
		return nil, invalid("DPoP proof is too long")
	}
	token, err := jose.Parse(headers[0], MaxProofBytes)
	if err != nil {
		return nil, invalid("DPoP proof is malformed or has a key that is not acceptable")
	}
	algs := c.Algs
	if algs == nil {
		algs = []string{jose.ES256}
	}
	switch {
	case token.Header.Typ != "dpop+jwt":
		return nil, invalid("typ of the DPoP proof must be dpop+jwt")
	case !slices.Contains(algs, token.Header.Alg):
		return nil, invalid("alg of the DPoP proof is not supported")
	case token.Header.JWK == nil:
		return nil, invalid("DPoP proof has no key")
	}
	if err := token.Header.JWK.Fits(token.Header.Alg); err != nil {
		return nil, invalid("key of the DPoP proof does not fit its alg")
	}
	if err := token.Verify(token.Header.JWK, algs); err != nil {
		return nil, invalid("signature of the DPoP proof does not match")
	}
	p, err := c.readClaims(token.Claims, r.Method, htu, ath)
	if err != nil {
		return nil, err
	}
	return &Proof{
		JKT: token.Header.JWK.Thumbprint(), JTI: p.JTI,
		Alg: token.Header.Alg, Issued: p.IAT.Time(),
	}, nil
}
