package scope

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of what is parsed. A text beyond them is refused as a whole.
const (
	// MaxLength is how many bytes a text may have that a program or a client
	// writes.
	MaxLength = 16 << 10
	// MaxGrantedLength is how many bytes a text may have that a token or
	// session carries, in which permission sets may be expanded.
	MaxGrantedLength = 128 << 10
	// MaxScopes is how many values a text may have, those included that are
	// not known.
	MaxScopes = 512
	// MaxParams is how many parameters one value may have, the positional one
	// included, and repeated ones counted each time.
	MaxParams = 512
)

// Errors of parsing. [ValueError] says which value they are about.
var (
	// ErrTooLong is for a text longer than its limit.
	ErrTooLong = errors.New("scope: text is too long")
	// ErrTooMany is for a text of more than MaxScopes values.
	ErrTooMany = errors.New("scope: too many values")
	// ErrUnknown is for a value of no known kind.
	ErrUnknown = errors.New("unknown kind of scope")
	// ErrInvalid is for a value that breaks the rules of its kind.
	ErrInvalid = errors.New("invalid scope")
)

// A ValueError is about one value of a text. It wraps ErrUnknown or ErrInvalid.
type ValueError struct {
	Value string // as it was written; it may hold anything but spaces
	Err   error
}

const maxQuoted = 100 // bytes of a value that an error message shows

func (e *ValueError) Error() string {
	value, dots := e.Value, ""
	if len(value) > maxQuoted {
		value, dots = value[:maxQuoted], "..."
	}
	return fmt.Sprintf("scope: %q%s: %v", value, dots, e.Err)
}

// Unwrap returns the reason.
func (e *ValueError) Unwrap() error { return e.Err }

// A Grammar knows kinds of scopes. The zero Grammar, and a nil one, knows those
// of the protocol; [NewGrammar] adds others. It does not change once made.
type Grammar struct {
	kinds map[string]*kind // besides those of the protocol
}

// NewGrammar returns a grammar that knows more kinds than those of the
// protocol. It fails if a kind is not well described, or known already.
func NewGrammar(extra ...Kind) (*Grammar, error) {
	g := &Grammar{kinds: make(map[string]*kind, len(extra))}
	for _, described := range extra {
		k, err := newKind(described)
		if err != nil {
			return nil, fmt.Errorf("scope: kind %q: %w", described.Name, err)
		}
		if g.kind(k.name) != nil || isReserved(k.name) {
			return nil, fmt.Errorf("scope: kind %q is known already", k.name)
		}
		g.kinds[k.name] = k
	}
	return g, nil
}

func (g *Grammar) kind(name string) *kind {
	if k := protocolKind(name); k != nil {
		return k
	}
	if g == nil {
		return nil
	}
	return g.kinds[name]
}

// Parse parses a text with the grammar of the protocol, see [Grammar.Parse].
func Parse(text string) (*Set, error) { return (*Grammar)(nil).Parse(text) }

// ParseRequest parses a text with the grammar of the protocol, see
// [Grammar.ParseRequest].
func ParseRequest(text string) (set *Set, dropped []*ValueError, err error) {
	return (*Grammar)(nil).ParseRequest(text)
}

// ParseGranted parses texts with the grammar of the protocol, see
// [Grammar.ParseGranted].
func ParseGranted(texts ...string) (*Set, error) { return (*Grammar)(nil).ParseGranted(texts...) }

// Parse parses a text that the program itself has written, such as what a
// member may do for a group. One space separates the values; the empty text has
// none. An unknown or invalid value is a [*ValueError], as nobody should
// believe that it grants something. Other errors are ErrTooLong and ErrTooMany.
func (g *Grammar) Parse(text string) (*Set, error) {
	var p parser
	if text == "" {
		return p.set(), nil
	}
	if len(text) > MaxLength {
		return nil, ErrTooLong
	}
	for value := range strings.SplitSeq(text, " ") {
		if p.values++; p.values > MaxScopes {
			return nil, ErrTooMany
		}
		if err := p.add(g, value); err != nil {
			return nil, &ValueError{Value: value, Err: err}
		}
	}
	return p.set(), nil
}

// ParseRequest parses the text by which a client asks for scopes. As the
// protocol wants it, values that are unknown or invalid are left out; they are
// returned, too, in their order. Superfluous spaces do not matter. Errors are
// ErrTooLong and ErrTooMany.
func (g *Grammar) ParseRequest(text string) (set *Set, dropped []*ValueError, err error) {
	if len(text) > MaxLength {
		return nil, nil, ErrTooLong
	}
	var p parser
	err = p.addAll(g, text, func(value string, err error) {
		dropped = append(dropped, &ValueError{Value: value, Err: err})
	})
	if err != nil {
		return nil, nil, err
	}
	return p.set(), dropped, nil
}

// ParseGranted parses what a token or session carries, in one text or in
// several, which have MaxGrantedLength and MaxScopes together. Values that are
// unknown or invalid grant nothing. Errors are ErrTooLong and ErrTooMany.
func (g *Grammar) ParseGranted(texts ...string) (*Set, error) {
	total := 0
	for _, text := range texts {
		if total += len(text); total > MaxGrantedLength {
			return nil, ErrTooLong
		}
	}
	var p parser
	for _, text := range texts {
		if err := p.addAll(g, text, nil); err != nil {
			return nil, err
		}
	}
	return p.set(), nil
}

// parser collects the scopes of a set.
type parser struct {
	values int // seen, those that are left out included
	scopes []Scope
	arena  arena
	buf    []byte // for canonical texts
}

func (p *parser) addAll(g *Grammar, text string, dropped func(value string, err error)) error {
	for value := range strings.SplitSeq(text, " ") {
		if value == "" {
			continue
		}
		if p.values++; p.values > MaxScopes {
			return ErrTooMany
		}
		if err := p.add(g, value); err != nil && dropped != nil {
			dropped(value, err)
		}
	}
	return nil
}

// add adds a value, unless it is there already.
func (p *parser) add(g *Grammar, value string) error {
	scope, err := p.parse(g, value)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(p.scopes, func(s Scope) bool { return s.text == scope.text }) {
		if p.scopes == nil {
			p.scopes = make([]Scope, 0, 8)
		}
		p.scopes = append(p.scopes, scope)
	}
	return nil
}

// parse parses one value.
func (p *parser) parse(g *Grammar, value string) (Scope, error) {
	if static := staticOf(value); static != 0 {
		return Scope{text: value, source: value, static: static}, nil
	}
	if !isScopeToken(value) {
		return Scope{}, fmt.Errorf("%w: it is empty or has characters that scopes do not have", ErrInvalid)
	}
	name := value
	if end := strings.IndexAny(value, ":?"); end >= 0 {
		name = value[:end]
	}
	k := g.kind(name)
	if k == nil {
		return Scope{}, ErrUnknown
	}
	list, err := k.parse(value[len(name):], &p.arena)
	if err != nil {
		return Scope{}, err
	}
	scope := Scope{source: value, text: value, values: Values{kind: k, list: list}}
	if p.buf = k.append(p.buf[:0], list); string(p.buf) != value {
		scope.text = string(p.buf)
	}
	return scope, nil
}

func (p *parser) set() *Set { return newSet(p.scopes) }
