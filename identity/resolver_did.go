package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ResolveDID implements indigo's Resolver: the parsed document, from the cache
// if it is there. Handles are not verified.
func (r *Resolver) ResolveDID(ctx context.Context, did syntax.DID) (*atid.DIDDocument, error) {
	d, err := r.document(ctx, did)
	if err != nil {
		return nil, err
	}
	return d.doc, nil
}

// ResolveDIDRaw implements indigo's Resolver: the document as it was served,
// which parses and is of this DID.
func (r *Resolver) ResolveDIDRaw(ctx context.Context, did syntax.DID) (json.RawMessage, error) {
	d, err := r.document(ctx, did)
	if err != nil {
		return nil, err
	}
	return d.raw, nil
}

func (r *Resolver) document(ctx context.Context, did syntax.DID) (*document, error) {
	if err := r.checkDID(did); err != nil {
		return nil, err
	}
	d, err := r.dids.Get(ctx, did)
	return d.Value, err
}

// checkDID refuses what can never resolve, before any cache or request.
func (r *Resolver) checkDID(did syntax.DID) error {
	switch {
	case isPLC(did):
		return nil
	case strings.HasPrefix(string(did), plcPrefix):
		return fmt.Errorf("%w: malformed did:plc", atid.ErrDIDNotFound)
	}
	_, err := r.didWebURL(did)
	return err
}

// fetchDocument gets and parses a document. Every error matches one of indigo's
// sentinels.
func (r *Resolver) fetchDocument(ctx context.Context, did syntax.DID) (*document, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var raw []byte
	var err error
	if isPLC(did) {
		raw, err = r.plc.Document(ctx, did)
	} else {
		raw, err = r.fetchDIDWeb(ctx, did)
	}
	var doc *atid.DIDDocument
	if err == nil {
		doc, err = ParseDocument(did, raw)
	}
	if err != nil {
		if !errors.Is(err, atid.ErrDIDNotFound) && !errors.Is(err, atid.ErrDIDResolutionFailed) {
			err = fmt.Errorf("%w: %w", atid.ErrDIDResolutionFailed, err)
		}
		return nil, err
	}
	d := &document{raw: raw, doc: doc, identity: atid.ParseIdentity(doc)}
	if handle, err := d.identity.DeclaredHandle(); err == nil && !handle.IsInvalidHandle() {
		d.declared = handle
	}
	return d, nil
}

func (r *Resolver) fetchDIDWeb(ctx context.Context, did syntax.DID) ([]byte, error) {
	url, err := r.didWebURL(did)
	if err != nil {
		return nil, err
	}
	body, status, err := fetchBody(ctx, r.documents, url, "application/did+ld+json, application/json")
	switch {
	case isNoSuchHost(err):
		return nil, fmt.Errorf("%w: %w", atid.ErrDIDNotFound, err)
	case err != nil:
		return nil, err
	case status == http.StatusNotFound || status == http.StatusGone:
		return nil, fmt.Errorf("%w: %s answered %d", atid.ErrDIDNotFound, url, status)
	case status != http.StatusOK:
		return nil, fmt.Errorf("%w: %s answered %d", atid.ErrDIDResolutionFailed, url, status)
	}
	return body, nil
}

// didWebURL returns where the document of a did:web is. atproto allows host
// names only: no paths, and no ports except on localhost in development.
func (r *Resolver) didWebURL(did syntax.DID) (string, error) {
	id, ok := strings.CutPrefix(string(did), "did:web:")
	if !ok {
		return "", fmt.Errorf("%w: method of %q", ErrUnsupportedDID, did)
	}
	if r.allowPrivate {
		host, port, hasPort := strings.Cut(strings.ToLower(id), "%3a")
		if host == "localhost" {
			if !hasPort {
				return "http://localhost/.well-known/did.json", nil
			}
			if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
				return "http://localhost:" + strconv.FormatUint(n, 10) + "/.well-known/did.json", nil
			}
		}
	}
	host, err := syntax.ParseHandle(id)
	if err != nil {
		return "", fmt.Errorf("%w: %q is not did:web and a host name", ErrUnsupportedDID, did)
	}
	if !host.AllowedTLD() {
		return "", fmt.Errorf("%w: %q has a reserved top-level domain", ErrUnsupportedDID, did)
	}
	return "https://" + host.Normalize().String() + "/.well-known/did.json", nil
}

// fetchBody gets a URL. The body is read, up to the client's limit, only if the
// status is 200.
func fetchBody(ctx context.Context, client *http.Client, url, accept string) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", accept)
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, resp.StatusCode, nil
	}
	body, err := io.ReadAll(resp.Body)
	return body, resp.StatusCode, err
}

func isNoSuchHost(err error) bool {
	failed, ok := errors.AsType[*net.DNSError](err)
	return ok && failed.IsNotFound
}
