package lexicons

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/lexicon"
)

// A file is one schema file, compiled.
type file struct {
	defs   map[string]def // named definitions that values can have
	record *recordDef     // of #main, if it is a record
	method *Method        // of #main, if it is a method
}

// A node is a schema definition as written, all types in one.
type node struct {
	Type         string           `json:"type"`
	Key          string           `json:"key"`
	Record       *node            `json:"record"`
	Parameters   *node            `json:"parameters"`
	Input        *bodyNode        `json:"input"`
	Output       *bodyNode        `json:"output"`
	Subprotocol  string           `json:"subprotocol"`
	Properties   map[string]*node `json:"properties"`
	Required     []string         `json:"required"`
	Nullable     []string         `json:"nullable"`
	Items        *node            `json:"items"`
	Ref          string           `json:"ref"`
	Refs         []string         `json:"refs"`
	Closed       bool             `json:"closed"`
	Format       string           `json:"format"`
	MinLength    *int             `json:"minLength"`
	MaxLength    *int             `json:"maxLength"`
	MinGraphemes *int             `json:"minGraphemes"`
	MaxGraphemes *int             `json:"maxGraphemes"`
	Minimum      *int64           `json:"minimum"`
	Maximum      *int64           `json:"maximum"`
	MaxSize      *int64           `json:"maxSize"`
	Accept       []string         `json:"accept"`
	Enum         json.RawMessage  `json:"enum"`
	Const        json.RawMessage  `json:"const"`
	Default      json.RawMessage  `json:"default"`
}

type bodyNode struct {
	Encoding string `json:"encoding"`
	Schema   *node  `json:"schema"`
}

type compiler struct {
	catalog *Catalog
	nsid    string
}

// compile parses a schema file for validation.
func compile(c *Catalog, nsid, source string) (*file, error) {
	var parsed struct {
		Defs map[string]*node `json:"defs"`
	}
	if err := json.Unmarshal([]byte(source), &parsed); err != nil {
		return nil, fmt.Errorf("lexicons: %s: %w", nsid, err)
	}
	cc := &compiler{c, nsid}
	f := &file{defs: make(map[string]def, len(parsed.Defs))}
	for name, n := range parsed.Defs {
		if err := cc.named(f, name, n); err != nil {
			return nil, fmt.Errorf("lexicons: %s#%s: %w", nsid, name, err)
		}
	}
	return f, nil
}

func (cc *compiler) named(f *file, name string, n *node) error {
	switch n.Type {
	case "query", "procedure", "subscription":
		m, err := cc.method(n)
		f.method = m
		return err
	case "record":
		if n.Record == nil {
			return fmt.Errorf("a record without an object")
		}
		obj, err := cc.object(n.Record)
		if err != nil {
			return err
		}
		f.record = &recordDef{key: n.Key, object: obj}
		f.defs[name] = obj
		return nil
	case "permission-set":
		return nil // no value has this type
	case "ref", "union", "unknown":
		// Excluded by the language; it also keeps references from
		// going round in circles.
		return fmt.Errorf("a definition must not be of type %s", n.Type)
	}
	d, err := cc.def(n)
	f.defs[name] = d
	return err
}

func (cc *compiler) method(n *node) (*Method, error) {
	m := &Method{Type: n.Type, Subprotocol: n.Subprotocol}
	if p := n.Parameters; p != nil {
		for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
			param, err := cc.param(name, p.Properties[name])
			if err != nil {
				return nil, err
			}
			param.Required = slices.Contains(p.Required, name)
			m.Params = append(m.Params, param)
		}
	}
	var err error
	if m.Input, err = cc.body(n.Input); err != nil {
		return nil, err
	}
	m.Output, err = cc.body(n.Output)
	return m, err
}

func (cc *compiler) body(b *bodyNode) (*Body, error) {
	if b == nil {
		return nil, nil
	}
	body := &Body{Encoding: b.Encoding}
	if b.Schema != nil {
		d, err := cc.def(b.Schema)
		if err != nil {
			return nil, err
		}
		body.schema = d
	}
	return body, nil
}

