package scope

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Limits of permission sets. A set beyond them is refused.
const (
	// MaxPermissionSetSize is how many bytes the JSON of a permission set may
	// have.
	MaxPermissionSetSize = 256 << 10
	// MaxPermissions is how many permissions a set may have, and how many
	// values each.
	MaxPermissions = 512
)

// ErrPermissionSet is for data that are not a permission set.
var ErrPermissionSet = errors.New("scope: not a permission set")

// A PermissionSet is a lexicon of the type permission-set: permissions under one
// name, which "include:" refers to. It does not change once made.
type PermissionSet struct {
	NSID       syntax.NSID
	Title      string            // as it was published: of any length, and not safe to show as it is
	TitleLang  map[string]string // by language
	Detail     string
	DetailLang map[string]string

	permissions []setPermission
}

// setPermission is one of a set that is understood.
type setPermission struct {
	kind       *kind
	list       [][]string
	inheritAud bool // the audience is that of the include
}

// DecodePermissionSet decodes a lexicon from JSON, see [NewPermissionSet].
func DecodePermissionSet(nsid syntax.NSID, data []byte) (*PermissionSet, error) {
	if len(data) > MaxPermissionSetSize {
		return nil, fmt.Errorf("%w: too large", ErrPermissionSet)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPermissionSet, err)
	}
	return NewPermissionSet(nsid, schema)
}

// NewPermissionSet makes a permission set of a lexicon as a decoder returns it
// for JSON or CBOR. The lexicon must be that of nsid.
//
// A permission that is not understood in every part is left out, as it may mean
// less than it seems to: of a resource other than repo and rpc, with an unknown
// field or value, with a wildcard or a named service, or for something outside
// of the set's own namespace.
func NewPermissionSet(nsid syntax.NSID, schema map[string]any) (*PermissionSet, error) {
	if id, ok := schema["id"].(string); !ok || id != string(nsid) || !isNSID(id) {
		return nil, fmt.Errorf("%w: it has another name than %s", ErrPermissionSet, nsid)
	}
	if !isNumber(schema["lexicon"], 1) {
		return nil, fmt.Errorf("%w: unknown version of lexicons", ErrPermissionSet)
	}
	defs, _ := schema["defs"].(map[string]any)
	main, _ := defs["main"].(map[string]any)
	permissions, ok := main["permissions"].([]any)
	if main["type"] != "permission-set" || !ok {
		return nil, fmt.Errorf("%w: its main definition is something else", ErrPermissionSet)
	}
	if len(permissions) > MaxPermissions {
		return nil, fmt.Errorf("%w: too many permissions", ErrPermissionSet)
	}
	set := &PermissionSet{NSID: nsid, TitleLang: languages(main["title:lang"]), DetailLang: languages(main["detail:lang"])}
	set.Title, _ = main["title"].(string)
	set.Detail, _ = main["detail"].(string)
	for _, entry := range permissions {
		fields, _ := entry.(map[string]any)
		if p, ok := set.permission(fields); ok {
			set.permissions = append(set.permissions, p)
		}
	}
	return set, nil
}

func isNumber(value any, want int64) bool {
	switch n := value.(type) {
	case float64:
		return n == float64(want)
	case int64:
		return n == want
	case int:
		return int64(n) == want
	case uint64:
		return want >= 0 && n == uint64(want)
	}
	return false
}

// languages returns the texts of a localized field that are texts.
func languages(value any) map[string]string {
	fields, _ := value.(map[string]any)
	if len(fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(fields))
	for lang, value := range fields {
		if text, ok := value.(string); ok {
			out[lang] = text
		}
	}
	return out
}

// permission reads one of the permissions.
func (s *PermissionSet) permission(fields map[string]any) (p setPermission, ok bool) {
	if fields["type"] != "permission" {
		return p, false
	}
	switch fields["resource"] {
	case KindRepo:
		p.kind = repoKind
	case KindRPC:
		p.kind = rpcKind
	default:
		return p, false
	}
	p.list = make([][]string, len(p.kind.params))
	for name, value := range fields {
		switch i := p.kind.param(name); {
		case name == "type" || name == "resource":
		case name == "description": // any definition of a lexicon may have one
			if _, ok := value.(string); !ok {
				return p, false
			}
		case name == "inheritAud" && p.kind == rpcKind:
			if p.inheritAud, ok = value.(bool); !ok {
				return p, false
			}
		case i < 0:
			return p, false
		default:
			if p.list[i], ok = texts(value, p.kind.params[i].Multi); !ok {
				return p, false
			}
		}
	}
	if p.kind == rpcKind {
		audience := p.list[rpcAudience]
		if p.inheritAud == (audience != nil) || audience != nil && audience[0] != wildcard {
			return p, false
		}
		p.list[rpcAudience] = []string{wildcard} // for now, so that it is complete
	}
	if p.kind.finish(p.list) != nil {
		return p, false
	}
	for _, name := range p.list[0] { // collections or methods
		if !s.hasAuthority(name) {
			return p, false
		}
	}
	return p, true
}

