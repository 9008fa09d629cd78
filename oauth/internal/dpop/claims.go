package dpop

import (
	"time"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// claims are those of a proof (RFC 9449 section 4.2), and those of any token that
// limit when it can be used.
type claims struct {
	JTI   string            `json:"jti"`
	HTM   string            `json:"htm"`
	HTU   string            `json:"htu"`
	IAT   *jose.NumericDate `json:"iat"`
	EXP   *jose.NumericDate `json:"exp"`
	NBF   *jose.NumericDate `json:"nbf"`
	Nonce string            `json:"nonce"`
	ATH   *string           `json:"ath"`
}

// readClaims reads the claims of a proof and checks each.
func (c *Checker) readClaims(text []byte, method, htu, ath string) (*claims, error) {
	var p claims
	if err := jose.DecodeJSON(text, &p); err != nil {
		return nil, invalid("DPoP proof has malformed claims")
	}
	now := time.Now()
	if c.Clock != nil {
		now = c.Clock()
	}
	switch {
	case p.IAT == nil:
		return nil, invalid("DPoP proof has no iat")
	case now.Sub(p.IAT.Time()) > MaxAge:
		return nil, invalid("iat of the DPoP proof is too old")
	case p.IAT.Time().Sub(now) > MaxAhead:
		return nil, invalid("iat of the DPoP proof is in the future")
	case p.EXP != nil && now.Sub(p.EXP.Time()) > Leeway:
		return nil, invalid("DPoP proof has expired")
	case p.NBF != nil && p.NBF.Time().Sub(now) > MaxAhead:
		return nil, invalid("DPoP proof is not yet valid")
	case p.JTI == "":
		return nil, invalid("DPoP proof has no jti")
	case len(p.JTI) > MaxIDBytes:
		return nil, invalid("jti of the DPoP proof is too long")
	case p.HTM != method:
		return nil, invalid("htm of the DPoP proof is not the method of the request")
	case !sameAddress(p.HTU, htu):
		return nil, invalid("htu of the DPoP proof is not the address of the request")
	case p.Nonce == "":
		return nil, &Error{CodeUseNonce, "DPoP proof needs the nonce of the server"}
	case !c.Nonces.Check(p.Nonce, now):
		return nil, &Error{CodeUseNonce, "nonce of the DPoP proof is unknown or too old"}
	case ath == "" && p.ATH != nil:
		return nil, invalid("DPoP proof must have no ath here")
	case ath != "" && p.ATH == nil:
		return nil, invalid("DPoP proof has no ath")
	case ath != "" && *p.ATH != ath:
		return nil, invalid("ath of the DPoP proof is not of the access token")
	}
	return &p, nil
}
