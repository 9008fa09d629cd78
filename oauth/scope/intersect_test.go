package scope_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/oauth/scope"
)

func TestIntersect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b, want string }{
		{"", "atproto repo:*", ""},
		{"atproto repo:*", "atproto", "atproto"},
		{"repo:*", "repo:com.example.foo?action=create", "repo:com.example.foo?action=create"},
		{"repo:*?action=create repo:com.example.foo", "repo:*", "repo:*?action=create repo:com.example.foo?action=update&action=delete"},
		{"repo:*?action=create", "repo:*?action=delete", ""},
		{"repo?collection=com.example.a&collection=com.example.b", "repo?collection=com.example.c&collection=com.example.b", "repo:com.example.b"},
		{"repo?collection=com.example.a&collection=com.example.b", "repo:*?action=create repo:com.example.b?action=delete",
			"repo:com.example.a?action=create repo:com.example.b?action=create&action=delete"},
		{"rpc:*?aud=did:web:a.com%23x", "rpc?lxm=com.example.a&lxm=com.example.b&aud=*", "rpc?lxm=com.example.a&lxm=com.example.b&aud=did:web:a.com%23x"},
		{"rpc:*?aud=did:web:a.com%23x", "rpc:*?aud=did:web:b.com%23x", ""},
		{"rpc:com.example.a?aud=* rpc:com.example.b?aud=did:web:a.com%23x", "rpc:com.example.a?aud=* rpc:*?aud=did:web:a.com%23x",
			"rpc:com.example.a?aud=* rpc:com.example.b?aud=did:web:a.com%23x"},
		{"rpc:com.example.a?aud=did:web:a.com%23x", "rpc:com.example.b?aud=did:web:a.com%23x", ""},
		{"blob:image/*", "blob?accept=image/png&accept=text/html", "blob:image/png"},
		{"blob:*/*", "blob?accept=image/*&accept=text/html", "blob?accept=image/*&accept=text/html"},
		{"blob:text/html", "blob:image/*", ""},
		{"account:email?action=manage account:repo", "account:email account:status?action=manage", "account:email"},
		{"account:repo?action=manage", "account:repo?action=manage", "account:repo?action=manage"},
		{"identity:*", "identity:handle", "identity:handle"},
		{"identity:handle", "atproto", ""},
		{"include:com.example.a include:com.example.b", "include:com.example.b include:com.example.a?aud=did:web:a.com%23x", "include:com.example.b"},

		{"transition:generic", "repo:com.example.foo blob:image/* account:email identity:*", "repo:com.example.foo blob:image/*"},
		{"transition:generic", "rpc?lxm=chat.bsky.a&lxm=com.example.a&aud=* rpc:Chat.Bsky.b?aud=*", "rpc:com.example.a?aud=*"},
		{"transition:generic transition:chat.bsky", "rpc:*?aud=did:web:a.com%23x rpc:chat.bsky.a?aud=*", "rpc:*?aud=did:web:a.com%23x rpc:chat.bsky.a?aud=*"},
		{"transition:generic rpc:chat.bsky.a?aud=did:web:a.com%23x", "transition:generic transition:chat.bsky", "transition:generic rpc:chat.bsky.a?aud=did:web:a.com%23x"},
		{"transition:generic repo:* blob:*/* rpc:com.example.a?aud=*", "transition:generic repo:*", "transition:generic"},
		{"transition:generic transition:chat.bsky", "transition:chat.bsky", "transition:chat.bsky"},
		{"transition:generic transition:chat.bsky rpc:*?aud=did:web:a.com%23x", "transition:generic transition:chat.bsky rpc:*?aud=did:web:a.com%23x",
			"transition:generic transition:chat.bsky"},
		{"transition:generic rpc:*?aud=did:web:a.com%23x", "transition:generic rpc:*?aud=did:web:a.com%23x", "transition:generic rpc:*?aud=did:web:a.com%23x"},
		{"transition:email", "account:email?action=manage", "account:email"},
		{"transition:email account:email?action=manage", "transition:email", "transition:email"},
		// What has no text: any method of one service, but those in chat.bsky.
		{"transition:generic", "repo:* rpc:*?aud=did:web:a.com%23x", "repo:*"},
		{"transition:generic rpc:chat.bsky.a?aud=*", "rpc:*?aud=did:web:a.com%23x", "rpc:chat.bsky.a?aud=did:web:a.com%23x"},
	} {
		a, b := parse(t, c.a), parse(t, c.b)
		want := parse(t, c.want).String()
		for _, out := range []*scope.Set{a.Intersect(b), b.Intersect(a)} {
			if got := out.String(); got != want {
				t.Errorf("%q and %q\ngot  %s\nwant %s", c.a, c.b, got, want)
			}
			if out.IsEmpty() != (want == "") || out.Source() == "" != (want == "") {
				t.Errorf("%q and %q: emptiness", c.a, c.b)
			}
		}
	}
}

