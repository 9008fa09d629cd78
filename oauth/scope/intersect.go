package scope

import (
	"slices"
	"strings"
)

// Contains reports whether s allows all that other allows, and has [Atproto]
// and the same scopes "include:" if other has them. A scope of a kind that
// [NewGrammar] was given is contained in a set that has it, or has one whose
// [Kind.Meet] with it is the scope itself.
func (s *Set) Contains(other *Set) bool {
	if other == nil {
		return true
	}
	if s == nil {
		s = new(Set)
	}
	needed := other.static &^ staticEmail // that is a matter of levels
	if needed&staticGeneric == 0 {
		needed &^= staticChat // which allows nothing alone
	}
	if needed&^s.static != 0 || other.repoMask(wildcard)&^s.repoMask(wildcard) != 0 {
		return false
	}
	for _, g := range other.repos {
		if g.actions&^s.repoMask(g.collection) != 0 {
			return false
		}
	}
	for i := range other.rpcs {
		if !s.containsGroup(&other.rpcs[i]) {
			return false
		}
	}
	patterns := s.patterns()
	for _, pattern := range other.blobs {
		if !covers(patterns, pattern) {
			return false
		}
	}
	for _, attr := range accountKind.params[accountAttr].Known {
		if other.accountLevel(attr) > s.accountLevel(attr) {
			return false
		}
	}
	if other.identity != "" && s.identity != wildcard && s.identity != other.identity {
		return false
	}
	for _, scope := range other.includes {
		if !hasText(s.includes, scope) {
			return false
		}
	}
	for _, scope := range other.others {
		if !slices.ContainsFunc(s.others, func(o Scope) bool { return hasText(meetOthers(o, scope), scope) }) {
			return false
		}
	}
	return true
}

func (s *Set) containsGroup(g *rpcGroup) bool {
	if mine := s.rpcGroup(g.audience); g.any > s.anyService() && (mine == nil || g.any > mine.any) {
		return false
	}
	for _, method := range g.methods {
		if !s.allowsRPC(method, g.audience) {
			return false
		}
	}
	return true
}

func hasText(sorted []Scope, scope Scope) bool {
	_, found := slices.BinarySearchFunc(sorted, scope, byText)
	return found
}

// Intersect returns the set of what both sets allow. It never allows more. Of
// the scopes that allow nothing by themselves, [Atproto] and "include:", it has
// those that both have; whoever wants to see into permission sets expands them
// first. For further kinds see [Kind.Meet].
//
// It does not allow less either, but its text may: nothing can be written for
// any method but those in chat.bsky of one service, which is what the general
// transition scope and "rpc:*" have in common. This is in the set, and missing
// from its scopes and texts. A text may also get longer than what can be
// parsed, if one set names many methods for any service, and the other many
// services.
func (s *Set) Intersect(other *Set) *Set {
	if s == nil || other == nil {
		return new(Set)
	}
	out := &Set{computed: true, static: s.static & other.static}
	out.meetRepos(s, other)
	out.meetRPCs(s, other)
	out.meetBlobs(s, other)
	for i, attr := range accountKind.params[accountAttr].Known {
		if l := min(s.accountLevel(attr), other.accountLevel(attr)); l > out.accountLevel(attr) {
			out.account[i] = l
		}
	}
	switch wildcard {
	case s.identity:
		out.identity = other.identity
	case other.identity:
		out.identity = s.identity
	default:
		if s.identity == other.identity {
			out.identity = s.identity
		}
	}
	for _, scope := range s.includes {
		if hasText(other.includes, scope) {
			out.includes = append(out.includes, scope)
		}
	}
	for _, a := range s.others {
		for _, b := range other.others {
			out.others = append(out.others, meetOthers(a, b)...)
		}
	}
	slices.SortFunc(out.others, byText)
	out.others = slices.CompactFunc(out.others, func(a, b Scope) bool { return a.text == b.text })
	return out
}

func (s *Set) meetRepos(a, b *Set) {
	if s.static&staticGeneric != 0 {
		return // allowed already
	}
	s.anyRepo = a.repoMask(wildcard) & b.repoMask(wildcard)
	for _, g := range slices.Concat(a.repos, b.repos) {
		if mask := a.repoMask(g.collection) & b.repoMask(g.collection) &^ s.anyRepo; mask != 0 {
			s.repos = append(s.repos, repoGrant{g.collection, mask})
		}
	}
	s.settle() // what comes of both sides is the same
}

