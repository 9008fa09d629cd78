package lexicons

import (
	"strings"

	"github.com/bluesky-social/indigo/atproto/lexicon"

	"github.com/pdskit/pdskit/internal/strictjson"
)

// maxProps is the number of properties whose presence one word tells.
const maxProps = 64

type property struct {
	name     string
	def      def
	index    int
	required bool
	nullable bool
}

type objectDef struct {
	props    map[string]*property
	required []*property
}

// finish numbers the properties, required ones first.
func (d *objectDef) finish() {
	for _, p := range d.props {
		if p.required {
			p.index = len(d.required)
			d.required = append(d.required, p)
		}
	}
}

func (d *objectDef) check(v any, flags Flags) error {
	obj, ok := v.(map[string]any)
	if !ok {
		return failType("an object", v)
	}
	for _, p := range d.required {
		if _, ok := obj[p.name]; !ok {
			return missing(p.name)
		}
	}
	for key, value := range obj {
		p, ok := d.props[key]
		if !ok || value == nil && p.nullable {
			continue
		}
		if err := p.def.check(value, flags); err != nil {
			return within(err, key)
		}
	}
	return nil
}

func (d *objectDef) scan(s *strictjson.Scanner) error {
	if k := s.Peek(); k != strictjson.Object {
		return failKind(s, "an object", k)
	}
	var few uint64
	var many map[int]bool
	if len(d.required) > maxProps {
		many = make(map[int]bool, len(d.required))
	}
	err := s.Object(func(key string) error {
		p, ok := d.props[key]
		if !ok {
			return d.scanOther(s, key)
		}
		if p.required {
			if many != nil {
				many[p.index] = true
			} else {
				few |= 1 << p.index
			}
		}
		if p.nullable && s.Peek() == strictjson.Null {
			return s.Null()
		}
		return within(p.def.scan(s), key)
	})
	if err != nil {
		return err
	}
	for _, p := range d.required {
		if !many[p.index] && few&(1<<p.index) == 0 {
			return missing(p.name)
		}
	}
	return nil
}

// scanOther reads a property that the schema does not have. Such properties
// mean nothing; but encoding/json, which decodes the text afterwards, would
// take one that differs from ours in case only for ours, unchecked.
func (d *objectDef) scanOther(s *strictjson.Scanner, key string) error {
	for name := range d.props {
		if strings.EqualFold(name, key) {
			return fail("unexpected property %q, did you mean %q?", clip(key), name)
		}
	}
	return s.Skip()
}

// A refDef stands for a definition that may be in another file.
type refDef struct {
	catalog *Catalog
	ref     string
}

func (d *refDef) target() (def, error) {
	t, err := d.catalog.def(d.ref)
	if err == nil && t == nil {
		err = fail("has type %s, which the catalog does not have", d.ref)
	}
	return t, err
}

func (d *refDef) check(v any, flags Flags) error {
	t, err := d.target()
	if err != nil {
		return err
	}
	return t.check(v, flags)
}

func (d *refDef) scan(s *strictjson.Scanner) error {
	t, err := d.target()
	if err != nil {
		return err
	}
	return t.scan(s)
}

// A unionDef is for objects that tell their type.
type unionDef struct {
	catalog  *Catalog
	variants map[string]struct{}
	closed   bool
}

// variant returns the definition of a type in the union. It is nil if the
// union is open and the type unknown.
func (d *unionDef) variant(t string, flags Flags) (def, error) {
	t = strings.TrimSuffix(t, "#main")
	_, listed := d.variants[t]
	if !listed && d.closed {
		return nil, fail("has type %q, which is not among those allowed", clip(t))
	}
	found, err := d.catalog.def(t)
	if err != nil {
		return nil, err
	}
	if _, ok := found.(*objectDef); !ok && (listed || flags&lexicon.StrictRecursiveValidation != 0) {
		return nil, fail("has type %q, which the catalog does not have", clip(t))
	} else if !ok {
		return nil, nil
	}
	return found, nil
}

func (d *unionDef) check(v any, flags Flags) error {
	obj, ok := v.(map[string]any)
	if !ok {
		return failType("an object", v)
	}
	t, ok := obj["$type"].(string)
	if !ok {
		return missing("$type")
	}
	found, err := d.variant(t, flags)
	if found == nil || err != nil {
		return err
	}
	return found.check(v, flags)
}

func (d *unionDef) scan(s *strictjson.Scanner) error {
	if k := s.Peek(); k != strictjson.Object {
		return failKind(s, "an object", k)
	}
	// The type may stand anywhere in the object: look for it first.
	start := s.Pos()
	var t string
	err := s.Object(func(key string) (err error) {
		if key == "$type" {
			t, err = scanText(s)
			return within(err, key)
		}
		return s.Skip()
	})
	if err != nil {
		return err
	}
	if t == "" {
		return missing("$type")
	}
	found, err := d.variant(t, 0)
	if found == nil || err != nil {
		return err
	}
	s.Rewind(start)
	return found.scan(s)
}

// A recordDef is the main definition of a record type.
type recordDef struct {
	key    string
	object *objectDef
}
