// Package strictjson reads JSON text that has to fit the atproto data model,
// in one pass and without building a tree.
//
// It accepts what RFC 8259 accepts, less everything that could not make the
// way through DAG-CBOR and back: fractions, integers beyond 2^53-1, duplicate
// keys, text that is not UTF-8, malformed {"$link": ...} and {"$bytes": ...}
// objects, and nesting deeper than [MaxDepth]. Integers written in another
// way (1.0, 1e3, -0) are taken as integers, as any JavaScript does;
// [Scanner.Canonical] returns the text with those in plain form.
//
// A Scanner made by [NewPlain] reads JSON of other protocols as strictly, but
// without the data model: any number passes, and no key has a meaning.
package strictjson

import (
	"fmt"
)

const (
	// MaxDepth is the number of objects and arrays that may be open at once.
	MaxDepth = 128

	// MaxInteger is the largest integer that passes; the smallest is
	// -MaxInteger. Both are what a float64 holds exactly.
	MaxInteger = 1<<53 - 1

	// linearKeys is the number of keys up to which an object's keys are
	// compared one by one.
	linearKeys = 24
)

// A SyntaxError says why a text was refused, and where.
type SyntaxError struct {
	Offset int    // in bytes, from the start of the text
	Reason string // fit to be shown to the client; never quotes the text
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("malformed JSON at byte %d: %s", e.Offset, e.Reason)
}

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds of JSON values, and what is none.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Bool:
		return "a boolean"
	case Number:
		return "a number"
	case String:
		return "a string"
	case Array:
		return "an array"
	case Object:
		return "an object"
	}
	return "no value"
}

type edit struct {
	from, to int
	text     string
}

// A Scanner reads one JSON text. The zero value is not useful; see [New].
// A Scanner is for one goroutine.
type Scanner struct {
	data     []byte
	pos      int
	depth    int
	maxDepth int
	plain    bool // without the data model
	edits    []edit
}

// New returns a Scanner over data, which it neither changes nor copies.
func New(data []byte) *Scanner { return &Scanner{data: data, maxDepth: MaxDepth} }

// NewPlain returns a Scanner over text that need not fit the data model, with
// at most maxDepth objects and arrays open at once.
func NewPlain(data []byte, maxDepth int) *Scanner {
	return &Scanner{data: data, maxDepth: maxDepth, plain: true}
}

// Check reads one whole text, without regard to its meaning, and returns it
// with integers in plain form. The result shares memory with data unless
// something had to be rewritten.
func Check(data []byte) ([]byte, error) {
	s := New(data)
	if err := s.Skip(); err != nil {
		return nil, err
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	return s.Canonical(), nil
}

// Pos is the offset of the next byte.
func (s *Scanner) Pos() int { return s.pos }

// Rewind returns to a position that [Scanner.Pos] returned at the same depth,
// and forgets the rewrites made since.
func (s *Scanner) Rewind(pos int) {
	s.pos = pos
	for n := len(s.edits); n > 0 && s.edits[n-1].from >= pos; n-- {
		s.edits = s.edits[:n-1]
	}
}

// Replace notes that [Scanner.Canonical] is to have text in place of what was
// read since from. It must not span other rewrites.
func (s *Scanner) Replace(from int, text string) {
	s.edits = append(s.edits, edit{from, s.pos, text})
}

// Canonical returns the text with all rewrites applied: the original slice if
// there are none.
func (s *Scanner) Canonical() []byte {
	if len(s.edits) == 0 {
		return s.data
	}
	out := make([]byte, 0, len(s.data)+16)
	at := 0
	for _, e := range s.edits {
		out = append(out, s.data[at:e.from]...)
		out = append(out, e.text...)
		at = e.to
	}
	return append(out, s.data[at:]...)
}

func (s *Scanner) fail(reason string) error { return &SyntaxError{s.pos, reason} }

func (s *Scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\n', '\t', '\r':
			s.pos++
		default:
			return
		}
	}
}

// Peek skips white space and tells what kind of value comes next.
func (s *Scanner) Peek() Kind {
	s.space()
	if s.pos == len(s.data) {
		return Invalid
	}
	switch c := s.data[s.pos]; c {
	case '{':
		return Object
	case '[':
		return Array
	case '"':
		return String
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	default:
		if c == '-' || '0' <= c && c <= '9' {
			return Number
		}
	}
	return Invalid
}

// End reports an error if anything but white space is left.
func (s *Scanner) End() error {
	s.space()
	if s.pos != len(s.data) {
		return s.fail("text after the value")
	}
	return nil
}
