package lexicons

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/lexicon"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/rivo/uniseg"

	"github.com/pdskit/pdskit/internal/strictjson"
)

type stringDef struct {
	bytes     bounds
	graphemes bounds
	format    *format
	enum      []string
	want      *string
}

func (d *stringDef) check(v any, flags Flags) error {
	s, ok := v.(string)
	if !ok {
		return failType("a string", v)
	}
	return d.checkString(s, flags)
}

func (d *stringDef) scan(s *strictjson.Scanner) error {
	text, err := scanText(s)
	if err != nil {
		return err
	}
	return d.checkString(text, 0)
}

func (d *stringDef) checkString(s string, flags Flags) error {
	switch {
	case d.want != nil && s != *d.want:
		return fail("must be %q", *d.want)
	case !d.bytes.hold(len(s)):
		return fail("has %d bytes, want %s", len(s), d.bytes)
	case len(d.enum) > 0 && !slices.Contains(d.enum, s):
		return fail("must be one of %q", d.enum)
	}
	if d.graphemes.lo > 0 || int64(len(s)) > d.graphemes.hi {
		if n := graphemes(s); !d.graphemes.hold(n) {
			return fail("has %d characters, want %s", n, d.graphemes)
		}
	}
	if d.format == nil || d.format.quick != nil && d.format.quick(s) {
		return nil
	}
	if flags&lexicon.AllowLenientDatetime != 0 && d.format.name == "datetime" {
		if _, err := syntax.ParseDatetimeLenient(s); err == nil {
			return nil
		}
	}
	if d.format.parse(s) != nil {
		return fail("must be a valid %s", d.format.name)
	}
	return nil
}

// graphemes counts what a reader takes for one character each.
func graphemes(s string) int {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return uniseg.GraphemeClusterCount(s)
		}
	}
	return len(s) - strings.Count(s, "\r\n")
}

// A format is a string format of the lexicon language.
type format struct {
	name string
	// quick may say yes to common forms without further ado. What it
	// accepts, parse accepts.
	quick func(string) bool
	parse func(string) error
}

var formats = map[string]*format{
	"at-identifier": {"at-identifier", quickIdentifier, parser(syntax.ParseAtIdentifier)},
	"at-uri":        {"at-uri", quickURI, parser(syntax.ParseATURI)},
	"cid":           {"cid", nil, parser(syntax.ParseCID)},
	"datetime":      {"datetime", quickDatetime, parser(syntax.ParseDatetime)},
	"did":           {"did", quickDID, parser(syntax.ParseDID)},
	"handle":        {"handle", quickHandle, parser(syntax.ParseHandle)},
	"language":      {"language", quickLanguage, parser(syntax.ParseLanguage)},
	"nsid":          {"nsid", quickNSID, parser(syntax.ParseNSID)},
	"record-key":    {"record-key", quickRecordKey, parser(syntax.ParseRecordKey)},
	"tid":           {"tid", nil, parser(syntax.ParseTID)},
	"uri":           {"uri", nil, parser(syntax.ParseURI)},
}

func parser[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := parse(s)
		return err
	}
}

func quickDID(s string) bool {
	id, ok := strings.CutPrefix(s, "did:plc:")
	return ok && len(id) == 24 && isAll(id, isLowerOrDigit)
}

func quickHandle(s string) bool {
	return len(s) <= 253 && isDomain(s, 2)
}

func quickNSID(s string) bool {
	if len(s) > 317 {
		return false
	}
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 || !isDomain(s[:dot], 2) || !isLower(s[0]) {
		return false
	}
	name := s[dot+1:]
	return 0 < len(name) && len(name) <= 63 && isLetter(name[0]) && isAll(name, isLetterOrDigit)
}

// isDomain tells whether s is made of at least least labels of lower-case
// letters, digits and inner hyphens, the last of which begins with a letter.
func isDomain(s string, least int) bool {
	labels := 0
	for label := range strings.SplitSeq(s, ".") {
		n := len(label)
		if n == 0 || n > 63 || label[0] == '-' || label[n-1] == '-' {
			return false
		}
		if !isAll(label, func(c byte) bool { return isLowerOrDigit(c) || c == '-' }) {
			return false
		}
		labels++
	}
	return labels >= least && isLower(s[strings.LastIndexByte(s, '.')+1])
}

func quickIdentifier(s string) bool { return quickDID(s) || quickHandle(s) }

func quickRecordKey(s string) bool {
	return 0 < len(s) && len(s) <= 512 && s != "." && s != ".." &&
		isAll(s, func(c byte) bool {
			return isLetterOrDigit(c) || c == '-' || c == '_' || c == '.' || c == '~' || c == ':'
		})
}

func quickURI(s string) bool {
	rest, ok := strings.CutPrefix(s, "at://")
	if !ok {
		return false
	}
	authority, path, ok := strings.Cut(rest, "/")
	if !quickIdentifier(authority) {
		return false
	}
	if !ok {
		return true
	}
	collection, key, ok := strings.Cut(path, "/")
	return quickNSID(collection) && (!ok || quickRecordKey(key))
}

func quickLanguage(s string) bool {
	return (len(s) == 2 || len(s) == 5 && s[2] == '-' && isUpper(s[3]) && isUpper(s[4])) &&
		isLower(s[0]) && isLower(s[1])
}

// quickDatetime accepts the form that most programs write: UTC, with seconds,
// on a day that every month has.
func quickDatetime(s string) bool {
	const form = "dddd-dd-ddTdd:dd:dd"
	if len(s) <= len(form) || len(s) > len(form)+11 || s[len(s)-1] != 'Z' {
		return false
	}
	for i := range len(form) {
		if form[i] == 'd' && !isDigit(s[i]) || form[i] != 'd' && s[i] != form[i] {
			return false
		}
	}
	two := func(i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	if m, d := two(5), two(8); m < 1 || m > 12 || d < 1 || d > 28 {
		return false
	}
	if two(11) > 23 || two(14) > 59 || two(17) > 59 {
		return false
	}
	fraction := s[len(form) : len(s)-1]
	return fraction == "" || fraction[0] == '.' && len(fraction) > 1 && isAll(fraction[1:], isDigit)
}

func isAll(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool         { return '0' <= c && c <= '9' }
func isLower(c byte) bool         { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool         { return 'A' <= c && c <= 'Z' }
func isLetter(c byte) bool        { return isLower(c) || isUpper(c) }
func isLowerOrDigit(c byte) bool  { return isLower(c) || isDigit(c) }
func isLetterOrDigit(c byte) bool { return isLetter(c) || isDigit(c) }
