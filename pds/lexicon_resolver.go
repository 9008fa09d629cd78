package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Bounds of resolving one lexicon.
const (
	lexiconFetchTime = 5 * time.Second // one request
	// MaxLexiconBytes is the largest lexicon that is taken from the network, as
	// JSON.
	MaxLexiconBytes = 256 << 10
)

// ErrLexiconNotFound says that nobody publishes a lexicon: its authority has no
// DNS record, or its repository has no such record.
var ErrLexiconNotFound = errors.New("pds: no such lexicon")

const lexiconCollection = "com.atproto.lexicon.schema"

// LexiconDirectory resolves the authorities of lexicons besides identities;
// *[identity.Resolver] does.
type LexiconDirectory interface {
	Directory

	// LexiconAuthority returns the DID that publishes the lexicon of an NSID, or
	// an error that matches identity.ErrNoLexiconAuthority.
	LexiconAuthority(ctx context.Context, nsid syntax.NSID) (syntax.DID, error)
}

// LexiconResolverConfig says how a [LexiconResolver] works.
type LexiconResolverConfig struct {
	// Directory finds authorities and their servers. Required.
	Directory LexiconDirectory

	// Store, if set, holds repositories whose lexicons are read there, not over
	// the network.
	Store storage.Store

	// Transport is used for requests. Default: identity.NewTransport with its
	// guard against private addresses.
	Transport http.RoundTripper

	// DevMode allows plain http.
	DevMode bool
}

// LexiconResolver finds lexicons that their authorities publish: the NSID's
// authority names a DID by DNS, the DID a server, and its repository has the
// lexicon as a record, whose proof is verified. It is an oauth.Lexicons, and
// safe for concurrent use. It remembers nothing.
type LexiconResolver struct {
	cfg    LexiconResolverConfig // fixed at creation, like the following field
	client *http.Client
}

// NewLexiconResolver returns a resolver. It does no network I/O.
func NewLexiconResolver(cfg LexiconResolverConfig) (*LexiconResolver, error) {
	if cfg.Directory == nil {
		return nil, errors.New("pds: LexiconResolverConfig.Directory: required")
	}
	return &LexiconResolver{cfg: cfg, client: identity.NewClient(cfg.Transport, identity.ClientLimits{
		Timeout: lexiconFetchTime, MaxBody: repo.MaxProofBytes,
	})}, nil
}

// PermissionSet returns the lexicon of a permission set, see
// [LexiconResolver.Resolve]. Whether it is one is up to the caller.
func (r *LexiconResolver) PermissionSet(ctx context.Context, nsid syntax.NSID) ([]byte, error) {
	return r.Resolve(ctx, nsid)
}

// Resolve returns a lexicon as JSON: a schema file of version 1 whose id is the
// NSID, of at most [MaxLexiconBytes]; it is not checked further. If there is
// none the error matches [ErrLexiconNotFound]; after other errors it may be
// found later.
func (r *LexiconResolver) Resolve(ctx context.Context, nsid syntax.NSID) (json.RawMessage, error) {
	did, err := r.cfg.Directory.LexiconAuthority(ctx, nsid)
	if errors.Is(err, identity.ErrNoLexiconAuthority) {
		return nil, fmt.Errorf("%w: %w", ErrLexiconNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	value, local, err := r.local(ctx, did, nsid)
	if err == nil && !local {
		value, err = r.fetch(ctx, did, nsid)
	}
	if err != nil {
		return nil, err
	}
	return checkLexicon(nsid, value)
}

// local reads a lexicon from the store. It reports whether the repository is
// there.
func (r *LexiconResolver) local(ctx context.Context, did syntax.DID, nsid syntax.NSID) (value []byte, local bool, err error) {
	if r.cfg.Store == nil {
		return nil, false, nil
	}
	err = r.cfg.Store.View(ctx, func(tx storage.Tx) error {
		a, err := tx.Account(did)
		if errors.Is(err, storage.ErrNotFound) || err == nil && a.Pending {
			return nil
		}
		if err != nil {
			return err
		}
		local = true
		rec, err := tx.Record(did, lexiconCollection, syntax.RecordKey(nsid))
		if errors.Is(err, storage.ErrNotFound) || err == nil && (!a.Active() || rec.TakedownRef != "") {
			return fmt.Errorf("%w: %s of %s", ErrLexiconNotFound, nsid, did)
		}
		value = rec.Value
		return err
	})
	return value, local, err
}

// fetch gets a lexicon from the server of its authority, with its proof.
func (r *LexiconResolver) fetch(ctx context.Context, did syntax.DID, nsid syntax.NSID) ([]byte, error) {
	id, err := r.cfg.Directory.LookupDID(ctx, did)
	if err != nil {
		return nil, err
	}
	host, err := serviceURL(id.PDSEndpoint(), r.cfg.DevMode)
	if err != nil {
		return nil, fmt.Errorf("server of %s: %w", did, err)
	}
	car, err := r.fetchProof(ctx, host, did, nsid)
	if err != nil {
		return nil, err
	}
	value, err := verifyLexicon(car, id, nsid)
	if errors.Is(err, repo.ErrInvalidSignature) {
		// The key may be a new one.
		if id, err = r.cfg.Directory.Refresh(ctx, did); err != nil {
			return nil, err
		}
		value, err = verifyLexicon(car, id, nsid)
	}
	return value, err
}

func (r *LexiconResolver) fetchProof(ctx context.Context, host string, did syntax.DID, nsid syntax.NSID) ([]byte, error) {
	query := url.Values{"did": {did.String()}, "collection": {lexiconCollection}, "rkey": {nsid.String()}}
	target := host + xrpc.Prefix + "com.atproto.sync.getRecord?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", carType)
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return body, nil
	}
	var e struct {
		Error string `json:"error"`
	}
	if resp.StatusCode < http.StatusInternalServerError && json.Unmarshal(body, &e) == nil && (e.Error == "RecordNotFound" || e.Error == "RepoNotFound") {
		return nil, fmt.Errorf("%w: %s of %s: %s", ErrLexiconNotFound, nsid, did, e.Error)
	}
	return nil, fmt.Errorf("pds: lexicon %s: %s answered %d", nsid, host, resp.StatusCode)
}

func verifyLexicon(car []byte, id *atid.Identity, nsid syntax.NSID) ([]byte, error) {
	key, err := id.PublicKey()
	if err != nil {
		return nil, err
	}
	value, err := repo.VerifyProof(car, id.DID, key, lexiconCollection+"/"+nsid.String())
	if err == nil && value == nil {
		err = fmt.Errorf("%w: %s is proven absent from %s", ErrLexiconNotFound, nsid, id.DID)
	}
	return value, err
}

// checkLexicon returns the record of a lexicon as JSON.
func checkLexicon(nsid syntax.NSID, value []byte) (json.RawMessage, error) {
	rec, err := repo.RecordFromCBOR(value)
	if err != nil {
		return nil, fmt.Errorf("pds: lexicon %s: %w", nsid, err)
	}
	version, _ := rec.Value["lexicon"].(int64)
	if rec.Type != lexiconCollection || rec.Value["id"] != nsid.String() || version != 1 {
		return nil, fmt.Errorf("pds: lexicon %s: the record is something else", nsid)
	}
	text, err := repo.CBORToJSON(nil, value)
	if err != nil {
		return nil, err
	}
	if len(text) > MaxLexiconBytes {
		return nil, fmt.Errorf("pds: lexicon %s: more than %d bytes", nsid, MaxLexiconBytes)
	}
	return text, nil
}
