package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// What a resolver does where its configuration says nothing.
const (
	// DefaultTTL is how long a valid document is used.
	DefaultTTL = 10 * time.Minute
	// DefaultFailureTTL is how long a failure is remembered.
	DefaultFailureTTL = 30 * time.Second
	// DefaultCacheEntries is how many clients, and as many key sets, are kept.
	DefaultCacheEntries = 10_000
	// DefaultCacheBytes is how much memory about they take, each.
	DefaultCacheBytes = 64 << 20
	// DefaultFetches is how many fetches run at a time.
	DefaultFetches = 32
	// DefaultFetchesPerHost is how many of them go to one host.
	DefaultFetchesPerHost = 2
)

// Limits of a fetch.
const (
	// MaxDocument is how many bytes a metadata document or a key set may have.
	MaxDocument = 64 << 10
	// FetchTimeout bounds a fetch from its start to the end of the body.
	FetchTimeout = 10 * time.Second
	// RenewEvery is how often an assertion with an unknown key makes the keys of
	// a client be fetched before their time.
	RenewEvery = time.Minute
)

// Config configures a [Resolver]. The zero value is ready for use.
type Config struct {
	// Transport makes the requests. Nil means identity.NewTransport with its
	// zero configuration. Anybody can make a server fetch from anywhere: it must
	// refuse addresses that are not public.
	Transport http.RoundTripper
	// Registered are the metadata documents of clients that are known from the
	// start, as JSON. The same rules hold for them, except that redirect URIs
	// and client_uri may lead to any public host. Their ids do not begin with
	// "http://" or "https://".
	Registered []json.RawMessage
	// Algs are the algorithms that client assertions may be signed with. Nil
	// means ES256.
	Algs []string
	// NoLoopback refuses loopback clients.
	NoLoopback bool
	// TTL is how long a valid document is used. Zero means DefaultTTL.
	TTL time.Duration
	// FailureTTL is how long a failure to get a document is remembered. Zero
	// means DefaultFailureTTL.
	FailureTTL time.Duration
	// CacheEntries bounds the cache of clients, and that of key sets. Zero means
	// DefaultCacheEntries.
	CacheEntries int
	// CacheBytes bounds each of the caches, in bytes. Zero means
	// DefaultCacheBytes.
	CacheBytes int
	// Fetches is how many fetches run at a time. Zero means DefaultFetches.
	Fetches int
	// FetchesPerHost is how many of them go to one host. Zero means
	// DefaultFetchesPerHost.
	FetchesPerHost int
	// Clock returns the time. Nil means time.Now.
	Clock func() time.Time
}

// Resolver finds clients by their ids and authenticates them. It is safe for
// concurrent use. It has no background work; a fetch outlives a caller that
// leaves, by [FetchTimeout] at most.
type Resolver struct {
	// Fixed at creation.
	http       *http.Client
	gate       *gate
	registered map[string]*Client
	algs       []string
	noLoopback bool
	clock      func() time.Time

	documents *lookup[*Client]      // by client id
	keySets   *lookup[*jose.KeySet] // by URL
}

