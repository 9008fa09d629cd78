package pds

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/pdskit/pdskit/storage"
)

// Keys makes and opens the signing keys of accounts. What Generate returns as
// reference is stored with the account and given back to Open: the sealed key
// itself ([SealedKeys]), or the name of a key in a key management service. Its
// methods may be called concurrently and may do network I/O.
type Keys interface {
	// Generate makes a new K-256 signing key.
	Generate(ctx context.Context) (key atcrypto.PrivateKey, ref []byte, err error)

	// Import takes a key that was made elsewhere.
	Import(ctx context.Context, key atcrypto.PrivateKeyExportable) (ref []byte, err error)

	// Open returns the key of a reference.
	Open(ctx context.Context, ref []byte) (atcrypto.PrivateKey, error)
}

// MasterKeyBytes is the length of the key that seals signing keys.
const MasterKeyBytes = chacha20poly1305.KeySize

// SealedKeys seals signing keys with a master key, by XChaCha20-Poly1305. The
// master key is [MasterKeyBytes] long, is copied, and must never be lost:
// without it no account can write. See [LoadMasterKey].
func SealedKeys(master []byte) (Keys, error) {
	if len(master) != MasterKeyBytes {
		return nil, fmt.Errorf("pds: a master key has %d bytes, not %d", MasterKeyBytes, len(master))
	}
	return sealedKeys(bytes.Clone(master)), nil
}

type sealedKeys []byte

const (
	sealedK256 = 'k'
	sealedP256 = 'p'
)

func (m sealedKeys) Generate(ctx context.Context) (atcrypto.PrivateKey, []byte, error) {
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		return nil, nil, err
	}
	ref, err := m.Import(ctx, key)
	return key, ref, err
}

func (m sealedKeys) Import(_ context.Context, key atcrypto.PrivateKeyExportable) ([]byte, error) {
	kind := byte(sealedK256)
	switch key.(type) {
	case *atcrypto.PrivateKeyK256:
	case *atcrypto.PrivateKeyP256:
		kind = sealedP256
	default:
		return nil, fmt.Errorf("pds: cannot seal a %T", key)
	}
	aead, err := chacha20poly1305.NewX(m)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+64)
	out[0] = kind
	if _, err := rand.Read(out[1:]); err != nil {
		return nil, err
	}
	return aead.Seal(out, out[1:], key.Bytes(), out[:1]), nil
}

func (m sealedKeys) Open(_ context.Context, ref []byte) (atcrypto.PrivateKey, error) {
	aead, err := chacha20poly1305.NewX(m)
	if err != nil {
		return nil, err
	}
	head := 1 + aead.NonceSize()
	if len(ref) < head {
		return nil, errors.New("pds: a sealed key is too short")
	}
	raw, err := aead.Open(nil, ref[1:head], ref[head:], ref[:1])
	if err != nil {
		return nil, errors.New("pds: a signing key cannot be opened: it was sealed with another master key, or is damaged")
	}
	if ref[0] == sealedP256 {
		return atcrypto.ParsePrivateBytesP256(raw)
	}
	return atcrypto.ParsePrivateBytesK256(raw)
}

// LoadMasterKey reads a master key from a file, or makes one and writes it,
// readable by its owner alone, if there is no such file; its folder must
// exist. The file holds the key and a check value in hexadecimal; a file that
// does not match its check value is refused.
func LoadMasterKey(path string) (key []byte, made bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = makeMasterKey(path); err != nil {
			return nil, false, fmt.Errorf("pds: making the master key %s: %w", path, err)
		}
		return key, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("pds: reading the master key: %w", err)
	}
	keyHex, check, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	key, err = hex.DecodeString(keyHex)
	if err != nil || len(key) != MasterKeyBytes || check != masterKeyCheck(key) {
		return nil, false, fmt.Errorf("pds: %s does not hold a master key: it is damaged or another kind of file", path)
	}
	return key, false, nil
}

func masterKeyCheck(key []byte) string {
	sum := sha256.Sum256(append([]byte("pdskit master key\x00"), key...))
	return hex.EncodeToString(sum[:4])
}

// NewMasterKey returns a random master key.
func NewMasterKey() []byte {
	key := make([]byte, MasterKeyBytes)
	_, _ = rand.Read(key) // never fails, see crypto/rand
	return key
}

func makeMasterKey(path string) ([]byte, error) {
	key := NewMasterKey()
	f, err := os.CreateTemp(filepath.Dir(path), ".master-key-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%x %s\n", key, masterKeyCheck(key)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	// Link, unlike rename, does not replace a file that came in between.
	if err := os.Link(f.Name(), path); err != nil {
		return nil, err
	}
	return key, syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// docSigningKey is the kind of the documents that hold the key references of
// accounts; their key is the account's DID.
const docSigningKey = "signing-key"

// putSigningKey stores the reference of an account's signing key.
func putSigningKey(tx storage.Tx, did syntax.DID, ref []byte) error {
	d, err := tx.GetDoc(docSigningKey, string(did))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{Kind: docSigningKey, Key: string(did), Owner: did, Version: d.Version, Value: ref})
	return err
}

// openSigningKey returns the signing key of an account.
func (s *Server) openSigningKey(ctx context.Context, did syntax.DID, keyID string) (atcrypto.PrivateKey, error) {
	var ref []byte
	err := s.store.View(ctx, func(tx storage.Tx) error {
		d, err := tx.GetDoc(docSigningKey, string(did))
		ref = d.Value
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("signing key of %s: %w", did, err)
	}
	key, err := s.cfg.Keys.Open(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("signing key of %s: %w", did, err)
	}
	id, err := keyIDOf(key)
	if err != nil {
		return nil, err
	}
	if id != keyID {
		return nil, fmt.Errorf("signing key of %s: the stored key is %s, the account names %s", did, id, keyID)
	}
	return key, nil
}

// keyIDOf names a signing key: its public key as a did:key.
func keyIDOf(key atcrypto.PrivateKey) (string, error) {
	pub, err := key.PublicKey()
	if err != nil {
		return "", err
	}
	return pub.DIDKey(), nil
}
