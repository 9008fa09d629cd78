package xrpc

import (
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// A paramField is a field of a parameter struct.
type paramField struct {
	name    string
	index   []int
	kind    string // as in a schema: "string", "integer", "boolean"
	slice   bool
	pointer bool
	text    bool // has UnmarshalText
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// paramFields returns the fields of a struct type that take parameters.
func paramFields(t reflect.Type) ([]paramField, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("parameters of type %s, want a struct", t)
	}
	var fields []paramField
	for _, sf := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if !sf.IsExported() || name == "-" || sf.Anonymous && name == "" {
			continue
		}
		f := paramField{name: name, index: sf.Index}
		if name == "" {
			f.name = sf.Name
		}
		ft := sf.Type
		switch ft.Kind() {
		case reflect.Slice:
			f.slice, ft = true, ft.Elem()
		case reflect.Pointer:
			f.pointer, ft = true, ft.Elem()
		}
		switch ft.Kind() {
		case reflect.String:
			f.kind = "string"
		case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
			f.kind = "integer"
		case reflect.Bool:
			f.kind = "boolean"
		default:
			return nil, fmt.Errorf("field %s of type %s cannot take a parameter", sf.Name, sf.Type)
		}
		f.text = reflect.PointerTo(ft).Implements(textUnmarshaler)
		fields = append(fields, f)
	}
	return fields, nil
}

// A paramSlot is a parameter that a method has: by its schema, by a field, or
// by both.
type paramSlot struct {
	name   string
	schema *lexicons.Param // nil: not in the schema
	field  *paramField     // nil: the handler does not want it
	kind   string
	array  bool
}

// A paramPlan decodes query strings for one method.
type paramPlan struct {
	slots    []paramSlot
	brackets bool // arrays may also be written a[]= and a[0]=
}

// bracketMethods take arrays in these forms, as clients have always sent them.
var bracketMethods = map[string]bool{
	"app.bsky.actor.getProfiles":  true,
	"app.bsky.feed.getTimeline":   true,
	"app.bsky.feed.getPostThread": true,
}

func newParamPlan(nsid string, schema *lexicons.Method, fields []paramField) (*paramPlan, error) {
	p := &paramPlan{brackets: bracketMethods[nsid]}
	if schema != nil {
		for _, sp := range schema.Params {
			p.slots = append(p.slots, paramSlot{name: sp.Name, schema: sp, kind: sp.Type, array: sp.Array})
		}
	}
	for i := range fields {
		f := &fields[i]
		slot := p.find(f.name)
		if slot == nil {
			p.slots = append(p.slots, paramSlot{name: f.name, field: f, kind: f.kind, array: f.slice})
			continue
		}
		if slot.field != nil {
			return nil, fmt.Errorf("xrpc: %s: two fields take the parameter %q", nsid, f.name)
		}
		if slot.kind != f.kind || slot.array != f.slice {
			return nil, fmt.Errorf("xrpc: %s: the field for parameter %q has another type than the schema", nsid, f.name)
		}
		slot.field = f
	}
	return p, nil
}

func (p *paramPlan) find(name string) *paramSlot {
	for i := range p.slots {
		if p.slots[i].name == name {
			return &p.slots[i]
		}
	}
	return nil
}

// inlineParams is the number of parameters whose counts need no allocation.
const inlineParams = 24

// decode fills arg, a pointer to the parameter struct, from a query string.
func (p *paramPlan) decode(raw string, arg any) error {
	if len(p.slots) == 0 {
		return nil
	}
	v := reflect.ValueOf(arg).Elem()
	var few [inlineParams]int
	counts := few[:]
	if len(p.slots) > len(few) {
		counts = make([]int, len(p.slots))
	}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := unescapeQuery(key)
		if err != nil {
			return err
		}
		i := p.lookup(key)
		if i < 0 {
			continue
		}
		if value, err = unescapeQuery(value); err != nil {
			return err
		}
		slot := &p.slots[i]
		if counts[i]++; counts[i] > 1 && !slot.array {
			return InvalidRequest("invalid parameters: %s: must be given once", slot.name)
		}
		if err := slot.set(v, value); err != nil {
			return InvalidRequest("invalid parameters: %v", err)
		}
	}
	for i := range p.slots {
		if err := p.slots[i].finish(v, counts[i]); err != nil {
			return InvalidRequest("invalid parameters: %v", err)
		}
	}
	return nil
}

