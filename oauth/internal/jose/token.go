package jose

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

var (
	errFormat   = errors.New("jose: not a signed token in compact form")
	errTooLong  = errors.New("jose: token is too long")
	errCritical = errors.New("jose: critical header parameters are not supported")
	errNoAlg    = errors.New("jose: token names no algorithm")
)

// Header is what the header of a token says. Nothing of it is verified until
// [Token.Verify] succeeds, and the key in it is nobody's in particular even then.
type Header struct {
	Alg   string // never empty
	Typ   string
	KeyID string
	JWK   *Key // nil if there is none
}

// headerText is the JSON form of a header. Addresses of keys and certificates
// in headers ("jku", "x5u", "x5c") are ignored like any unknown member.
type headerText struct {
	Alg   string          `json:"alg"`
	Typ   string          `json:"typ,omitempty"`
	KeyID string          `json:"kid,omitempty"`
	JWK   json.RawMessage `json:"jwk,omitempty"`
	Crit  json.RawMessage `json:"crit,omitempty"`
	B64   json.RawMessage `json:"b64,omitempty"`
}

// Token is a signed token (JWS) taken apart.
type Token struct {
	Header Header

	// Claims is the payload, for [DecodeJSON]. It has not been looked at.
	Claims json.RawMessage

	input     string // what is signed: the first two parts with their dot
	signature []byte
}

// Parse takes a token in compact form apart, without checking the signature. It
// refuses tokens longer than maxBytes, those without signature, and those whose
// header has "crit" or "b64" (RFC 7797) or a key that [ParseKey] refuses.
func Parse(compact string, maxBytes int) (*Token, error) {
	if len(compact) > maxBytes {
		return nil, errTooLong
	}
	if strings.Count(compact, ".") != 2 {
		return nil, errFormat
	}
	head, rest, _ := strings.Cut(compact, ".")
	body, tail, _ := strings.Cut(rest, ".")
	header, err := decodeBase64(head)
	if err != nil {
		return nil, err
	}
	t := &Token{input: compact[:len(head)+1+len(body)]}
	if t.Claims, err = decodeBase64(body); err != nil {
		return nil, err
	}
	if t.signature, err = decodeBase64(tail); err != nil {
		return nil, err
	}
	var text headerText
	if err := DecodeJSON(header, &text); err != nil {
		return nil, err
	}
	switch {
	case len(text.Crit) > 0 || len(text.B64) > 0:
		return nil, errCritical
	case text.Alg == "":
		return nil, errNoAlg
	}
	t.Header = Header{Alg: text.Alg, Typ: text.Typ, KeyID: text.KeyID}
	if len(text.JWK) > 0 {
		if t.Header.JWK, err = ParseKey(text.JWK); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Verify checks the signature. The header's algorithm has to be one of algs, and
// the key has to fit it (see [Key.Fits]).
func (t *Token) Verify(key *Key, algs []string) error {
	if !slices.Contains(algs, t.Header.Alg) {
		return errAlgorithm
	}
	if err := key.Fits(t.Header.Alg); err != nil {
		return err
	}
	a, _ := algorithmNamed(t.Header.Alg)
	if !a.verify(key.public, []byte(t.input), t.signature) {
		return errSignature
	}
	return nil
}
