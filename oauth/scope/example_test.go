package scope_test

import (
	"fmt"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
)

func Example() {
	set, err := scope.Parse("atproto repo:com.example.note?action=create blob:image/*")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(set.Allows(scope.Repo{Collection: "com.example.note", Action: scope.Create}))
	fmt.Println(set.Missing(scope.Repo{Collection: "com.example.note", Action: scope.Delete}))
	fmt.Println(set.Missing(scope.Blob{MimeType: "image/png"}) == "")
	// Output:
	// true
	// repo:com.example.note?action=delete
	// true
}

func ExampleParseRequest() {
	set, dropped, err := scope.ParseRequest("atproto future:thing repo:com.example.note")
	if err != nil {
		fmt.Println(err) // the whole text is too long
		return
	}
	fmt.Println(set)
	for _, bad := range dropped {
		fmt.Println(bad)
	}
	// Output:
	// atproto repo:com.example.note
	// scope: "future:thing": unknown kind of scope
}

// A token that acts for a group is cut to what the group lets its member do.
func ExampleSet_Intersect() {
	token, _ := scope.Parse("atproto transition:generic")
	member, _ := scope.Parse("repo:com.example.note blob:image/*")
	fmt.Println(token.Intersect(member))
	// Output:
	// blob:image/* repo:com.example.note
}

func ExampleSet_Expand() {
	set, _ := scope.Parse("atproto include:com.example.authBasic?aud=did:web:api.example.com%23svc")
	expanded, err := set.Expand(func(nsid syntax.NSID) (*scope.PermissionSet, error) {
		return scope.DecodePermissionSet(nsid, []byte(`{"lexicon": 1, "id": "com.example.authBasic", "defs": {"main": {
			"type": "permission-set", "title": "Notes", "permissions": [
				{"type": "permission", "resource": "repo", "collection": ["com.example.note"]},
				{"type": "permission", "resource": "rpc", "inheritAud": true, "lxm": ["com.example.search"]}
		]}}}`))
	})
	fmt.Println(expanded.Source(), err)
	// Output:
	// atproto repo:com.example.note rpc:com.example.search?aud=did:web:api.example.com%23svc <nil>
}

// An embedder's own kind of resource: rooms that one may enter.
func ExampleNewGrammar() {
	grammar, err := scope.NewGrammar(scope.Kind{
		Name:       "room",
		Positional: "floor",
		Params: []scope.Param{
			{Name: "floor", Multi: true, Required: true, Known: []string{"ground", "first", "attic"}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	enter := func(floor string) scope.Permission {
		return scope.Other{Kind: "room", Scope: "room:" + floor, AllowedBy: func(v scope.Values) bool {
			return slices.Contains(v.Get("floor"), floor)
		}}
	}
	set, err := grammar.Parse("atproto room?floor=attic&floor=ground")
	fmt.Println(set, err)
	fmt.Println(set.Allows(enter("attic")), set.Missing(enter("first")))
	// Output:
	// atproto room?floor=ground&floor=attic <nil>
	// true room:first
}
