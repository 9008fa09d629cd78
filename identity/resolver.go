package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/lookup"
)

// What a resolver does where its ResolverConfig says nothing.
const (
	// DefaultStaleTTL is how long a result is used without asking again.
	DefaultStaleTTL = time.Hour
	// DefaultMaxTTL is how long a result may be used at all.
	DefaultMaxTTL = 24 * time.Hour
	// DefaultErrorTTL is how long a failure is remembered.
	DefaultErrorTTL = time.Minute
	// DefaultCacheSize is how many DIDs, and how many handles, are remembered.
	DefaultCacheSize = 20_000
	// DefaultResolveTimeout bounds one fetch of a document or one question to
	// DNS or a web server.
	DefaultResolveTimeout = 3 * time.Second
)

const (
	// cacheEntryBytes is the memory for documents per entry of CacheSize.
	// Usual documents are around 1 KiB.
	cacheEntryBytes = 4 << 10
	// minRecheck is the least age at which a document and a handle that
	// contradict each other are fetched again.
	minRecheck = 5 * time.Second
)

// ErrUnsupportedDID says that a DID is of a method or form that atproto does
// not use. It also matches indigo's ErrDIDResolutionFailed.
var ErrUnsupportedDID = fmt.Errorf("%w: unsupported DID", atid.ErrDIDResolutionFailed)

// TXTResolver looks up DNS TXT records; *net.Resolver is one. A name that does
// not exist is a *net.DNSError with IsNotFound.
type TXTResolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// ResolverConfig configures a Resolver; its zero value works.
type ResolverConfig struct {
	// Transport fetches did:web documents and /.well-known/atproto-did. Nil
	// means NewTransport of the zero config.
	Transport http.RoundTripper
	// PLC resolves did:plc. Nil means the directory at DefaultPLCURL over
	// Transport.
	PLC *PLCClient
	// DNS answers for handles. Nil means net.DefaultResolver.
	DNS TXTResolver
	// BackupDNS are asked in turn about handles that neither DNS nor a web
	// server knows. Nil means none.
	BackupDNS []TXTResolver
	// AllowPrivate is dev mode: did:web:localhost, with or without a port, is
	// resolved over plain http. The Transport must allow that too.
	AllowPrivate bool
	// StaleTTL is the age from which a result is renewed in the background
	// when it is used. Zero means DefaultStaleTTL.
	StaleTTL time.Duration
	// MaxTTL is the age from which a result is not used any more. Zero means
	// DefaultMaxTTL. It must not be below StaleTTL.
	MaxTTL time.Duration
	// ErrorTTL is how long a failure is remembered; negative means not at
	// all. Zero means DefaultErrorTTL.
	ErrorTTL time.Duration
	// CacheSize is the number of DIDs, and of handles, that are remembered.
	// Documents of unusual size count more than once. Zero means
	// DefaultCacheSize.
	CacheSize int
	// Timeout bounds one fetch or DNS question. Zero means
	// DefaultResolveTimeout.
	Timeout time.Duration
	// Clock gives the time for the caches; nil means time.Now.
	Clock func() time.Time
}

// Resolver looks up DIDs and handles and remembers the results. It implements
// indigo's Directory and Resolver, and is safe for concurrent use.
//
// Fetches belong to the resolver, not to the call that began them: equal
// lookups share one, and a caller that gives up does not spoil it for others.
// A result older than StaleTTL is still returned, while it is renewed behind
// the scenes; one older than MaxTTL is fetched while the caller waits. A
// failure to renew keeps the old result until MaxTTL, unless the answer is
// that the identity does not exist.
//
// The maps and slices inside returned values are shared: do not change them.
type Resolver struct {
	// Fixed at creation.
	plc          *PLCClient
	documents    *http.Client // did:web
	wellKnown    *http.Client // /.well-known/atproto-did
	dns          TXTResolver
	backupDNS    []TXTResolver
	allowPrivate bool
	errorTTL     time.Duration
	timeout      time.Duration
	clock        func() time.Time

	dids    *lookup.Cache[syntax.DID, *document]
	handles *lookup.Cache[syntax.Handle, syntax.DID]
}

var (
	_ atid.Directory = (*Resolver)(nil)
	_ atid.Resolver  = (*Resolver)(nil)
)

