package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

const (
	// MaxHandleRedirects is how many redirects /.well-known/atproto-did may
	// take. Each hop is https and guarded like the first request.
	MaxHandleRedirects = 3
	// maxWellKnownBytes is the longest body of /.well-known/atproto-did: the
	// longest DID is 2 KiB.
	maxWellKnownBytes = 4 << 10
	// maxTXTRecords is how many TXT records of one name are looked at.
	maxTXTRecords = 64
)

// ResolveHandle implements indigo's Resolver: the DID that a handle leads to,
// from the cache if it is there. Whether the DID declares the handle is not
// checked.
func (r *Resolver) ResolveHandle(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	handle, err := checkHandle(handle)
	if err != nil {
		return "", err
	}
	h, err := r.handles.Get(ctx, handle)
	return h.Value, err
}

// VerifyHandle asks DNS and then the web server, past the cache, whether handle
// leads to did. If it leads elsewhere the error matches indigo's
// ErrHandleMismatch; if nowhere, ErrHandleNotFound or ErrHandleResolutionFailed.
func (r *Resolver) VerifyHandle(ctx context.Context, handle syntax.Handle, did syntax.DID) error {
	handle, err := checkHandle(handle)
	if err != nil {
		return err
	}
	h, err := r.handles.Refresh(ctx, handle)
	if err != nil {
		return err
	}
	if h.Value != did {
		return fmt.Errorf("%w: %s leads to %s, not %s", atid.ErrHandleMismatch, handle, h.Value, did)
	}
	return nil
}

// checkHandle normalises a handle and refuses what can never resolve.
func checkHandle(handle syntax.Handle) (syntax.Handle, error) {
	h, err := syntax.ParseHandle(string(handle))
	if err != nil || h.IsInvalidHandle() {
		return "", fmt.Errorf("%w: %q", atid.ErrInvalidHandle, handle)
	}
	if !h.AllowedTLD() {
		return "", fmt.Errorf("%w: %q", atid.ErrHandleReservedTLD, handle)
	}
	return h.Normalize(), nil
}

// fetchHandle asks DNS, then the web server, then the backup name servers. DNS
// goes first and its answer counts, even if the web server would say something
// else; contradictory DNS records are final too.
func (r *Resolver) fetchHandle(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	name := "_atproto." + handle.String()
	did, dnsErr := r.askDNS(ctx, r.dns, name)
	if dnsErr == nil || errors.Is(dnsErr, errAmbiguousTXT) {
		return did, dnsErr
	}
	did, webErr := r.askWebServer(ctx, handle)
	if webErr == nil {
		return did, nil
	}
	for _, dns := range r.backupDNS {
		did, err := r.askDNS(ctx, dns, name)
		if err == nil || errors.Is(err, errAmbiguousTXT) {
			return did, err
		}
	}
	// "Not found" only if both said so: a failure may pass.
	if errors.Is(webErr, atid.ErrHandleNotFound) && !errors.Is(dnsErr, atid.ErrHandleNotFound) {
		return "", dnsErr
	}
	return "", webErr
}

// askDNS asks for the DID in the TXT records of a name.
func (r *Resolver) askDNS(ctx context.Context, dns TXTResolver, name string) (syntax.DID, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	records, err := dns.LookupTXT(ctx, name)
	if isNoSuchHost(err) {
		return "", fmt.Errorf("%w: no DNS record %s", atid.ErrHandleNotFound, name)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", atid.ErrHandleResolutionFailed, err)
	}
	return parseTXT(records)
}

// errAmbiguousTXT says that DNS names several DIDs for a handle, which the
// specification wants to fail.
var errAmbiguousTXT = fmt.Errorf("%w: several DIDs in DNS", atid.ErrHandleResolutionFailed)

// parseTXT finds the one DID in the TXT records of a handle. Records that do
// not begin with "did=" are somebody else's.
func parseTXT(records []string) (syntax.DID, error) {
	if len(records) > maxTXTRecords {
		return "", fmt.Errorf("%w: more than %d TXT records", atid.ErrHandleResolutionFailed, maxTXTRecords)
	}
	found := ""
	for _, record := range records {
		value, ok := strings.CutPrefix(record, "did=")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		if found != "" && found != value {
			return "", errAmbiguousTXT
		}
		found = value
	}
	if found == "" {
		return "", fmt.Errorf("%w: no did= record", atid.ErrHandleNotFound)
	}
	did, err := syntax.ParseDID(found)
	if err != nil {
		return "", fmt.Errorf("%w: TXT record: %w", atid.ErrHandleResolutionFailed, err)
	}
	return did, nil
}

func (r *Resolver) askWebServer(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	url := "https://" + handle.String() + "/.well-known/atproto-did"
	body, status, err := fetchBody(ctx, r.wellKnown, url, "text/plain")
	switch {
	case isNoSuchHost(err):
		return "", fmt.Errorf("%w: %w", atid.ErrHandleNotFound, err)
	case err != nil:
		return "", fmt.Errorf("%w: %w", atid.ErrHandleResolutionFailed, err)
	case status == http.StatusNotFound || status == http.StatusGone:
		return "", fmt.Errorf("%w: %s answered %d", atid.ErrHandleNotFound, url, status)
	case status != http.StatusOK:
		return "", fmt.Errorf("%w: %s answered %d", atid.ErrHandleResolutionFailed, url, status)
	}
	did, err := syntax.ParseDID(strings.TrimSpace(string(body)))
	if err != nil {
		return "", fmt.Errorf("%w: %s did not answer with a DID", atid.ErrHandleResolutionFailed, url)
	}
	return did, nil
}

// Nameserver returns a resolver that asks only the name server at addr,
// "host:port" or "host" for port 53: an entry for ResolverConfig.BackupDNS.
func Nameserver(addr string) TXTResolver {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "53")
	}
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: DialTimeout}).DialContext(ctx, network, addr)
		},
	}
}
