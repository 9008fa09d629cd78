package clients_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/clients"
)

func TestAttack31ForeignAndRemovedKeys(t *testing.T) {
	p := newParty(t, nil)
	valid, err := p.try(t, assertion(t, p.key, p.now, nil))
	if err != nil {
		t.Fatal(err)
	}
	has := func(want bool, keyID, jkt string) {
		t.Helper()
		if ok, err := p.r.HasKey(t.Context(), p.c, keyID, jkt); err != nil || ok != want {
			t.Errorf("the key %s is there: %v, %v", keyID, ok, err)
		}
	}
	has(true, valid.KeyID, valid.JKT)
	has(false, valid.KeyID, "other")
	has(false, "other", valid.JKT)
	has(false, "", valid.JKT)

	// A key of another client, under its kid and under ours.
	foreign := newSigner(t, "key-2")
	_, err = p.try(t, assertion(t, foreign, p.now, nil))
	wantError(t, err, clients.CodeInvalidClient, "publishes no key")
	if !errors.Is(err, clients.ErrUnknownKey) {
		t.Errorf("%v is not ErrUnknownKey", err)
	}
	_, err = p.try(t, assertion(t, signer{foreign.Signer, "key-1"}, p.now, nil))
	wantError(t, err, clients.CodeInvalidClient, "signature")
	// A key in the header is not a key of the client.
	public := foreign.jwk(t, nil)
	_, err = p.try(t, compact(t, object{"alg": "ES256", "kid": "key-1", "jwk": public, "jku": "https://evil.com/jwks"}, claimsAt(p.now), func(input []byte) []byte {
		signature, err := foreign.Sign(input)
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}))
	wantError(t, err, clients.CodeInvalidClient, "signature")

	// Removed, and replaced under the same kid: seen when the cache is old.
	p.w.put(keysAt, text(t, jwks(t, foreign)))
	has(true, valid.KeyID, valid.JKT)
	p.now = p.now.Add(clients.DefaultTTL)
	has(false, valid.KeyID, valid.JKT)
	_, err = p.try(t, assertion(t, p.key, p.now, nil))
	wantError(t, err, clients.CodeInvalidClient, "publishes no key")
	p.now = p.now.Add(clients.DefaultTTL)
	same := signer{foreign.Signer, "key-1"}
	p.w.put(keysAt, text(t, jwks(t, same)))
	has(false, valid.KeyID, valid.JKT)
	again, err := p.try(t, assertion(t, same, p.now, nil))
	if err != nil || again.JKT == valid.JKT || again.KeyID != valid.KeyID {
		t.Errorf("%+v, %v", again, err)
	}
}