// document is one resolved DID document.
type document struct {
	raw      json.RawMessage
	doc      *atid.DIDDocument
	identity atid.Identity // Handle is handle.invalid
	declared syntax.Handle // normalised; empty if none
}

// NewResolver returns a resolver. It does no I/O and starts no goroutine.
func NewResolver(cfg ResolverConfig) (*Resolver, error) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		unset time.Duration
	}{
		{"StaleTTL", &cfg.StaleTTL, DefaultStaleTTL},
		{"MaxTTL", &cfg.MaxTTL, DefaultMaxTTL},
		{"Timeout", &cfg.Timeout, DefaultResolveTimeout},
	} {
		if *d.value < 0 {
			return nil, fmt.Errorf("identity: ResolverConfig.%s is negative", d.name)
		}
		if *d.value == 0 {
			*d.value = d.unset
		}
	}
	if cfg.MaxTTL < cfg.StaleTTL {
		return nil, errors.New("identity: ResolverConfig.MaxTTL is below StaleTTL")
	}
	if cfg.ErrorTTL == 0 {
		cfg.ErrorTTL = DefaultErrorTTL
	}
	if cfg.CacheSize < 0 {
		return nil, errors.New("identity: ResolverConfig.CacheSize is negative")
	}
	if cfg.CacheSize == 0 {
		cfg.CacheSize = DefaultCacheSize
	}
	if cfg.Transport == nil {
		cfg.Transport = NewTransport(TransportConfig{})
	}
	if cfg.PLC == nil {
		plc, err := NewPLCClient(DefaultPLCURL, NewClient(cfg.Transport, ClientLimits{MaxBody: MaxPLCBody}))
		if err != nil {
			return nil, err
		}
		cfg.PLC = plc
	}
	if cfg.DNS == nil {
		cfg.DNS = net.DefaultResolver
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	r := &Resolver{
		plc:          cfg.PLC,
		documents:    NewClient(cfg.Transport, ClientLimits{Timeout: cfg.Timeout, MaxBody: MaxDocumentBytes}),
		wellKnown:    NewClient(cfg.Transport, ClientLimits{Timeout: cfg.Timeout, MaxBody: maxWellKnownBytes, Redirects: MaxHandleRedirects}),
		dns:          cfg.DNS,
		backupDNS:    cfg.BackupDNS,
		allowPrivate: cfg.AllowPrivate,
		errorTTL:     cfg.ErrorTTL,
		timeout:      cfg.Timeout,
		clock:        cfg.Clock,
	}
	r.dids = lookup.New(lookup.Config[syntax.DID, *document]{
		Fetch: r.fetchDocument, NotFound: atid.ErrDIDNotFound,
		Cost:     func(d *document) int { return 2 * len(d.raw) }, // raw, and parsed about the same
		StaleTTL: cfg.StaleTTL, MaxTTL: cfg.MaxTTL, ErrorTTL: cfg.ErrorTTL, Clock: cfg.Clock,
		MaxEntries: cfg.CacheSize, MaxBytes: cfg.CacheSize * cacheEntryBytes,
	})
	r.handles = lookup.New(lookup.Config[syntax.Handle, syntax.DID]{
		Fetch: r.fetchHandle, NotFound: atid.ErrHandleNotFound,
		Cost:     func(did syntax.DID) int { return len(did) },
		StaleTTL: cfg.StaleTTL, MaxTTL: cfg.MaxTTL, ErrorTTL: cfg.ErrorTTL, Clock: cfg.Clock,
		MaxEntries: cfg.CacheSize, MaxBytes: cfg.CacheSize * cacheEntryBytes,
	})
	return r, nil
}

// LookupDID implements indigo's Directory. The handle is verified in both
// directions; if that fails it is handle.invalid and the lookup succeeds.
func (r *Resolver) LookupDID(ctx context.Context, did syntax.DID) (*atid.Identity, error) {
	if err := r.checkDID(did); err != nil {
		return nil, err
	}
	d, err := r.dids.Get(ctx, did)
	if err != nil {
		return nil, err
	}
	return r.verified(ctx, d.Value, r.handles.Get)
}

