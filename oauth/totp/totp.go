// Package totp is a second factor for package oauth: the codes of authenticator
// apps (RFC 6238), with recovery codes for those who lose theirs. People enrol by
// themselves in the account manager.
//
//	factor, err := totp.New(totp.Config{Store: docs, Secret: secret, Issuer: "example.com"})
//	// ...
//	srv, err := oauth.New(oauth.Config{SecondFactor: factor, ...})
//
// A code is good once: not again in its half minute, nor is an older one after
// it. The secrets of the apps are stored sealed, the recovery codes as keyed
// hashes, by keys that are derived from Config.Secret; whoever loses that
// secret loses all enrolments. An account has at most [MaxApps] apps.
package totp

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

const (
	// MaxApps is how many authenticator apps an account may have.
	MaxApps = 5
	// RecoveryCodes is how many recovery codes are made at a time.
	RecoveryCodes = 10
	// MinSecret is how many bytes Config.Secret has at least.
	MinSecret = 32
)

const (
	kind       = "oauth-totp"     // documents, by DID
	pendingTTL = 15 * time.Minute // how long an enrolment may take
	maxTries   = 5                // of a transaction that others get ahead of
)

// Config says what a [Factor] works with.
type Config struct {
	// Store keeps the enrolments. Required; it may be the store of the server.
	Store storage.DocStore

	// Secret seals them, [MinSecret] bytes at least. Required. It may be the
	// secret of the server.
	Secret []byte

	// Issuer is how authenticator apps name the server, such as "example.com".
	// Required.
	Issuer string

	// Clock is the time. Default: time.Now.
	Clock func() time.Time
}

// Factor is a second factor. Its methods may be called concurrently.
type Factor struct {
	cfg  Config
	seal cipher.AEAD
	hash []byte // key of the hashes of recovery codes
}

var (
	_ oauth.SecondFactor  = (*Factor)(nil)
	_ oauth.FactorManager = (*Factor)(nil)
)

