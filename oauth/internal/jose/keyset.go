package jose

import (
	"encoding/json"
	"errors"
	"fmt"
)

// KeySet is a set of public keys (RFC 7517 section 5).
type KeySet struct {
	keys []*Key
}

// ParseKeySet reads a set of at most maxKeys keys with different key IDs. Each
// has to pass [ParseKey]; only those of unsupported types are passed over, as
// the standard wishes. A key without an ID is part of the set but cannot be
// found.
func ParseKeySet(data []byte, maxKeys int) (*KeySet, error) {
	var text struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := DecodeJSON(data, &text); err != nil {
		return nil, err
	}
	if text.Keys == nil {
		return nil, errors.New("jose: key set without keys member")
	}
	if len(text.Keys) > maxKeys {
		return nil, fmt.Errorf("jose: more than %d keys in a set", maxKeys)
	}
	s := &KeySet{}
	for i, raw := range text.Keys {
		k, err := ParseKey(raw)
		if errors.Is(err, ErrUnsupportedKey) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if s.Find(k.keyID) != nil {
			return nil, fmt.Errorf("key %d: jose: key ID is not unique", i)
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// NewKeySet returns a set of the keys, to be published.
func NewKeySet(keys ...*Key) *KeySet { return &KeySet{keys: keys} }

// Find returns the key with an ID, or nil. No key has the ID "".
func (s *KeySet) Find(keyID string) *Key {
	for _, k := range s.keys {
		if keyID != "" && k.keyID == keyID {
			return k
		}
	}
	return nil
}

// Len returns the number of keys.
func (s *KeySet) Len() int { return len(s.keys) }

// MarshalJSON returns the set as a JSON Web Key Set.
func (s *KeySet) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string][]*Key{"keys": append([]*Key{}, s.keys...)})
}
