package scope_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/oauth/scope"
)

func parse(t testing.TB, text string) *scope.Set {
	t.Helper()
	set, err := scope.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Texts in other forms, and their canonical one.
func TestCanonicalTexts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"atproto", "atproto"},
		{"transition:generic account:email atproto transition:email transition:chat.bsky",
			"atproto account:email transition:chat.bsky transition:email transition:generic"},
		{"atproto atproto", "atproto"},
		{"repo:com.example.foo repo?collection=com.example.foo", "repo:com.example.foo"},

		{"repo:*?", "repo:*"},
		{"repo:%2A", "repo:*"},
		{"repo:com.example%2efoo", "repo:com.example.foo"},
		{"repo?collecti%6Fn=com.example.foo", "repo:com.example.foo"},
		{"repo:com.example.foo?&action=create&", "repo:com.example.foo?action=create"},
		{"repo?collection=*&collection=com.example.foo&action=update", "repo:*?action=update"},
		{"repo:*?action=delete&action=update&action=create", "repo:*"},
		{"repo:*?action=delete&action=delete&action=create", "repo:*?action=create&action=delete"},
		{"repo?action=create&collection=com.example.foo&collection=com.example.bar",
			"repo?collection=com.example.bar&collection=com.example.foo&action=create"},

		{"rpc:com.example.foo?aud=*", "rpc:com.example.foo?aud=*"},
		{"rpc?aud=*&lxm=com.example.foo", "rpc:com.example.foo?aud=*"},
		{"rpc:*?aud=did:web:example.com#x", "rpc:*?aud=did:web:example.com%23x"},
		{"rpc:*?aud=did%3Aweb%3aexample.com%23x", "rpc:*?aud=did:web:example.com%23x"},
		{"rpc?lxm=com.example.foo&lxm=*&aud=did:plc:xyz%23x", "rpc:*?aud=did:plc:xyz%23x"},
		{"rpc?lxm=com.example.b&lxm=com.example.a&aud=*", "rpc?lxm=com.example.a&lxm=com.example.b&aud=*"},
		{"rpc:*?aud=did:web:localhost%253A80%23x", "rpc:*?aud=did:web:localhost%253A80%23x"},

		{"blob:image/png", "blob:image/png"},
		{"blob:Image/PNG", "blob:image/png"},
		{"blob?accept=image/png&accept=image/jpeg", "blob?accept=image/jpeg&accept=image/png"},
		{"blob?accept=image/*&accept=image/png&accept=text/html", "blob?accept=image/*&accept=text/html"},
		{"blob?accept=image/*&accept=IMAGE/*&accept=*/*", "blob:*/*"},
		{"blob:image/svg+xml", "blob:image/svg+xml"},
		{"blob:image/svg%2Bxml", "blob:image/svg+xml"},
		{"blob?accept=image/svg%2Bxml", "blob:image/svg+xml"},
		{"blob?accept=image/svg%2Bxml&accept=text/html", "blob?accept=image/svg%2Bxml&accept=text/html"},
		{"blob?accept=imagex/png&accept=image/*", "blob?accept=image/*&accept=imagex/png"},
		{"blob:a/b%25c", "blob:a/b%25c"},

		{"account:email?action=read", "account:email"},
		{"account?attr=repo&action=manage", "account:repo?action=manage"},
		{"account:status?action=manage&action=read", "account:status?action=manage"},
		{"identity?attr=handle", "identity:handle"},
		{"identity:*?", "identity:*"},

		{"include:com.example.set", "include:com.example.set"},
		{"include?aud=did:web:example.com#x&nsid=com.example.set", "include:com.example.set?aud=did:web:example.com%23x"},
	} {
		set := parse(t, c.text)
		if got := set.String(); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
		again := parse(t, set.String())
		if again.String() != c.want || !again.Contains(set) || !set.Contains(again) {
			t.Errorf("%s: %s is not the same set", c.text, again)
		}
	}
}

