package scope_test

import (
	"slices"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
)

// spaceKind is the kind of scopes that permissioned spaces are likely to have,
// as the reference implementation drafts it.
func spaceKind() scope.Kind {
	isNSID := func(s string) bool { _, err := syntax.ParseNSID(s); return err == nil || s == "*" }
	isDID := func(s string) bool { _, err := syntax.ParseDID(s); return err == nil || s == "*" || s == "self" }
	isKey := func(s string) bool { _, err := syntax.ParseRecordKey(s); return err == nil || s == "*" }
	return scope.Kind{Name: "space", Positional: "type", Params: []scope.Param{
		{Name: "type", Required: true, Valid: isNSID},
		{Name: "authority", Valid: isDID, Default: []string{"self"}},
		{Name: "skey", Valid: isKey, Default: []string{"*"}},
		{Name: "collection", Multi: true, Valid: isNSID, Absorbs: "*"},
		{Name: "action", Multi: true, Known: []string{"read_self", "read", "create", "update", "delete"}, Default: []string{"read", "create", "update", "delete"}},
		{Name: "manage", Multi: true, Known: []string{"create", "update", "delete"}},
	}}
}

// spaceWrite is to write a record in a space.
func spaceWrite(kind, authority, skey, collection, action string) scope.Permission {
	is := func(v scope.Values, param, value string) bool {
		return v.First(param) == "*" || v.First(param) == value
	}
	return scope.Other{
		Kind:  "space",
		Scope: "space:" + kind + "?authority=" + authority + "&skey=" + skey + "&collection=" + collection + "&action=" + action,
		AllowedBy: func(v scope.Values) bool {
			return is(v, "type", kind) && is(v, "authority", authority) && is(v, "skey", skey) && slices.Contains(v.Get("action"), action) &&
				(is(v, "collection", collection) || slices.Contains(v.Get("collection"), collection))
		},
	}
}

func TestSpaceKind(t *testing.T) {
	t.Parallel()
	grammar, err := scope.NewGrammar(spaceKind())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"space:com.example.forum":                                            "space:com.example.forum",
		"space?type=com.example.forum&skey=*&authority=self":                 "space:com.example.forum",
		"space:*?authority=did:plc:abc&action=read":                          "space:*?authority=did:plc:abc&action=read",
		"space:com.example.forum?manage=delete&manage=create":                "space:com.example.forum?manage=create&manage=delete",
		"space:com.example.forum?action=delete&action=read_self":             "space:com.example.forum?action=read_self&action=delete",
		"space:com.example.forum?collection=*&collection=com.example.x":      "space:com.example.forum?collection=*",
		"space:com.example.forum?action=create&collection=com.example.x":     "space:com.example.forum?collection=com.example.x&action=create",
		"space:com.example.forum?authority=did:plc:abc&skey=a&manage=create": "space:com.example.forum?authority=did:plc:abc&skey=a&manage=create",
	} {
		if set, err := grammar.Parse(text); err != nil || set.String() != want {
			t.Errorf("%s: %v, %v", text, set, err)
		}
	}
	for _, text := range []string{"space", "space:", "space:forum", "space:*?authority=x", "space:*?action=manage", "space:*?manage=read", "space:*?skey=", "space:*?collection=x"} {
		if _, err := grammar.Parse(text); err == nil {
			t.Errorf("%s is valid", text)
		}
	}
	const forum, owner = "com.example.forum", "did:plc:abc"
	create := spaceWrite(forum, owner, "a", "com.example.x", "create")
	for text, want := range map[string]bool{
		create.String():                                                                 true,
		"space:*?authority=*&collection=*":                                              true,
		"space:com.example.forum?authority=did:plc:abc":                                 false, // no collection is none
		"space:com.example.forum?collection=*":                                          false, // self is not known here
		"space:com.example.forum?authority=did:plc:abc&collection=*&action=update":      false,
		"space:com.example.other?authority=did:plc:abc&collection=*":                    false,
		"space:com.example.forum?authority=did:plc:abc&collection=*&skey=b":             false,
		"transition:generic transition:chat.bsky repo:* identity:*":                     false,
		"space:com.example.forum?authority=*&collection=com.example.x&collection=a.b.c": true,
	} {
		set, err := grammar.Parse(text)
		if err != nil || set.Allows(create) != want {
			t.Errorf("%s: %v, %v", text, set.Allows(create), err)
		}
	}
}
