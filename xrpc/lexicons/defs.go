package lexicons

import (
	"math"
	"mime"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/lexicon"

	"github.com/pdskit/pdskit/internal/strictjson"
)

const noMax = math.MaxInt

// A def checks values against one definition of a schema, in two forms: as
// data in memory, and as JSON text. Both return *[ValidationError], or
// *strictjson.SyntaxError for text that is wrong under any schema.
type def interface {
	check(v any, flags Flags) error
	scan(s *strictjson.Scanner) error
}

type bounds struct{ lo, hi int64 }

func (b bounds) hold(n int) bool { return b.lo <= int64(n) && int64(n) <= b.hi }

// ---- boolean

type booleanDef struct{ want *bool }

func (d *booleanDef) check(v any, _ Flags) error {
	b, ok := v.(bool)
	if !ok {
		return failType("a boolean", v)
	}
	return d.checkBool(b)
}

func (d *booleanDef) scan(s *strictjson.Scanner) error {
	if k := s.Peek(); k != strictjson.Bool {
		return failKind(s, "a boolean", k)
	}
	b, err := s.Bool()
	if err != nil {
		return err
	}
	return d.checkBool(b)
}

func (d *booleanDef) checkBool(b bool) error {
	if d.want != nil && b != *d.want {
		return fail("must be %t", *d.want)
	}
	return nil
}

// ---- integer

type integerDef struct {
	minimum, maximum int64
	enum             []int64
	want             *int64
}

func (d *integerDef) check(v any, _ Flags) error {
	n, ok := v.(int64)
	if !ok {
		return failType("an integer", v)
	}
	return d.checkInt(n)
}

func (d *integerDef) scan(s *strictjson.Scanner) error {
	if k := s.Peek(); k != strictjson.Number {
		return failKind(s, "an integer", k)
	}
	n, err := s.Int()
	if err != nil {
		return err
	}
	return d.checkInt(n)
}

func (d *integerDef) checkInt(n int64) error {
	switch {
	case d.want != nil && n != *d.want:
		return fail("must be %d", *d.want)
	case n < d.minimum:
		return fail("must not be less than %d", d.minimum)
	case n > d.maximum:
		return fail("must not be greater than %d", d.maximum)
	case len(d.enum) > 0 && !slices.Contains(d.enum, n):
		return fail("must be one of %v", d.enum)
	}
	return nil
}

// ---- bytes

type bytesDef struct{ length bounds }

func (d *bytesDef) check(v any, _ Flags) error {
	b, ok := v.(atdata.Bytes)
	if !ok {
		return failType("bytes", v)
	}
	return d.checkLen(len(b))
}

func (d *bytesDef) scan(s *strictjson.Scanner) error {
	n, err := s.Bytes()
	if err != nil {
		return err
	}
	return d.checkLen(n)
}

func (d *bytesDef) checkLen(n int) error {
	if !d.length.hold(n) {
		return fail("has %d bytes, want %s", n, d.length)
	}
	return nil
}

// ---- cid-link

type linkDef struct{}

func (linkDef) check(v any, _ Flags) error {
	if _, ok := v.(atdata.CIDLink); !ok {
		return failType("a link", v)
	}
	return nil
}

func (linkDef) scan(s *strictjson.Scanner) error { return s.Link() }

// ---- blob

type blobDef struct {
	accept  []string
	maxSize int64
}

func (d *blobDef) check(v any, flags Flags) error {
	b, ok := v.(atdata.Blob)
	if !ok {
		return failType("a blob", v)
	}
	if b.Size < 0 && flags&lexicon.AllowLegacyBlob == 0 {
		return fail("must not be a blob of the old form")
	}
	return d.checkBlob(b.MimeType, b.Size)
}

func (d *blobDef) scan(s *strictjson.Scanner) error {
	if k := s.Peek(); k != strictjson.Object {
		return failKind(s, "a blob", k)
	}
	var mimeType string
	var size int64
	found := 0
	err := s.Object(func(key string) (err error) {
		found++
		switch key {
		case "$type":
			var t string
			if t, err = scanText(s); err == nil && t != "blob" {
				err = fail("must be a blob")
			}
		case "ref":
			err = s.Link()
		case "mimeType":
			mimeType, err = scanText(s)
		case "size":
			size, err = s.Int()
		default:
			err = fail("is no property of a blob")
		}
		return within(err, key)
	})
	if err != nil {
		return err
	}
	if found != 4 || size < 0 {
		return fail("must be a blob")
	}
	return d.checkBlob(mimeType, size)
}

func (d *blobDef) checkBlob(mimeType string, size int64) error {
	if mimeType == "" {
		return fail("must have a media type")
	}
	if len(d.accept) > 0 && !slices.ContainsFunc(d.accept, func(p string) bool { return MatchMediaType(p, mimeType) }) {
		return fail("has media type %q, want %s", clip(mimeType), strings.Join(d.accept, ", "))
	}
	if size > d.maxSize {
		return fail("has %d bytes, want at most %d", size, d.maxSize)
	}
	return nil
}

// MatchMediaType reports whether a media type, with or without parameters,
// satisfies a pattern of a schema: a media type, a type and "/*", or "*/*".
func MatchMediaType(pattern, mediaType string) bool {
	if mediaType == "" {
		return false
	}
	if pattern == mediaType || pattern == "*/*" {
		return true
	}
	base, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		return false
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(base, prefix)
	}
	return strings.EqualFold(base, pattern)
}

// ---- unknown and token

type unknownDef struct{}

func (unknownDef) check(v any, _ Flags) error {
	if _, ok := v.(map[string]any); !ok {
		return failType("an object", v)
	}
	return nil
}

func (unknownDef) scan(s *strictjson.Scanner) error {
	if k := s.Peek(); k != strictjson.Object {
		return failKind(s, "an object", k)
	}
	// A link, bytes and a blob are written as objects, but are none.
	return s.Object(func(key string) error {
		switch {
		case key == "$link" || key == "$bytes":
			return fail("must be an object without %s", key)
		case key == "$type" && s.Peek() == strictjson.String:
			if t, err := s.Text(); err != nil || t != "blob" {
				return err
			}
			return fail("must be an object, not a blob")
		}
		return s.Skip()
	})
}

type tokenDef struct{}

func (tokenDef) check(any, Flags) error         { return fail("no value has the type of a token") }
func (tokenDef) scan(*strictjson.Scanner) error { return fail("no value has the type of a token") }

// ---- array

type arrayDef struct {
	item   def
	length bounds
}

func (d *arrayDef) check(v any, flags Flags) error {
	items, ok := v.([]any)
	if !ok {
		return failType("an array", v)
	}
	if err := d.checkLen(len(items)); err != nil {
		return err
	}
	for i, item := range items {
		if err := d.item.check(item, flags); err != nil {
			return withinItem(err, i)
		}
	}
	return nil
}

func (d *arrayDef) scan(s *strictjson.Scanner) error {
	if k := s.Peek(); k != strictjson.Array {
		return failKind(s, "an array", k)
	}
	n := 0
	err := s.Array(func(i int) error {
		n = i + 1
		if int64(n) > d.length.hi {
			return d.checkLen(n)
		}
		if err := d.item.scan(s); err != nil {
			return withinItem(err, i)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.checkLen(n)
}

func (d *arrayDef) checkLen(n int) error {
	if !d.length.hold(n) {
		return fail("has %d elements, want %s", n, d.length)
	}
	return nil
}

func scanText(s *strictjson.Scanner) (string, error) {
	if k := s.Peek(); k != strictjson.String {
		return "", failKind(s, "a string", k)
	}
	return s.Text()
}