func TestInvalidValues(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"Atproto", "atproto:", "atproto?", "atproto:x", "atproto?x=y", "openid", "transition", "transition:", "transition:other",
		"transition:generic?", "transition:%67eneric", "Transition:generic", "space:com.example.x", ":", "?", ":x", "*", "repo#x",

		"repo", "repo:", "repo?", "repo:?", "Repo:*", "repo:com.example.*", "repo:*.example.foo", "repo:com.example", "repo:**",
		"repo:com.example.foo?collection=com.example.bar", "repo:?collection=com.example.bar", "repo?collection=", "repo?collection",
		"repo:com.example.foo?action=", "repo:com.example.foo?action=Create", "repo:com.example.foo?action=read",
		"repo:com.example.foo?x=y", "repo:com.example.foo?=", "repo:com.example.foo?Action=create", "repo:*?action=*",
		"repo?collection=*&collection=invalid", "repo:com.example.foo%", "repo:com.example.foo%2", "repo:com.example.foo%zz",
		"repo:com.example.foo?action=create%", "repo:com.example.foo?%zz=x", "repo:com.example.foo%00", "repo:com.example.f%C3%B6",
		"repo:com.example.foo:", "repo:com.example.foo&action=create", "repo:com.example+foo", "repo:com.example.foo;action=create",
		"repo:com.example.foo?action=create;action=update", "repo:com.example.föö", "repo:com.example.\"foo", "repo:com.example.f\\oo",
		"repo:com.example.foo\n", "repo:com.example.foo\x7f", "repo:\tcom.example.foo",

		"rpc:*?aud=*", "rpc?lxm=com.example.foo&lxm=*&aud=*", "rpc?lxm=*&lxm=com.example.foo&aud=*", "rpc:%2a?aud=%2A",
		"rpc:com.example.foo", "rpc:com.example.foo?aud=", "rpc:com.example.foo?aud=did:web:example.com",
		"rpc:com.example.foo?aud=did:web:example.com%23", "rpc:com.example.foo?aud=%23x", "rpc:com.example.foo?aud=did:web:a.com%23x%23y",
		"rpc:com.example.foo?aud=did:web:a.com%23x&aud=did:web:b.com%23x", "rpc:com.example.foo?aud=*&aud=*",
		"rpc:com.example.*?aud=*", "rpc:com.example.foo?aud=did:web:a.com%23x%20y", "rpc:com.example.foo?aud=did:web:a.com%23x+y",
		"rpc:com.example.foo?aud=DID:web:a.com%23x", "rpc:com.example.foo?aud=did:web:a.com%253A%23%2500",

		"blob", "blob:*", "blob:image", "blob:image/", "blob:/png", "blob:*/png", "blob:image/**", "blob:image/p*", "blob:image/png/x",
		"blob:image/png;x=y", "blob:image/p%20ng", "blob?accept=image/svg+xml", "blob:*/*?accept=*/*", "blob:im*/png", "blob://",

		"account:email?attr=email", "account:*", "account:email?action=write", "account?attr=email&attr=repo",
		"identity:did", "identity?attr=handle&attr=handle", "identity:*?action=x",
		"include:com.example.set?aud=*", "include:*", "include?nsid=com.example.a&nsid=com.example.b",
		"include:com.example.set?aud=did:web:a.com", "include:com.example.set?x=y",
	} {
		_, err := scope.Parse(value)
		var bad *scope.ValueError
		if !errors.As(err, &bad) || bad.Value != value || !errors.Is(err, scope.ErrInvalid) && !errors.Is(err, scope.ErrUnknown) {
			t.Errorf("%q: %v", value, err)
		}
		// In what others have written, it is nothing, and does not hide the rest.
		text := "atproto " + value + " repo:*"
		set, dropped, err := scope.ParseRequest(text)
		if err != nil || set.String() != "atproto repo:*" || len(dropped) != 1 || dropped[0].Value != value {
			t.Errorf("%q in a request: %v, %v, %v", value, set, dropped, err)
		}
		if set, err := scope.ParseGranted(text); err != nil || set.String() != "atproto repo:*" {
			t.Errorf("%q in a token: %v, %v", value, set, err)
		}
	}
}

