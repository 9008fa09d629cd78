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
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
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

// Skip reads one value of any kind.
func (s *Scanner) Skip() error {
	switch s.Peek() {
	case Object:
		return s.skipObject()
	case Array:
		return s.Array(func(int) error { return s.Skip() })
	case String:
		_, err := s.RawString()
		return err
	case Number:
		if s.plain {
			_, err := s.number()
			return err
		}
		_, err := s.Int()
		return err
	case Bool:
		_, err := s.Bool()
		return err
	case Null:
		return s.Null()
	}
	if s.pos == len(s.data) {
		return s.fail("unexpected end")
	}
	return s.fail("unexpected character")
}

func (s *Scanner) skipObject() error {
	keys, special := 0, ""
	at := s.pos
	err := s.Object(func(key string) error {
		keys++
		switch {
		case s.plain:
		case key == "$link":
			special = key
			return s.link()
		case key == "$bytes":
			special = key
			return s.bytes()
		}
		return s.Skip()
	})
	if err == nil && special != "" && keys != 1 {
		return &SyntaxError{at, "an object with " + special + " must have no other key"}
	}
	return err
}

// Link reads a {"$link": ...} object.
func (s *Scanner) Link() error { return s.wrapped("$link", s.link) }

// Bytes reads a {"$bytes": ...} object and returns the number of bytes.
func (s *Scanner) Bytes() (n int, err error) {
	err = s.wrapped("$bytes", func() error {
		from := s.pos
		if err := s.bytes(); err != nil {
			return err
		}
		raw := strings.TrimRight(strings.Trim(string(s.data[from:s.pos]), " \n\t\r\""), "=")
		n = base64.RawStdEncoding.DecodedLen(len(raw))
		return nil
	})
	return n, err
}

func (s *Scanner) wrapped(name string, value func() error) error {
	if k := s.Peek(); k != Object {
		return s.fail("expected a " + name + " object")
	}
	n := 0
	err := s.Object(func(key string) error {
		if n++; n > 1 || key != name {
			return s.fail("expected a " + name + " object")
		}
		return value()
	})
	if err == nil && n == 0 {
		return s.fail("expected a " + name + " object")
	}
	return err
}

func (s *Scanner) link() error {
	v, err := s.Text()
	if err != nil {
		return err
	}
	if c, err := cid.Decode(v); err != nil || !c.Defined() {
		return s.fail("$link is no CID")
	}
	return nil
}

func (s *Scanner) bytes() error {
	v, err := s.Text()
	if err != nil {
		return err
	}
	if strings.ContainsAny(v, "\r\n") {
		return s.fail("$bytes is no base64")
	}
	if _, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "=")); err != nil {
		return s.fail("$bytes is no base64")
	}
	return nil
}

// Array reads an array. It calls item at the start of each element, which
// item must read.
func (s *Scanner) Array(item func(i int) error) error {
	if err := s.open('['); err != nil {
		return err
	}
	s.space()
	if s.take(']') {
		s.depth--
		return nil
	}
	for i := 0; ; i++ {
		if err := item(i); err != nil {
			return err
		}
		s.space()
		if s.take(',') {
			continue
		}
		if s.take(']') {
			s.depth--
			return nil
		}
		return s.fail("expected a comma or the end of an array")
	}
}

// Object reads an object. It calls member at the start of each value, which
// member must read. Keys are decoded and unique.
func (s *Scanner) Object(member func(key string) error) error {
	if err := s.open('{'); err != nil {
		return err
	}
	s.space()
	if s.take('}') {
		s.depth--
		return nil
	}
	var few [linearKeys]string
	seen := few[:0]
	var many map[string]bool
	for {
		s.space()
		at := s.pos
		key, err := s.Text()
		if err != nil {
			return err
		}
		if isDuplicate(&seen, &many, key) {
			return &SyntaxError{at, "duplicate key"}
		}
		s.space()
		if !s.take(':') {
			return s.fail("expected a colon")
		}
		if err := member(key); err != nil {
			return err
		}
		s.space()
		if s.take(',') {
			continue
		}
		if s.take('}') {
			s.depth--
			return nil
		}
		return s.fail("expected a comma or the end of an object")
	}
}

func isDuplicate(seen *[]string, many *map[string]bool, key string) bool {
	if *many != nil {
		if (*many)[key] {
			return true
		}
		(*many)[key] = true
		return false
	}
	if slices.Contains(*seen, key) {
		return true
	}
	*seen = append(*seen, key)
	if len(*seen) == linearKeys {
		*many = make(map[string]bool, 4*linearKeys)
		for _, k := range *seen {
			(*many)[k] = true
		}
	}
	return false
}

