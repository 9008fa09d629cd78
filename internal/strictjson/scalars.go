package strictjson

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

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
