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
	if err != nil || parsed.User != nil || parsed.Host == "" || parsed.Opaque != "" {
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
	// Percent-encoding first: %2E is a dot.
	path := normalPercent(parsed.EscapedPath())
	plain := url.URL{Scheme: parsed.Scheme, Host: host}
	if plain.Path, err = url.PathUnescape(path); err != nil {
		return "", false
	}
	plain.RawPath = path
	resolved := (&url.URL{}).ResolveReference(&plain)
	if path = resolved.EscapedPath(); path == "" {
		path = "/"
	}
	return parsed.Scheme + "://" + host + path, true
}

// normalPercent decodes what needs no encoding (RFC 3986 section 2.3) and writes
// the rest with capital letters. The text is a valid escaped path.
func normalPercent(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		c := unhex(path[i+1])<<4 | unhex(path[i+2])
		if isUnreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