// A key that is not known is looked for once a minute; a client that changes its
// keys waits for nothing.
func TestKeyRotation(t *testing.T) {
	for name, changes := range map[string]object{"jwks_uri": nil, "jwks": {"jwks_uri": nil}} {
		t.Run(name, func(t *testing.T) {
			p := &party{w: &web{}, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
			old, recent, newest, never := newSigner(t, "old"), newSigner(t, "recent"), newSigner(t, "newest"), newSigner(t, "never")
			publish := func(signers ...signer) {
				document := with(webApp, with(backend, changes))
				if document["jwks_uri"] == nil {
					document["jwks"] = jwks(t, signers...)
				}
				p.w.put(appID, text(t, document))
				p.w.put(keysAt, text(t, jwks(t, signers...)))
			}
			publish(old)
			p.r = newResolver(t, clients.Config{Transport: p.w, Clock: func() time.Time { return p.now }})
			use := func(s signer, want error, wantHits int) {
				t.Helper()
				var err error
				if p.c, err = p.r.Client(t.Context(), appID); err != nil {
					t.Fatal(err)
				}
				before := p.w.hits()
				if _, err := p.try(t, assertion(t, s, p.now, nil)); !errors.Is(err, want) {
					t.Errorf("%s: %v", s.kid, err)
				}
				if hits := p.w.hits() - before; hits != wantHits {
					t.Errorf("%s: %d fetches, want %d", s.kid, hits, wantHits)
				}
			}
			first := 0
			if name == "jwks_uri" {
				first = 1
			}
			use(old, nil, first)
			publish(old, recent)
			use(recent, nil, 1)
			publish(recent, newest)
			use(newest, clients.ErrUnknownKey, 0) // too early
			use(never, clients.ErrUnknownKey, 0)
			use(old, nil, 0) // from the cache
			p.now = p.now.Add(clients.RenewEvery - 1)
			use(newest, clients.ErrUnknownKey, 0)
			p.now = p.now.Add(1)
			use(newest, nil, 1)
			use(old, clients.ErrUnknownKey, 0)

			// A failure to fetch again takes nothing away.
			p.now = p.now.Add(clients.RenewEvery)
			for _, url := range []string{appID, keysAt} {
				p.w.serve(url, func(*http.Request) (*http.Response, error) { return nil, errors.New("out of order") })
			}
			use(never, clients.ErrUnknownKey, 1)
			use(newest, nil, 0)
		})
	}
}

// All who come with a new key at once get it from one fetch.
func TestKeyRotationAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParty(t, nil)
		p.now = time.Now()
		if _, err := p.try(t, assertion(t, p.key, p.now, nil)); err != nil {
			t.Fatal(err)
		}
		recent := newSigner(t, "recent")
		p.w.serve(keysAt, func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(200, "application/jwk-set+json", text(t, jwks(t, p.key, recent))), nil
		})
		before := p.w.hits()
		token := assertion(t, recent, p.now, nil)
		done := make(chan error)
		for range 20 {
			go func() {
				_, err := p.try(t, token)
				done <- err
			}()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if hits := p.w.hits() - before; hits != 1 {
			t.Errorf("%d fetches", hits)
		}
	})
}

// The keys of a registered client are what the configuration says.
func TestRegisteredKeys(t *testing.T) {
	w, key := &web{}, newSigner(t, "key-1")
	document := with(webApp, with(backend, object{"client_id": "our-app", "jwks_uri": nil, "jwks": jwks(t, key)}))
	r := newResolver(t, clients.Config{Transport: w, Registered: []json.RawMessage{json.RawMessage(text(t, document))}})
	c, err := r.Client(t.Context(), "our-app")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []signer{key, newSigner(t, "key-2")} {
		_, err := r.Authenticate(t.Context(), c, clients.AssertionType, assertion(t, s, time.Now(), object{"iss": "our-app", "sub": "our-app"}), issuer, "")
		if s == key && err != nil || s != key && !errors.Is(err, clients.ErrUnknownKey) {
			t.Errorf("%s: %v", s.kid, err)
		}
	}
	if w.hits() != 0 {
		t.Errorf("fetched %q", w.asked)
	}
}

func TestKeysCannotBeHad(t *testing.T) {
	key := newSigner(t, "key-1")
	for says, body := range map[string]string{
		"status 404":         "",
		"set of public keys": text(t, jwks(t, key, key)),
		"to a set":           text(t, object{"keys": []object{key.jwk(t, object{"d": "AQ"})}}),
		"jwks_uri does not":  `{"keys":[]}`,
	} {
		p := newParty(t, nil)
		if body == "" {
			p.w.serve(keysAt, func(*http.Request) (*http.Response, error) { return answer(404, "application/json", ""), nil })
		} else {
			p.w.put(keysAt, body)
		}
		for range 3 {
			_, err := p.try(t, assertion(t, key, p.now, nil))
			wantError(t, err, clients.CodeInvalidClientMetadata, says)
		}
		_, err := p.r.HasKey(t.Context(), p.c, "key-1", key.Public().Thumbprint())
		wantError(t, err, clients.CodeInvalidClientMetadata, says)
		if p.w.hits() != 2 {
			t.Errorf("%q", p.w.asked)
		}
	}
}
