package jose

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
)

// Signer makes the signatures of tokens. All methods may be called by several
// goroutines at once.
type Signer interface {
	Alg() string
	KeyID() string
	Public() *Key

	// Sign returns the signature of what it is given in the form that RFC 7518
	// gives it for the algorithm.
	Sign(input []byte) ([]byte, error)
}

// es256 signs with a P-256 key in memory.
type es256 struct {
	private *ecdsa.PrivateKey
	public  *Key
}

var _ Signer = (*es256)(nil)

// NewES256 returns a Signer for a P-256 key; any other key is an error. The key
// ID is the key's thumbprint.
func NewES256(key *ecdsa.PrivateKey) (Signer, error) {
	public, err := NewKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &es256{private: key, public: public}, nil
}

func (s *es256) Alg() string   { return ES256 }
func (s *es256) KeyID() string { return s.public.keyID }
func (s *es256) Public() *Key  { return s.public }

func (s *es256) Sign(input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	r, ss, err := ecdsa.Sign(rand.Reader, s.private, digest[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	ss.FillBytes(signature[32:])
	return signature, nil
}

// Sign makes a token of a type ("typ") with claims, which have to become a JSON
// object.
func Sign(s Signer, typ string, claims any) (string, error) {
	header := headerText{Alg: s.Alg(), Typ: typ, KeyID: s.KeyID()}
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
	signature, err := s.Sign(out)
	if err != nil {
		return "", err
	}
	out = append(out, '.')
	return string(enc.AppendEncode(out, signature)), nil
}