func TestErrorsOfParse(t *testing.T) {
	t.Parallel()
	_, err := scope.Parse("atproto space:x")
	if !errors.Is(err, scope.ErrUnknown) || errors.Is(err, scope.ErrInvalid) {
		t.Errorf("unknown kind: %v", err)
	}
	if _, err = scope.Parse("repo:x"); !errors.Is(err, scope.ErrInvalid) || errors.Is(err, scope.ErrUnknown) {
		t.Errorf("bad value: %v", err)
	}
	for _, text := range []string{" ", " atproto", "atproto ", "atproto  repo:*"} {
		if _, err := scope.Parse(text); !errors.Is(err, scope.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
		set, dropped, err := scope.ParseRequest(text)
		if err != nil || dropped != nil || text != " " && !set.Has(scope.Atproto) {
			t.Errorf("%q in a request: %v, %v, %v", text, set, dropped, err)
		}
	}
	// Messages stay short and on one line.
	_, err = scope.Parse("x\n" + strings.Repeat("y", 5000))
	if message := err.Error(); len(message) > 250 || strings.Contains(message, "\n") {
		t.Errorf("message: %s", message)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	exactly := func(length int) string { // a good text of this length
		text := "atproto"
		for len(text) < length {
			const head, tail = " rpc:*?aud=did:web:", "%23x"
			n := length - len(text)
			if n > 1000 {
				n = 500
			}
			text += head + strings.Repeat("a", n-len(head)-len(tail)) + tail
		}
		return text
	}
	many := func(n int) string {
		values := make([]string, n)
		for i := range values {
			values[i] = fmt.Sprintf("repo:com.example.n%d", i)
		}
		return strings.Join(values, " ")
	}
	request := func(text string) error { _, _, err := scope.ParseRequest(text); return err }
	program := func(text string) error { _, err := scope.Parse(text); return err }
	granted := func(text string) error { _, err := scope.ParseGranted(text); return err }
	twice := func(text string) error {
		_, err := scope.ParseGranted(text[:len(text)/2], text[len(text)/2:])
		return err
	}
	for name, c := range map[string]struct {
		parse func(string) error
		limit int
	}{
		"program": {program, scope.MaxLength}, "request": {request, scope.MaxLength},
		"token": {granted, scope.MaxGrantedLength}, "token in two parts": {twice, scope.MaxGrantedLength},
	} {
		if err := c.parse(exactly(c.limit)); err != nil {
			t.Errorf("%s: at the limit: %v", name, err)
		}
		if err := c.parse(exactly(c.limit + 1)); !errors.Is(err, scope.ErrTooLong) {
			t.Errorf("%s: beyond the limit: %v", name, err)
		}
	}
	for name, parse := range map[string]func(string) error{"program": program, "request": request, "token": granted} {
		if err := parse(many(scope.MaxScopes)); err != nil {
			t.Errorf("%s: as many as there may be: %v", name, err)
		}
		if err := parse(many(scope.MaxScopes + 1)); !errors.Is(err, scope.ErrTooMany) {
			t.Errorf("%s: too many: %v", name, err)
		}
		// What is the same, or unknown, counts all the same.
		if err := parse(strings.TrimSuffix(strings.Repeat("atproto ", scope.MaxScopes+1), " ")); !errors.Is(err, scope.ErrTooMany) {
			t.Errorf("%s: the same too often: %v", name, err)
		}
	}
	if err := request(strings.Repeat("x ", scope.MaxScopes+1)); !errors.Is(err, scope.ErrTooMany) {
		t.Errorf("too many unknown: %v", err)
	}
	params := func(n int) string { return "blob?" + strings.Repeat("&accept=a/b", n) }
	if err := program(params(scope.MaxParams)); err != nil {
		t.Errorf("as many parameters as there may be: %v", err)
	}
	if err := program(params(scope.MaxParams + 1)); !errors.Is(err, scope.ErrInvalid) {
		t.Errorf("too many parameters: %v", err)
	}
}

// A set gives its scopes in the order and form in which they were written.
func TestScopesAndSource(t *testing.T) {
	t.Parallel()
	const text = "repo?collection=com.example.foo atproto rpc:*?aud=did:web:a.com#x include?nsid=com.example.set transition:email"
	set := parse(t, text+" repo:com.example.foo")
	if got := set.Source(); got != text {
		t.Errorf("source: %s", got)
	}
	var kinds []string
	for s := range set.Scopes() {
		kinds = append(kinds, s.Kind())
		nsid, aud, ok := s.Include()
		if want := s.Kind() == scope.KindInclude; ok != want || ok && (nsid != "com.example.set" || aud != "") {
			t.Errorf("%s: include %q %q %v", s, nsid, aud, ok)
		}
	}
	if diff := cmp.Diff([]string{"repo", "", "rpc", "include", ""}, kinds); diff != "" {
		t.Error(diff)
	}
	for s := range parse(t, "rpc?lxm=com.example.b&lxm=com.example.a&aud=did:web:a.com#x").Scopes() {
		v := s.Values()
		if !slices.Equal(v.Get("lxm"), []string{"com.example.a", "com.example.b"}) || v.First("aud") != "did:web:a.com#x" ||
			v.Get("x") != nil || v.First("x") != "" || v.String() != s.String() {
			t.Errorf("values of %s", s)
		}
	}
	// The values of one scope stay apart from those of another.
	for s := range parse(t, "rpc?lxm=com.example.b&lxm=com.example.c&lxm=com.example.d&aud=* rpc:com.example.a?aud=*").Scopes() {
		if s.Values().String() != s.String() {
			t.Errorf("%s has the values %s", s, s.Values())
		}
	}
	if !set.Has("atproto") || !set.Has("repo:com.example.foo") || set.Has("repo?collection=com.example.foo") {
		t.Error("Has looks for canonical texts")
	}
}

func TestNilSet(t *testing.T) {
	t.Parallel()
	var none *scope.Set
	some := parse(t, "atproto repo:*")
	if none.Allows(scope.Repo{Collection: "com.example.foo", Action: scope.Create}) || none.Has("atproto") || !none.IsEmpty() ||
		none.String() != "" || none.Source() != "" || none.Missing(scope.Blob{MimeType: "a/b"}) != "blob:a/b" {
		t.Error("a nil set is not empty")
	}
	if !some.Contains(none) || none.Contains(some) || !none.Contains(none) || !none.Contains(parse(t, "")) {
		t.Error("Contains and nil sets")
	}
	if !some.Intersect(none).IsEmpty() || !none.Intersect(some).IsEmpty() {
		t.Error("Intersect and nil sets")
	}
	if expanded, err := none.Expand(nil); err != nil || !expanded.IsEmpty() {
		t.Error("Expand of a nil set")
	}
	if diff := cmp.Diff(scope.Summary{}, none.Summary(), cmp.AllowUnexported(scope.Scope{})); diff != "" {
		t.Error(diff)
	}
	var values scope.Values
	if values.Get("x") != nil || values.First("x") != "" || values.String() != "" {
		t.Error("zero values")
	}
}
