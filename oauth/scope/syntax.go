package scope

import (
	"fmt"
	"strings"
)

// isScopeToken reports whether a value has the characters of a scope-token of
// RFC 6749: printable ASCII without space, quotation mark and backslash.
func isScopeToken(value string) bool {
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return value != ""
}

// unescape decodes what is percent-encoded, and plus signs that mean spaces.
// The result is printable ASCII.
func unescape(s string, form bool) (string, error) {
	if strings.IndexByte(s, '%') < 0 && (!form || strings.IndexByte(s, '+') < 0) {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+' && form:
			c = ' '
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", fmt.Errorf("%w: malformed percent-encoding", ErrInvalid)
			}
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			if c < ' ' || c >= 0x7f {
				return "", fmt.Errorf("%w: encoded character that is not printable ASCII", ErrInvalid)
			}
			i += 2
		}
		out = append(out, c)
	}
	return string(out), nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
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

// appendEscaped appends a value in the canonical encoding. A plus sign stands
// for itself in the positional place only.
func appendEscaped(buf []byte, s string, form bool) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if isAlphaNum(c) || strings.IndexByte("-_.~*:/,@", c) >= 0 || c == '+' && !form {
			buf = append(buf, c)
		} else {
			buf = append(buf, '%', hex[c>>4], hex[c&15])
		}
	}
	return buf
}

func isAlpha(c byte) bool    { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isAlphaNum(c byte) bool { return isAlpha(c) || isDigit(c) }

// isNSID is syntax.ParseNSID without its regular expression, which would take
// most of the time of parsing.
func isNSID(s string) bool {
	const maxNSID, maxLabel = 317, 63
	if len(s) > maxNSID || strings.Count(s, ".") < 2 || !isAlpha(s[0]) {
		return false
	}
	rest, more := s, true
	for more {
		var label string
		label, rest, more = strings.Cut(rest, ".")
		if label == "" || len(label) > maxLabel {
			return false
		}
		for i := range len(label) {
			inside := more && i > 0 && i < len(label)-1
			if !isAlphaNum(label[i]) && !(inside && label[i] == '-') {
				return false
			}
		}
		if !more && !isAlpha(label[0]) {
			return false
		}
	}
	return true
}

// isDID is syntax.ParseDID without its regular expression.
func isDID(s string) bool {
	const maxDID = 2048
	rest, ok := strings.CutPrefix(s, "did:")
	method, id, found := strings.Cut(rest, ":")
	if !ok || !found || len(s) > maxDID || method == "" || id == "" {
		return false
	}
	for i := range len(method) {
		if method[i] < 'a' || method[i] > 'z' {
			return false
		}
	}
	for i := range len(id) {
		if !isAlphaNum(id[i]) && strings.IndexByte("._:%-", id[i]) < 0 {
			return false
		}
	}
	last := id[len(id)-1]
	return last != ':' && last != '%'
}

// isService reports whether s names a service of a DID: did#service.
func isService(s string) bool {
	did, fragment, found := strings.Cut(s, "#")
	if !found || fragment == "" || !isDID(did) {
		return false
	}
	for i := range len(fragment) { // the characters of a fragment, but for %
		if !isAlphaNum(fragment[i]) && strings.IndexByte("-._~!$&'()*+,;=:@/?", fragment[i]) < 0 {
			return false
		}
	}
	return true
}

// isMime reports whether s is a lower-case media type without parameters.
func isMime(s string) bool {
	kind, sub, _ := strings.Cut(s, "/")
	return isMimeName(kind) && isMimeName(sub)
}

// isAccept reports whether s is a media type, or a pattern of media types.
func isAccept(s string) bool {
	kind, sub, _ := strings.Cut(s, "/")
	return s == "*/*" || isMimeName(kind) && (sub == "*" || isMimeName(sub))
}

func isMimeName(s string) bool {
	for i := range len(s) { // the characters of a token of RFC 9110, but for *
		if !isAlphaNum(s[i]) && strings.IndexByte("!#$%&'+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// acceptCovers reports whether a pattern matches all that another, or a media
// type, matches.
func acceptCovers(pattern, other string) bool {
	if pattern == "*/*" || pattern == other {
		return true
	}
	prefix, isPrefix := strings.CutSuffix(pattern, "*")
	return isPrefix && strings.HasPrefix(other, prefix)
}

// isChat reports whether a method is in the namespace that the general
// transition scope leaves out. Authorities of NSIDs have no case.
func isChat(method string) bool {
	const prefix = "chat.bsky."
	return len(method) >= len(prefix) && strings.EqualFold(method[:len(prefix)], prefix)
}