func (s *Scanner) open(c byte) error {
	s.space()
	if s.depth == s.maxDepth {
		return s.fail("nested too deeply")
	}
	if !s.take(c) {
		return s.fail("unexpected character")
	}
	s.depth++
	return nil
}

func (s *Scanner) take(c byte) bool {
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// Null reads null.
func (s *Scanner) Null() error { return s.literal("null") }

// Bool reads true or false.
func (s *Scanner) Bool() (bool, error) {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == 't' {
		return true, s.literal("true")
	}
	return false, s.literal("false")
}

func (s *Scanner) literal(word string) error {
	s.space()
	if !strings.HasPrefix(string(s.data[s.pos:min(s.pos+len(word), len(s.data))]), word) {
		return s.fail("unexpected character")
	}
	s.pos += len(word)
	return nil
}

// Int reads a number, which must be integral and within [MaxInteger].
func (s *Scanner) Int() (int64, error) {
	s.space()
	from := s.pos
	short, err := s.number()
	if err != nil {
		return 0, err
	}
	text := s.data[from:s.pos]
	if short {
		n := parseShort(text)
		if n > MaxInteger || n < -MaxInteger {
			return 0, &SyntaxError{from, "integer out of range"}
		}
		return n, nil
	}
	// The number as JavaScript has it: the nearest float64.
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.Abs(f) > MaxInteger {
		return 0, &SyntaxError{from, "integer out of range"}
	}
	n := int64(f)
	if float64(n) != f {
		return 0, &SyntaxError{from, "numbers must be integers"}
	}
	if form := strconv.FormatInt(n, 10); form != string(text) {
		s.Replace(from, form)
	}
	return n, nil
}

// number reads a number of any form. It is short if parseShort can tell its
// value, and that is not 0, which JSON can write as -0.
func (s *Scanner) number() (short bool, err error) {
	from := s.pos
	s.take('-')
	digits := s.pos
	if !s.digits() {
		return false, s.fail("expected a digit")
	}
	if s.data[digits] == '0' && s.pos-digits > 1 {
		return false, &SyntaxError{digits, "a number must not start with 0"}
	}
	short = s.pos-from <= 16 && s.data[digits] != '0'
	if s.take('.') {
		short = false
		if !s.digits() {
			return false, s.fail("expected a digit")
		}
	}
	if s.take('e') || s.take('E') {
		short = false
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return false, s.fail("expected a digit")
		}
	}
	return short, nil
}

// parseShort parses up to 16 digits with an optional sign.
func parseShort(text []byte) int64 {
	neg := text[0] == '-'
	if neg {
		text = text[1:]
	}
	var n int64
	for _, c := range text {
		n = n*10 + int64(c-'0')
	}
	if neg {
		return -n
	}
	return n
}

func (s *Scanner) digits() bool {
	from := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > from
}

// Text reads a string and decodes it. An escaped half of a surrogate pair
// becomes U+FFFD.
func (s *Scanner) Text() (string, error) {
	raw, err := s.RawString()
	if err != nil {
		return "", err
	}
	return unescape(raw), nil
}

// RawString reads a string and returns what stands between its quotes, in
// memory of the text.
func (s *Scanner) RawString() ([]byte, error) {
	s.space()
	if !s.take('"') {
		return nil, s.fail("expected a string")
	}
	from := s.pos
	ascii := true
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			raw := s.data[from:s.pos]
			if !ascii && !utf8.Valid(raw) {
				return nil, &SyntaxError{from, "text is not UTF-8"}
			}
			s.pos++
			return raw, nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, s.fail("control character in a string")
		default:
			ascii = ascii && c < utf8.RuneSelf
			s.pos++
		}
	}
	return nil, s.fail("unexpected end")
}

func (s *Scanner) escape() error {
	s.pos++
	if s.pos == len(s.data) {
		return s.fail("unexpected end")
	}
	switch s.data[s.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		if s.pos+4 >= len(s.data) {
			return s.fail("unexpected end")
		}
		for _, c := range s.data[s.pos+1 : s.pos+5] {
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return s.fail("bad escape in a string")
			}
		}
		s.pos += 5
		return nil
	}
	return s.fail("bad escape in a string")
}

// unescape decodes what RawString has checked.
func unescape(raw []byte) string {
	i := 0
	for i < len(raw) && raw[i] != '\\' {
		i++
	}
	if i == len(raw) {
		return string(raw)
	}
	out := append(make([]byte, 0, len(raw)), raw[:i]...)
	for i < len(raw) {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		switch c := raw[i+1]; c {
		case 'u':
			r := hex4(raw[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(raw[i+2:]))
				}
				if r = pair; pair != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
			continue
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		default:
			out = append(out, c)
		}
		i += 2
	}
	return string(out)
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			c -= '0'
		case c <= 'F':
			c -= 'A' - 10
		default:
			c -= 'a' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
