package scope

import (
	"errors"
	"slices"
	"strings"
)

// The values of a scope text that have no parts.
const (
	// Atproto is in the scope of every token. It allows nothing by itself.
	Atproto = "atproto"
	// TransitionGeneric allows all writing of records and blobs, and calls of
	// all methods of other services but those in chat.bsky.
	TransitionGeneric = "transition:generic"
	// TransitionChat, besides TransitionGeneric, allows calls of methods in
	// chat.bsky. It allows nothing alone.
	TransitionChat = "transition:chat.bsky"
	// TransitionEmail allows to read the e-mail address of the account.
	TransitionEmail = "transition:email"
)

// Names of the protocol's kinds of scopes, see [Scope.Kind].
const (
	KindAccount  = "account"
	KindBlob     = "blob"
	KindIdentity = "identity"
	KindInclude  = "include"
	KindRepo     = "repo"
	KindRPC      = "rpc"
)

// wildcard is the value of a parameter that stands for all.
const wildcard = "*"

// static is a set of values without parts.
type static uint8

const (
	staticAtproto static = 1 << iota
	staticGeneric
	staticChat
	staticEmail
)

// staticTexts are the texts of the bits of static.
var staticTexts = [...]string{Atproto, TransitionGeneric, TransitionChat, TransitionEmail}

func staticOf(value string) static {
	switch value {
	case Atproto:
		return staticAtproto
	case TransitionGeneric:
		return staticGeneric
	case TransitionChat:
		return staticChat
	case TransitionEmail:
		return staticEmail
	}
	return 0
}

func protocolKind(name string) *kind {
	switch name {
	case KindAccount:
		return accountKind
	case KindBlob:
		return blobKind
	case KindIdentity:
		return identityKind
	case KindInclude:
		return includeKind
	case KindRepo:
		return repoKind
	case KindRPC:
		return rpcKind
	}
	return nil
}

// orWildcard makes a check of values one that takes the wildcard, too.
func orWildcard(valid func(string) bool) func(string) bool {
	return func(s string) bool { return s == wildcard || valid(s) }
}

// Parameters of the protocol's kinds, by index.
const (
	repoCollection, repoAction = 0, 1
	rpcMethod, rpcAudience     = 0, 1
	accountAttr, accountAction = 0, 1
	includeSet, includeAud     = 0, 1
	blobAccept, identityAttr   = 0, 0
)

// The kinds of the protocol.
var (
	repoKind = &kind{name: KindRepo, params: []Param{
		{Name: "collection", Multi: true, Required: true, Valid: orWildcard(isNSID), Absorbs: wildcard},
		{Name: "action", Multi: true, Known: repoActions, Default: repoActions},
	}}

	rpcKind = &kind{name: KindRPC, params: []Param{
		{Name: "lxm", Multi: true, Required: true, Valid: orWildcard(isNSID), Absorbs: wildcard},
		{Name: "aud", Required: true, Valid: orWildcard(isService)},
	}, check: func(v Values) error {
		if v.list[rpcMethod][0] == wildcard && v.list[rpcAudience][0] == wildcard {
			return errors.New("any method of any service")
		}
		return nil
	}}

	blobKind = &kind{name: KindBlob, params: []Param{
		{Name: "accept", Multi: true, Required: true, Valid: func(s string) bool { return isAccept(strings.ToLower(s)) }},
	}, normalize: func(list [][]string) { list[blobAccept] = reduceAccept(list[blobAccept]) }}

	accountKind = &kind{name: KindAccount, params: []Param{
		{Name: "attr", Required: true, Known: []string{"email", "repo", "status"}},
		{Name: "action", Multi: true, Known: []string{string(Read), string(Manage)}, Default: []string{string(Read)}},
	}, normalize: func(list [][]string) {
		if n := len(list[accountAction]); n > 1 { // to manage is to read, too
			list[accountAction] = list[accountAction][n-1:]
		}
	}}

	identityKind = &kind{name: KindIdentity, params: []Param{
		{Name: "attr", Required: true, Known: []string{"handle", wildcard}},
	}}

	includeKind = &kind{name: KindInclude, params: []Param{
		{Name: "nsid", Required: true, Valid: isNSID},
		{Name: "aud", Valid: isService},
	}}

	repoActions = []string{string(Create), string(Update), string(Delete)}
)

// reduceAccept returns patterns of media types in lower case and in order,
// without those that others cover.
func reduceAccept(patterns []string) []string {
	out := make([]string, 0, len(patterns))
	for _, pattern := range patterns {
		out = append(out, strings.ToLower(pattern))
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 1 {
		return out
	}
	// What covers a pattern is */*, which comes first, or the one with a
	// wildcard for the same main type.
	if out[0] == "*/*" {
		return out[:1]
	}
	broad := make(map[string]bool)
	for _, pattern := range out {
		if kind, ok := strings.CutSuffix(pattern, "/*"); ok {
			broad[kind] = true
		}
	}
	return slices.DeleteFunc(out, func(pattern string) bool {
		kind, sub, _ := strings.Cut(pattern, "/")
		return sub != wildcard && broad[kind]
	})
}