func (cc *compiler) def(n *node) (def, error) {
	if n == nil {
		return nil, fmt.Errorf("a schema is missing")
	}
	switch n.Type {
	case "boolean":
		return cc.boolean(n)
	case "integer":
		return cc.integer(n)
	case "string":
		return cc.string(n)
	case "bytes":
		return &bytesDef{lengthOf(n.MinLength, n.MaxLength)}, nil
	case "cid-link":
		return linkDef{}, nil
	case "blob":
		return &blobDef{accept: n.Accept, maxSize: valueOr(n.MaxSize, noMax)}, nil
	case "array":
		item, err := cc.def(n.Items)
		return &arrayDef{item, lengthOf(n.MinLength, n.MaxLength)}, err
	case "object":
		return cc.object(n)
	case "ref":
		return &refDef{cc.catalog, cc.ref(n.Ref)}, nil
	case "union":
		return cc.union(n)
	case "unknown":
		return unknownDef{}, nil
	case "token":
		return tokenDef{}, nil
	}
	return nil, fmt.Errorf("unknown schema type %q", n.Type)
}

func (cc *compiler) boolean(n *node) (*booleanDef, error) {
	d := &booleanDef{}
	return d, unmarshalIf(n.Const, &d.want)
}

func (cc *compiler) integer(n *node) (*integerDef, error) {
	d := &integerDef{minimum: valueOr(n.Minimum, -noMax), maximum: valueOr(n.Maximum, noMax)}
	if err := unmarshalIf(n.Enum, &d.enum); err != nil {
		return nil, err
	}
	return d, unmarshalIf(n.Const, &d.want)
}

func (cc *compiler) string(n *node) (*stringDef, error) {
	d := &stringDef{
		bytes:     lengthOf(n.MinLength, n.MaxLength),
		graphemes: lengthOf(n.MinGraphemes, n.MaxGraphemes),
	}
	if n.Format != "" {
		f, ok := formats[n.Format]
		if !ok {
			return nil, fmt.Errorf("unknown string format %q", n.Format)
		}
		d.format = f
	}
	if err := unmarshalIf(n.Enum, &d.enum); err != nil {
		return nil, err
	}
	return d, unmarshalIf(n.Const, &d.want)
}

func (cc *compiler) object(n *node) (*objectDef, error) {
	d := &objectDef{props: make(map[string]*property, len(n.Properties))}
	for name, pn := range n.Properties {
		pd, err := cc.def(pn)
		if err != nil {
			return nil, err
		}
		p := &property{name: name, def: pd, nullable: slices.Contains(n.Nullable, name)}
		d.props[name] = p
	}
	for _, name := range n.Required {
		p, ok := d.props[name]
		if !ok {
			return nil, fmt.Errorf("required property %q is not defined", name)
		}
		p.required = true
	}
	d.finish()
	return d, nil
}

func (cc *compiler) union(n *node) (*unionDef, error) {
	d := &unionDef{catalog: cc.catalog, closed: n.Closed, variants: make(map[string]struct{}, len(n.Refs))}
	for _, ref := range n.Refs {
		d.variants[cc.ref(ref)] = struct{}{}
	}
	return d, nil
}

// ref makes a reference full, and drops "#main" so that it can be compared.
func (cc *compiler) ref(ref string) string {
	if strings.HasPrefix(ref, "#") {
		ref = cc.nsid + ref
	}
	return strings.TrimSuffix(ref, "#main")
}

func (cc *compiler) param(name string, n *node) (*Param, error) {
	p := &Param{Name: name, length: lengthOf(nil, nil)}
	item := n
	if n.Type == "array" {
		if n.Items == nil {
			return nil, fmt.Errorf("array %q without items", name)
		}
		p.Array, p.length, item = true, lengthOf(n.MinLength, n.MaxLength), n.Items
	}
	var err error
	switch p.Type = item.Type; item.Type {
	case "string":
		p.str, err = cc.string(item)
	case "integer":
		p.integer, err = cc.integer(item)
	case "boolean":
		p.boolean, err = cc.boolean(item)
	default:
		return nil, fmt.Errorf("parameter %q is of type %q", name, item.Type)
	}
	if err != nil {
		return nil, err
	}
	return p, p.setDefault(n.Default)
}

func lengthOf(lo, hi *int) bounds {
	return bounds{lo: int64(valueOr(lo, 0)), hi: int64(valueOr(hi, noMax))}
}

func valueOr[T any](p *T, or T) T {
	if p == nil {
		return or
	}
	return *p
}

// unmarshalIf decodes text into v unless it is absent.
func unmarshalIf(text json.RawMessage, v any) error {
	if len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, v)
}

// Flags are those of package lexicon of indigo.
type Flags = lexicon.ValidateFlags
