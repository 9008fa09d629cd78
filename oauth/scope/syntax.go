package scope

import (
	"fmt"
	"strings"
)

// Classes of characters.
const (
	letterChar uint8 = 1 << iota
	digitChar
	tokenChar    // in a scope-token of RFC 6749
	bareChar     // not encoded in canonical texts
	didChar      // in the identifier of a DID
	fragmentChar // in a fragment, but for the percent sign
	mimeChar     // in a token of RFC 9110, but for the wildcard
)

// classOf has the classes of each character.
var classOf = func() (table [256]uint8) {
	for c := range 0x7f {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			table[c] = letterChar | bareChar | didChar | fragmentChar | mimeChar
		case c >= '0' && c <= '9':
			table[c] = digitChar | bareChar | didChar | fragmentChar | mimeChar
		}
		if c > ' ' && c != '"' && c != '\\' {
			table[c] |= tokenChar
		}
	}
	for class, chars := range map[uint8]string{
		bareChar: "-_.~*:/,@", didChar: "._:%-", fragmentChar: "-._~!$&'()*+,;=:@/?", mimeChar: "!#$%&'+-.^_`|~",
	} {
		for i := range len(chars) {
			table[chars[i]] |= class
		}
	}
	return table
}()

// isAll reports whether all characters of a text are of a class.
func isAll(s string, class uint8) bool {
	for i := range len(s) {
		if classOf[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// isScopeToken reports whether a value is a scope-token of RFC 6749: printable
// ASCII without space, quotation mark and backslash.
func isScopeToken(value string) bool { return value != "" && isAll(value, tokenChar) }

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
	done := 0
	for i := range len(s) {
		c := s[i]
		if classOf[c]&bareChar != 0 || c == '+' && !form {
			continue
		}
		buf = append(append(buf, s[done:i]...), '%', hex[c>>4], hex[c&15])
		done = i + 1
	}
	return append(buf, s[done:]...)
}

func isAlpha(c byte) bool    { return classOf[c]&letterChar != 0 }
func isDigit(c byte) bool    { return classOf[c]&digitChar != 0 }
func isAlphaNum(c byte) bool { return classOf[c]&(letterChar|digitChar) != 0 }

// isNSID is syntax.ParseNSID without its regular expression, which would take
// most of the time of parsing.
func isNSID(s string) bool {
	const maxNSID, maxLabel = 317, 63
	if s == "" || len(s) > maxNSID || !isAlpha(s[0]) {
		return false
	}
	dots, start, hyphen := 0, 0, false // of the label that is looked at
	for i := range len(s) {
		switch c := s[i]; {
		case isAlphaNum(c):
		case c == '-' && i > start:
			hyphen = true
		case c == '.' && i > start && i-start <= maxLabel && s[i-1] != '-':
			dots, start, hyphen = dots+1, i+1, false
		default:
			return false
		}
	}
	// The last label is a name: it begins with a letter and has no hyphens.
	return dots >= 2 && start < len(s) && len(s)-start <= maxLabel && isAlpha(s[start]) && !hyphen
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
	last := id[len(id)-1]
	return last != ':' && last != '%' && isAll(id, didChar)
}

// isService reports whether s names a service of a DID: did#service.
func isService(s string) bool {
	did, fragment, found := strings.Cut(s, "#")
	return found && fragment != "" && isDID(did) && isAll(fragment, fragmentChar)
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

func isMimeName(s string) bool { return s != "" && isAll(s, mimeChar) }

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