func TestIntersectOfGenericAndOneService(t *testing.T) {
	t.Parallel()
	out := parse(t, "transition:generic").Intersect(parse(t, "rpc:*?aud=did:web:a.com%23x"))
	if !out.Allows(rpc{"com.example.a", "did:web:a.com#x"}) || out.Allows(rpc{"com.example.a", "did:web:b.com#x"}) ||
		out.Allows(rpc{"chat.bsky.a", "did:web:a.com#x"}) || out.Allows(rpc{"*", "did:web:a.com#x"}) {
		t.Error("what both allow")
	}
	want := []scope.RPCSummary{{Audience: "did:web:a.com#x", ButChat: true}}
	if diff := cmp.Diff(want, out.Summary().RPCs); diff != "" {
		t.Error(diff)
	}
	if !parse(t, "rpc:*?aud=did:web:a.com%23x").Contains(out) || parse(t, "rpc:com.example.a?aud=*").Contains(out) || out.Contains(parse(t, "rpc:*?aud=did:web:a.com%23x")) {
		t.Error("Contains")
	}
}

// Many services times many methods are not multiplied out.
func TestIntersectIsBounded(t *testing.T) {
	var services, methods []string
	for i := range scope.MaxScopes {
		services = append(services, "rpc:*?aud=did:web:s"+strings.Repeat("x", i%9)+string(rune('a'+i%26))+strings.Repeat("y", i/26)+"%23x")
		methods = append(methods, "lxm=com.example."+strings.Repeat("m", i%20)+string(rune('a'+i%26))+strings.Repeat("n", i/26))
	}
	a, err := scope.ParseGranted(services...)
	if err != nil {
		t.Fatal(err)
	}
	b, err := scope.ParseGranted("rpc?aud=*&" + strings.Join(methods[:scope.MaxParams-1], "&"))
	if err != nil || b.IsEmpty() {
		t.Fatal(err)
	}
	allocated := testing.AllocsPerRun(1, func() { a.Intersect(b) })
	if allocated > 3*scope.MaxScopes {
		t.Errorf("%v allocations", allocated)
	}
}

// vocabulary is what random sets are made of, and questions are all that can be
// asked of such sets: something for each scope, and something that is named by
// none.
var (
	vocabulary = []string{
		"atproto", "transition:generic", "transition:chat.bsky", "transition:email",
		"repo:*", "repo:*?action=create", "repo:com.example.a", "repo:com.example.a?action=delete&action=create", "repo:com.example.b?action=update",
		"repo?collection=com.example.a&collection=com.example.b&action=update",
		"rpc:com.example.a?aud=*", "rpc:chat.bsky.a?aud=*", "rpc:*?aud=did:web:a.com%23x", "rpc:*?aud=did:web:b.com%23x",
		"rpc:com.example.a?aud=did:web:a.com%23x", "rpc?lxm=com.example.b&lxm=chat.bsky.a&aud=did:web:a.com%23x",
		"rpc?lxm=com.example.b&lxm=com.example.a&aud=did:web:b.com%23x",
		"blob:*/*", "blob:image/*", "blob:image/png", "blob?accept=text/html&accept=image/png", "blob:text/*",
		"account:email", "account:email?action=manage", "account:repo?action=manage", "account:status", "identity:handle", "identity:*",
		"include:com.example.a", "include:com.example.b?aud=did:web:a.com%23x",
	}
	questions = func() (out []scope.Permission) {
		for _, collection := range []string{"*", "com.example.a", "com.example.b", "com.example.c"} {
			for _, action := range []scope.Action{scope.Create, scope.Update, scope.Delete} {
				out = append(out, repo{collection, action})
			}
		}
		for _, aud := range []string{"*", "did:web:a.com#x", "did:web:b.com#x", "did:web:c.com#x", "did:web:a.com"} {
			for _, method := range []string{"*", "com.example.a", "com.example.b", "com.example.c", "chat.bsky.a", "chat.bsky.b"} {
				out = append(out, rpc{method, aud})
			}
		}
		for _, mime := range []string{"image/png", "image/gif", "text/html", "text/plain", "a/b"} {
			out = append(out, blob{mime})
		}
		for _, attr := range []string{"email", "repo", "status"} {
			out = append(out, account{attr, scope.Read}, account{attr, scope.Manage})
		}
		return append(out, identity{"handle"}, identity{"*"})
	}()
)