// lookup returns the index of the slot for a key, -1 if there is none.
func (p *paramPlan) lookup(key string) int {
	for i := range p.slots {
		if p.slots[i].name == key {
			return i
		}
	}
	if !p.brackets || !strings.HasSuffix(key, "]") {
		return -1
	}
	name, index, ok := strings.Cut(key[:len(key)-1], "[")
	if !ok || strings.Trim(index, "0123456789") != "" {
		return -1
	}
	for i := range p.slots {
		if p.slots[i].name == name && p.slots[i].array {
			return i
		}
	}
	return -1
}

// set checks one value and stores it.
func (s *paramSlot) set(v reflect.Value, value string) error {
	var dst reflect.Value
	if s.field != nil {
		dst = v.FieldByIndex(s.field.index)
		switch {
		case s.field.slice:
			n := dst.Len()
			dst.Grow(1)
			dst.SetLen(n + 1)
			dst = dst.Index(n)
			dst.SetZero()
		case s.field.pointer:
			dst.Set(reflect.New(dst.Type().Elem()))
			dst = dst.Elem()
		}
	}
	switch s.kind {
	case "integer":
		return s.setInt(dst, value)
	case "boolean":
		return s.setBool(dst, value)
	}
	return s.setString(dst, value)
}

func (s *paramSlot) setString(dst reflect.Value, value string) error {
	if s.schema != nil {
		if err := s.schema.CheckString(value); err != nil {
			return err
		}
	} else if s.field.text {
		if dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(value)) != nil {
			return fmt.Errorf("%s: malformed", s.name)
		}
		return nil
	}
	if dst.IsValid() {
		dst.SetString(value)
	}
	return nil
}

func (s *paramSlot) setInt(dst reflect.Value, value string) error {
	n, err := lexicons.ParseInt(value)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if s.schema != nil {
		if err := s.schema.CheckInt(n); err != nil {
			return err
		}
	}
	if dst.IsValid() {
		if dst.OverflowInt(n) {
			return fmt.Errorf("%s: out of range", s.name)
		}
		dst.SetInt(n)
	}
	return nil
}

func (s *paramSlot) setBool(dst reflect.Value, value string) error {
	b, err := lexicons.ParseBool(value)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if s.schema != nil {
		if err := s.schema.CheckBool(b); err != nil {
			return err
		}
	}
	if dst.IsValid() {
		dst.SetBool(b)
	}
	return nil
}

// finish checks how often the parameter was given and applies the default.
func (s *paramSlot) finish(v reflect.Value, count int) error {
	if s.schema == nil {
		return nil
	}
	if err := s.schema.CheckCount(count); err != nil {
		return err
	}
	if count > 0 || s.schema.Default == nil || s.field == nil {
		return nil
	}
	dst := v.FieldByIndex(s.field.index)
	if s.field.pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	switch d := s.schema.Default.(type) {
	case string:
		dst.SetString(d)
	case int64:
		dst.SetInt(d)
	case bool:
		dst.SetBool(d)
	}
	return nil
}

var errQuery = errors.New("malformed query string")

func unescapeQuery(s string) (string, error) {
	plain := true
	for i := range len(s) {
		if c := s[i]; c == '%' || c == '+' || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		return s, nil
	}
	u, err := url.QueryUnescape(s)
	if err != nil || !utf8.ValidString(u) {
		return "", InvalidRequest("invalid parameters: %v", errQuery)
	}
	return u, nil
}