// texts returns the texts of a field, which is a list or not.
func texts(value any, list bool) ([]string, bool) {
	if !list {
		text, ok := value.(string)
		return []string{text}, ok
	}
	values, ok := value.([]any)
	if !ok || len(values) == 0 || len(values) > MaxPermissions {
		return nil, false
	}
	out := make([]string, 0, len(values))
	for _, value := range values {
		text, ok := value.(string)
		if !ok {
			return nil, false
		}
		out = append(out, text)
	}
	return out, true
}

// hasAuthority reports whether a name is in the namespace of the set, or below.
// A wildcard is in none.
func (s *PermissionSet) hasAuthority(name string) bool {
	group := s.NSID[:strings.LastIndexByte(string(s.NSID), '.')+1]
	return strings.HasPrefix(name, string(group))
}

// Scopes returns what the set stands for in a scope "include:" with an
// audience. Without one, which is "", permissions that need it are left out.
func (s *PermissionSet) Scopes(audience string) []Scope {
	var out []Scope
	for _, p := range s.permissions {
		list := p.list
		if p.inheritAud {
			if !isService(audience) {
				continue
			}
			list = slices.Clone(list)
			list[rpcAudience] = []string{audience}
		}
		text := string(p.kind.append(nil, list))
		out = append(out, Scope{text: text, source: text, values: Values{kind: p.kind, list: list}})
	}
	return out
}

// Expand returns the set with what permission sets stand for in the place of the
// scopes "include:". resolve is called once for each permission set; if it
// fails, so does Expand, with the name. A result that is longer than what
// [ParseGranted] reads is refused with ErrTooLong or ErrTooMany.
//
// Whether resolve may answer out of a cache says [FreshnessOf].
func (s *Set) Expand(resolve func(syntax.NSID) (*PermissionSet, error)) (*Set, error) {
	resolved := make(map[syntax.NSID]*PermissionSet)
	var scopes []Scope
	seen, length := make(map[string]bool), 0
	add := func(scope Scope) {
		if !seen[scope.text] {
			seen[scope.text] = true
			length += len(scope.source) + len(" ")
			scopes = append(scopes, scope)
		}
	}
	for scope := range s.Scopes() {
		nsid, audience, ok := scope.Include()
		if !ok {
			add(scope)
			continue
		}
		set := resolved[nsid]
		if set == nil {
			var err error
			if set, err = resolve(nsid); err != nil {
				return nil, fmt.Errorf("scope: permission set %s: %w", nsid, err)
			}
			if set == nil || set.NSID != nsid {
				return nil, fmt.Errorf("scope: permission set %s: %w", nsid, ErrPermissionSet)
			}
			resolved[nsid] = set
		}
		for _, included := range set.Scopes(audience) {
			add(included)
		}
	}
	switch {
	case length > MaxGrantedLength:
		return nil, ErrTooLong
	case len(scopes) > MaxScopes:
		return nil, ErrTooMany
	}
	return newSet(scopes), nil
}

// Ages of permission sets.
const (
	// StaleAfter is the age from which a permission set is to be resolved
	// again. The specification wants it between the lifetime of an access token
	// and a day.
	StaleAfter = time.Hour
	// ExpiredAfter is the age from which a permission set that cannot be
	// resolved again is no good for new sessions.
	ExpiredAfter = 90 * 24 * time.Hour
)

// Freshness says what a permission set in a cache is good for.
type Freshness int

// The freshness of permission sets.
const (
	// Fresh sets are used as they are.
	Fresh Freshness = iota
	// Stale sets are to be resolved again; if that fails, or takes too long,
	// they are used.
	Stale
	// Expired sets are to be resolved again; if that fails, no new session may
	// begin with them. Sessions that there are go on with them.
	Expired
)

// FreshnessOf returns the freshness of a permission set by the time since it
// was resolved. A time that lies ahead, which means that a clock was changed,
// makes it stale.
func FreshnessOf(age time.Duration) Freshness {
	switch {
	case age >= ExpiredAfter:
		return Expired
	case age >= StaleAfter || age < 0:
		return Stale
	}
	return Fresh
}

// Usable reports whether a set of this freshness may be used when it could not
// be resolved again.
func (f Freshness) Usable(newSession bool) bool { return f != Expired || !newSession }