func setOf(t testing.TB, bits uint32) *scope.Set {
	var words []string
	for i, word := range vocabulary {
		if bits>>i&1 != 0 {
			words = append(words, word)
		}
	}
	return parse(t, strings.Join(words, " "))
}

// checkPair checks all that must hold between two sets.
func checkPair(t testing.TB, a, b *scope.Set) {
	both := a.Intersect(b)
	covered := true
	for _, p := range questions {
		inA, inB := a.Allows(p), b.Allows(p)
		if got := both.Allows(p); got != (inA && inB) {
			t.Errorf("%s: allowed by both is %v, by the intersection %q of %q and %q %v", p, inA && inB, both, a, b, got)
		}
		covered = covered && (inA || !inB)
	}
	for s := range b.Scopes() { // which allow nothing
		if s.Kind() == scope.KindInclude || s.String() == scope.Atproto {
			covered = covered && a.Has(s.String())
			if both.Has(s.String()) != a.Has(s.String()) {
				t.Errorf("%s in the intersection of %q and %q", s, a, b)
			}
		}
	}
	if got := a.Contains(b); got != covered {
		t.Errorf("%q contains %q: %v", a, b, got)
	}
	if !a.Contains(both) || !b.Contains(both) {
		t.Errorf("%q and %q do not contain what both have, %q", a, b, both)
	}
	if again := b.Intersect(a); again.String() != both.String() || !again.Contains(both) || !both.Contains(again) {
		t.Errorf("%q and %q: the order matters: %q, %q", a, b, both, again)
	}
	if text := parse(t, both.String()); !both.Contains(text) || text.String() != both.String() {
		t.Errorf("%q, parsed again, is %q", both, text)
	}
	if same := both.Intersect(both); !same.Contains(both) || !both.Contains(same) {
		t.Errorf("%q with itself: %q", both, same)
	}
}

func TestIntersectAndContainsOfRandomSets(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		// Few scopes, many, and all between.
		a, b := r.Uint32()&r.Uint32(), r.Uint32()&r.Uint32()
		switch r.IntN(3) {
		case 0:
			a &= r.Uint32() & r.Uint32()
		case 1:
			a |= b
		}
		checkPair(t, setOf(t, a), setOf(t, b))
		if t.Failed() {
			return
		}
	}
}

func FuzzIntersect(f *testing.F) {
	f.Add("atproto repo:*", "repo:com.example.a rpc:*?aud=did:web:a.com%23x")
	f.Add("transition:generic", "rpc?lxm=chat.bsky.a&lxm=com.example.a&aud=* blob:image/*")
	f.Add(strings.Join(vocabulary[4:16], " "), strings.Join(vocabulary[12:], " "))
	f.Fuzz(func(t *testing.T, textA, textB string) {
		a, errA := scope.ParseGranted(textA)
		b, errB := scope.ParseGranted(textB)
		if errA != nil || errB != nil {
			return
		}
		both := a.Intersect(b)
		if !a.Contains(both) || !b.Contains(both) {
			t.Fatalf("%q and %q do not contain %q", a, b, both)
		}
		again, err := scope.ParseGranted(both.String())
		if err == nil && !both.Contains(again) {
			t.Fatalf("%q grants more than it should", again)
		}
		for _, set := range []*scope.Set{a, b} { // what they name themselves
			for s := range set.Scopes() {
				for _, p := range asked(s) {
					if !set.Allows(p) {
						t.Fatalf("%q does not allow %s", set, p)
					}
					if got, want := both.Allows(p), a.Allows(p) && b.Allows(p); got != want {
						t.Fatalf("%s: %v by both %q and %q, %v by %q", p, want, a, b, got, both)
					}
				}
			}
		}
	})
}

// asked returns permissions that a scope names.
func asked(s scope.Scope) (out []scope.Permission) {
	v := s.Values()
	switch s.Kind() {
	case scope.KindRepo:
		for _, collection := range v.Get("collection") {
			for _, action := range v.Get("action") {
				out = append(out, repo{collection, scope.Action(action)})
			}
		}
	case scope.KindRPC:
		for _, method := range v.Get("lxm") {
			out = append(out, rpc{method, v.First("aud")})
		}
	case scope.KindBlob:
		for _, accept := range v.Get("accept") {
			if out = append(out, blob{strings.ReplaceAll(accept, "*", "x")}); accept == "*/*" {
				break
			}
		}
	case scope.KindAccount:
		out = append(out, account{v.First("attr"), scope.Action(v.First("action"))})
	case scope.KindIdentity:
		out = append(out, identity{v.First("attr")})
	}
	return out
}
