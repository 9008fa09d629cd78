package identity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxOperationJSON is the longest JSON form of a PLC operation that is parsed,
// in bytes. It leaves room for escapes and for the larger operations of old
// logs; what a directory takes today is MaxOperationBytes.
const MaxOperationJSON = 64 << 10

// maxOperationDepth is the nesting of an operation: object, services, service.
const maxOperationDepth = 3

// ParseOperation reads a PLC operation strictly: known type, exactly the fields
// of that type with the right kinds, no field twice, nothing after it. The
// signature may be missing. It checks form only; [Operation.Validate] checks
// what a directory demands besides. Errors match ErrInvalidOperation.
func ParseOperation(data []byte) (*Operation, error) {
	if len(data) > MaxOperationJSON {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalidOperation, MaxOperationJSON)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrInvalidOperation)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	v, err := decodeStrict(dec, maxOperationDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidOperation, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: data after the operation", ErrInvalidOperation)
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: not an object", ErrInvalidOperation)
	}
	r := fieldReader{fields: fields}
	op := &Operation{Type: r.str("type")}
	switch op.Type {
	case TypeOperation:
		op.RotationKeys = r.strings("rotationKeys")
		op.VerificationMethods = r.stringMap("verificationMethods")
		op.AlsoKnownAs = r.strings("alsoKnownAs")
		op.Services = r.services("services")
		op.Prev = r.nullable("prev")
	case TypeTombstone:
		op.Prev = new(r.str("prev"))
	case TypeLegacyCreate:
		op.Legacy = &LegacyCreate{
			SigningKey:  r.str("signingKey"),
			RecoveryKey: r.str("recoveryKey"),
			Handle:      r.str("handle"),
			Service:     r.str("service"),
		}
		if r.nullable("prev") != nil {
			r.fail("prev", "must be null")
		}
	default:
		r.fail("type", "unknown")
	}
	if _, ok := fields["sig"]; ok {
		if op.Sig = r.str("sig"); op.Sig == "" {
			r.fail("sig", "is empty")
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return op, nil
}

// decodeStrict reads one JSON value; a name that occurs twice in an object and
// nesting beyond depth are errors.
func decodeStrict(dec *json.Decoder, depth int) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if depth == 0 {
		return nil, fmt.Errorf("nested too deep")
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := decodeStrict(dec, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	object := map[string]any{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := tok.(string)
		if !ok {
			return nil, fmt.Errorf("name is no string")
		}
		if _, dup := object[name]; dup {
			return nil, fmt.Errorf("%q occurs twice", name)
		}
		if object[name], err = decodeStrict(dec, depth-1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return object, err
}

// fieldReader takes typed fields out of an object and keeps the first fault.
type fieldReader struct {
	fields map[string]any
	taken  int
	err    error
}

func (r *fieldReader) fail(name, what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s %s", ErrInvalidOperation, name, what)
	}
}

func (r *fieldReader) take(name string) any {
	v, ok := r.fields[name]
	if !ok {
		r.fail(name, "is missing")
		return nil
	}
	r.taken++
	return v
}

// done reports the first fault, or fields that nobody asked for.
func (r *fieldReader) done() error {
	if r.err == nil && r.taken != len(r.fields) {
		r.err = fmt.Errorf("%w: unknown fields", ErrInvalidOperation)
	}
	return r.err
}

func (r *fieldReader) str(name string) string {
	s, ok := r.take(name).(string)
	if !ok {
		r.fail(name, "is not a string")
	}
	return s
}

func (r *fieldReader) nullable(name string) *string {
	switch v := r.take(name).(type) {
	case nil:
		return nil
	case string:
		return &v
	}
	r.fail(name, "is neither a string nor null")
	return nil
}

func (r *fieldReader) strings(name string) []string {
	list, ok := r.take(name).([]any)
	if !ok {
		r.fail(name, "is not a list")
	}
	out := make([]string, len(list))
	for i, v := range list {
		if out[i], ok = v.(string); !ok {
			r.fail(name, "holds something that is not a string")
		}
	}
	return out
}

func (r *fieldReader) stringMap(name string) map[string]string {
	object, ok := r.take(name).(map[string]any)
	if !ok {
		r.fail(name, "is not an object")
	}
	out := make(map[string]string, len(object))
	for k, v := range object {
		if out[k], ok = v.(string); !ok {
			r.fail(name, "holds something that is not a string")
		}
	}
	return out
}

func (r *fieldReader) services(name string) map[string]Service {
	object, ok := r.take(name).(map[string]any)
	if !ok {
		r.fail(name, "is not an object")
	}
	out := make(map[string]Service, len(object))
	for k, v := range object {
		fields, ok := v.(map[string]any)
		if !ok {
			r.fail(name, "holds something that is not an object")
			continue
		}
		inner := fieldReader{fields: fields}
		out[k] = Service{Type: inner.str("type"), Endpoint: inner.str("endpoint")}
		if err := inner.done(); err != nil && r.err == nil {
			r.err = err
		}
	}
	return out
}
