package scope

import (
	"iter"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// A Scope is one value of a scope text.
type Scope struct {
	text   string // canonical
	source string // as it was written
	static static // of a value without parts
	values Values
}

// String returns the canonical text.
func (s Scope) String() string { return s.text }

// Source returns the text as it was written, or the canonical text of a scope
// that was not read but made.
func (s Scope) Source() string { return s.source }

// Kind returns the name of the resource: a constant of this package such as
// [KindRepo], or the name that [NewGrammar] was given. The values without parts,
// such as [TransitionGeneric], have no kind but "".
func (s Scope) Kind() string {
	if s.values.kind == nil {
		return ""
	}
	return s.values.kind.name
}

// Values returns the values of the scope's parameters.
func (s Scope) Values() Values { return s.values }

// Include returns what a scope "include:" refers to: a permission set, and the
// audience for it, which may be "".
func (s Scope) Include() (set syntax.NSID, audience string, ok bool) {
	if s.values.kind != includeKind {
		return "", "", false
	}
	if list := s.values.list[includeAud]; len(list) > 0 {
		audience = list[0]
	}
	return syntax.NSID(s.values.list[includeSet][0]), audience, true
}

// A Set is a set of scopes. It does not change, so that all of its methods may
// be called concurrently. A nil Set is empty.
type Set struct {
	// The scopes as they were read. Those of a set that is computed are made
	// from the other fields when somebody wants to see them.
	scopes   []Scope
	computed bool

	// What they allow, together.
	static   static
	anyRepo  actionMask  // for every collection
	repos    []repoGrant // by collection
	rpcs     []rpcGroup  // one for each audience, in order
	blobs    []string    // patterns, in order, none covered by another
	account  [3]level    // by the order of the known attributes
	identity string      // "", an attribute or the wildcard
	includes []Scope     // by text
	others   []Scope     // of further kinds, by text
}

// repoGrant is what is allowed for a collection.
type repoGrant struct {
	collection string
	actions    actionMask
}

// rpcGroup is what may be called of a service, or, for the wildcard, of each.
type rpcGroup struct {
	audience string
	any      anyMethod
	methods  []string // in order; may be shared with scopes
}

// newSet makes a set of scopes, of which no two have the same text.
func newSet(scopes []Scope) *Set {
	s := &Set{scopes: scopes}
	for i := range scopes {
		s.index(&scopes[i])
	}
	s.settle()
	return s
}

// index adds what a scope allows. Afterwards, settle brings things in order.
func (s *Set) index(scope *Scope) {
	s.static |= scope.static
	list := scope.values.list
	switch scope.values.kind {
	case nil:
	case repoKind:
		var mask actionMask
		for _, action := range list[repoAction] {
			mask |= maskOf(Action(action))
		}
		for _, collection := range list[repoCollection] {
			if collection == wildcard {
				s.anyRepo |= mask
				continue
			}
			if s.repos == nil {
				s.repos = make([]repoGrant, 0, max(4, len(list[repoCollection])))
			}
			s.repos = append(s.repos, repoGrant{collection, mask})
		}
	case rpcKind:
		group := s.group(list[rpcAudience][0])
		switch methods := list[rpcMethod]; {
		case methods[0] == wildcard:
			group.any = everyMethod
		case group.methods == nil:
			group.methods = slices.Clip(methods)
		default:
			group.methods = append(group.methods, methods...)
		}
	case blobKind:
		s.blobs = append(s.blobs, list[blobAccept]...)
	case accountKind:
		i := slices.Index(accountKind.params[accountAttr].Known, list[accountAttr][0])
		s.account[i] = max(s.account[i], levelOf(Action(list[accountAction][0])))
	case identityKind:
		if s.identity != wildcard {
			s.identity = list[identityAttr][0]
		}
	case includeKind:
		s.includes = append(s.includes, *scope)
	default:
		s.others = append(s.others, *scope)
	}
}

// group returns the group of an audience, which it may add.
func (s *Set) group(audience string) *rpcGroup {
	if g := s.rpcGroup(audience); g != nil {
		return g
	}
	s.rpcs = append(s.rpcs, rpcGroup{audience: audience})
	return &s.rpcs[len(s.rpcs)-1]
}

// settle brings what is allowed into order, without anything twice.
func (s *Set) settle() {
	if len(s.repos) > 1 {
		slices.SortFunc(s.repos, func(a, b repoGrant) int { return strings.Compare(a.collection, b.collection) })
		merged := s.repos[:1]
		for _, g := range s.repos[1:] {
			if last := &merged[len(merged)-1]; last.collection == g.collection {
				last.actions |= g.actions
			} else {
				merged = append(merged, g)
			}
		}
		s.repos = merged
	}
	for i := range s.rpcs {
		// The list of a single scope is in order and stays untouched.
		g := &s.rpcs[i]
		if !slices.IsSorted(g.methods) {
			slices.Sort(g.methods)
		}
		g.methods = slices.Compact(g.methods)
	}
	slices.SortFunc(s.rpcs, func(a, b rpcGroup) int { return strings.Compare(a.audience, b.audience) })
	if len(s.blobs) > 1 {
		s.blobs = reduceAccept(s.blobs)
	}
	slices.SortFunc(s.includes, byText)
	slices.SortFunc(s.others, byText)
}

func byText(a, b Scope) int { return strings.Compare(a.text, b.text) }

// Scopes iterates over the scopes. Those of a text come in its order, without
// repetitions; those that [Set.Intersect] has made in canonical order.
func (s *Set) Scopes() iter.Seq[Scope] { return slices.Values(s.list()) }

func (s *Set) list() []Scope {
	switch {
	case s == nil:
		return nil
	case s.computed:
		return s.describe()
	}
	return s.scopes
}

// Has reports whether a scope with this canonical text is in the set. It is
// for values such as [Atproto]; whether something is allowed says Allows.
func (s *Set) Has(text string) bool {
	return slices.ContainsFunc(s.list(), func(scope Scope) bool { return scope.text == text })
}

// IsEmpty reports whether the set has no scopes.
func (s *Set) IsEmpty() bool { return len(s.list()) == 0 }

// String returns the canonical text of the set: the canonical texts of its
// scopes, in order, with [Atproto] first.
func (s *Set) String() string {
	texts := make([]string, 0, len(s.list()))
	for scope := range s.Scopes() {
		texts = append(texts, scope.text)
	}
	slices.SortFunc(texts, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == Atproto:
			return -1
		case b == Atproto:
			return 1
		}
		return strings.Compare(a, b)
	})
	return strings.Join(texts, " ")
}

