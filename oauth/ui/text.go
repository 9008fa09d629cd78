package ui

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lengths, in characters, to which texts of apps and of lexicons are cut.
const (
	MaxName   = 64   // an app's name, a display name
	MaxTitle  = 100  // title of a permission set
	MaxDetail = 300  // detail of a permission set
	MaxID     = 512  // a client_id, a scope's value
	MaxRaw    = 8192 // a scope text as a whole
)

// maxMarks is how many combining marks a character may carry: more than any
// language needs, and too few to paint over the lines above and below.
const maxMarks = 4

// Clean makes a text that others chose fit to be shown in one line: it removes
// control characters and those that change the direction of writing or are
// invisible, joins white space, and cuts the text to limit characters, with an
// ellipsis in place of the rest. Markup is not its business: templates escape.
func Clean(s string, limit int) string {
	var b strings.Builder
	count, marks, space := 0, 0, false
	for _, r := range s {
		if unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if r == utf8.RuneError || hidden(r) {
			continue
		}
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
			marks = 0
		}
		width := 1
		if space {
			width++
		}
		if count+width > limit {
			return b.String() + "…"
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
		count += width
	}
	return b.String()
}

// hidden says whether a character is not to be shown: controls, formats
// (marks and overrides of direction, zero width spaces, tags), surrogates and
// private use. The two joiners stay, as scripts and emoji need them.
func hidden(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r != nonJoiner && r != joiner && unicode.Is(unicode.C, r)
}
