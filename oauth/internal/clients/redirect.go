package clients

import (
	"errors"
	"slices"
	"strings"
)

// loopbackHosts are the hosts that a redirect URI with plain http may have.
// Names, localhost among them, are not: who answers them is the resolver's
// business.
var loopbackHosts = []string{"127.0.0.1", "[::1]"}

// loopbackURI is an http URL on a loopback address.
type loopbackURI struct {
	host string // one of loopbackHosts
	port string // empty if there is none
	rest string // path and query, at least a slash
}

// parseLoopbackURI reads an http URL on a loopback address, with any port.
func parseLoopbackURI(s string) (loopbackURI, error) {
	if err := checkChars(s); err != nil {
		return loopbackURI{}, err
	}
	tail, ok := strings.CutPrefix(s, "http://")
	if !ok {
		return loopbackURI{}, errors.New("it does not begin with http://")
	}
	for _, host := range loopbackHosts {
		rest, ok := strings.CutPrefix(tail, host)
		if !ok {
			continue
		}
		u := loopbackURI{host: host, rest: "/"}
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			rest, u.rest = rest[:i], rest[i:]
		}
		if rest == "" {
			return u, nil
		}
		if u.port, ok = strings.CutPrefix(rest, ":"); !ok {
			break
		}
		return u, checkPort(u.port, "")
	}
	return loopbackURI{}, errors.New("plain http leads elsewhere than to 127.0.0.1 or [::1]")
}

// checkRedirect checks a redirect URI that the document of a client declares.
func (c *Client) checkRedirect(uri string) error {
	if err := checkChars(uri); err != nil {
		return err
	}
	native := c.Metadata.ApplicationType == applicationNative
	scheme, rest, ok := strings.Cut(uri, ":")
	switch {
	case !ok:
		return errors.New("it has no scheme")
	case scheme == "https":
		u, err := parseWebURL(uri)
		if err != nil {
			return err
		}
		if native && c.Class == Discoverable && u.origin() != c.url.origin() {
			return errors.New("a native client redirects to the origin of its client id")
		}
		return nil
	case scheme == "http":
		u, err := parseLoopbackURI(uri)
		switch {
		case err != nil:
			return err
		case !native:
			return errors.New("plain http is for native clients")
		case u.port == "80":
			return errors.New("it writes out the default port")
		}
		return nil
	case !native:
		return errors.New("its scheme is not https")
	}
	return c.checkPrivateUse(scheme, rest)
}

// checkPrivateUse checks a redirect URI with a scheme of the app's own, RFC 8252
// section 7.1: the host of the client id backwards, one slash, a path.
func (c *Client) checkPrivateUse(scheme, rest string) error {
	labels := strings.Split(scheme, ".")
	slices.Reverse(labels)
	host := strings.Join(labels, ".")
	switch {
	case checkHost(host) != nil:
		return errors.New("its scheme is not a host name backwards")
	case c.Class != Registered && host != c.url.host:
		return errors.New("its scheme is not the host of the client id backwards")
	case !strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, "//"):
		return errors.New("its scheme is not followed by one slash")
	case strings.Contains(rest, "?"):
		return errors.New("a private-use URI has no query")
	}
	return nil
}

// MatchRedirect reports whether a client may have its answers sent to uri: it
// is one of the client's redirect URIs, byte for byte. On loopback addresses
// the port may be another, since apps get theirs from the system: any port for
// [Loopback] clients, and for native ones if the declared URI has none.
func (c *Client) MatchRedirect(uri string) bool {
	if slices.Contains(c.Metadata.RedirectURIs, uri) {
		return true
	}
	if c.Metadata.ApplicationType != applicationNative {
		return false
	}
	asked, err := parseLoopbackURI(uri)
	if err != nil {
		return false
	}
	for _, declared := range c.Metadata.RedirectURIs {
		d, err := parseLoopbackURI(declared)
		if err == nil && d.host == asked.host && d.rest == asked.rest && (d.port == "" || c.Class == Loopback) {
			return true
		}
	}
	return false
}