// LookupHandle implements indigo's Directory. It fails if the handle does not
// lead to a DID, or that DID's document does not declare the handle.
func (r *Resolver) LookupHandle(ctx context.Context, handle syntax.Handle) (*atid.Identity, error) {
	handle, err := checkHandle(handle)
	if err != nil {
		return nil, err
	}
	h, err := r.handles.Get(ctx, handle)
	if err != nil {
		return nil, err
	}
	if err := r.checkDID(h.Value); err != nil {
		return nil, err
	}
	d, err := r.dids.Get(ctx, h.Value)
	if err != nil {
		return nil, err
	}
	if d.Value.declared != handle && r.mayBeOutdated(d.At) {
		if d, err = r.dids.Share(ctx, h.Value); err != nil {
			return nil, err
		}
	}
	switch d.Value.declared {
	case handle:
		ident := d.Value.identity
		ident.Handle = handle
		return &ident, nil
	case "":
		return nil, fmt.Errorf("%w: %s", atid.ErrHandleNotDeclared, h.Value)
	}
	return nil, fmt.Errorf("%w: %s declares %s, not %s", atid.ErrHandleMismatch, h.Value, d.Value.declared, handle)
}

// Lookup implements indigo's Directory for either kind of identifier.
func (r *Resolver) Lookup(ctx context.Context, id syntax.AtIdentifier) (*atid.Identity, error) {
	if did, err := id.AsDID(); err == nil {
		return r.LookupDID(ctx, did)
	}
	if handle, err := id.AsHandle(); err == nil {
		return r.LookupHandle(ctx, handle)
	}
	return nil, fmt.Errorf("%w: %q is neither a DID nor a handle", atid.ErrInvalidHandle, id)
}

// Purge implements indigo's Directory: the next lookup of the identifier
// fetches anew. Purging a DID also forgets the handle that it was known to
// declare. A fetch that is under way does not bring the old result back.
func (r *Resolver) Purge(_ context.Context, id syntax.AtIdentifier) error {
	if did, err := id.AsDID(); err == nil {
		if r.checkDID(did) != nil {
			return nil // never resolved, so never remembered
		}
		if d, ok := r.dids.Peek(did); ok && d.declared != "" {
			r.handles.Forget(d.declared)
		}
		r.dids.Forget(did)
		return nil
	}
	handle, err := syntax.ParseHandle(id.String())
	if err != nil {
		return fmt.Errorf("%w: %q is neither a DID nor a handle", atid.ErrInvalidHandle, id)
	}
	r.handles.Forget(handle.Normalize())
	return nil
}

// Refresh fetches a DID document and its handle now, whatever the caches hold
// or wait for, and replaces what they held. Call it after a change of one's own.
func (r *Resolver) Refresh(ctx context.Context, did syntax.DID) (*atid.Identity, error) {
	if err := r.checkDID(did); err != nil {
		return nil, err
	}
	d, err := r.dids.Refresh(ctx, did)
	if err != nil {
		return nil, err
	}
	return r.verified(ctx, d.Value, r.handles.Refresh)
}

// Wait blocks until no renewal runs in the background. New lookups may start
// more.
func (r *Resolver) Wait() {
	r.dids.Wait()
	r.handles.Wait()
}

// verified returns a copy of the document's identity with its handle, if that
// leads back to the DID.
func (r *Resolver) verified(ctx context.Context, d *document, get func(context.Context, syntax.Handle) (lookup.Result[syntax.DID], error)) (*atid.Identity, error) {
	ident := d.identity
	if d.declared == "" {
		return &ident, nil
	}
	h, err := get(ctx, d.declared)
	if err == nil && h.Value != ident.DID && r.mayBeOutdated(h.At) {
		h, err = r.handles.Share(ctx, d.declared)
	}
	if err == nil && h.Value == ident.DID {
		ident.Handle = d.declared
	} else if ctx.Err() != nil {
		return nil, ctx.Err() // not a verdict on the handle
	}
	return &ident, nil
}

// mayBeOutdated reports whether a result that contradicts another is old enough
// to ask again.
func (r *Resolver) mayBeOutdated(at time.Time) bool {
	return r.clock().Sub(at) >= max(r.errorTTL, minRecheck)
}
