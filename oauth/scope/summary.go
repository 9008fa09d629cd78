package scope

import (
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// A Summary is what a set allows, put together for a page on which somebody
// agrees to it: for instance, all scopes for one collection are one entry. Lists
// are in order and nil if empty.
type Summary struct {
	Generic  bool // what TransitionGeneric allows
	Chat     bool // what TransitionChat allows; only together with Generic
	Repos    []RepoSummary
	RPCs     []RPCSummary
	Blobs    []string // patterns of media types, none covered by another
	Accounts []AccountSummary
	Identity string           // "", "handle", or "*" for all of it
	Includes []IncludeSummary // permission sets that are not expanded
	Others   []Scope          // of kinds that NewGrammar was given
}

// RepoSummary is what may be done to the records of a collection.
type RepoSummary struct {
	Collection string // "*" for all, which comes first
	Create     bool
	Update     bool
	Delete     bool
}

// RPCSummary is what may be called of a service.
type RPCSummary struct {
	Audience string   // "*" for any service, which comes first
	ButChat  bool     // all methods but those in chat.bsky, besides Methods
	Methods  []string // "*" alone for all
}

// AccountSummary is what may be done to a part of the account.
type AccountSummary struct {
	Attr   string
	Manage bool // else it may be read
}

// IncludeSummary refers to a permission set.
type IncludeSummary struct {
	Set      syntax.NSID
	Audience string // may be ""
}

// Summary returns what the set allows. What the general transition scope allows
// is not listed again.
func (s *Set) Summary() Summary {
	var out Summary
	if s == nil {
		return out
	}
	out.Generic = s.static&staticGeneric != 0
	out.Chat = out.Generic && s.static&staticChat != 0
	if !out.Generic {
		if s.anyRepo != 0 {
			out.Repos = append(out.Repos, repoSummary(wildcard, s.anyRepo))
		}
		for _, g := range s.repos {
			if g.actions&^s.anyRepo != 0 {
				out.Repos = append(out.Repos, repoSummary(g.collection, g.actions|s.anyRepo))
			}
		}
		out.Blobs = slices.Clone(s.blobs)
	}
	for _, g := range s.rpcs {
		entry := RPCSummary{Audience: g.audience, ButChat: g.any == anyButChat}
		switch {
		case s.anyService() == everyMethod:
		case g.any == everyMethod:
			entry.Methods = []string{wildcard}
		default:
			entry.Methods = without(slices.Clone(g.methods), s.anyService().allows)
		}
		if entry.ButChat || len(entry.Methods) > 0 {
			out.RPCs = append(out.RPCs, entry)
		}
	}
	for _, attr := range accountKind.params[accountAttr].Known {
		if l := s.accountLevel(attr); l > 0 {
			out.Accounts = append(out.Accounts, AccountSummary{Attr: attr, Manage: l == levelOf(Manage)})
		}
	}
	out.Identity = s.identity
	for _, scope := range s.includes {
		set, audience, _ := scope.Include()
		out.Includes = append(out.Includes, IncludeSummary{Set: set, Audience: audience})
	}
	out.Others = slices.Clone(s.others)
	return out
}

func repoSummary(collection string, mask actionMask) RepoSummary {
	return RepoSummary{
		Collection: collection,
		Create:     mask&maskOf(Create) != 0, Update: mask&maskOf(Update) != 0, Delete: mask&maskOf(Delete) != 0,
	}
}
