package scope

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Kind describes scopes of a resource that is not of the protocol, for
// [NewGrammar]. Its scopes are name[:positional][?param=value&param=value].
type Kind struct {
	// Name is the name of the resource: lower-case letters, digits and hyphens.
	Name string
	// Params are the parameters, in canonical order.
	Params []Param
	// Positional is the name of the parameter whose value may stand after a
	// colon. It may be empty.
	Positional string
	// Check may refuse a scope whose parameters are good one by one. It may be
	// nil.
	Check func(Values) error
	// Meet returns the texts of scopes that together grant what both a and b
	// grant, and nothing else; texts that are invalid or of other kinds are
	// ignored. It is called for each pair of different scopes of the kind. If
	// it is nil, two scopes have something in common only if they are the same.
	Meet func(a, b Values) []string
}

// A Param is a parameter of a [Kind].
type Param struct {
	Name     string
	Multi    bool // it may be repeated
	Required bool
	// Known are the values that there are, in canonical order. If there is no
	// such list, Valid says which values are allowed, and the canonical order is
	// that of bytes. Empty values never are.
	Known []string
	Valid func(string) bool
	// Default are the values of a parameter that is absent, which may be none.
	Default []string
	// Absorbs is a value, such as "*", that stands for all others: they are
	// left out beside it. Empty means that there is none.
	Absorbs string
}

// Values are the values of a scope.
type Values struct {
	kind *kind
	list [][]string // by parameter
}

// Get returns the values of a parameter in canonical order, the default if the
// scope does not have it, and nil for an unknown one. The slice must not be
// changed.
func (v Values) Get(param string) []string {
	if v.kind == nil {
		return nil
	}
	if i := v.kind.param(param); i >= 0 {
		return v.list[i]
	}
	return nil
}

// First returns the first value of a parameter, or "".
func (v Values) First(param string) string {
	if list := v.Get(param); len(list) > 0 {
		return list[0]
	}
	return ""
}

// String returns the canonical text of the scope.
func (v Values) String() string {
	if v.kind == nil {
		return ""
	}
	return string(v.kind.append(nil, v.list))
}

// kind is a Kind that is known to be well described.
type kind struct {
	name       string
	params     []Param
	positional int // index of a parameter, or -1
	check      func(Values) error
	meet       func(a, b Values) []string
	normalize  func(list [][]string) // after check; may be nil
}

func isReserved(name string) bool { return name == Atproto || name == "transition" }

func newKind(d Kind) (*kind, error) {
	if !isKindName(d.Name) {
		return nil, errors.New("bad name")
	}
	k := &kind{name: d.Name, params: slices.Clone(d.Params), positional: -1, check: d.Check, meet: d.Meet}
	for i := range k.params {
		p := &k.params[i]
		duplicate := slices.ContainsFunc(k.params[:i], func(q Param) bool { return p.Name == q.Name })
		switch {
		case !isParamName(p.Name) || duplicate:
			return nil, fmt.Errorf("bad or repeated parameter %q", p.Name)
		case (p.Valid == nil) == (p.Known == nil):
			return nil, fmt.Errorf("parameter %q needs either known values or a function for them", p.Name)
		case len(p.Default) > 1 && !p.Multi, len(p.Default) > 0 && p.Required:
			return nil, fmt.Errorf("parameter %q cannot have this default", p.Name)
		}
		p.Default = p.normalize(slices.Clone(p.Default))
		for _, value := range p.Default {
			if !p.valid(value) {
				return nil, fmt.Errorf("parameter %q has the invalid default %q", p.Name, value)
			}
		}
		if p.Name == d.Positional {
			k.positional = i
		}
	}
	if d.Positional != "" && k.positional < 0 {
		return nil, fmt.Errorf("the positional parameter %q is none of its parameters", d.Positional)
	}
	return k, nil
}

func isKindName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (i == 0 || !isDigit(c) && c != '-') {
			return false
		}
	}
	return s != ""
}

