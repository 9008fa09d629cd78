package scope

import (
	"slices"
	"strings"
)

// An Action is what is done to a record or to a part of an account.
type Action string

// The actions. The first three are for records, the others for accounts.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
	Read   Action = "read"
	Manage Action = "manage" // includes Read
)

// A Permission is one thing that a caller may do or not: a [Repo], [RPC],
// [Blob], [Account], [Identity] or [Other]. As a question to [Set.Allows] it is
// not checked for syntax: a wildcard asks for everything, and a name that
// nothing can have is covered by wildcards only.
type Permission interface {
	// String returns the canonical text of the narrowest scope that allows it.
	String() string

	permission()
}

// Repo is to write records of a collection.
type Repo struct {
	Collection string
	Action     Action // Create, Update or Delete
}

// RPC is to call a method of a service in the account's name.
type RPC struct {
	Method   string // "*" for any, as a token without a method allows it
	Audience string // did#service; a bare DID matches only where any service is allowed
}

// Blob is to upload a blob of a media type.
type Blob struct {
	MimeType string // case and parameters do not matter
}

// Account is to read or manage a part of the account.
type Account struct {
	Attr   string // "email", "repo" or "status"
	Action Action // Read or Manage
}

// Identity is to change the identity of the account.
type Identity struct {
	Attr string // "handle", or "*" for all of it
}

// Other is something of a kind that [NewGrammar] was given.
type Other struct {
	Kind  string // the name of the kind
	Scope string // canonical text of the narrowest scope that allows it
	// AllowedBy reports whether a scope of the kind with these values allows
	// it. A nil function is nobody's permission.
	AllowedBy func(Values) bool
}

func (Repo) permission()     {}
func (RPC) permission()      {}
func (Blob) permission()     {}
func (Account) permission()  {}
func (Identity) permission() {}
func (Other) permission()    {}

// String returns repo:collection?action=action.
func (p Repo) String() string {
	return string(repoKind.append(nil, [][]string{{p.Collection}, {string(p.Action)}}))
}

// String returns rpc:method?aud=audience.
func (p RPC) String() string {
	return string(rpcKind.append(nil, [][]string{{p.Method}, {p.Audience}}))
}

// String returns blob:type.
func (p Blob) String() string {
	return string(blobKind.append(nil, [][]string{{mediaType(p.MimeType)}}))
}

// String returns account:attr?action=action, or account:attr to read it.
func (p Account) String() string {
	return string(accountKind.append(nil, [][]string{{p.Attr}, {string(p.Action)}}))
}

// String returns identity:attr.
func (p Identity) String() string {
	return string(identityKind.append(nil, [][]string{{p.Attr}}))
}

// String returns the field Scope.
func (p Other) String() string { return p.Scope }

// mediaType returns a media type in lower case, without its parameters.
func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.Trim(s, " \t"))
}

// Allows reports whether the scopes allow something. Nothing is allowed by a nil
// Set, and by scopes "include:" that are not expanded; and nil and pointers are
// nobody's permission.
func (s *Set) Allows(p Permission) bool {
	if s == nil {
		return false
	}
	switch p := p.(type) {
	case Repo:
		return s.allowsRepo(p.Collection, p.Action)
	case RPC:
		return s.allowsRPC(p.Method, p.Audience)
	case Blob:
		return s.static&staticGeneric != 0 || s.allowsBlob(mediaType(p.MimeType))
	case Account:
		return levelOf(p.Action) != 0 && s.accountLevel(p.Attr) >= levelOf(p.Action)
	case Identity:
		return p.Attr != "" && (s.identity == wildcard || s.identity == p.Attr)
	case Other:
		return p.AllowedBy != nil && slices.ContainsFunc(s.others, func(scope Scope) bool {
			return scope.values.kind.name == p.Kind && p.AllowedBy(scope.values)
		})
	}
	return false
}

