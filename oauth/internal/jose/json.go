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
// After an error some fields may be set. The data is not kept.
func DecodeJSON(data []byte, v any) error {
	d := decoder{strictjson.NewPlain(data, MaxDepth), data}
	err := d.decode(reflect.ValueOf(v).Elem())
	if err == nil {
		err = d.End()
	}
	if err != nil {
		return fmt.Errorf("jose: %w", err)
	}
	return nil
}

// ParseObject reads one JSON object as strictly as [DecodeJSON] and returns the
// text of its members, in memory of data.
func ParseObject(data []byte) (map[string]json.RawMessage, error) {
	d := decoder{strictjson.NewPlain(data, MaxDepth), data}
	if d.Peek() != strictjson.Object {
		return nil, errNotObject
	}
	members := map[string]json.RawMessage{}
	err := d.Object(func(name string) (err error) {
		members[name], err = d.raw()
		return err
	})
	if err == nil {
		err = d.End()
	}
	if err != nil {
		return nil, fmt.Errorf("jose: %w", err)
	}
	return members, nil
}

type decoder struct {
	*strictjson.Scanner
	data []byte
}

// raw reads one value and returns its text.
func (d decoder) raw() ([]byte, error) {
	d.Peek() // past white space
	from := d.Pos()
	if err := d.Skip(); err != nil {
		return nil, err
	}
	return d.data[from:d.Pos():d.Pos()], nil
}

// decode reads one value into v.
func (d decoder) decode(v reflect.Value) error {
	kind := d.Peek()
	t := v.Type()
	switch to, ok := reflect.TypeAssert[json.Unmarshaler](v.Addr()); {
	case ok:
		text, err := d.raw()
		if err != nil {
			return err
		}
		return to.UnmarshalJSON(text)
	case t.Kind() == reflect.Pointer && (kind != strictjson.Null || t.Implements(unmarshaler)):
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		return d.decode(v.Elem())
	case kind == strictjson.Null:
		return d.Null()
	case kind == strictjson.String && t.Kind() == reflect.String:
		text, err := d.Text()
		v.SetString(text)
		return err
	case kind == strictjson.Object && t.Kind() == reflect.Struct:
		return d.Object(func(name string) error { return d.member(v, name) })
	case kind == strictjson.Array && t.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(t, 0, 0))
		return d.Array(func(i int) error {
			v.Set(reflect.Append(v, reflect.Zero(t.Elem())))
			return d.decode(v.Index(i))
		})
	case kind == strictjson.Object && t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		if v.IsNil() {
			v.Set(reflect.MakeMap(t))
		}
		return d.Object(func(name string) error {
			item := reflect.New(t.Elem()).Elem()
			err := d.decode(item)
			v.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), item)
			return err
		})
	}
	// What is left has no names that could be confused, or is of the wrong kind.
	text, err := d.raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v.Addr().Interface())
}

// member reads the value of a member into the field of a struct that has its
// name, if there is one.
func (d decoder) member(v reflect.Value, name string) error {
	i := fieldNamed(v.Type(), name)
	if i < 0 {
		return d.Skip()
	}
	if err := d.decode(v.Field(i)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

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
