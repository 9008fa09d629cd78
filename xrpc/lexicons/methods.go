package lexicons

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/pdskit/pdskit/internal/strictjson"
)

// ErrUnknown is returned when the catalog has no schema for a method.
var ErrUnknown = errors.New("lexicons: unknown method")

// A Method is what a schema says about a query, procedure or subscription.
// It is not to be changed.
type Method struct {
	Type        string   // "query", "procedure" or "subscription"
	Params      []*Param // in order of their names
	Input       *Body    // nil: none
	Output      *Body    // nil: none
	Subprotocol string   // of a subscription, when the client offers none; empty: xrpc.v0.cbor
}

// A Body is what a schema says about an input or output.
type Body struct {
	Encoding string // a media type, or a pattern such as "*/*"
	schema   def
}

// HasSchema reports whether the body is JSON of a known form.
func (b *Body) HasSchema() bool { return b.schema != nil }

// Validate checks a whole JSON text against the schema. It returns the text
// with integers in plain form (see the limits in the package comment), or a
// *[ValidationError] or another error whose text may be shown to a client.
// Without a schema any text passes that fits the data model.
func (b *Body) Validate(text []byte) ([]byte, error) {
	if b.schema == nil {
		return CheckJSON(text)
	}
	s := strictjson.New(text)
	if err := b.schema.scan(s); err != nil {
		return nil, err
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	return s.Canonical(), nil
}

// CheckJSON checks that a text is an object or an array that fits the data
// model, and returns it with integers in plain form.
func CheckJSON(text []byte) ([]byte, error) {
	switch strictjson.New(text).Peek() {
	case strictjson.Object, strictjson.Array, strictjson.Invalid:
		return strictjson.Check(text)
	}
	return nil, fail("must be an object")
}

// A Param is what a schema says about a parameter of the query string.
type Param struct {
	Name     string
	Type     string // of the value, or of the elements: "string", "integer" or "boolean"
	Array    bool
	Required bool
	Default  any // nil, string, int64, bool

	length  bounds
	str     *stringDef
	integer *integerDef
	boolean *booleanDef
}

func (p *Param) setDefault(text json.RawMessage) error {
	if len(text) == 0 || p.Array {
		return nil
	}
	switch p.Type {
	case "string":
		var v string
		err := json.Unmarshal(text, &v)
		p.Default = v
		return err
	case "integer":
		var v int64
		err := json.Unmarshal(text, &v)
		p.Default = v
		return err
	}
	var v bool
	err := json.Unmarshal(text, &v)
	p.Default = v
	return err
}

// CheckString checks one value of a string parameter.
func (p *Param) CheckString(v string) error { return within(p.str.checkString(v, 0), p.Name) }

// CheckInt checks one value of an integer parameter.
func (p *Param) CheckInt(v int64) error { return within(p.integer.checkInt(v), p.Name) }

// CheckBool checks one value of a boolean parameter.
func (p *Param) CheckBool(v bool) error { return within(p.boolean.checkBool(v), p.Name) }

// CheckCount checks how often the parameter is given: 0 means not at all.
func (p *Param) CheckCount(n int) error {
	switch {
	case n == 0 && p.Required:
		return missing(p.Name)
	case n > 1 && !p.Array:
		return fail("%s: must be given once", p.Name)
	case n > 0 && p.Array && !p.length.hold(n):
		return fail("%s: is given %d times, want %s", p.Name, n, p.length)
	}
	return nil
}

// ParseInt reads an integer as it stands in a query string: digits with an
// optional minus, within the range that JSON may have.
func ParseInt(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || v[0] == '+' || n > strictjson.MaxInteger || n < -strictjson.MaxInteger {
		return 0, fail("must be an integer")
	}
	return n, nil
}

// ParseBool reads "true" or "false".
func ParseBool(v string) (bool, error) {
	if v != "true" && v != "false" {
		return false, fail("must be true or false")
	}
	return v == "true", nil
}

// Method returns what the catalog knows about a method, or an error that
// matches [ErrUnknown].
func (c *Catalog) Method(nsid string) (*Method, error) {
	f, err := c.file(nsid)
	if err != nil {
		return nil, err
	}
	if f == nil || f.method == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, nsid)
	}
	return f.method, nil
}

// ValidateParams checks the parameters of a method. Unknown ones pass.
func (c *Catalog) ValidateParams(nsid string, query url.Values) error {
	m, err := c.Method(nsid)
	if err != nil {
		return err
	}
	for _, p := range m.Params {
		values := query[p.Name]
		if err := p.CheckCount(len(values)); err != nil {
			return err
		}
		for _, v := range values {
			if err := p.checkText(v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Param) checkText(v string) error {
	switch p.Type {
	case "integer":
		n, err := ParseInt(v)
		if err != nil {
			return within(err, p.Name)
		}
		return p.CheckInt(n)
	case "boolean":
		b, err := ParseBool(v)
		if err != nil {
			return within(err, p.Name)
		}
		return p.CheckBool(b)
	}
	return p.CheckString(v)
}

// ValidateInput checks the input of a procedure, see [Body.Validate].
func (c *Catalog) ValidateInput(nsid string, text []byte) ([]byte, error) {
	m, err := c.Method(nsid)
	if err != nil {
		return nil, err
	}
	if m.Input == nil {
		return nil, fail("%s takes no input", nsid)
	}
	return m.Input.Validate(text)
}

// ValidateOutput checks the output of a method, see [Body.Validate].
func (c *Catalog) ValidateOutput(nsid string, text []byte) error {
	m, err := c.Method(nsid)
	if err != nil {
		return err
	}
	if m.Output == nil {
		return fail("%s has no output", nsid)
	}
	_, err = m.Output.Validate(text)
	return err
}