// New returns a resolver. It does no I/O; its errors name the field of the
// configuration.
func New(cfg Config) (*Resolver, error) {
	for _, field := range []struct {
		name  string
		value *int
		unset int
	}{
		{"CacheEntries", &cfg.CacheEntries, DefaultCacheEntries},
		{"CacheBytes", &cfg.CacheBytes, DefaultCacheBytes},
		{"Fetches", &cfg.Fetches, DefaultFetches},
		{"FetchesPerHost", &cfg.FetchesPerHost, DefaultFetchesPerHost},
	} {
		if *field.value < 0 {
			return nil, fmt.Errorf("clients: Config.%s is negative", field.name)
		}
		if *field.value == 0 {
			*field.value = field.unset
		}
	}
	if cfg.TTL < 0 || cfg.FailureTTL < 0 {
		return nil, errors.New("clients: Config.TTL or FailureTTL is negative")
	}
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.FailureTTL == 0 {
		cfg.FailureTTL = DefaultFailureTTL
	}
	if cfg.Algs == nil {
		cfg.Algs = []string{"ES256"}
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	r := &Resolver{
		http:       identity.NewClient(cfg.Transport, identity.ClientLimits{Timeout: FetchTimeout, MaxBody: MaxDocument}),
		gate:       newGate(cfg.Fetches, cfg.FetchesPerHost),
		registered: make(map[string]*Client),
		algs:       slices.Clone(cfg.Algs),
		noLoopback: cfg.NoLoopback,
		clock:      cfg.Clock,
	}
	for i, document := range cfg.Registered {
		c, err := newRegistered(document, r.algs)
		if err != nil {
			return nil, fmt.Errorf("clients: Config.Registered, element %d: %w", i, err)
		}
		if r.registered[c.ID] != nil {
			return nil, fmt.Errorf("clients: Config.Registered, element %d: the client id is there twice", i)
		}
		r.registered[c.ID] = c
	}
	r.documents = newLookup(cfg, r.fetchClient)
	r.keySets = newLookup(cfg, r.fetchKeys)
	return r, nil
}

func newRegistered(document []byte, algs []string) (*Client, error) {
	var named struct {
		ClientID string `json:"client_id"`
	}
	if err := jose.DecodeJSON(document, &named); err != nil {
		return nil, err
	}
	if err := checkRegisteredID(named.ClientID); err != nil {
		return nil, err
	}
	return newClient(Registered, named.ClientID, document, algs)
}

// Client returns the client with an id, fetching its metadata if they are not
// at hand. Its errors are of type *Error, or those of ctx.
func (r *Resolver) Client(ctx context.Context, id string) (*Client, error) {
	switch ClassOf(id) {
	case Loopback:
		if r.noLoopback {
			return nil, invalidClient("client_id: loopback clients are switched off")
		}
		return newLoopback(id)
	case Discoverable:
		if _, err := parseDiscoverable(id); err != nil {
			return nil, err
		}
		return r.documents.get(ctx, id)
	case Registered:
		if c := r.registered[id]; c != nil {
			return c, nil
		}
		return nil, invalidClient("client_id: there is no such client")
	}
	return nil, invalidClient("client_id: an http client id is on localhost")
}

// Known reports whether Client would answer without fetching anything. Whoever
// limits how often one address may bring new clients asks this first.
func (r *Resolver) Known(id string) bool {
	if ClassOf(id) != Discoverable {
		return true
	}
	if _, err := parseDiscoverable(id); err != nil {
		return true
	}
	return r.documents.has(id)
}

// fetchClient gets the metadata document of a discoverable client.
func (r *Resolver) fetchClient(ctx context.Context, id string) (*Client, int, error) {
	body, err := r.fetch(ctx, "the client metadata", id, "application/json")
	if err != nil {
		return nil, 0, err
	}
	c, err := newClient(Discoverable, id, body, r.algs)
	return c, len(body), err
}

// fetchKeys gets a key set.
func (r *Resolver) fetchKeys(ctx context.Context, url string) (*jose.KeySet, int, error) {
	body, err := r.fetch(ctx, "jwks_uri", url, "application/json", "application/jwk-set+json")
	if err != nil {
		return nil, 0, err
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, 0, &Error{
			Code:        CodeInvalidClientMetadata,
			Description: "jwks_uri does not lead to a set of public keys with different kid",
			Err:         err,
		}
	}
	return keys, len(body), nil
}

// fetch gets a document, whose kind is what, at a URL that is already checked.
func (r *Resolver) fetch(ctx context.Context, what, url string, mediaTypes ...string) ([]byte, error) {
	fail := func(err error, format string, args ...any) ([]byte, error) {
		return nil, &Error{Code: CodeInvalidClientMetadata, Description: what + " " + fmt.Sprintf(format, args...), Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fail(err, "is not at a valid URL")
	}
	leave, err := r.gate.enter(req.URL.Hostname())
	if err != nil {
		return nil, err
	}
	defer leave()
	req.Header.Set("Accept", mediaTypes[0])
	// Set by us, nothing is unpacked on the way: the limit of the body is that
	// of what goes over the wire.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := r.http.Do(req)
	if err != nil {
		return fail(err, "could not be fetched")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail(nil, "came with status %d, not 200", resp.StatusCode)
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(mediaTypes, mediaType) {
		return fail(err, "is not of type %s", mediaTypes[0])
	}
	if resp.Header.Get("Content-Encoding") != "" {
		return fail(nil, "came with a Content-Encoding that was not asked for")
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fail(err, "could not be read")
	}
	return body, nil
}