// Missing returns the text of the first permission that is not allowed, or "" if
// all are.
func (s *Set) Missing(permissions ...Permission) string {
	for _, p := range permissions {
		if s.Allows(p) {
			continue
		}
		if text := textOf(p); text != "" {
			return text
		}
		return "unknown" // not allowed either
	}
	return ""
}

// textOf is p.String(), but lets permissions stay on the stack.
func textOf(p Permission) string {
	switch p := p.(type) {
	case Repo:
		return p.String()
	case RPC:
		return p.String()
	case Blob:
		return p.String()
	case Account:
		return p.String()
	case Identity:
		return p.String()
	case Other:
		return p.String()
	}
	return ""
}

// actionMask is a set of actions on records.
type actionMask uint8

const allActions actionMask = 1<<3 - 1

// maskOf returns the bit of an action, or 0. Bits are in the order of
// repoActions.
func maskOf(action Action) actionMask {
	switch action {
	case Create:
		return 1
	case Update:
		return 2
	case Delete:
		return 4
	}
	return 0
}

func (m actionMask) actions() []string {
	if m == allActions {
		return repoActions
	}
	var out []string
	for i, action := range repoActions {
		if m>>i&1 != 0 {
			out = append(out, action)
		}
	}
	return out
}

func (s *Set) allowsRepo(collection string, action Action) bool {
	mask := maskOf(action)
	return mask != 0 && collection != "" && s.repoMask(collection)&mask != 0
}

// repoMask returns what is allowed for a collection, or, for the wildcard, for
// all of them.
func (s *Set) repoMask(collection string) actionMask {
	mask := s.anyRepo
	if s.static&staticGeneric != 0 {
		mask = allActions
	}
	if mask == allActions || len(s.repos) == 0 {
		return mask
	}
	i, found := slices.BinarySearchFunc(s.repos, collection, func(g repoGrant, collection string) int {
		return strings.Compare(g.collection, collection)
	})
	if found {
		mask |= s.repos[i].actions
	}
	return mask
}

func (s *Set) allowsRPC(method, audience string) bool {
	if method == "" || audience == "" {
		return false
	}
	return s.anyService().allows(method) || s.rpcGroup(wildcard).allows(method) || s.rpcGroup(audience).allows(method)
}

// anyService returns the methods that may be called of every service.
func (s *Set) anyService() anyMethod {
	switch {
	case s.static&staticGeneric == 0:
		return noMethod
	case s.static&staticChat == 0:
		return anyButChat
	}
	return everyMethod
}

// rpcGroup returns what may be called of a service; nil is nothing.
func (s *Set) rpcGroup(audience string) *rpcGroup {
	for i := range s.rpcs {
		if s.rpcs[i].audience == audience {
			return &s.rpcs[i]
		}
	}
	return nil
}

// anyMethod says which methods are allowed without being named.
type anyMethod uint8

const (
	noMethod anyMethod = iota
	anyButChat
	everyMethod
)

// allows reports whether a method is allowed; the wildcard is all of them.
func (a anyMethod) allows(method string) bool {
	return a == everyMethod || a == anyButChat && method != wildcard && !isChat(method)
}

func (g *rpcGroup) allows(method string) bool {
	if g == nil {
		return false
	}
	if g.any.allows(method) {
		return true
	}
	_, found := slices.BinarySearch(g.methods, method)
	return found
}

func (s *Set) allowsBlob(mime string) bool {
	return isMime(mime) && slices.ContainsFunc(s.blobs, func(pattern string) bool { return acceptCovers(pattern, mime) })
}

// level is what may be done to a part of an account. Each includes those before.
type level uint8

// levelOf returns the level of an action, or 0.
func levelOf(action Action) level {
	switch action {
	case Read:
		return 1
	case Manage:
		return 2
	}
	return 0
}

func (s *Set) accountLevel(attr string) level {
	i := slices.Index(accountKind.params[accountAttr].Known, attr)
	if i < 0 {
		return 0
	}
	if s.static&staticEmail != 0 && attr == "email" {
		return max(s.account[i], levelOf(Read))
	}
	return s.account[i]
}
