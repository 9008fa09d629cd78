package oauth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"time"

	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/storage"
)

// keyDocKey is the key of the one document of kindKey.
const keyDocKey = "signing"

// keyDoc holds the signing key, in PKCS #8, sealed by a key that is derived from
// Config.Secret.
type keyDoc struct {
	Sealed []byte `json:"sealed"`
}

// signingKey is the key of access tokens. It is found when it is needed, since
// New does no I/O.
type signingKey struct {
	mu     sync.Mutex // guards following
	signer jose.Signer
}

// signer returns the key that signs access tokens.
func (s *Server) signer(ctx context.Context) (jose.Signer, error) {
	s.key.mu.Lock()
	defer s.key.mu.Unlock()
	if s.key.signer != nil {
		return s.key.signer, nil
	}
	key := s.cfg.Key
	if key == nil {
		var err error
		if key, err = s.storedKey(ctx); err != nil {
			return nil, err
		}
	}
	signer, err := jose.NewES256(key)
	if err != nil {
		return nil, fmt.Errorf("oauth: signing key: %w", err)
	}
	s.key.signer = signer
	return signer, nil
}

// storedKey returns the key in the store. If there is none, or it was sealed by
// another Secret, it makes one; of those who do at the same time one wins.
func (s *Server) storedKey(ctx context.Context) (*ecdsa.PrivateKey, error) {
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	sealed, err := s.sealKey(fresh)
	if err != nil {
		return nil, err
	}
	var key *ecdsa.PrivateKey
	err = s.update(ctx, func(docs storage.Docs) error {
		key = nil
		var doc keyDoc
		version, err := load(docs, kindKey, keyDocKey, &doc)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if err == nil {
			if key, err = s.openKey(doc.Sealed); err == nil {
				return nil
			}
			s.cfg.Logger.Warn("oauth: the signing key cannot be opened, making another", "error", err)
		}
		key = fresh
		return save(docs, kindKey, keyDocKey, version, time.Time{}, keyDoc{Sealed: sealed})
	})
	return key, err
}

func (s *Server) sealKey(key *ecdsa.PrivateKey) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return seal(derive(s.cfg.Secret, labelKey), plain)
}

func (s *Server) openKey(sealed []byte) (*ecdsa.PrivateKey, error) {
	plain, err := unseal(derive(s.cfg.Secret, labelKey), sealed)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("oauth: the signing key is of another kind")
	}
	return private, nil
}

// keySet returns the keys that are published: the one that signs, and those
// before it.
func (s *Server) keySet(ctx context.Context) (*jose.KeySet, error) {
	signer, err := s.signer(ctx)
	if err != nil {
		return nil, err
	}
	keys := []*jose.Key{signer.Public()}
	for _, old := range s.cfg.OldKeys {
		key, err := jose.NewKey(old)
		if err != nil {
			return nil, fmt.Errorf("oauth: Config.OldKeys: %w", err)
		}
		if key.Thumbprint() != keys[0].Thumbprint() {
			keys = append(keys, key)
		}
	}
	return jose.NewKeySet(keys...), nil
}

// seal encrypts with AES-256-GCM under a random nonce, which comes first.
func seal(key [32]byte, plain []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, nil), nil
}

// unseal decrypts what seal made with the same key.
func unseal(key [32]byte, sealed []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, sealed, nil)
}

func newAEAD(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
