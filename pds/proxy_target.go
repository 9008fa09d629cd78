package pds

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

// Names of services in DID documents.
const (
	appViewService = "bsky_appview"
	labelerService = "atproto_labeler"
	notifService   = "bsky_notif"
)

// proxyHeader names the service that a request is for.
const proxyHeader = "Atproto-Proxy"

// parseProxyHeader takes "did#service" apart.
func parseProxyHeader(text string) (upstream, error) {
	did, service, found := strings.Cut(text, "#")
	switch {
	case did == "" && found:
		return upstream{}, xrpc.InvalidRequest("no did specified in proxy header")
	case service == "":
		return upstream{}, xrpc.InvalidRequest("no service id specified in proxy header")
	case strings.Contains(service, "#"):
		return upstream{}, xrpc.InvalidRequest("invalid proxy header format")
	case strings.Contains(text, " "):
		return upstream{}, xrpc.InvalidRequest("proxy header cannot contain spaces")
	}
	parsed, err := syntax.ParseDID(did)
	switch {
	case err != nil:
		return upstream{}, errNoProxyDID(err)
	case !isFragment(service):
		return upstream{}, errNoProxyURL()
	}
	return upstream{did: parsed, service: service}, nil
}

func errNoProxyDID(cause error) error {
	return xrpc.InvalidRequest("could not resolve proxy did").WithCause(cause)
}

func errNoProxyURL() *xrpc.Error {
	return xrpc.InvalidRequest("could not resolve proxy did service url")
}

// upstreamOf returns the service that a request for a method goes to: the one
// that its header names, or that of the method's namespace. A header that names
// this server is no header. The service is not resolved yet.
func (s *Server) upstreamOf(r *http.Request, nsid string) (upstream, error) {
	values := r.Header.Values(proxyHeader)
	if len(values) > 1 {
		return upstream{}, xrpc.InvalidRequest("invalid proxy header format")
	}
	if len(values) == 1 && values[0] != "" {
		to, err := parseProxyHeader(values[0])
		if err != nil || !s.isSelf(&to) {
			return to, err
		}
	}
	to, ok := s.defaultUpstream(nsid)
	if !ok {
		return upstream{}, xrpc.InvalidRequest("No service configured for %s", nsid)
	}
	return to, nil
}

// defaultUpstream returns the service that the configuration names for a
// method. Chats are between the client and a service that it names itself.
func (s *Server) defaultUpstream(nsid string) (upstream, bool) {
	service, name := s.cfg.AppView, appViewService
	switch {
	case strings.HasPrefix(nsid, "tools.ozone."):
		service, name = s.cfg.ModService, labelerService
	case nsid == createReportNSID:
		service, name = s.cfg.ReportService, labelerService
	case strings.HasPrefix(nsid, "chat.bsky."):
		return upstream{}, false
	}
	if service.URL == "" {
		return upstream{}, false
	}
	return upstream{service.DID, name, service.URL}, true
}

// isSelf reports whether a service is this server, which passes nothing on to
// itself.
func (s *Server) isSelf(to *upstream) bool {
	return to.did == s.cfg.ServiceDID || to.url == s.public.String()
}

// resolve finds out where a service is, if that is not known yet: by the
// configuration, or by its DID document.
func (s *Server) resolve(ctx context.Context, to *upstream) error {
	if to.url != "" {
		return nil
	}
	for _, known := range []struct {
		Service
		name string
	}{
		{s.cfg.AppView, appViewService}, {s.cfg.ModService, labelerService}, {s.cfg.ReportService, labelerService},
	} {
		if known.DID == to.did && known.name == to.service && known.URL != "" {
			to.url = known.URL
			return nil
		}
	}
	id, err := s.cfg.Directory.LookupDID(ctx, to.did)
	if err != nil {
		return errNoProxyDID(err)
	}
	to.url, err = serviceURL(id.GetServiceEndpoint(to.service), s.cfg.DevMode)
	return err
}

// serviceURL returns scheme and host of an endpoint in a DID document. Plain
// http is for development.
func serviceURL(endpoint string, devMode bool) (string, error) {
	u, err := url.Parse(endpoint)
	switch {
	case endpoint == "":
		return "", errNoProxyURL()
	case err != nil:
		return "", errNoProxyURL().WithCause(err)
	case u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && devMode):
		return "", errNoProxyURL()
	}
	return (&url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}).String(), nil
}
