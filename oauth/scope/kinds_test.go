package scope_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/scope"
)

// shelfKind is a kind as an embedder may add it: books of an owner that are read
// or written, by genre.
func shelfKind() scope.Kind {
	word := func(s string) bool { return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" }
	return scope.Kind{
		Name: "shelf", Positional: "owner",
		Params: []scope.Param{
			{Name: "owner", Valid: func(s string) bool { return s == "self" || s == "*" || word(s) }, Default: []string{"self"}},
			{Name: "genre", Multi: true, Valid: func(s string) bool { return s == "*" || word(s) }, Absorbs: "*"},
			{Name: "action", Multi: true, Known: []string{"read", "write", "burn"}, Default: []string{"write", "read"}},
		},
		Check: func(v scope.Values) error {
			if slices.Contains(v.Get("action"), "burn") && v.First("owner") == "*" {
				return errors.New("nobody burns all the books")
			}
			return nil
		},
		Meet: func(a, b scope.Values) []string {
			owner := a.First("owner")
			if owner == "*" {
				owner = b.First("owner")
			} else if b.First("owner") != "*" && b.First("owner") != owner {
				return nil
			}
			text := "shelf:" + owner + "?"
			for _, pair := range [][2]scope.Values{{a, b}, {b, a}} {
				for _, genre := range pair[0].Get("genre") {
					if slices.Contains(pair[1].Get("genre"), genre) || pair[1].First("genre") == "*" {
						text += "&genre=" + genre
					}
				}
			}
			actions := 0
			for _, action := range a.Get("action") {
				if slices.Contains(b.Get("action"), action) {
					text += "&action=" + action
					actions++
				}
			}
			if actions == 0 {
				return nil
			}
			return []string{text, "repo:*", "shelfs:x", "shelf:BAD", "no scope"} // what is not of the kind is ignored
		},
	}
}

// shelf is to do something with a book.
func shelf(owner, genre, action string) scope.Permission {
	return scope.Other{
		Kind: "shelf", Scope: "shelf:" + owner + "?genre=" + genre + "&action=" + action,
		AllowedBy: func(v scope.Values) bool {
			return (v.First("owner") == owner || v.First("owner") == "*") && slices.Contains(v.Get("action"), action) &&
				(v.First("genre") == "*" || slices.Contains(v.Get("genre"), genre))
		},
	}
}

func TestFurtherKind(t *testing.T) {
	t.Parallel()
	grammar, err := scope.NewGrammar(shelfKind())
	if err != nil {
		t.Fatal(err)
	}
	read := func(text string) *scope.Set {
		t.Helper()
		set, err := grammar.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	for text, want := range map[string]string{
		"shelf":                           "shelf",
		"shelf?":                          "shelf",
		"shelf:self":                      "shelf",
		"shelf?owner=self":                "shelf",
		"shelf:alice?genre=crime&genre=*": "shelf:alice?genre=*",
		"shelf?genre=crime&genre=art&owner=alice":                "shelf:alice?genre=art&genre=crime",
		"shelf:alice?action=read&action=write":                   "shelf:alice",
		"shelf:alice?action=burn&action=read&action=read":        "shelf:alice?action=read&action=burn",
		"shelf:alice?action=write repo:com.example.note atproto": "atproto repo:com.example.note shelf:alice?action=write",
	} {
		if got := read(text).String(); got != want || read(got).String() != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{
		"shelf:", "shelf:Alice", "shelf:alice?owner=bob", "shelf?owner=alice&owner=bob", "shelf?genre=", "shelf?action=dust",
		"shelf:*?action=burn", "shelf:alice?x=y", "shelves", "Shelf", "shelf:%C3%A9",
	} {
		if _, err := grammar.Parse(text); err == nil {
			t.Errorf("%s is valid", text)
		}
	}
	if _, err := scope.Parse("shelf:alice"); !errors.Is(err, scope.ErrUnknown) {
		t.Errorf("without the kind: %v", err)
	}

	set := read("shelf:alice?genre=crime&genre=art shelf:bob?genre=*&action=read transition:generic")
	for _, c := range []struct {
		p    scope.Permission
		want bool
	}{
		{shelf("alice", "crime", "read"), true},
		{shelf("alice", "crime", "write"), true},
		{shelf("alice", "crime", "burn"), false},
		{shelf("alice", "poetry", "read"), false},
		{shelf("bob", "poetry", "read"), true},
		{shelf("bob", "poetry", "write"), false},
		{shelf("carol", "art", "read"), false},
		{scope.Other{Kind: "shelf", Scope: "shelf"}, false},
		{scope.Other{Kind: "repo", Scope: "repo:*", AllowedBy: func(scope.Values) bool { return true }}, false},
	} {
		if got := set.Allows(c.p); got != c.want {
			t.Errorf("%s: %v", c.p, got)
		}
		if got := set.Missing(c.p); c.want != (got == "") || !c.want && got != c.p.String() {
			t.Errorf("%s: missing is %s", c.p, got)
		}
	}

	// A permission without a text is missing all the same.
	if got := set.Missing(scope.Other{Kind: "no", AllowedBy: func(scope.Values) bool { return true }}); got != "unknown" {
		t.Errorf("a permission without a text: %q", got)
	}

	both := set.Intersect(read("shelf:*?genre=crime&genre=poetry shelf:bob?action=burn repo:*"))
	if got, want := both.String(), "repo:* shelf:alice?genre=crime shelf:bob?genre=crime&genre=poetry&action=read"; got != want {
		t.Errorf("intersection:\n%s\n%s", got, want)
	}
	if !set.Contains(both) || both.Contains(set) || !set.Contains(set) || set.Contains(read("shelf:alice?genre=poetry")) {
		t.Error("Contains")
	}
	if summary := set.Summary(); len(summary.Others) != 2 || summary.Others[0].Kind() != "shelf" {
		t.Errorf("summary: %v", summary.Others)
	}

	// Without Meet, scopes have themselves in common, and nothing else.
	kind := shelfKind()
	kind.Meet = nil
	if grammar, err = scope.NewGrammar(kind); err != nil {
		t.Fatal(err)
	}
	both = read("shelf:alice shelf:*").Intersect(read("shelf:alice?action=read&action=write shelf:bob"))
	if both.String() != "shelf:alice" || !read("shelf:alice shelf:*").Contains(both) || read("shelf:*").Contains(both) {
		t.Errorf("without Meet: %s", both)
	}
}

// How values are encoded is up to no kind.
func TestEncoding(t *testing.T) {
	t.Parallel()
	anything := func(string) bool { return true }
	grammar, err := scope.NewGrammar(scope.Kind{Name: "x", Positional: "a", Params: []scope.Param{{Name: "a", Multi: true, Valid: anything}}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]struct{ value, canonical string }{
		"x:a+b%20c":                 {"a+b c", "x:a+b%20c"},
		"x?a=a+b%20c":               {"a b c", "x:a%20b%20c"},
		"x?a=a%2Bb%2bc":             {"a+b+c", "x:a+b+c"},
		"x:%2F%3a%2C%40%7e":         {"/:,@~", "x:/:,@~"},
		"x:%23%25%26%3D%3F%22%5C!'": {"#%&=?\"\\!'", "x:%23%25%26%3D%3F%22%5C%21%27"},
		"x:a&b=c;d":                 {"a&b=c;d", "x:a%26b%3Dc%3Bd"},
		"x?a=b=c?d":                 {"b=c?d", "x:b%3Dc%3Fd"},
		"x:a:b#c":                   {"a:b#c", "x:a:b%23c"},
	} {
		set, err := grammar.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for s := range set.Scopes() {
			if got := s.Values().First("a"); got != want.value || s.String() != want.canonical {
				t.Errorf("%s: %q, %s, want %q, %s", text, got, s, want.value, want.canonical)
			}
		}
	}
	if set, err := grammar.Parse("x?a=1+2&a=1%2B2"); err != nil || set.String() != "x?a=1%202&a=1%2B2" {
		t.Errorf("a plus sign in a parameter: %v, %v", set, err)
	}
	for _, text := range []string{"x:%0A", "x:%00", "x:%1f", "x:%7F", "x:%80", "x:%C3%A9", "x?a=%0a", "x:%", "x:%4", "x:%4g", "x:%g4", "x:%%41"} {
		if _, err := grammar.Parse(text); !errors.Is(err, scope.ErrInvalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestBadKinds(t *testing.T) {
	t.Parallel()
	good := func() scope.Kind {
		return scope.Kind{Name: "x-2", Params: []scope.Param{{Name: "a", Valid: func(s string) bool { return s != "bad" }}, {Name: "b", Known: []string{"1", "2"}}}}
	}
	if _, err := scope.NewGrammar(good()); err != nil {
		t.Fatal(err)
	}
	if _, err := scope.NewGrammar(good(), good()); err == nil {
		t.Error("the same name twice")
	}
	for name, spoil := range map[string]func(*scope.Kind){
		"no name":                func(k *scope.Kind) { k.Name = "" },
		"upper case":             func(k *scope.Kind) { k.Name = "Space" },
		"digit first":            func(k *scope.Kind) { k.Name = "2x" },
		"colon":                  func(k *scope.Kind) { k.Name = "a:b" },
		"the protocol's":         func(k *scope.Kind) { k.Name = "repo" },
		"the protocol's include": func(k *scope.Kind) { k.Name = "include" },
		"atproto":                func(k *scope.Kind) { k.Name = "atproto" },
		"transition":             func(k *scope.Kind) { k.Name = "transition" },
		"positional":             func(k *scope.Kind) { k.Positional = "c" },
		"no parameter name":      func(k *scope.Kind) { k.Params[0].Name = "" },
		"odd parameter name":     func(k *scope.Kind) { k.Params[0].Name = "a=b" },
		"repeated parameter":     func(k *scope.Kind) { k.Params[0].Name = "b" },
		"no values":              func(k *scope.Kind) { k.Params[0].Valid = nil },
		"values twice":           func(k *scope.Kind) { k.Params[0].Known = []string{"1"} },
		"two defaults":           func(k *scope.Kind) { k.Params[1].Default = []string{"1", "2"} },
		"invalid default":        func(k *scope.Kind) { k.Params[0].Default = []string{"bad"} },
		"unknown default":        func(k *scope.Kind) { k.Params[1].Default = []string{"3"} },
		"required default":       func(k *scope.Kind) { k.Params[1].Required, k.Params[1].Default = true, []string{"1"} },
	} {
		kind := good()
		spoil(&kind)
		if _, err := scope.NewGrammar(kind); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