func (s *Set) meetRPCs(a, b *Set) {
	star := func(s *Set) rpcGroup {
		g := rpcGroup{audience: wildcard, any: s.anyService()}
		if named := s.rpcGroup(wildcard); named != nil {
			g.methods = named.methods
		}
		return g
	}
	starA, starB := star(a), star(b)
	common := meetGroups(&starA, &starB)
	if len(common.methods) > 0 {
		// The scopes of s say already which methods need no name.
		s.rpcs = append(s.rpcs, rpcGroup{audience: wildcard, methods: common.methods})
	}
	audiences := make([]string, 0, len(a.rpcs)+len(b.rpcs))
	for _, g := range a.rpcs {
		audiences = append(audiences, g.audience)
	}
	for _, g := range b.rpcs {
		audiences = append(audiences, g.audience)
	}
	slices.Sort(audiences)
	for _, audience := range slices.Compact(audiences) {
		if audience == wildcard {
			continue
		}
		groupA, groupB := a.rpcGroup(audience), b.rpcGroup(audience)
		g := rpcGroup{audience: audience}
		for _, part := range []rpcGroup{meetGroups(groupA, groupB), meetGroups(groupA, &starB), meetGroups(&starA, groupB)} {
			g.any = max(g.any, part.any)
			if g.methods == nil {
				g.methods = part.methods
			} else if len(part.methods) > 0 {
				g.methods = sortedUnion(g.methods, part.methods)
			}
		}
		if g.any <= common.any {
			g.any = noMethod
		}
		g.methods = without(g.methods, func(method string) bool { return g.any.allows(method) || common.allows(method) })
		if g.any != noMethod || len(g.methods) > 0 {
			s.rpcs = append(s.rpcs, g)
		}
	}
}

// meetGroups returns what two groups allow, the methods that need no name left
// out. Its list of methods may be that of a group.
func meetGroups(a, b *rpcGroup) rpcGroup {
	if a == nil || b == nil {
		return rpcGroup{}
	}
	out := rpcGroup{any: min(a.any, b.any)}
	inBoth := without(a.methods, func(method string) bool { return !b.allows(method) })
	if more := without(b.methods, func(method string) bool { return !a.allows(method) }); inBoth == nil {
		inBoth = more
	} else if len(more) > 0 {
		inBoth = sortedUnion(inBoth, more)
	}
	out.methods = without(inBoth, out.any.allows)
	return out
}

// without returns a list without some values: the list itself, if it has none
// of them, or else a new one, which is nil rather than empty.
func without(list []string, drop func(string) bool) []string {
	if !slices.ContainsFunc(list, drop) {
		return slices.Clip(list)
	}
	var out []string
	for _, value := range list {
		if !drop(value) {
			out = append(out, value)
		}
	}
	return out
}

func sortedUnion(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// patterns returns the patterns of media types, in order, that may be uploaded.
func (s *Set) patterns() []string {
	if s.static&staticGeneric != 0 {
		return []string{"*/*"}
	}
	return s.blobs
}

// covers reports whether one of some patterns, which are in order, covers
// another.
func covers(patterns []string, pattern string) bool {
	kind, _, _ := strings.Cut(pattern, "/")
	for _, broader := range []string{"*/*", kind + "/*", pattern} {
		if _, found := slices.BinarySearch(patterns, broader); found {
			return true
		}
	}
	return false
}

func (s *Set) meetBlobs(a, b *Set) {
	if s.static&staticGeneric != 0 {
		return // allowed already
	}
	patternsA, patternsB := a.patterns(), b.patterns()
	s.blobs = sortedUnion(
		without(patternsA, func(p string) bool { return !covers(patternsB, p) }),
		without(patternsB, func(p string) bool { return !covers(patternsA, p) }))
}

// meetOthers returns what two scopes of further kinds have in common, in the
// order of texts.
func meetOthers(a, b Scope) []Scope {
	k := a.values.kind
	switch {
	case k != b.values.kind && k.name != b.values.kind.name:
		return nil
	case a.text == b.text:
		return []Scope{a}
	case k.meet == nil:
		return nil
	}
	var out []Scope
	for _, text := range k.meet(a.values, b.values) {
		rest, ok := strings.CutPrefix(text, k.name)
		if !ok || rest != "" && rest[0] != ':' && rest[0] != '?' {
			continue
		}
		if list, err := k.parse(rest, new(arena)); err == nil {
			text := string(k.append(nil, list))
			out = append(out, Scope{text: text, source: text, values: Values{kind: k, list: list}})
		}
	}
	slices.SortFunc(out, byText)
	return out
}
