package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/pdskit/pdskit/internal/strictjson"
)

// MaxDepth is the number of objects and arrays that may be open at once in JSON
// that this package reads.
const MaxDepth = 8

var errNotObject = errors.New("jose: not a JSON object")

// DecodeJSON reads one JSON value into what v points to. It differs from
// [json.Unmarshal] in that the names of members match those of "json" tags
// exactly, that a duplicate member anywhere in the text is an error, as is text
// after the value, text that is not UTF-8, and more than [MaxDepth] levels.
//
// Fields without a tag are not set, and members without a field are ignored.
// Null leaves a field as it was, but for a [json.Unmarshaler], which is called.
// The data is not kept.
func DecodeJSON(data []byte, v any) error {
	s := strictjson.NewPlain(data, MaxDepth)
	if err := s.Skip(); err != nil {
		return fmt.Errorf("jose: %w", err)
	}
	if err := s.End(); err != nil {
		return fmt.Errorf("jose: %w", err)
	}
	if err := decode(data, reflect.ValueOf(v).Elem()); err != nil {
		return fmt.Errorf("jose: %w", err)
	}
	return nil
}

// ParseObject reads one JSON object as strictly as [DecodeJSON] and returns the
// text of its members, in memory of data.
func ParseObject(data []byte) (map[string]json.RawMessage, error) {
	s := strictjson.NewPlain(data, MaxDepth)
	if s.Peek() != strictjson.Object {
		return nil, errNotObject
	}
	members := map[string]json.RawMessage{}
	err := eachMember(s, data, func(name string, value []byte) error {
		members[name] = value
		return nil
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		return nil, fmt.Errorf("jose: %w", err)
	}
	return members, nil
}

// eachMember reads an object of data.
func eachMember(s *strictjson.Scanner, data []byte, member func(name string, value []byte) error) error {
	return s.Object(func(name string) error {
		value, err := rawValue(s, data)
		if err != nil {
			return err
		}
		return member(name, value)
	})
}

// rawValue reads one value of data and returns its text.
func rawValue(s *strictjson.Scanner, data []byte) ([]byte, error) {
	s.Peek() // past white space
	from := s.Pos()
	if err := s.Skip(); err != nil {
		return nil, err
	}
	return data[from:s.Pos():s.Pos()], nil
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// decode reads data, which is known to be well-formed, into v.
func decode(data []byte, v reflect.Value) error {
	s := strictjson.NewPlain(data, MaxDepth)
	kind := s.Peek()
	t := v.Type()
	switch {
	case reflect.PointerTo(t).Implements(unmarshaler):
	case t.Kind() == reflect.Pointer:
		if kind == strictjson.Null && !t.Implements(unmarshaler) {
			return nil
		}
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		return decode(data, v.Elem())
	case kind == strictjson.Object && t.Kind() == reflect.Struct:
		return eachMember(s, data, func(name string, value []byte) error {
			i := fieldNamed(t, name)
			if i < 0 {
				return nil
			}
			if err := decode(value, v.Field(i)); err != nil {
				return fmt.Errorf("%s: %w", t.Field(i).Tag.Get("json"), err)
			}
			return nil
		})
	case kind == strictjson.Array && t.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(t, 0, 0))
		return s.Array(func(i int) error {
			value, err := rawValue(s, data)
			if err != nil {
				return err
			}
			v.Set(reflect.Append(v, reflect.Zero(t.Elem())))
			return decode(value, v.Index(i))
		})
	case kind == strictjson.Object && t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		if v.IsNil() {
			v.Set(reflect.MakeMap(t))
		}
		return eachMember(s, data, func(name string, value []byte) error {
			item := reflect.New(t.Elem()).Elem()
			if err := decode(value, item); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), item)
			return nil
		})
	}
	// What is left has no fields whose names could be confused, or is of the
	// wrong kind.
	return json.Unmarshal(data, v.Addr().Interface())
}

// fieldNamed returns the index of the exported field whose tag has the name, or
// -1.
func fieldNamed(t reflect.Type, name string) int {
	for i := range t.NumField() {
		f := t.Field(i)
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name && tag != "" && tag != "-" && f.IsExported() {
			return i
		}
	}
	return -1
}
