package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// Limits of an issuer's keys.
const (
	// remoteKeysFresh is how long keys are used before they are fetched again.
	remoteKeysFresh = 5 * time.Minute
	// remoteKeysStale is how long they are used if that fails.
	remoteKeysStale = 24 * time.Hour
	// remoteKeysRetry is how often they are fetched because a token names one
	// that is not there, or because fetching has failed.
	remoteKeysRetry = time.Minute
	// remoteKeysPause is the same while none are known at all.
	remoteKeysPause = time.Second
	// maxRemoteKeys is how many keys an issuer may have.
	maxRemoteKeys = 50
	// maxRemoteBody is how many bytes its documents may have.
	maxRemoteBody = 64 << 10
)

// remoteIssuer knows the keys of an authorization server elsewhere.
type remoteIssuer struct {
	// Fixed at creation.
	cfg  VerifierConfig
	http *http.Client

	flights singleflight.Group

	mu      sync.Mutex // guards following
	keys    *jose.KeySet
	fetched time.Time // when the keys were
	tried   time.Time // when somebody tried to
}

// key returns a key of the issuer, or nil if it has none by that name.
func (i *remoteIssuer) key(ctx context.Context, id string, now time.Time) (*jose.Key, error) {
	keys, due := i.known(id, now)
	if !due {
		return findKey(keys, id)
	}
	result := i.flights.DoChan("", func() (any, error) {
		return nil, i.fetch(context.WithoutCancel(ctx), now)
	})
	select {
	case r := <-result:
		if keys, _ = i.known(id, now); keys == nil && r.Err != nil {
			return nil, fmt.Errorf("oauth: keys of %s: %w", i.cfg.Issuer, r.Err)
		}
		return findKey(keys, id)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func findKey(keys *jose.KeySet, id string) (*jose.Key, error) {
	if keys == nil {
		return nil, errors.New("oauth: the keys of the issuer could not be fetched a moment ago")
	}
	return keys.Find(id), nil
}

// known returns the keys that are known, and whether they are to be fetched
// before that one is looked for.
func (i *remoteIssuer) known(id string, now time.Time) (keys *jose.KeySet, due bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	age := now.Sub(i.fetched)
	if age < remoteKeysStale {
		keys = i.keys
	}
	since := now.Sub(i.tried)
	switch {
	case keys == nil:
		return nil, since >= remoteKeysPause
	case age >= remoteKeysFresh || keys.Find(id) == nil:
		return keys, since >= remoteKeysRetry
	}
	return keys, false
}

// fetch fetches the keys.
func (i *remoteIssuer) fetch(ctx context.Context, now time.Time) error {
	i.mu.Lock()
	i.tried = now
	i.mu.Unlock()
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	document, err := i.get(ctx, i.cfg.Issuer+pathServerMetadata)
	if err != nil {
		return err
	}
	if err := jose.DecodeJSON(document, &metadata); err != nil {
		return err
	}
	if metadata.Issuer != i.cfg.Issuer {
		return errors.New("oauth: the metadata are of another issuer")
	}
	if u, err := url.Parse(metadata.JWKSURI); err != nil || u.Host == "" || u.Scheme != "https" && !i.cfg.DevMode {
		return errors.New("oauth: jwks_uri of the issuer is not an https address")
	}
	if document, err = i.get(ctx, metadata.JWKSURI); err != nil {
		return err
	}
	keys, err := jose.ParseKeySet(document, maxRemoteKeys)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.fetched = keys, now
	return nil
}

// get fetches a document.
func (i *remoteIssuer) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "identity") // the limit of the body is that of the wire
	resp, err := i.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("oauth: %s: status %d", address, resp.StatusCode)
	}
	return io.ReadAll(resp.Body)
}
