package scope_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
)

func FuzzParse(f *testing.F) {
	for _, word := range vocabulary {
		f.Add("atproto " + word)
	}
	f.Add("blob?accept=image/svg%2bxml&accept=a/b%25c  repo?collection=*&&action=create? shelf:x?genre=a&genre=* shelf")
	f.Add("rpc:com.example.a?aud=did:web:localhost%253A80%23x%26y%3D+z")
	grammar, err := scope.NewGrammar(shelfKind())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, dropped, err := grammar.ParseRequest(text)
		if err != nil {
			return
		}
		granted, err := grammar.ParseGranted(text)
		if err != nil || granted.String() != set.String() || granted.Source() != set.Source() {
			t.Fatalf("read in another way it is %q, %v", granted, err)
		}
		if strict, err := grammar.Parse(text); err == nil && (len(dropped) > 0 || strict.Source() != set.Source()) {
			t.Fatalf("strictly read it is %q", strict)
		}
		for _, again := range []string{set.String(), set.Source()} {
			if len(again) > scope.MaxLength {
				continue
			}
			same, err := grammar.Parse(again)
			if err != nil || same.String() != set.String() || !same.Contains(set) || !set.Contains(same) {
				t.Fatalf("%q is read as %q, %v", again, same, err)
			}
		}
		if both := set.Intersect(set); !both.Contains(set) || !set.Contains(both) {
			t.Fatalf("%q and itself have %q in common", set, both)
		}
		for s := range set.Scopes() {
			one, err := grammar.Parse(s.Source())
			if err != nil || one.String() != s.String() || !set.Contains(one) {
				t.Fatalf("%s: %v, %v", s.Source(), one, err)
			}
			for _, p := range asked(s) {
				if !one.Allows(p) || !set.Allows(p) {
					t.Fatalf("%s does not allow %s", s, p)
				}
			}
		}
		for _, bad := range dropped {
			if _, err := grammar.Parse(bad.Value); err == nil || !strings.Contains(text, bad.Value) {
				t.Fatalf("%q was dropped", bad.Value)
			}
		}
	})
}

// Names and DIDs are those of indigo.
func FuzzSyntax(f *testing.F) {
	for _, name := range []string{
		"com.example.foo", "com.example", "a.b.c", "a-b.c-d.e", "a.b-.c", "a.-b.c", "-a.b.c", "1a.b.c", "a.1b.c", "a.b.1c", "a.b.c-d", "a..c", "a.b.", ".a.b",
		strings.Repeat("a", 63) + ".b.c", strings.Repeat("a", 64) + ".b.c", "a.b." + strings.Repeat("c", 63), "a.b." + strings.Repeat("c", 64), "a." + strings.Repeat("b", 64) + ".c",
		strings.Repeat("aaaaaaaaa.", 31) + "bbbbbbb", strings.Repeat("aaaaaaaaa.", 31) + "bbbbbbbb",
		"did:web:a.com", "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:a:", "did:a:b:", "did:a:b%", "did::b", "did:A:b", "did:a1:b", "did:a:b/c", "did:web:a%3A80", "DID:a:b", "did:a",
		"did:a:" + strings.Repeat("b", 2042), "did:a:" + strings.Repeat("b", 2043),
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for i := range len(name) {
			if name[i] < ' ' || name[i] > '~' {
				return // refused before its syntax is looked at
			}
		}
		_, want := syntax.ParseNSID(name)
		if _, err := scope.Parse("include?nsid=" + url.QueryEscape(name)); (err == nil) != (want == nil) {
			t.Fatalf("NSID %q: %v, and by indigo %v", name, err, want)
		}
		_, want = syntax.ParseDID(name)
		if _, err := scope.Parse("rpc:com.example.foo?aud=" + url.QueryEscape(name+"#x")); (err == nil) != (want == nil) {
			t.Fatalf("DID %q: %v, and by indigo %v", name, err, want)
		}
	})
}
