package pds

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// maxJWTBytes is the length of the longest JWT that is looked at.
const maxJWTBytes = 8 << 10

// Kinds of JWT that the header's typ names.
const (
	typAccess  = "at+jwt"
	typRefresh = "refresh+jwt"
	typDPoP    = "dpop+jwt"
)

var (
	errJWTFormat    = errors.New("pds: not a JWT in compact form")
	errJWTSignature = errors.New("pds: JWT signature does not match")
)

// jwt is a JWT in compact form, taken apart. Nothing in it is verified.
type jwt struct {
	header    jwtHeader
	payload   []byte // JSON text
	input     string // what is signed: the first two parts with their dot
	signature []byte
}

type jwtHeader struct {
	Alg  string          `json:"alg"`
	Typ  string          `json:"typ"`
	Crit json.RawMessage `json:"crit"`
}

// strictBase64 is base64url without padding and without stray bits, so that a
// token has one form only.
func strictBase64() *base64.Encoding { return base64.RawURLEncoding.Strict() }

// parseJWT takes a token apart. Critical extensions are refused: none is
// known.
func parseJWT(token string) (*jwt, error) {
	if len(token) > maxJWTBytes || strings.Count(token, ".") != 2 {
		return nil, errJWTFormat
	}
	head, rest, _ := strings.Cut(token, ".")
	body, sig, _ := strings.Cut(rest, ".")
	enc := strictBase64()
	header, err := decodeSegment(enc, head)
	if err != nil {
		return nil, err
	}
	t := &jwt{input: token[:len(head)+1+len(body)]}
	if err := json.Unmarshal(header, &t.header); err != nil || len(t.header.Crit) > 0 {
		return nil, errJWTFormat
	}
	if t.payload, err = decodeSegment(enc, body); err != nil {
		return nil, err
	}
	if t.signature, err = decodeSegment(enc, sig); err != nil {
		return nil, err
	}
	return t, nil
}

// decodeSegment decodes one part of a JWT, which may not be empty. The decoder
// of encoding/base64 skips line breaks; here they are errors.
func decodeSegment(enc *base64.Encoding, text string) ([]byte, error) {
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil, errJWTFormat
	}
	out, err := enc.DecodeString(text)
	if err != nil {
		return nil, errJWTFormat
	}
	return out, nil
}

// claims decodes the payload, which must be a JSON object.
func (t *jwt) claims(v any) error {
	if len(t.payload) == 0 || t.payload[0] != '{' || json.Unmarshal(t.payload, v) != nil {
		return errJWTFormat
	}
	return nil
}

// verifyHS256 checks a signature by a shared secret.
func (t *jwt) verifyHS256(secret []byte) error {
	if t.header.Alg != "HS256" || !hmac.Equal(t.signature, hmacSHA256(secret, t.input)) {
		return errJWTSignature
	}
	return nil
}

func hmacSHA256(secret []byte, text string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// signJWT makes a token. sign gets what is to be signed.
func signJWT(header, claims any, sign func(input []byte) ([]byte, error)) (string, error) {
	head, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	out := make([]byte, 0, enc.EncodedLen(len(head))+enc.EncodedLen(len(body))+enc.EncodedLen(64)+2)
	out = enc.AppendEncode(out, head)
	out = append(out, '.')
	out = enc.AppendEncode(out, body)
	sig, err := sign(out)
	if err != nil {
		return "", err
	}
	out = append(out, '.')
	return string(enc.AppendEncode(out, sig)), nil
}
