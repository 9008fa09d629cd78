package repo

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string; the opening quote is next.
func (d *jsonDecoder) str() (string, error) {
	start := d.pos + 1
	ascii := true
	for i := start; i < len(d.text); i++ {
		switch c := d.text[i]; {
		case c == '"':
			s := d.text[start:i]
			if !ascii && !utf8.ValidString(s) {
				return "", d.fail(start, ErrString, "")
			}
			d.pos = i + 1
			return s, nil
		case c == '\\':
			return d.escaped(start, i)
		case c < 0x20:
			return "", d.fail(i, ErrSyntax, "control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", d.fail(len(d.text), ErrSyntax, "unexpected end")
}

// escaped reads a string that has its first escape at offset i.
func (d *jsonDecoder) escaped(start, i int) (string, error) {
	buf := append(d.tmp[:0], d.text[start:i]...)
	defer func() { d.tmp = buf[:0] }()
	for i < len(d.text) {
		c := d.text[i]
		switch {
		case c == '"':
			if !utf8.Valid(buf) {
				return "", d.fail(start, ErrString, "")
			}
			d.pos = i + 1
			return string(buf), nil
		case c < 0x20:
			return "", d.fail(i, ErrSyntax, "control character in a string")
		case c != '\\':
			buf = append(buf, c)
			i++
			continue
		}
		if i+1 == len(d.text) {
			break
		}
		switch e := d.text[i+1]; e {
		case '"', '\\', '/':
			buf = append(buf, e)
		case 'b':
			buf = append(buf, '\b')
		case 'f':
			buf = append(buf, '\f')
		case 'n':
			buf = append(buf, '\n')
		case 'r':
			buf = append(buf, '\r')
		case 't':
			buf = append(buf, '\t')
		case 'u':
			r, n := d.unicode(i)
			if n == 0 {
				return "", d.fail(i, ErrString, "bad escape")
			}
			buf = utf8.AppendRune(buf, r)
			i += n
			continue
		default:
			return "", d.fail(i, ErrSyntax, "bad escape")
		}
		i += 2
	}
	return "", d.fail(len(d.text), ErrSyntax, "unexpected end")
}

// unicode reads the \u escape, or pair of them, at offset i and returns the
// character and the number of bytes read: none if they stand for no character.
func (d *jsonDecoder) unicode(i int) (rune, int) {
	hi, ok := d.hex4(i)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(hi) {
		return hi, 6
	}
	lo, ok := d.hex4(i + 6)
	r := utf16.DecodeRune(hi, lo)
	if !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 reads "\u" and four hexadecimal digits at offset i.
func (d *jsonDecoder) hex4(i int) (rune, bool) {
	if i+6 > len(d.text) || d.text[i] != '\\' || d.text[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(d.text[i+2 : i+6]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number reads a number, which must have the value of an integer in range.
func (d *jsonDecoder) number() (int64, error) {
	start := d.pos
	neg := d.text[d.pos] == '-'
	if neg {
		d.pos++
	}
	whole := d.digits()
	if whole == "" || (len(whole) > 1 && whole[0] == '0') {
		return 0, d.fail(start, ErrSyntax, "bad number")
	}
	var frac string
	if d.accept(".") {
		if frac = d.digits(); frac == "" {
			return 0, d.fail(start, ErrSyntax, "bad number")
		}
	}
	exp := 0
	if d.accept("eE") {
		negExp := d.accept("-")
		if !negExp {
			d.accept("+")
		}
		e := d.digits()
		if e == "" {
			return 0, d.fail(start, ErrSyntax, "bad number")
		}
		for _, c := range []byte(e) {
			exp = min(exp*10+int(c-'0'), 2*MaxJSONBytes)
		}
		if negExp {
			exp = -exp
		}
	}
	v, reason := decimal(whole, frac, exp)
	if reason != nil {
		return 0, d.fail(start, reason, "")
	}
	if neg {
		v = -v
	}
	return v, nil
}

// digits reads a run of digits, which may be empty.
func (d *jsonDecoder) digits() string {
	start := d.pos
	for d.pos < len(d.text) && '0' <= d.text[d.pos] && d.text[d.pos] <= '9' {
		d.pos++
	}
	return d.text[start:d.pos]
}

// accept reads the next byte if it is one of those in set.
func (d *jsonDecoder) accept(set string) bool {
	if d.pos < len(d.text) && strings.IndexByte(set, d.text[d.pos]) >= 0 {
		d.pos++
		return true
	}
	return false
}

// decimal returns the exact value of whole.frac * 10^exp, or the reason why
// that is no integer of the data model.
func decimal(whole, frac string, exp int) (int64, error) {
	digits := whole
	if frac != "" || exp < 0 {
		digits = strings.TrimRight(whole+frac, "0")
		exp += len(whole) - len(digits) // the dot now stands behind the last digit
	}
	digits = strings.TrimLeft(digits, "0")
	switch {
	case digits == "":
		return 0, nil
	case exp < 0:
		return 0, ErrFloat
	case len(digits)+exp > 16: // MaxInteger has 16 digits
		return 0, ErrInteger
	}
	var v int64
	for _, c := range []byte(digits) {
		v = v*10 + int64(c-'0')
	}
	for range exp {
		v *= 10
	}
	if v > MaxInteger {
		return 0, ErrInteger
	}
	return v, nil
}
