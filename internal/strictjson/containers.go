package strictjson

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
)

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
