package dpop

import (
	"net/url"
	"strings"
)

// sameAddress reports whether "htu" of a proof is the address of a request, after
// normalization (RFC 9449 section 4.3, RFC 3986 section 6.2) and without query
// and fragment, which older clients do not leave out.
func sameAddress(htu, want string) bool {
	if htu == want {
		return want != ""
	}
	a, okA := normalAddress(htu)
	b, okB := normalAddress(want)
	return okA && okB && a == b
}

// normalAddress returns the normal form of an http address.
func normalAddress(text string) (string, bool) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.User != nil || parsed.Hostname() == "" || parsed.Opaque != "" {
		return "", false
	}
	port := parsed.Port()
	switch { // url.Parse has made the scheme lower case
	case parsed.Scheme == "https" && port == "443", parsed.Scheme == "http" && port == "80":
		port = ""
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return "", false
	}
	host := strings.ToLower(strings.TrimSuffix(parsed.Host, ":"+parsed.Port()))
	if port != "" {
		host += ":" + port
	}
	path := parsed.RawPath // as it was written, if that is not the usual way
	if path == "" {
		path = parsed.EscapedPath()
	}
	path = normalPercent(path) // before dots are looked at: %2E is one
	plain := url.URL{Scheme: parsed.Scheme, Host: host, RawPath: path}
	if plain.Path, err = url.PathUnescape(path); err != nil {
		return "", false
	}
	// Resolving removes the dot segments.
	if path = (&url.URL{}).ResolveReference(&plain).EscapedPath(); path == "" {
		path = "/"
	}
	return parsed.Scheme + "://" + host + path, true
}

// normalPercent decodes what needs no encoding (RFC 3986 section 2.3), encodes
// what does, and leaves the rest as it is, in capital letters. The percent signs
// of path are known to be right.
func normalPercent(path string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		encoded := c == '%'
		if encoded {
			c = unhex(path[i+1])<<4 | unhex(path[i+2])
			i += 2
		}
		if isUnreserved(c) || !encoded && strings.IndexByte("/:@!$&'()*+,;=", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// unhex returns the value of a hexadecimal digit.
func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