// New makes a Factor, or says which field of cfg is wrong. It does no I/O.
func New(cfg Config) (*Factor, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("totp: Config.Store is missing")
	case len(cfg.Secret) < MinSecret:
		return nil, fmt.Errorf("totp: Config.Secret has fewer than %d bytes", MinSecret)
	case cfg.Issuer == "" || strings.Contains(cfg.Issuer, ":"):
		return nil, errors.New("totp: Config.Issuer is missing, or has a colon")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	sealKey, err := hkdf.Key(sha256.New, cfg.Secret, nil, "pdskit oauth totp secrets", 32)
	if err != nil {
		return nil, fmt.Errorf("totp: %w", err)
	}
	hashKey, err := hkdf.Key(sha256.New, cfg.Secret, nil, "pdskit oauth recovery codes", 32)
	if err != nil {
		return nil, fmt.Errorf("totp: %w", err)
	}
	block, err := aes.NewCipher(sealKey)
	if err != nil {
		return nil, fmt.Errorf("totp: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("totp: %w", err)
	}
	return &Factor{cfg: cfg, seal: aead, hash: hashKey}, nil
}

// enrolments are what an account has.
type enrolments struct {
	Apps     []app    `json:"apps,omitempty"`
	Pending  *pending `json:"pending,omitempty"`
	Recovery []string `json:"recovery,omitempty"` // hashes of the codes that are not used
}

type app struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Secret   []byte    `json:"secret"` // sealed
	Step     int64     `json:"step"`   // of the last code that was used
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"lastUsed"`
}

type pending struct {
	ID      string    `json:"id"`
	URL     []byte    `json:"url"` // sealed
	Expires time.Time `json:"expires"`
}

// load reads the enrolments of an account; of one that has none they are empty.
func load(docs storage.Docs, did syntax.DID) (e enrolments, version int64, err error) {
	doc, err := docs.GetDoc(kind, string(did))
	if errors.Is(err, storage.ErrNotFound) {
		return e, 0, nil
	}
	if err != nil {
		return e, 0, err
	}
	if err := json.Unmarshal(doc.Value, &e); err != nil {
		return e, 0, fmt.Errorf("totp: document: %w", err)
	}
	return e, doc.Version, nil
}

// read is load outside of a transaction.
func (f *Factor) read(ctx context.Context, did syntax.DID) (e enrolments, err error) {
	err = f.cfg.Store.View(ctx, func(docs storage.Docs) (err error) {
		e, _, err = load(docs, did)
		return err
	})
	if e.Pending != nil && !f.cfg.Clock().Before(e.Pending.Expires) {
		e.Pending = nil
	}
	return e, err
}

// change changes the enrolments of an account in a transaction. fn may run more
// than once.
func (f *Factor) change(ctx context.Context, did syntax.DID, fn func(*enrolments) error) error {
	var err error
	for range maxTries {
		err = f.cfg.Store.Update(ctx, func(docs storage.Docs) error {
			e, version, err := load(docs, did)
			if err != nil {
				return err
			}
			if err := fn(&e); err != nil {
				return err
			}
			if len(e.Apps) == 0 && e.Pending == nil {
				return docs.DeleteDoc(kind, string(did))
			}
			value, err := json.Marshal(e)
			if err != nil {
				return err
			}
			_, err = docs.PutDoc(storage.Doc{Kind: kind, Key: string(did), Version: version, Value: value})
			return err
		})
		if !errors.Is(err, storage.ErrConflict) {
			break
		}
	}
	return err
}

// sealed returns a secret that belongs to an account and an app, for the store.
func (f *Factor) sealed(did syntax.DID, id, secret string) []byte {
	return f.seal.Seal(nil, nil, []byte(secret), []byte(string(did)+"/"+id))
}

func (f *Factor) opened(did syntax.DID, id string, sealed []byte) (string, error) {
	secret, err := f.seal.Open(nil, nil, sealed, []byte(string(did)+"/"+id))
	if err != nil {
		return "", errors.New("totp: a secret cannot be opened: was Config.Secret changed?")
	}
	return string(secret), nil
}

// recoveryHash is as what a recovery code is stored. Case, spaces and hyphens do
// not matter.
func (f *Factor) recoveryHash(did syntax.DID, code string) string {
	mac := hmac.New(sha256.New, f.hash)
	mac.Write([]byte(string(did) + "\x00" + normal(code)))
	return hex.EncodeToString(mac.Sum(nil))
}

// normal returns a code as it was typed without what people add to read it.
func normal(code string) string {
	return strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code))
}

// newRecovery returns recovery codes "xxxxx-xxxxx" of 50 random bits, and their
// hashes.
func (f *Factor) newRecovery(did syntax.DID) (codes, hashes []string) {
	for range RecoveryCodes {
		buf := make([]byte, 10)
		rand.Read(buf) // never fails
		c := strings.ToLower(base32.StdEncoding.EncodeToString(buf))
		code := c[:5] + "-" + c[5:10]
		codes, hashes = append(codes, code), append(hashes, f.recoveryHash(did, code))
	}
	return codes, hashes
}

// Begin implements [oauth.SecondFactor].
func (f *Factor) Begin(ctx context.Context, a oauth.FactorAttempt) (*oauth.Challenge, error) {
	did := a.Account.DID
	e, err := f.read(ctx, did)
	if err != nil || len(e.Apps) == 0 {
		return nil, err
	}
	app := oauth.FactorChoice{ID: ui.FactorTOTP, Kind: ui.FactorTOTP}
	recovery := oauth.FactorChoice{ID: ui.FactorRecovery, Kind: ui.FactorRecovery}
	if a.Factor == recovery.ID {
		return &oauth.Challenge{Account: did, Kind: recovery.Kind, Others: []oauth.FactorChoice{app}}, nil
	}
	c := &oauth.Challenge{Account: did, Kind: app.Kind}
	if len(e.Recovery) > 0 {
		c.Others = []oauth.FactorChoice{recovery}
	}
	return c, nil
}

// Verify implements [oauth.SecondFactor].
func (f *Factor) Verify(ctx context.Context, c *oauth.Challenge, answer string) error {
	if c.Kind == ui.FactorRecovery {
		return f.useRecovery(ctx, c.Account, answer)
	}
	e, err := f.read(ctx, c.Account)
	if err != nil {
		return err
	}
	now := f.cfg.Clock()
	for _, a := range e.Apps {
		secret, err := f.opened(c.Account, a.ID, a.Secret)
		if err != nil {
			return err
		}
		step, ok := stepOf(secret, normal(answer), now)
		if !ok {
			continue
		}
		return f.change(ctx, c.Account, func(e *enrolments) error {
			i := slices.IndexFunc(e.Apps, func(other app) bool { return other.ID == a.ID })
			if i < 0 || e.Apps[i].Step >= step {
				return oauth.ErrCodeInvalid // removed, or used before
			}
			e.Apps[i].Step, e.Apps[i].LastUsed = step, now
			return nil
		})
	}
	return oauth.ErrCodeInvalid
}

// useRecovery uses up a recovery code.
func (f *Factor) useRecovery(ctx context.Context, did syntax.DID, code string) error {
	hashed := f.recoveryHash(did, code)
	return f.change(ctx, did, func(e *enrolments) error {
		used := -1
		for i, stored := range e.Recovery {
			if hmac.Equal([]byte(stored), []byte(hashed)) {
				used = i
			}
		}
		if used < 0 {
			return oauth.ErrCodeInvalid
		}
		e.Recovery = slices.Delete(e.Recovery, used, used+1)
		return nil
	})
}