// Source returns the text of the set with the scopes in their order and as they
// were written, as a client expects to see again what it asked for.
func (s *Set) Source() string {
	texts := make([]string, 0, len(s.list()))
	for scope := range s.Scopes() {
		texts = append(texts, scope.source)
	}
	return strings.Join(texts, " ")
}

// describe makes the scopes of a computed set, in canonical order.
func (s *Set) describe() []Scope {
	var out []Scope
	add := func(k *kind, list ...[]string) {
		text := string(k.append(nil, list))
		out = append(out, Scope{text: text, source: text, values: Values{kind: k, list: list}})
	}
	for i, text := range staticTexts {
		if s.static>>i&1 != 0 {
			out = append(out, Scope{text: text, source: text, static: 1 << i})
		}
	}
	for i, l := range s.account {
		if l > 0 {
			attr, action := accountKind.params[accountAttr].Known[i], accountKind.params[accountAction].Known[l-1]
			add(accountKind, []string{attr}, []string{action})
		}
	}
	if len(s.blobs) > 0 {
		add(blobKind, s.blobs)
	}
	if s.identity != "" {
		add(identityKind, []string{s.identity})
	}
	out = append(out, s.includes...)
	if s.anyRepo != 0 {
		add(repoKind, []string{wildcard}, s.anyRepo.actions())
	}
	for mask := actionMask(1); mask <= allActions; mask++ {
		var collections []string
		for _, g := range s.repos {
			if g.actions == mask {
				collections = append(collections, g.collection)
			}
		}
		if len(collections) > 0 {
			add(repoKind, collections, mask.actions())
		}
	}
	for _, g := range s.rpcs {
		if g.any == everyMethod {
			add(rpcKind, []string{wildcard}, []string{g.audience})
		} else if len(g.methods) > 0 {
			add(rpcKind, g.methods, []string{g.audience})
		}
	}
	return append(out, s.others...)
}
