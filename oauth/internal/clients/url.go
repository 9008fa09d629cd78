package clients

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// MaxURL is how many bytes a client id, a redirect URI or another URL of a
// client may have.
const MaxURL = 2 << 10

const (
	maxHost  = 253 // bytes of a host name, RFC 1035
	maxLabel = 63
)

// localDomains are top-level domains that lead nowhere public: RFC 6761, and
// RFC 6762 for local.
var localDomains = []string{"local", "test", "localhost", "invalid", "example"}

// webURL is an https URL, cut at the places that rules are about. It is in the
// form that URL parsers leave alone: what all of them would change, or read in
// different ways, does not parse.
type webURL struct {
	host  string // a public host name, lower-case
	port  string // without the colon; empty if there is none
	path  string // begins with a slash, or is empty
	query string // with the question mark; empty if there is none
}

// origin is scheme, host and port.
func (u webURL) origin() string {
	if u.port == "" {
		return "https://" + u.host
	}
	return "https://" + u.host + ":" + u.port
}

// parseWebURL reads an https URL on a public host name. User names, fragments
// and written-out default ports are errors.
func parseWebURL(s string) (webURL, error) {
	if err := checkChars(s); err != nil {
		return webURL{}, err
	}
	rest, ok := strings.CutPrefix(s, "https://")
	if !ok {
		return webURL{}, errors.New("it does not begin with https://")
	}
	var u webURL
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, u.path = rest[:i], rest[i:]
	}
	if i := strings.IndexByte(u.path, '?'); i >= 0 {
		u.path, u.query = u.path[:i], u.path[i:]
	}
	switch {
	case strings.Contains(authority, "@"):
		return webURL{}, errors.New("it has a user name")
	case strings.HasPrefix(authority, "["):
		return webURL{}, errors.New("its host is an IP address")
	}
	host, port, hasPort := strings.Cut(authority, ":")
	if hasPort {
		if err := checkPort(port, "443"); err != nil {
			return webURL{}, err
		}
	}
	if err := checkHost(host); err != nil {
		return webURL{}, err
	}
	u.host, u.port = host, port
	return u, nil
}

// checkChars refuses what does not stand in a URL as it is, and fragments.
func checkChars(s string) error {
	if len(s) > MaxURL {
		return errors.New("it is too long")
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0:
			return errors.New("it has a character that must be percent-encoded")
		case c == '#':
			return errors.New("it has a fragment")
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return errors.New("it has malformed percent-encoding")
			}
		}
	}
	return nil
}

// checkPort wants a port as URL parsers write it, and not the scheme's own.
func checkPort(port, defaultPort string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return errors.New("its port is not valid")
	}
	if port == defaultPort {
		return errors.New("it writes out the default port")
	}
	return nil
}

// checkHost wants a lower-case host name that can lead to a public host: of two
// labels or more, no IP address in any notation, not under a local domain.
func checkHost(host string) error {
	if host == "localhost" {
		return errors.New("its host is localhost")
	}
	if len(host) > maxHost {
		return errors.New("its host name is too long")
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return errors.New("its host is not a lower-case host name")
		}
	}
	last := labels[len(labels)-1]
	switch {
	case len(labels) < 2:
		return errors.New("its host has no domain")
	case isNumber(last):
		return errors.New("its host is an IP address")
	case slices.Contains(localDomains, last):
		return errors.New("its host is under a local domain")
	}
	return nil
}

// isLabel reports whether s is a label of letters, digits and inner hyphens.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// isNumber reports whether URL parsers take s, as the last label of a host, for
// the end of an IPv4 address: decimal, octal or hexadecimal.
func isNumber(s string) bool {
	digits, hex := strings.CutPrefix(s, "0x")
	for i := range len(digits) {
		if c := digits[i]; (c < '0' || c > '9') && (!hex || !isHex(c)) {
			return false
		}
	}
	return true
}

// checkPath wants a path without the segments that URL parsers take out.
func checkPath(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".", "..":
			return errors.New("its path has dot segments")
		}
	}
	return nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