func isParamName(s string) bool {
	for i := range len(s) {
		if !isAlphaNum(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != ""
}

func (p *Param) valid(value string) bool {
	switch {
	case value == "":
		return false
	case p.Known != nil:
		return slices.Contains(p.Known, value)
	}
	return p.Valid(value)
}

// normalize orders values, removes duplicates and what is absorbed. It works in
// place.
func (p *Param) normalize(values []string) []string {
	if len(values) < 2 {
		return values
	}
	if p.Absorbs != "" && slices.Contains(values, p.Absorbs) {
		return append(values[:0], p.Absorbs)
	}
	if p.Known != nil {
		slices.SortFunc(values, func(a, b string) int {
			return slices.Index(p.Known, a) - slices.Index(p.Known, b)
		})
	} else {
		slices.Sort(values)
	}
	return slices.Compact(values)
}

// An arena hands out the lists of many scopes from few allocations.
type arena struct {
	lists  [][]string
	values []string
}

const arenaSize = 16

// list returns a list of n empty lists.
func (a *arena) list(n int) [][]string {
	if len(a.lists) < n {
		a.lists = make([][]string, max(n, arenaSize))
	}
	out := a.lists[:n:n]
	a.lists = a.lists[n:]
	return out
}

// one returns a list of one value.
func (a *arena) one(value string) []string {
	if len(a.values) == 0 {
		a.values = make([]string, arenaSize)
	}
	out := a.values[:1:1]
	a.values = a.values[1:]
	out[0] = value
	return out
}

// parse parses what follows the name of a kind: nothing, or a colon and the
// positional value, and a question mark and parameters.
func (k *kind) parse(rest string, a *arena) ([][]string, error) {
	list := a.list(len(k.params))
	count := 0
	add := func(i int, value string) error {
		p := &k.params[i]
		if count++; count > MaxParams {
			return fmt.Errorf("%w: too many parameters", ErrInvalid)
		}
		if len(list[i]) > 0 && !p.Multi {
			return fmt.Errorf("%w: repeated parameter %q", ErrInvalid, p.Name)
		}
		if list[i] == nil {
			list[i] = a.one(value)
		} else {
			list[i] = append(list[i], value)
		}
		return nil
	}
	front, query, _ := strings.Cut(rest, "?")
	positional, hasPositional := strings.CutPrefix(front, ":")
	if hasPositional {
		if k.positional < 0 {
			return nil, fmt.Errorf("%w: it has no positional parameter", ErrInvalid)
		}
		value, err := unescape(positional, false)
		if err != nil {
			return nil, err
		}
		if err := add(k.positional, value); err != nil {
			return nil, err
		}
	}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := unescape(name, true)
		if err != nil {
			return nil, err
		}
		if value, err = unescape(value, true); err != nil {
			return nil, err
		}
		i := k.param(name)
		if i < 0 {
			return nil, fmt.Errorf("%w: unknown parameter", ErrInvalid)
		}
		if hasPositional && i == k.positional {
			return nil, fmt.Errorf("%w: parameter %q is positional already", ErrInvalid, name)
		}
		if err := add(i, value); err != nil {
			return nil, err
		}
	}
	return list, k.finish(list)
}

// param returns the index of a parameter, or -1.
func (k *kind) param(name string) int {
	for i := range k.params {
		if k.params[i].Name == name {
			return i
		}
	}
	return -1
}

// finish checks values, brings them into canonical order and adds defaults.
func (k *kind) finish(list [][]string) error {
	for i := range k.params {
		p := &k.params[i]
		if len(list[i]) == 0 {
			if p.Required {
				return fmt.Errorf("%w: no parameter %q", ErrInvalid, p.Name)
			}
			list[i] = p.Default
			continue
		}
		for _, value := range list[i] {
			if !p.valid(value) {
				return fmt.Errorf("%w: bad value of parameter %q", ErrInvalid, p.Name)
			}
		}
		list[i] = p.normalize(list[i])
	}
	if k.check != nil {
		if err := k.check(Values{kind: k, list: list}); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if k.normalize != nil {
		k.normalize(list)
	}
	return nil
}

// append appends the canonical text of a scope.
func (k *kind) append(buf []byte, list [][]string) []byte {
	buf = append(buf, k.name...)
	omit := -1 // the parameter that is positional
	if i := k.positional; i >= 0 && len(list[i]) == 1 && !slices.Equal(list[i], k.params[i].Default) {
		buf = appendEscaped(append(buf, ':'), list[i][0], false)
		omit = i
	}
	separator := byte('?')
	for i := range k.params {
		if i == omit || slices.Equal(list[i], k.params[i].Default) {
			continue
		}
		for _, value := range list[i] {
			buf = append(append(buf, separator), k.params[i].Name...)
			buf = appendEscaped(append(buf, '='), value, true)
			separator = '&'
		}
	}
	return buf
}
